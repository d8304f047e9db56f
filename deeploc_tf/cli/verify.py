"""`deeploc-tf verify`: whether a data set of records is whole."""

from __future__ import annotations

from pathlib import Path

import click

from deeploc_tf.cli.progress import Progress
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf verify RECORDS
  deeploc-tf verify RECORDS --deep
"""


@click.command(epilog=EPILOG)
@click.argument("records", type=click.Path(path_type=Path))
@click.option(
    "--deep", is_flag=True, help="Read every byte: digests, records, keys, labels, groups."
)
@click.option("--quiet", is_flag=True, help="No progress.")
def verify(records: Path, deep: bool, quiet: bool) -> None:
    """Check that the data set RECORDS is whole; exit with 1 where it is not.

    Without --deep, files are counted and measured, which takes milliseconds.
    """
    from tfrecords.manifest import check_shards, read_manifest

    manifest = read_manifest(records)
    check_shards(records, manifest)
    total = sum(manifest.num_crops(split) for split in manifest.split_names)
    if deep:
        start_tensorflow()
        from tfrecords.verify import verify_deep

        with Progress("Verifying crops", total) as progress:
            verify_deep(records, progress=None if quiet else progress)
    checked = "every byte read" if deep else "names and sizes checked; --deep reads every byte"
    click.echo(f"{records}: whole, {total} crops, digest {manifest.digest} ({checked})")
