"""`deeploc-tf verify`: whether what we wrote is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.group import sentence
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import FILE, Records, cache_option, json_option

EPILOG = """\b
Examples:
  deeploc-tf verify RECORDS
  deeploc-tf verify RECORDS --deep
  deeploc-tf verify MODEL --digest 5f70bf18a086...
  deeploc-tf verify RUN
  deeploc-tf verify cells.profiles.parquet
  deeploc-tf verify scores.json --table features.csv
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("path", metavar="FILE|FOLDER", type=Records())
@click.option(
    "--deep",
    is_flag=True,
    help="Read every byte of records, and check digests, keys, labels, groups and TFDS files.",
)
@click.option("--digest", help="Digest that it must have, known from elsewhere.")
@click.option(
    "--table",
    type=FILE,
    help="Table that was scored on the suite.  [default: the file of that name next to the scores]",
)
@click.option(
    "--suite", help="Frozen suite, by name or folder.  [default: the one that the scores name]"
)
@click.option(
    "--suite-data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with files that a suite names by digest only.",
)
@json_option
@cache_option
@quiet_option
def verify(
    path: str | Path,
    deep: bool,
    digest: str | None,
    table: Path | None,
    suite: str | None,
    suite_data: Path | None,
    as_json: bool,
    cache: Path | None,
    quiet: bool,
) -> None:
    """Check that a file or folder is unchanged since deeploc-tf wrote it; exit with 1 if not.

    FILE|FOLDER is records, a run, a model from `export`, a table of vectors, what `benchmark`,
    `predict`, `evaluate`, `change`, `explain`, `simulate`, `study` or `demo` wrote, a page or a
    picture. Scores of a frozen suite (`benchmark --suite`) are recomputed, every number.

    Without --deep, only names and sizes of record files are checked, which takes milliseconds. Of
    anything else every byte is read, and no model is run.
    """
    if isinstance(path, Path) and _is_suite_scores(path):
        if deep or digest is not None:
            msg = "--deep and --digest have no effect on scores of a suite. Leave them out."
            raise click.UsageError(msg)
        with _failure_as_json(path, as_json=as_json):
            answer(*_scores_checked(path, table, suite, suite_data), as_json=as_json)
        return
    if table is not None or suite is not None or suite_data is not None:
        msg = "--table, --suite and --suite-data are of the JSON of `benchmark --suite`. Name it."
        raise click.UsageError(msg)
    from deeploc_tf.lineage.verify import verify as check

    with _failure_as_json(path, as_json=as_json):
        found = check(path, deep=deep, digest=digest, cache=cache, progress=not quiet)
    values = {
        "path": path,
        "whole": True,
        "kind": found.thing.kind,
        "checked": found.checked,
        "digest": found.digest or None,
        "num_crops": found.num_crops or None,
    }
    known = f", digest {found.digest}" * bool(found.digest)
    crops = f", {found.num_crops} crops" * bool(found.num_crops)
    line = f"{path}: {found.thing.kind}, whole{crops}{known} ({found.checked})"
    answer(values, [line], as_json=as_json)


@contextlib.contextmanager
def _failure_as_json(path: str | Path, *, as_json: bool) -> Iterator[None]:
    """With --json, a document about what is not whole, too; the error goes on."""
    try:
        yield
    except (ValueError, OSError) as error:
        if as_json:
            answer({"path": path, "whole": False, "problem": sentence(error)}, (), as_json=True)
        raise


def _is_suite_scores(path: Path) -> bool:
    if path.suffix != ".json" or not path.is_file():
        return False
    from deeploc_tf.benchmark.choices import SUITE_SCORES
    from deeploc_tf.provenance import loaded

    try:
        return loaded(path.read_bytes()).get("kind") == SUITE_SCORES
    except ValueError:
        return False


def _scores_checked(
    path: Path, table: Path | None, suite: str | None, suite_data: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """What is to be printed of scores that were computed once more, as JSON and in lines."""
    from deeploc_tf.benchmark.suite_scores import check_suite_scores

    values = check_suite_scores(path, table=table, suite=suite, data=suite_data)
    told = values["suite"]
    line = (
        f"{path}: every number recomputed; {values['table']['file']} "
        f"({values['table']['sha256'][:12]}) on {told['name']}, version {told['version']} "
        f"({told['digest'][:12]})"
    )
    document = {
        "path": path,
        "whole": True,
        "kind": values["kind"],
        "checked": "every number recomputed",
        "digest": values.get("digest"),
        "num_crops": None,
    }
    return document, [line]
