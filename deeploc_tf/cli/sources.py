"""The source of crops that the options of a command describe: one kind for each form of input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.parameters import FILE, POSITIVE, Names, number_option, together

if TYPE_CHECKING:
    from deeploc_tf.sources import Source
    from deeploc_tf.sources.quality import Quality


_OF_ALL = ("allow_unmatched", "delimiter")  # joins and tables, also those that are no source

pattern_option = click.option(
    "--pattern",
    help="Pattern of the file paths in the folder, with placeholders {name}, {channel} and {*}.",
)
channels_option = click.option(
    "--channels", type=Names(), help="Names of the channels to use, in order, such as gfp,rfp."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["uint8", "uint16", "float32"]),
    help="Convert pixels to this type; fails if a value would change.",
)
mask_channel_option = click.option(
    "--mask-channel", help="Value of {channel} in the file names of the masks."
)
root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder to which paths in a table are relative.  [default: the folder of the table]",
)

resample_option = click.option(
    "--resample-to",
    type=POSITIVE,
    metavar="MICROMETERS",
    help="Resample images to this pixel size by area averaging; --crop-size is in new pixels.",
)

ODDITIES = {
    "zero": "all pixels are zero",
    "constant": "channel is constant",
    "saturated": "saturated",
    "empty": "empty",
    "blurred": "out of focus",
}
set_aside_option = click.option(
    "--set-aside",
    type=Names(),
    default=(),
    metavar="ODDITIES",
    help="Kinds of crops to leave out: zero, constant, saturated, empty, blurred.  [default: none]",
)

# Those that describe whole fields, but the size of the crops.
field_options = together(
    pattern_option,
    channels_option,
    click.option(
        "--axes",
        type=click.Choice(["YX", "CYX", "YXC"]),
        help="Order of the axes in files that do not record it.",
    ),
    dtype_option,
    click.option("--cells", type=FILE, help="Whole fields: table of cells, one row per cell."),
    click.option("--cell-field", help="Column of --cells that names the field.  [default: image]"),
    click.option(
        "--center-columns",
        type=Names(),
        help="Columns of --cells with the center of the cell.  [default: x,y]",
    ),
    click.option(
        "--box-columns",
        type=Names(),
        help="Columns of --cells with left, top, right and bottom, in place of a center.",
    ),
    click.option(
        "--number-column", help="Column of --cells with the object number in the label image."
    ),
    click.option(
        "--key-column", help="Column with a unique key per cell.  [default: key, or the first path]"
    ),
    click.option(
        "--image-column",
        "image_columns",
        multiple=True,
        metavar="CHANNEL=COLUMN",
        help=(
            "Column with the file paths of one channel; give it once per channel. Give "
            "COLUMN alone if each file holds all channels."
        ),
    ),
    root_option,
    click.option(
        "--label-image",
        help="Whole fields: pattern of the paths of label images, or their column in a table.",
    ),
    click.option(
        "--follow-links",
        is_flag=True,
        default=None,
        help="Follow links that lead out of the folder.",
    ),
    click.option(
        "--missing-chunks",
        type=click.Choice(["refuse", "fill"]),
        help="Refuse missing OME-Zarr chunks, or read them as zeros.  [default: refuse]",
    ),
    resample_option,
    click.option(
        "--border",
        type=click.Choice(["drop", "pad"]),
        help="Drop cells at the edge of a field, or pad them with zeros.  [default: drop]",
    ),
)

source_options = together(
    click.option(
        "--source",
        "source_kind",
        type=click.Choice(["folder", "fields", "table"]),
        help="Kind of input.  [default: derived from the name and the options]",
    ),
    field_options,
    mask_channel_option,
    click.option("--mask-column", help="Column with the file paths of masks."),
    number_option(
        "--crop-size", least=1, help="Side of the square crops, in pixels.  [default: 64]"
    ),
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One form of input.

    Attributes:
        title: what a person would call it.
        needed: options without which there is no source.
        optional: further options that go with it.
        make: from the path and the options of both kinds, as far as they are given.
    """

    title: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    make: Callable[[Path, dict[str, Any]], Source]


def quality_of(set_aside: tuple[str, ...]) -> Quality:
    """What `--set-aside` asks for.

    Raises:
        click.UsageError: there is no such oddity.
    """
    from deeploc_tf.sources.quality import Quality

    for name in set_aside:
        if name not in ODDITIES:
            msg = f"--set-aside must be among {', '.join(ODDITIES)}. Received: {name}."
            raise click.UsageError(msg)
    return Quality(drop=tuple(ODDITIES[name] for name in set_aside))


def source_of(crops: Path, options: dict[str, Any]) -> Source:
    """The source that the options of `build-records` or `predict` describe.

    Raises:
        click.UsageError: an option is missing or of another kind, or another command reads `crops`.
    """
    kind = options["source_kind"] or _detect(crops, options)
    if kind == "fields" and crops.is_file():
        kind = "field_table"
    return make_source(_KINDS, kind, crops, options)


