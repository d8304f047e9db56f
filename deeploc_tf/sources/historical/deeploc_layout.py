"""What the data sets of a DeepLoc HDF5 file mean: what belongs together, blocks, classes."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.channel_layout import find_channels
from deeploc_tf.sources.hdf5_file import data_set, text_lists, whole
from deeploc_tf.sources.images import as_dtype
from deeploc_tf.sources.source import RejectedCrop, SourceError
from tfrecords.errors import did_you_mean
from tfrecords.schema import MAX_PIXELS, PIXEL_DTYPES

if TYPE_CHECKING:
    import h5py

_SIDE = 64  # of the crops of DeepLoc
_SLICE_BYTES = 1 << 23  # read at once, because a file may be larger than memory
_CHANNELS = re.compile(r"(?i)(.*/)?channels?[ _-]?(names?)?")
_logger = logging.getLogger(__name__)
_NAME = re.compile(r"(data|Index|Info)([1-9][0-9]*)")
_NEARLY = re.compile(r"(?i)(data|index|info)[ _-]?[0-9]+")


@dataclasses.dataclass(frozen=True)
class Member:
    """One `dataK` of a file, with its `IndexK` and `InfoK` where there are such."""

    data: h5py.Dataset
    index: h5py.Dataset | None
    info: h5py.Dataset | None


def members(file: h5py.File) -> list[Member]:
    """The data sets of a file that belong together, in the order of their numbers.

    Raises:
        SourceError: one is missing, is not a table of numbers, or has other rows than its fellows.
    """
    numbers: dict[str, set[int]] = {"data": set(), "Index": set(), "Info": set()}
    for name in file:
        match = _NAME.fullmatch(name)
        if match:
            numbers[match[1]].add(int(match[2]))
        elif _NEARLY.fullmatch(name):
            msg = (
                "Data sets must be called data1, Index1, Info1, data2 and so on. Received: "
                f"{name!r}, whose crops would be lost. Rename it."
            )
            raise SourceError(msg)
    if not numbers["data"]:
        held = ", ".join(sorted(file)[:10]) or "nothing"
        msg = f"A DeepLoc HDF5 file must hold `data1`. Received: a file that holds {held}."
        raise SourceError(msg)
    for kind in ("Index", "Info"):
        if numbers[kind] and numbers[kind] != numbers["data"]:
            odd = min(numbers[kind] ^ numbers["data"])
            there, lacking = (kind, "data") if odd in numbers[kind] else ("data", kind)
            msg = (
                f"Each `dataK` must have its `{kind}K`, or none has one. Received: {there}{odd} "
                f"without {lacking}{odd}."
            )
            raise SourceError(msg)
    return [
        Member(*(_table(file, kind, number) if numbers[kind] else None for kind in numbers))
        for number in sorted(numbers["data"])
    ]


def place_blocks(
    columns: int, channels: Sequence[str], blocks: Sequence[int] | None, side: int | None
) -> tuple[int, tuple[int, ...]]:
    """Side of the crops, and the block of each channel, from the number of columns of `dataK`.

    Raises:
        SourceError: the columns are not blocks of one side, or not as many as there should be.
    """
    wanted = side
    if side is None:
        known = columns % _SIDE**2 == 0 or blocks is not None
        side = _SIDE if known else math.isqrt(columns // len(channels))
    count, rest = divmod(columns, max(side, 1) ** 2)
    chosen = tuple(range(len(channels)) if blocks is None else blocks)
    fits = set(chosen) == set(range(count)) if blocks is None else set(chosen) <= set(range(count))
    if rest or not fits or not 0 < columns <= MAX_PIXELS:
        found = f"{count} blocks of {side} x {side}" if not rest else "no squares of one size"
        msg = (
            "The columns of `data1` must be one block of side x side pixels for each channel. "
            f"Received: {columns} columns, which are {found}, for channels={list(channels)}, "
            f"blocks={blocks and list(blocks)}, side={wanted}. Choose `blocks`, for example 0 and "
            "2 of three, or give the `side`."
        )
        raise SourceError(msg)
    return side, chosen


def channel_names_of(file: h5py.File, member: Member) -> tuple[str, ...]:
    """What a file calls its blocks: a list of text called `channels` or the like; () without one.

    Args:
        file: an open file.
        member: the first of its members, whose `data` may have the list as an attribute.
    """
    holder = member.data.name[1:]
    if not any(_CHANNELS.fullmatch(name) for name in (*file, *file.attrs, *member.data.attrs)):
        return ()  # to look at lists may take another process
    lists = text_lists(file, holder, longest=member.data.shape[1])
    return next((texts for name, texts in lists.items() if _CHANNELS.fullmatch(name)), ())


def named_blocks(
    columns: int,
    channels: Sequence[str],
    blocks: Sequence[int] | None,
    side: int | None,
    names: Sequence[str],
    place: str,
) -> tuple[int, tuple[int, ...]]:
    """As `place_blocks`, where the file names its blocks.

    Args:
        columns: of `data1`.
        channels: names of the channels.
        blocks: which blocks the user says they are, or None.
        side: of the crops, or None.
        names: of the blocks.
        place: the file, for messages.

    Raises:
        SourceError: the names are not those of the channels, or of other blocks.
    """
    if columns % len(names) or math.isqrt(columns // len(names)) ** 2 * len(names) != columns:
        msg = (
            "A file must name each of its blocks. Received: "
            f"{', '.join(names)} for {columns} columns in {place}."
        )
        raise SourceError(msg)
    found = find_channels(channels, names, place)
    if found is not None and blocks is not None and list(blocks) != found:
        msg = (
            f"`blocks` must be those that the file calls so. Received: blocks={list(blocks)} for "
            f"channels={list(channels)}, and {', '.join(names)} in {place}. Leave `blocks` out."
        )
        raise SourceError(msg)
    if found is None and blocks is None and len(names) != len(channels):
        msg = (
            "`channels` must be names of the file or new ones for all of them. Received: "
            f"channels={list(channels)}, and {', '.join(names)} in {place}."
        )
        raise SourceError(msg)
    own_side = math.isqrt(columns // len(names))
    chosen = tuple(found or blocks or range(len(names)))
    placed = place_blocks(columns, channels, chosen, own_side if side is None else side)
    if found is None:
        _logger.info(
            "Channels get new names, by their order in the files: %s.",
            ", ".join(f"{names[b]!r} is {c!r}" for b, c in zip(chosen, channels, strict=True)),
        )
    return placed


def class_names_of(
    file: h5py.File, member: Member, given: Sequence[str] | None, names_from: str | None
) -> tuple[str, ...]:
    """Names of the first columns of `Index`; none where there is no `Index`.

    Args:
        file: an open file.
        member: the first of its members.
        given: the names, if they are not in the file.
        names_from: the list of text in the file that holds them; by default the only one.

    Raises:
        SourceError: there is no such list or more than one, or it cannot be names of the columns.
    """
    if member.index is None:
        if given is not None or names_from is not None:
            msg = (
                "Class names need an `Index` whose columns they name. Received: "
                f"{Path(file.filename).name}, which has none."
            )
            raise SourceError(msg)
        return ()
    columns = member.index.shape[1]
    names = _find_names(file, member.index, names_from) if given is None else tuple(given)
    if not names or not all(names) or len(set(names)) != len(names) or len(names) > columns:
        msg = (
            "Class names must differ from each other, and be no more than `Index` has columns. "
            f"Received: {list(names)} for {columns} columns."
        )
        raise SourceError(msg)
    return names


def class_texts(index: h5py.Dataset, names: Sequence[str], separator: str | None) -> list[str]:
    """The class of each row of `IndexK`, or its classes with `separator` between them, or "".

    Args:
        index: `(num_crops, num_columns)` of 0 and 1.
        names: names of the first columns; the others count for nothing.
        separator: text between several classes; None where there must be one.

    Raises:
        SourceError: there is another number, or there are several classes and no separator.
    """
    if separator is not None and (not separator or any(separator in name for name in names)):
        msg = (
            "`label_separator` must be text that no class name holds. Received: "
            f"label_separator={separator!r}, class names {list(names)}."
        )
        raise SourceError(msg)
    texts: list[str] = []
    while len(texts) < index.shape[0]:
        start, values = read_slice(index, len(texts))
        odd = ~((values == 0) | (values == 1)).all(axis=1)
        if odd.any():
            row = int(np.argmax(odd))
            msg = (
                "`Index` must hold nothing but 0 and 1. Received: "
                f"{values[row].tolist()[:30]} ({index.name[1:]}, row {start + row})."
            )
            raise SourceError(msg)
        hot = values[:, : len(names)] != 0
        counts = hot.sum(axis=1)
        several = np.flatnonzero(counts > 1).tolist()
        if several and separator is None:
            some = ", ".join(np.compress(hot[several[0]], names))
            msg = (
                "A crop must have one class, or a `label_separator`, which makes the data set "
                f"multi-label. Received: {some} ({index.name[1:]}, row {start + several[0]})."
            )
            raise SourceError(msg)
        first = hot.argmax(axis=1).tolist()
        chosen = [names[i] if n else "" for i, n in zip(first, counts, strict=True)]
        for row in several:
            chosen[row] = (separator or "").join(np.compress(hot[row], names))
        texts += chosen
    return texts


def read_column(member: Member, number: int) -> NDArray[Any]:
    """One column of `InfoK`, `(num_crops,)`; whole numbers as int64.

    Raises:
        SourceError: there is no such column.
    """
    if member.info is None or not 0 <= number < member.info.shape[1]:
        columns = 0 if member.info is None else member.info.shape[1]
        msg = (
            "`info` must name columns of `Info`, from 0. Received: column "
            f"{number} of {columns} ({member.data.name[1:]})."
        )
        raise SourceError(msg)
    values = np.asarray(member.info[:, number])
    if (np.abs(values) < 2**53).all() and (values == np.trunc(values)).all():
        return values.astype(np.int64)
    return values


def read_slice(table: h5py.Dataset, row: int, *, alone: bool = False) -> tuple[int, NDArray[Any]]:
    """Consecutive rows of a data set, with `row` among them: number of the first, and values.

    Raises:
        SourceError: the file is damaged there.
    """
    step = max(1, _SLICE_BYTES // max(1, table.shape[1] * table.dtype.itemsize))
    if table.chunks and step > table.chunks[0]:
        step -= step % table.chunks[0]
    step = 1 if alone else step
    start = row - row % step
    with whole(Path(table.file.filename)):
        return start, table[start : start + step]


def as_image(planes: NDArray[Any], dtype: str | None, place: str) -> NDArray[Any]:
    """A crop in native byte order and a type that records keep.

    Args:
        planes: `(channels, height, width)` of any type of number.
        dtype: type to convert pixels to; see `as_dtype`. By default uint8 and uint16 stay, and all
            others become float32 if no number is changed by it.
        place: where the crop lies, for messages.

    Returns:
        `(height, width, channels)`, a copy.

    Raises:
        RejectedCrop: a number would be changed.
    """
    native = planes.astype(planes.dtype.newbyteorder("="))
    if dtype is not None or native.dtype.name in PIXEL_DTYPES:
        converted = as_dtype(native, dtype, place)
    else:
        with np.errstate(all="ignore"):
            converted = native.astype(np.float32)
            # back again, because comparing two types would itself round
            same = np.array_equal(converted.astype(native.dtype), native, equal_nan=True)
        if not same:
            msg = (
                "Pixels must be numbers that float32 holds exactly. Received: "
                f"{native.dtype} from {native.min()} to {native.max()} in {place}. Pass `dtype`: "
                "float32 to round them, or uint8 or uint16 where these hold them."
            )
            raise RejectedCrop(msg, reason="number does not fit the dtype")
    return np.ascontiguousarray(np.moveaxis(converted, 0, -1))


def _table(file: h5py.File, kind: str, number: int) -> h5py.Dataset:
    table = data_set(file, f"{kind}{number}")
    kinds = "uif" if kind == "data" else "buif"
    if table.dtype.kind not in kinds or len(table.shape or ()) != 2 or not table.size:
        msg = (
            f"{kind}{number} must be a table of numbers, one row a crop. Received: shape "
            f"{table.shape}, dtype {table.dtype}."
        )
        raise SourceError(msg)
    if table.shape[0] != file[f"data{number}"].shape[0]:
        msg = (
            f"data{number} and {kind}{number} must have the same rows. Received: "
            f"{file[f'data{number}'].shape[0]} and {table.shape[0]}."
        )
        raise SourceError(msg)
    return table


def _find_names(file: h5py.File, index: h5py.Dataset, names_from: str | None) -> tuple[str, ...]:
    holder, columns = index.name[1:], index.shape[1]
    lists = text_lists(file, holder, longest=columns)
    if names_from is None:
        lists = {name: texts for name, texts in lists.items() if not _CHANNELS.fullmatch(name)}
    if names_from is not None:
        found = {n: lists[n] for n in (names_from, f"{holder}/{names_from}") if n in lists}
    else:
        found = dict(lists) if len(set(lists.values())) == 1 else {}
    if found:
        return next(iter(found.values()))
    msg = (
        f"Names of the columns of {holder} must be in the file or be given. Received: "
        f"names_from={names_from!r}; the file has these lists of at most {columns} texts: "
        f"{', '.join(sorted(lists)) or 'none'}. Choose one as `names_from`, or give `class_names` "
        "in the order of the columns."
    )
    raise SourceError(msg + (did_you_mean(names_from, lists) if names_from else ""))
