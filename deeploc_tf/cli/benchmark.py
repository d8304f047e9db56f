"""`deeploc-tf benchmark`: profiles against gold standards."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import (
    FILE,
    LazyChoice,
    Names,
    Output,
    allow_unmatched_option,
    distinct_case_option,
    json_option,
    memory_option,
    overwrite_option,
    role_options,
    seed_option,
)
from deeploc_tf.cli.standard_files import reading_keywords, reading_options, told
from deeploc_tf.cli.suite import score_table

if TYPE_CHECKING:
    from deeploc_tf.benchmark.comparable import Method
    from deeploc_tf.benchmark.results import Comparison
    from deeploc_tf.profiles.tables import Roles

_log = logging.getLogger(__name__)

EPILOG = """\b
Examples:
  deeploc-tf benchmark cells.profiles.parquet go_cc.gmt complexes.gmt RESULTS
  deeploc-tf benchmark features.tsv go_slim_mapping.tab.gz --aspect C RESULTS --shuffles 100
  deeploc-tf benchmark deeploc=seed1.parquet deeploc=seed2.parquet cellprofiler=cp.tsv \\
      --standard go_cc.gmt --standard kegg.gmt RESULTS --draws 10 --random 64
  deeploc-tf benchmark features.csv --suite yeast scores.json