def make_source(
    kinds: Mapping[str, Kind], name: str, crops: Path, options: dict[str, Any]
) -> Source:
    """The source of kind `name`; options that belong to another one of `kinds` are wrong usage."""
    kind = kinds[name]
    known = {option for kind in kinds.values() for option in (*kind.needed, *kind.optional)}
    known -= {*_OF_ALL}
    given = {option for option in known if options.get(option) not in (None, (), {})}
    for option in kind.needed:
        if option not in given:
            msg = f"A {kind.title} needs {_flag(option)}."
            raise click.UsageError(msg)
    foreign = sorted(given - {*kind.needed, *kind.optional})
    if foreign:
        msg = f"{_flag(foreign[0])} does not go with a {kind.title}, and {crops} is one."
        raise click.UsageError(msg)
    own = {option: options[option] for option in given}
    own |= {name: options[name] for name in _OF_ALL if name in kind.optional}
    return kind.make(crops, own)


def _detect(crops: Path, options: dict[str, Any]) -> str:
    if options["cells"] is not None or options["label_image"] is not None:
        return "fields"
    if crops.is_dir():
        return "folder"
    if crops.suffix.lower() in (".h5", ".hdf5", ".npy"):
        msg = (
            f"{crops} is a DeepLoc HDF5 file or a label dictionary, by its name: "
            "`deeploc-tf convert` reads these. Use --source if it is something else."
        )
        raise click.UsageError(msg)
    return "table"


def _folder(crops: Path, own: dict[str, Any]) -> Source:
    from deeploc_tf.sources import FolderSource

    return FolderSource(crops, own.pop("pattern"), own.pop("channels", ()), **own)


def _fields(crops: Path, own: dict[str, Any]) -> Source:
    from deeploc_tf.sources import CellTable, FieldSource, FieldTable

    path, delimiter = own.pop("cells", None), own.pop("delimiter", None)
    columns = {
        argument: own.pop(option)
        for option, argument in (
            ("cell_field", "field"),
            ("center_columns", "center"),
            ("box_columns", "box"),
            ("number_column", "number"),
            ("key_column", "key"),
        )
        if option in own
    }
    if columns and path is None:
        msg = "Columns of cells need the table that has them: --cells."
        raise click.UsageError(msg)
    cells = None if path is None else CellTable(path, delimiter=delimiter, **columns)
    if "missing_chunks" in own:
        own["fill_chunks"] = own.pop("missing_chunks") == "fill"
    if "pattern" in own:
        return FieldSource(crops, own.pop("pattern"), own.pop("channels", ()), cells=cells, **own)
    label_image = own.pop("label_image", None)
    table = FieldTable(crops, own.pop("image_columns"), label_image, delimiter=delimiter)
    root = own.pop("root", crops.parent)
    return FieldSource(root, table, own.pop("channels", ()), cells=cells, **own)


def _field_table(crops: Path, own: dict[str, Any]) -> Source:
    columns = _image_columns(own.pop("image_columns"))
    if not isinstance(columns, str):
        own["channels"] = tuple(columns)
    return _fields(crops, {**own, "image_columns": columns})


def _table(crops: Path, own: dict[str, Any]) -> Source:
    from deeploc_tf.sources import TableSource

    return TableSource(crops, _image_columns(own.pop("image_columns")), **own)


def _image_columns(columns: tuple[str, ...]) -> dict[str, str] | str:
    """Channel -> column of its paths, or the one column of files that hold all channels."""
    if len(columns) == 1 and "=" not in columns[0]:
        return columns[0]
    pairs = [column.partition("=")[::2] for column in columns]
    if not all(channel and column for channel, column in pairs):
        msg = "--image-column must have the form CHANNEL=COLUMN, or be one COLUMN alone."
        raise click.UsageError(msg)
    if len(dict(pairs)) != len(pairs):
        msg = "--image-column must name each channel once."
        raise click.UsageError(msg)
    return dict(pairs)


_OF_FOLDERS = ("channels", "axes", "dtype", "follow_links", "resample_to", "pixel_size")
_OF_FIELDS = (
    *("cells", "cell_field", "center_columns", "box_columns", "number_column", "key_column"),
    *("label_image", "crop_size", "border", "missing_chunks", *_OF_FOLDERS, *_OF_ALL),
)
_KINDS = {
    "folder": Kind("folder of crops", ("pattern",), ("mask_channel", *_OF_FOLDERS), _folder),
    "fields": Kind("folder of fields", ("pattern",), ("where", *_OF_FIELDS), _fields),
    "field_table": Kind("table of fields", ("image_columns",), ("root", *_OF_FIELDS), _field_table),
    "table": Kind(
        "table of crops",
        ("image_columns",),
        ("mask_column", "key_column", "root", "delimiter", *_OF_FOLDERS),
        _table,
    ),
}


def _flag(name: str) -> str:
    return "--" + name.removesuffix("s" if name == "image_columns" else "").replace("_", "-")
