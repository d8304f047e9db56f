"""`deeploc-tf build-records`: a folder or a table of crops into records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.parameters import Fractions, Names, Pair
from deeploc_tf.cli.progress import Progress
from deeploc_tf.cli.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    from deeploc_tf.sources import Source
    from tfrecords.manifest import Manifest

EPILOG = """\b
Examples:
  A folder, one file a channel; field 4 tests, field 3 validates, the rest trains:
    deeploc-tf build-records CROPS RECORDS --channels gfp,rfp \\
        --pattern '{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif' \\
        --label protein --test field=4 --validation field=3
  Labels from a second table, fractions of whole fields:
    deeploc-tf build-records CROPS RECORDS --channels gfp \\
        --pattern '{plate}/{protein}_{field}_{cell}_{channel}.tif' \\
        --label-table localization.csv --label compartment \\
        --fractions train=0.8,validation=0.1,test=0.1 --group plate,field
  A table, a column of paths a channel:
    deeploc-tf build-records cells.csv RECORDS --label compartment --split-column split \\
        --image-column gfp=path_gfp --image-column rfp=path_rfp
"""


_CONDITION: dict[str, Any] = {
    "multiple": True,
    "type": Pair("column=value[,value]"),
    "metavar": "COLUMN=VALUE[,VALUE]",
}


@click.command(epilog=EPILOG)
@click.argument("crops", type=click.Path(exists=True, path_type=Path))
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--pattern", help="Paths below the folder CROPS, with {fields} and {channel}.")
@click.option("--channels", type=Names(), help="Channels in the stored order, as in gfp,rfp.")
@click.option("--mask-channel", help="What {channel} is in the file of the mask.")
@click.option(
    "--axes", type=click.Choice(["YX", "CYX", "YXC"]), help="Of files that hold all channels."
)
@click.option(
    "--image-column",
    "image_columns",
    multiple=True,
    type=Pair("channel=column"),
    metavar="CHANNEL=COLUMN",
    help="Column of the table CROPS with the paths of a channel; once for each channel.",
)
@click.option("--mask-column", help="Column with the paths of the masks.")
@click.option("--key-column", help="Column of unique names.  [default: key, or the first path]")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that the paths of a table start from.  [default: the table's]",
)
@click.option("--label", help="Column or field of the label.")
@click.option(
    "--label-table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table that has the column --label; CSV, TSV or Parquet.",
)
@click.option(
    "--label-key", default="protein", show_default=True, help="Column that joins the label table."
)
@click.option("--label-separator", help="Text between several labels of a crop; multi-label then.")
@click.option("--classes", type=Names(), help="Classes in their order.  [default: all, sorted]")
@click.option(
    "--unknown",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="What to do with crops without a label or class.",
)
@click.option("--protein", default="protein", show_default=True, help="Column of the protein.")
@click.option(
    "--test",
    **_CONDITION,
    help="Crops that test. Values of one column are alternatives; several columns must all hold.",
)
@click.option("--validation", **_CONDITION, help="Crops that validate.")
@click.option(
    "--train", **_CONDITION, help="Crops that train; the rest is left out.  [default: all the rest]"
)
@click.option("--fractions", type=Fractions(), help="Shares of the crops, in whole groups.")
@click.option("--split-column", help="Column that names the split.  [default: split, if there]")
@click.option(
    "--group",
    "group_by",
    type=Names(),
    default=(),
    help="Columns whose values together must not be in two splits.",
)
@click.option("--metadata", type=Names(), help="Columns to keep.  [default: all]")
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Micrometres a pixel, kept with the records.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--quiet", is_flag=True, help="No progress.")
def build_records(crops: Path, records: Path, **options: Any) -> None:
    """Write the crops of a folder or table CROPS as a new data set RECORDS.

    RECORDS must not exist yet. Everything is checked first, and the folder appears when it is
    whole. The same crops, options and seed give the same bytes.
    """
    source = _source(crops, options)
    manifest = _build(source, records, options)
    _print_summary(records, manifest)


def _source(crops: Path, options: dict[str, Any]) -> Source:
    """The source that the options describe; those of the other kind are wrong usage."""
    folder, table = (
        ("pattern", "channels", "mask_channel", "axes"),
        ("image_columns", "mask_column", "key_column", "root"),
    )
    needed, foreign = (
        (("pattern", "channels"), table) if crops.is_dir() else (("image_columns",), folder)
    )
    kind = "folder" if crops.is_dir() else "table"
    for name in needed:
        if not options[name]:
            msg = f"A {kind} of crops needs {_flag(name)}."
            raise click.UsageError(msg)
    for name in foreign:
        if options[name]:
            msg = f"{_flag(name)} does not go with a {kind}, and {crops} is one."
            raise click.UsageError(msg)
    from deeploc_tf.sources import FolderSource, TableSource

    if crops.is_dir():
        return FolderSource(
            crops,
            options["pattern"],
            options["channels"],
            mask_channel=options["mask_channel"],
            axes=options["axes"],
        )
    columns = dict(options["image_columns"])
    if len(columns) != len(options["image_columns"]):
        msg = "--image-column must name each channel once."
        raise click.UsageError(msg)
    return TableSource(
        crops,
        columns,
        mask_column=options["mask_column"],
        root=options["root"],
        key_column=options["key_column"],
    )


def _build(source: Source, records: Path, options: dict[str, Any]) -> Manifest:
    from deeploc_tf.ingest import build_records as build

    conditions = {
        split: _alternatives(options[split])
        for split in ("test", "validation", "train")
        if options[split]
    }
    ways = [bool(conditions), options["fractions"] is not None, options["split_column"] is not None]
    if sum(ways) > 1:
        msg = "Use one of --test and --validation, --fractions, or --split-column."
        raise click.UsageError(msg)
    total = len(source.index())  # what is wrong with the files is said before TensorFlow starts
    start_tensorflow()
    with Progress("Reading crops", total) as progress:
        return build(
            source,
            records,
            label=options["label"],
            label_table=options["label_table"],
            label_key=options["label_key"],
            label_separator=options["label_separator"],
            classes=options["classes"],
            unknown=options["unknown"],
            protein=options["protein"],
            conditions=conditions,
            fractions=options["fractions"],
            split_column=options["split_column"],
            group_by=options["group_by"],
            metadata=options["metadata"],
            pixel_size=options["pixel_size"],
            seed=options["seed"],
            progress=None if options["quiet"] else progress,
        )


def _alternatives(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(column, value) for column, values in pairs for value in values.split(",")]


def _print_summary(records: Path, manifest: Manifest) -> None:
    shape = " x ".join(map(str, manifest.schema.image_shape))
    click.echo(f"{records}: crops of {shape} {manifest.schema.dtype}")
    for split in manifest.split_names:
        labels = manifest.counts[split]["label"]
        classes = ", ".join(f"{name} {count}" for name, count in labels.items())
        click.echo(
            f"  {split:12}{manifest.num_crops(split):9}" + (f"  ({classes})" if classes else "")
        )
    for reason, count in manifest.rejects.items():
        click.echo(f"  left out    {count:9}  ({reason})")


def _flag(name: str) -> str:
    return "--" + name.removesuffix("s" if name == "image_columns" else "").replace("_", "-")