"""

_OF_STANDARDS = {"proteins_scored": ("proteins", "d"), "terms_scored": ("terms", "d")}
_OF_CELLS = {
    "cells_scored": ("cells", "d"),
    "labels": ("labels", "d"),
    "groups": ("groups", "d"),
    "knn_macro_f1": ("kNN F1", ".4f"),
    "knn_balanced_accuracy": ("kNN acc.", ".4f"),
    "linear_macro_f1": ("probe F1", ".4f"),
    "linear_balanced_accuracy": ("probe acc.", ".4f"),
    "chance_balanced_accuracy": ("chance", ".4f"),
}
_CELLS_LEFT_OUT = {
    "cells_not_finite": "not finite",
    "cells_without_one_label": "without one label",
    "cells_not_chosen": "more than are scored",
    "cells_of_labels_with_one_group": "of labels with one group",
}


class NamedFile(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """NAME=FILE, or FILE, which is then named as it is without its suffix."""

    name = "[name=]file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, Path]:
        """Divide, and check that the file is there."""
        name, sign, rest = str(value).partition("=")
        named = bool(sign) and not Path(str(value)).exists()
        path = Path(FILE.convert(rest if named else value, param, ctx))
        return (name if named else None), path


COMMON = (
    *("--standard", "--suite", "--aspect", "--identifiers", "--labels"),
    *("--similarity", "--shuffles", "--permutations", "--cell-vectors"),
    *("--seed", "--json"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("files", nargs=-1, type=NamedFile(), metavar="PROFILES... [STANDARDS...]")
@click.argument("results", type=Output(may_be_input=True))
@click.option(
    "--standard",
    "-s",
    "standards",
    multiple=True,
    type=NamedFile(),
    help="Gold standard; can be given several times. All other files are then PROFILES.",
)
@click.option(
    "--suite",
    help=(
        "Frozen suite, by name (yeast) or folder, on which to score one table. "
        "RESULTS is then a JSON file, or left out."
    ),
)
@click.option(
    "--suite-data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with files that a suite names by digest only.",
)
@reading_options
@role_options
@click.option(
    "--random", type=click.IntRange(min=1), help="Add random vectors of this length as a control."
)
@click.option(
    "--labels",
    type=FILE,
    help=(
        "Add the labels of the proteins, such as compartments, as a method: a table with the "
        "columns protein and label, or a standard. Only proteins with a label are then scored."
    ),
)
@click.option(
    "--given",
    type=FILE,
    help=(
        "Labels, as for --labels: also score pairs of proteins with the same label on their own, "
        "which shows what profiles contain beyond the label."
    ),
)
@click.option(
    "--similarity",
    type=LazyChoice("deeploc_tf.benchmark.choices:Kind"),
    default="cosine",
    show_default=True,
    help="Similarity of two profiles; euclidean is the negative distance.",
)
@click.option(
    "--min-size",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    help="Ignore terms with fewer profiled members than this.",
)
@click.option(
    "--max-size",
    type=click.IntRange(min=2),
    help="Ignore terms with more profiled members than this.",
)
@click.option(
    "--shuffles",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Number of shuffles of the proteins that estimate the score of chance.",
)
@click.option(
    "--permutations",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Number of permutations for the p-values; 0 for none.",
)
@click.option(
    "--intervals/--no-intervals",
    default=True,
    show_default=True,
    help="Compute confidence intervals of scores and p-values of differences.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of draws of terms for AMI and cluster F1; 0 for none, 10 is usual.",
)
@click.option(
    *("--cell-vectors", "cells"),
    multiple=True,
    type=NamedFile(),
    help="Table of single cells to score by their labels; can be given several times.",
)
@click.option(
    *("--hold-out", "group"),
    type=Names(),
    default="protein",
    show_default=True,
    help=(
        "Columns of --cell-vectors that define a group to hold out; its cells are predicted from "
        "other groups. Columns above them, such as plate, are included."
    ),
)
@distinct_case_option
@allow_unmatched_option("proteins that another method or a standard lacks", None)
@click.option(
    "--pairs", is_flag=True, help="Write pairs.csv.gz, with one row per pair of proteins."
)
@memory_option(None)
@seed_option
@overwrite_option
@json_option
def benchmark(
    files: tuple[tuple[str | None, Path], ...],
    results: Path,
    standards: tuple[tuple[str | None, Path], ...],
    suite: str | None,
    suite_data: Path | None,
    protein: str | None,
    plate: str | None,
    well: str | None,
    random: int | None,
    labels: Path | None,
    given: Path | None,
    similarity: Any,
    min_size: int,
    max_size: int | None,
    shuffles: int,
    permutations: int,
    intervals: bool,
    draws: int,
    cells: tuple[tuple[str | None, Path], ...],
    group: tuple[str, ...],
    distinct_case: bool,
    allow_unmatched: int | None,
    pairs: bool,
    memory: int | None,
    seed: int,
    as_json: bool,
    **reading: Any,
) -> None:
    """Score PROFILES, with one row per protein, against gold STANDARDS.

    PROFILES are tables (.h5, .parquet, .npz, .h5ad, or text with a header and numbers). All other
    files are STANDARDS, in any format that `standards` reads. Use NAME=FILE to name a file;
    profiles with the same name are seeds of one method. Several methods are scored on the proteins
    that they have in common.

    With --suite, one table is scored on a frozen suite, and `deeploc-tf verify RESULT.json`
    recomputes all of it.

    The new folder RESULTS gets scores.json, scores.csv, terms.csv, precision_recall.csv and, with
    the extra report, plots. The page "Scores of the benchmark" of the documentation defines them.
    """
    context = click.get_current_context()
    if suite is not None:
        score_table(context, files, results)
        return
    if suite_data is not None:
        msg = "--suite-data has no effect without --suite. Name the suite."
        raise click.UsageError(msg)
    if not files:
        raise click.MissingParameter(ctx=context, param=context.command.params[0])
    from deeploc_tf.benchmark.compare import compare
    from deeploc_tf.benchmark.read_standards import read_standards, told_apart
    from deeploc_tf.benchmark.scores import Extent
    from deeploc_tf.profiles.tables import Roles
    from tfrecords.publishing import publishing_folder

    roles = Roles(protein, plate, well)
    named, chosen = _divide(files, standards, roles)
    with publishing_folder(results) as folder:
        keywords = reading_keywords(reading)
        groups = read_standards([path for _, path in chosen], **keywords)
        comparison = compare(
            named,
            [s for (name, _), of in zip(chosen, groups, strict=True) for s in told_apart(of, name)],
            similarity=similarity,
            min_size=min_size,
            max_size=max_size,
            extent=Extent(shuffles, permutations, draws, intervals, memory, seed),
            identifiers=keywords["identifiers"],
            num_random=random,
            labels=labels,
            given=given,
            cells=cells,
            group=group,
            distinct_case=distinct_case,
            allow_unmatched=allow_unmatched,
            roles=roles,
        )
        values = comparison.write(folder, pairs=pairs)
        _draw(folder, values)
    answer(values, _lines(comparison), as_json=as_json)


def _divide(
    files: Sequence[tuple[str | None, Path]],
    standards: Sequence[tuple[str | None, Path]],
    roles: Roles,
) -> tuple[list[tuple[str, Path]], Sequence[tuple[str | None, Path]]]:
    """Which files are profiles, by name, and which are standards."""
    from deeploc_tf.profiles.tables import is_table

    are_tables = [bool(standards) or is_table(path, roles) for _, path in files]
    if not any(are_tables):
        are_tables[0] = True  # reading it says why it is none
    tables = list(itertools.compress(files, are_tables))
    others = [f for f, table in zip(files, are_tables, strict=True) if not table] + [*standards]
    if not others:
        msg = "Name a standard after the profiles, such as go_cc.gmt, or with --standard."
        raise click.UsageError(msg)
    return [(name or path.name.split(".")[0], path) for name, path in tables], others


def _draw(folder: Path, values: Mapping[str, Any]) -> None:
    """Add pictures as PNG and SVG, or say what they need."""
    from deeploc_tf.provenance import parent
    from deeploc_tf.report.curves import precision_recall
    from deeploc_tf.report.drawing import MissingExtraError, publish_picture
    from deeploc_tf.report.methods import methods_compared

    try:
        made_from = [parent("scores", folder / "scores.json", values)]
        for name, draw in (("precision_recall", precision_recall), ("scores", methods_compared)):
            publish_picture(draw(folder), folder / name, made_from)
    except MissingExtraError as error:
        _log.warning("No picture of the curves. %s", error)


def _lines(comparison: Comparison) -> Iterator[str]:
    """The main numbers, a row a standard of a method; then coverage; then cells."""
    from deeploc_tf.benchmark.scores import columns

    methods, cells = comparison.methods, comparison.cells
    several = len(methods) > 1
    heads = [
        f"{method.name}: {r.standard}" if several else r.standard
        for method in methods
        for r in method.results
    ]
    numbers = [_with_interval(r.numbers) for method in methods for r in method.results]
    yield from _columns("standard", heads, numbers, _OF_STANDARDS | columns())
    yield from _notes(methods)
    for standard, result in zip(comparison.standards, methods[0].results, strict=True):
        n = result.numbers
        yield f"\n{standard.name}"
        if result.meeting is not None:
            yield f"  {result.meeting.sentence()}"
        yield (
            f"  Scored: {n['proteins_scored']} proteins, in {n['terms_scored']} of "
            f"{n['terms_in_standard']} terms."
        )
        yield from (f"  {line}" for line in told(standard.report))
    yield from _excluded(methods)
    for method in methods:
        if method.identifiers is not None:
            yield f"\n{method.name}"
            report = {"left_out": {}, "notes": {}, "identifiers": method.identifiers}
            yield from (f"  {line}" for line in told(report))
    if cells:
        yield ""
        yield from _columns("cells", [str(c["name"]) for c in cells], cells, _OF_CELLS)
        for found in cells:
            counts = [
                f"{found[name]} {what}" for name, what in _CELLS_LEFT_OUT.items() if found[name]
            ]
            if counts:
                yield f"{found['name']}: {found['cells']} cells; left out: {', '.join(counts)}"
            yield from found.get("notes", {}).values()


_REASONS = {
    "not_finite": "not finite",
    "all_zero": "all zero",
    "constant": "constant",
    "not_in_every_method": "that other methods do not have",
}


def _excluded(methods: Sequence[Method]) -> Iterator[str]:
    """A line for each method some of whose profiles take no part."""
    for method in methods:
        excluded = method.excluded or {}
        parts = []
        for reason, what in _REASONS.items():
            if count := excluded.get(reason, 0):
                names = excluded["names"][reason]
                more = " ..." if count > len(names) else ""
                parts.append(f"{count} {what} ({', '.join(names)}{more})")
        if parts:
            yield f"\n{method.name}: {excluded['profiles']} profiles; excluded: {', '.join(parts)}"
        lacking = excluded.get("lacking_here_alone", {"count": 0})
        if count := lacking["count"]:
            names = lacking["some"]
            more = " ..." if count > len(names) else ""
            yield (
                f"{method.name}: {count} proteins that all other methods have are missing or not "
                f"usable here, and take no part ({', '.join(names)}{more})"
            )


def _notes(methods: Sequence[Method]) -> Iterator[str]:
    """Why scores and intervals are null, each reason once, with the standards where not all."""
    places: dict[str, set[str]] = {}
    for method in methods:
        for result in method.results:
            for reason in result.notes.values():
                places.setdefault(reason, set()).add(result.standard)
    every = {result.standard for result in methods[0].results}
    for reason, standards in places.items():
        where = "" if standards == every else f" ({', '.join(sorted(standards))})"
        yield f"{reason}{where}"


def _with_interval(numbers: Mapping[str, Any]) -> Mapping[str, Any]:
    low, high = (numbers.get(f"average_precision_{end}") for end in ("low", "high"))
    return (
        numbers
        if low is None
        else {**numbers, "average_precision_interval": f"{low:.3f}-{high:.3f}"}
    )


def _columns(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    shown: Mapping[str, tuple[str, str]],
) -> Iterator[str]:
    """A table of text, with those columns that a row has."""
    columns = {name: how for name, how in shown.items() if any(name in row for row in rows)}
    width = max(map(len, [title, *heads]))
    yield title.ljust(width) + "".join(column.rjust(13) for column, _ in columns.values())
    for head, row in zip(heads, rows, strict=True):
        cells = [
            ("-" if row[name] is None else format(row[name], form)).rjust(13)
            if name in row
            else " " * 13
            for name, (_, form) in columns.items()
        ]
        yield head.ljust(width) + "".join(cells)
