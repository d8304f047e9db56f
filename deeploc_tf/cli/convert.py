"""`deeploc-tf convert`: files of the publications of DeepLoc and PIFiA into records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.parameters import (
    FILE,
    LazyChoice,
    Names,
    Numbers,
    Output,
    Pair,
    number_option,
    together,
)
from deeploc_tf.cli.records_options import records_options, write_records
from deeploc_tf.cli.sources import (
    Kind,
    channels_option,
    dtype_option,
    make_source,
    mask_channel_option,
    pattern_option,
    resample_option,
    root_option,
)

if TYPE_CHECKING:
    from deeploc_tf.sources import Source

EPILOG = """\b
Examples:
  The files that were published with DeepLoc:
    deeploc-tf convert train.hdf5 RECORDS --channels gfp,rfp --label label \\
        --validation-file valid.hdf5 --test-file test.hdf5
  A label dictionary, whose paths begin with a folder of another machine:
    deeploc-tf convert labels.npy RECORDS --channels gfp,rfp --label label \\
        --root IMAGES --prefix /home/someone/images
"""


_options = together(
    channels_option,
    dtype_option,
    click.option(
        "--blocks", type=Numbers(), help="HDF5: blocks to read, such as 0,2.  [default: all]"
    ),
    number_option(
        *("--crop-size", "side"),
        least=1,
        help="Side of the square crops, in pixels; HDF5 only.  [default: 64]",
    ),
    click.option("--class-names", type=Names(), help="HDF5: names of the Index columns."),
    click.option("--names-from", help="HDF5: list of text that names the classes."),
    click.option(
        "--info",
        multiple=True,
        type=Pair("column=number"),
        metavar="COLUMN=NUMBER",
        help="HDF5: keep a column of Info under this name; can be given several times.",
    ),
    click.option("--validation-file", type=FILE, help="HDF5: file of the validation split."),
    click.option("--test-file", type=FILE, help="HDF5: file of the test split."),
    click.option(
        "--naming",
        type=click.Choice(["gfp", "ch1"]),
        help="Label dictionary: naming scheme of the other channels' files.  [default: detected]",
    ),
    mask_channel_option,
    pattern_option,
    root_option,
    resample_option,
    click.option("--prefix", help="Label dictionary: beginning of its paths that --root replaces."),
    click.option(
        "--keys",
        type=LazyChoice("deeploc_tf.pipeline.targets:Kind"),
        help="Label dictionary: what its keys stand for.  [default: label]",
    ),
)


COMMON = (
    *("--channels", "--class-names", "--validation-file", "--test-file", "--root", "--prefix"),
    *("--label", "--label-table", "--test", "--validation", "--fractions", "--workers"),
    *("--overwrite", "--dry-run"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("file", type=FILE)
@click.argument("records", type=Output())
@_options
@records_options
def convert(file: Path, records: Path, **options: Any) -> None:
    """Convert files of DeepLoc and PIFiA to records.

    FILE is an HDF5 file in the layout of DeepLoc, or a label dictionary (.npy), as the page
    "What `build-records` and `convert` take" of the documentation
    describes them. The folder RECORDS is like one that `deeploc-tf build-records` writes.
    """
    name = "label-dictionary" if file.suffix.lower() == ".npy" else "deeploc-hdf5"
    write_records(make_source(_KINDS, name, file, options), records, options)


def _published(file: Path, own: dict[str, Any]) -> Source:
    from deeploc_tf.ingest.convert import published_source

    if "info" in own:
        own["info"] = {column: _whole(number) for column, number in own["info"]}
    return published_source(file, **own)


_KINDS = {
    "deeploc-hdf5": Kind(
        "DeepLoc HDF5 file",
        ("channels",),
        (
            *("blocks", "side", "class_names", "names_from", "info", "dtype"),
            *("validation_file", "test_file", "label_separator", "resample_to", "pixel_size"),
        ),
        _published,
    ),
    "label-dictionary": Kind(
        "label dictionary",
        (),
        (
            *("channels", "mask_channel", "naming", "root", "prefix", "keys", "pattern", "dtype"),
            *("label_separator", "resample_to", "pixel_size"),
        ),
        _published,
    ),
}


def _whole(number: str) -> int:
    try:
        return int(number)
    except ValueError as error:
        msg = f"--info must have the form COLUMN=NUMBER. Received: {number!r}."
        raise click.UsageError(msg) from error
