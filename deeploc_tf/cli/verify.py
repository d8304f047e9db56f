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
"""


@click.command(epilog=EPILOG)
@click.argument("path", metavar="RECORDS|MODEL", type=click.Path(path_type=Path))
@click.option(
    "--deep", is_flag=True, help="Read every byte: digests, records, keys, labels, groups."
)
@click.option("--digest", help="Digest that it must have, as somebody told you.")
@quiet_option
def verify(path: Path, deep: bool, digest: str | None, quiet: bool) -> None:
    """Check that a data set of records, or a model from `export`, is whole; else exit with 1.

    Without --deep, files of records are counted and measured, which takes milliseconds. Of a model
    every byte is read, and nothing of it is run.
    """
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


def _compare(path: Path, found: str, expected: str | None) -> None:
    if expected is not None and found != expected.strip().lower():
        msg = (
            f"The digest must be the one that was told. Received: {found} of {str(path)!r}, told "
            f"{expected}. Get the files anew."
        )
        raise ValueError(msg)
