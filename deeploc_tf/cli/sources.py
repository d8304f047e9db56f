"""The source of crops that the options of a command describe: one kind for each form of input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.parameters import Names, Numbers, Pair

if TYPE_CHECKING:
    from deeploc_tf.sources import Source

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

_FIELD_OPTIONS = (
    click.option("--pattern", help="Paths below the folder, with {names} and {channel}."),
    click.option("--channels", type=Names(), help="Channels in the stored order, as in gfp,rfp."),
    click.option(
        "--axes", type=click.Choice(["YX", "CYX", "YXC"]), help="Of files that do not say theirs."
    ),
    click.option(
        "--dtype",
        type=click.Choice(["uint8", "uint16", "float32"]),
        help="Convert pixels, where no number changes by it.",
    ),
    click.option("--cells", type=_FILE, help="Whole fields: table with a row a cell."),
    click.option("--cell-field", help="Its column that names the field.  [default: image]"),
    click.option("--center", type=Names(), help="Its columns of the center.  [default: x,y]"),
    click.option("--box", type=Names(), help="Its columns left,top,right,bottom, not a center."),
    click.option("--number", help="Its column of the number in the label image."),
    click.option("--key-column", help="Column of unique names.  [default: key, or the first path]"),
    click.option("--label-image", help="Whole fields: pattern of the label images."),
    click.option(
        "--border",
        type=click.Choice(["drop", "pad"]),
        help="Cells at the edge of a field: left out, or filled up with 0.  [default: drop]",
    ),
)

_OPTIONS = (
    click.option(
        "--source",
        "source_kind",
        type=click.Choice(["folder", "fields", "table", "deeploc-hdf5", "label-dictionary"]),
        help="What CROPS is.  [default: from its name and the options]",
    ),
    *_FIELD_OPTIONS,
    click.option("--mask-channel", help="What {channel} is in the file of the mask."),
    click.option(
        "--image-column",
        "image_columns",
        multiple=True,
        metavar="CHANNEL=COLUMN",
        help="Column of the table CROPS with the paths of a channel; once for each channel. COLUMN "
        "alone: a file holds all channels.",
    ),
    click.option("--mask-column", help="Column with the paths of the masks."),
    click.option(
        "--root", type=_FOLDER, help="Folder that listed paths start from.  [default: the list's]"
    ),
    click.option("--crop-size", type=click.IntRange(min=1), help="Pixels.  [default: 64]"),
    click.option(
        "--blocks", type=Numbers(), help="HDF5: blocks to take, as in 0,2.  [default: all]"
    ),
    click.option("--side", type=click.IntRange(min=1), help="HDF5: side of a crop.  [default: 64]"),
    click.option("--class-names", type=Names(), help="HDF5: names of the Index columns."),
    click.option("--names-from", help="HDF5: which list of text names the classes."),
    click.option(
        "--info",
        multiple=True,
        type=Pair("column=number"),
        metavar="COLUMN=NUMBER",
        help="HDF5: column of Info to keep, under a name.",
    ),
    click.option("--validation-file", type=_FILE, help="HDF5: the file of the validation split."),
    click.option("--test-file", type=_FILE, help="HDF5: the file of the test split."),
    click.option(
        "--naming",
        type=click.Choice(["gfp", "ch1"]),
        help="Label dictionary: how files of other channels are named.  [default: seen]",
    ),
    click.option(
        "--prefix", help="Label dictionary: what its paths begin with in place of --root."
    ),
    click.option(
        "--keys",
        type=click.Choice(["label", "protein"]),
        help="Label dictionary: what its keys are.  [default: label]",
    ),
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe a source."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def field_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe whole fields, but the size of the crops."""
    for option in reversed(_FIELD_OPTIONS):
        command = option(command)
    return command


def source_of(crops: Path, options: dict[str, Any]) -> Source:
    """The source that the options describe; options of another kind are wrong usage."""
    name = options["source_kind"] or _detect(crops, options)
    kind = _KINDS[name]
    given = {option for option in _OWN if options.get(option) not in (None, ())}
    for option in kind.needed:
        if option not in given:
            msg = f"A {kind.title} needs {_flag(option)}."
            raise click.UsageError(msg)
    foreign = sorted(given - {*kind.needed, *kind.optional})
    if foreign:
        msg = f"{_flag(foreign[0])} does not go with a {kind.title}, and {crops} is one."
        raise click.UsageError(msg)
    return kind.make(crops, {option: options[option] for option in given}, options)


