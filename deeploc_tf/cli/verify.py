"""`deeploc-tf verify`: whether records or an exported model are whole."""

from __future__ import annotations

from pathlib import Path

import click

from deeploc_tf.cli.parameters import quiet_option
from deeploc_tf.cli.tensorflow_start import start_tensorflow
from deeploc_tf.progress import counting

EPILOG = """\b
Examples:
  deeploc-tf verify RECORDS
  deeploc-tf verify RECORDS --deep
  deeploc-tf verify MODEL --digest 5f70bf18a086...
  deeploc-tf verify scores.json --table features.csv
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=EPILOG)
@click.argument("path", metavar="RECORDS|MODEL|SCORES", type=click.Path(path_type=Path))
@click.option(
    "--deep", is_flag=True, help="Read every byte: digests, records, keys, labels, groups."
)
@click.option("--digest", help="Digest that it must have, as somebody told you.")
@click.option(
    "--table",
    type=_FILE,
    help="Table that SCORES are of.  [default: file of its name beside SCORES]",
)
@click.option("--suite", help="Suite that SCORES are on.  [default: that of its name]")
@click.option(
    "--suite-data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with files that a suite names by digest only.",
)
@quiet_option
def verify(
    path: Path,
    deep: bool,
    digest: str | None,
    table: Path | None,
    suite: str | None,
    suite_data: Path | None,
    quiet: bool,
) -> None:
    """Check that records, a model from `export`, or scores of a suite are whole; else exit with 1.

    SCORES is the JSON that `benchmark --suite` wrote: digests are compared, and every number is
    computed anew.

    Without --deep, files of records are counted and measured, which takes milliseconds. Of a model
    every byte is read, and nothing of it is run.
    """
    if path.is_file() and path.suffix == ".json":
        if deep or digest is not None:
            msg = "--deep and --digest have no effect on scores of a suite. Leave them out."
            raise click.UsageError(msg)
        _check_scores(path, table, suite, suite_data)
        return
    if table is not None or suite is not None or suite_data is not None:
        msg = "--table, --suite and --suite-data are of the JSON of `benchmark --suite`. Name it."
        raise click.UsageError(msg)
    from deeploc_tf.serving.digests import check_digests, savedmodel_folder

    model = savedmodel_folder(path)
    if model is not None:
        found = check_digests(model)
        _compare(model, found, digest)
        click.echo(f"{model}: whole, digest {found} (every byte read)")
        return
    from tfrecords.manifest import check_shards, read_manifest

    manifest = read_manifest(path)
    _compare(path, manifest.digest, digest)
    check_shards(path, manifest)
    total = sum(manifest.num_crops(split) for split in manifest.split_names)
    if deep:
        start_tensorflow()
        from deeploc_tf.units import same_in_column
        from tfrecords.verify import verify_deep

        with counting(not quiet, "Verifying crops", total) as count:
            verify_deep(path, progress=lambda done, _: count(done), same=same_in_column)
    checked = "every byte read"
    if not deep:
        what = "names, sizes and some checksums" if manifest.has_checksums else "names and sizes"
        checked = f"{what} checked; --deep reads every byte"
    if not manifest.has_checksums:
        checked += "; format 1, without digests of records"
    click.echo(f"{path}: whole, {total} crops, digest {manifest.digest} ({checked})")


def _check_scores(
    path: Path, table: Path | None, suite: str | None, suite_data: Path | None
) -> None:
    from deeploc_tf.benchmark.suite_scores import check_suite_scores

    values = check_suite_scores(path, table=table, suite=suite, data=suite_data)
    told = values["suite"]
    click.echo(
        f"{path}: every number recomputed; {values['table']['file']} "
        f"({values['table']['sha256'][:12]}) on {told['name']}, version {told['version']} "
        f"({told['digest'][:12]})"
    )


def _compare(path: Path, found: str, expected: str | None) -> None:
    if expected is not None and found != expected.strip().lower():
        msg = (
            f"The digest must be the one that was told. Received: {found} of {str(path)!r}, told "
            f"{expected}. Get the files anew."
        )
        raise ValueError(msg)