def _detect(crops: Path, options: dict[str, Any]) -> str:
    if options["cells"] is not None or options["label_image"] is not None:
        return "fields"
    if crops.is_dir():
        return "folder"
    suffix = crops.suffix.lower()
    return {".h5": "deeploc-hdf5", ".hdf5": "deeploc-hdf5", ".npy": "label-dictionary"}.get(
        suffix, "table"
    )


@dataclasses.dataclass(frozen=True)
class _Kind:
    """One form of input.

    Attributes:
        title: what a person would call it.
        needed: options without which there is no source.
        optional: further options that go with it.
        make: from the path, its own options as far as they are given, and all options.
    """

    title: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    make: Callable[[Path, dict[str, Any], dict[str, Any]], Source]


def _folder(crops: Path, own: dict[str, Any], options: dict[str, Any]) -> Source:  # noqa: ARG001
    from deeploc_tf.sources import FolderSource

    return FolderSource(crops, own.pop("pattern"), own.pop("channels", ()), **own)


def _fields(crops: Path, own: dict[str, Any], options: dict[str, Any]) -> Source:  # noqa: ARG001
    from deeploc_tf.sources import CellTable, FieldSource

    path = own.pop("cells", None)
    columns = {
        argument: own.pop(option)
        for option, argument in (
            ("cell_field", "field"),
            ("center", "center"),
            ("box", "box"),
            ("number", "number"),
            ("key_column", "key"),
        )
        if option in own
    }
    if columns and path is None:
        msg = "Columns of cells need the table that has them: --cells."
        raise click.UsageError(msg)
    cells = None if path is None else CellTable(path, **columns)
    return FieldSource(crops, own.pop("pattern"), own.pop("channels", ()), cells=cells, **own)


def _table(crops: Path, own: dict[str, Any], options: dict[str, Any]) -> Source:  # noqa: ARG001
    from deeploc_tf.sources import TableSource

    columns = own.pop("image_columns")
    if len(columns) == 1 and "=" not in columns[0]:
        return TableSource(crops, columns[0], **own)
    pairs = [column.partition("=")[::2] for column in columns]
    if not all(channel and column for channel, column in pairs):
        msg = "--image-column must have the form CHANNEL=COLUMN, or be one COLUMN alone."
        raise click.UsageError(msg)
    if len(dict(pairs)) != len(pairs):
        msg = "--image-column must name each channel once."
        raise click.UsageError(msg)
    return TableSource(crops, dict(pairs), **own)


def _deeploc_hdf5(crops: Path, own: dict[str, Any], options: dict[str, Any]) -> Source:
    from deeploc_tf.sources import DeepLocHDF5Source

    others = {
        split: own.pop(f"{split}_file")
        for split in ("validation", "test")
        if f"{split}_file" in own
    }
    if "info" in own:
        own["info"] = {column: _whole(number) for column, number in own["info"]}
    return DeepLocHDF5Source(
        {"train": crops, **others} if others else crops,
        own.pop("channels"),
        label_separator=options["label_separator"],
        **own,
    )


def _label_dictionary(crops: Path, own: dict[str, Any], options: dict[str, Any]) -> Source:
    from deeploc_tf.sources import LabelDictionarySource

    return LabelDictionarySource(
        crops, own.pop("channels", ("gfp",)), label_separator=options["label_separator"], **own
    )


_KINDS = {
    "folder": _Kind(
        "folder of crops", ("pattern",), ("channels", "mask_channel", "axes", "dtype"), _folder
    ),
    "fields": _Kind(
        "folder of fields",
        ("pattern",),
        (
            *("channels", "axes", "dtype", "cells", "cell_field", "center", "box", "number"),
            *("key_column", "label_image", "crop_size", "border"),
        ),
        _fields,
    ),
    "table": _Kind(
        "table of crops",
        ("image_columns",),
        ("channels", "axes", "dtype", "mask_column", "key_column", "root"),
        _table,
    ),
    "deeploc-hdf5": _Kind(
        "DeepLoc HDF5 file",
        ("channels",),
        (
            *("blocks", "side", "class_names", "names_from", "info", "dtype"),
            *("validation_file", "test_file"),
        ),
        _deeploc_hdf5,
    ),
    "label-dictionary": _Kind(
        "label dictionary",
        (),
        ("channels", "mask_channel", "naming", "root", "prefix", "keys", "pattern", "dtype"),
        _label_dictionary,
    ),
}
_OWN = {option for kind in _KINDS.values() for option in (*kind.needed, *kind.optional)}


def _whole(number: str) -> int:
    try:
        return int(number)
    except ValueError as error:
        msg = f"--info must have the form COLUMN=NUMBER. Received: {number!r}."
        raise click.UsageError(msg) from error


def _flag(name: str) -> str:
    return "--" + name.removesuffix("s" if name == "image_columns" else "").replace("_", "-")
