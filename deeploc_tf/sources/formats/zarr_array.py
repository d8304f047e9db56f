"""One Zarr array on disk (v2 or v3): its metadata, and whether all of its chunks are there.

The format reads a chunk that is lost as zeros, and a codec may name any Python object; so both are
looked at here, before the library opens the array.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.extras import install
from deeploc_tf.sources.formats.limits import BadImage, check_size
from deeploc_tf.sources.source import SourceError

_METADATA = {2: ".zarray", 3: "zarr.json"}  # version of Zarr -> file
_MAX_JSON_BYTES = 1 << 24
_MAX_CHUNKS = 1 << 20
_V2_COMPRESSORS = ("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2")
_V3_CODECS = ("bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed")
_REMEDY = (
    "A writer must write empty chunks too; or if it never does, read them as empty "
    "(--missing-chunks fill)"
)
_EMPTY = (1 << 64) - 1  # in place of the offset of a chunk that a shard does not hold


@dataclasses.dataclass(frozen=True)
class ZarrArray:
    """An array whose metadata were found sound.

    Attributes:
        folder: of the array.
        shape: of the array.
        dtype: of its numbers.
        chunks: shape of the chunks that are files (shards, where there are).
        prefix: what the names of chunks begin with.
        separator: between the numbers of a chunk.
        inner: shape of the chunks in a shard, or None.
        index_at_end: whether a shard's index stands behind its chunks.
        index_bytes: how many bytes follow the numbers in an index (a checksum).
        blosc: whether chunks are compressed by Blosc.
        zarr_format: version of the metadata that all this comes from.
        dimension_names: of the axes, None for one without; or () where nobody named them.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    prefix: str
    separator: str
    inner: tuple[int, ...] | None = None
    index_at_end: bool = True
    index_bytes: int = 0
    blosc: bool = False
    zarr_format: int = dataclasses.field(default=2, compare=False)
    dimension_names: tuple[str | None, ...] = dataclasses.field(default=(), compare=False)

    @property
    def files(self) -> Iterator[tuple[tuple[int, ...], Path]]:
        """Place in the grid, and file, of each chunk."""
        grid = [range(math.ceil(n / c)) for n, c in zip(self.shape, self.chunks, strict=True)]
        for place in itertools.product(*grid):
            numbers = self.separator.join(map(str, place))
            yield place, self.folder / (self.prefix + numbers)

    def read(self, *, fill: bool = False) -> NDArray[Any]:
        """All pixels; raises `BadImage` where a chunk is missing or cut, never gives zeros.

        With `fill`, chunks that are missing are the array's fill value, as writers mean them that
        write no empty ones; what is there is checked all the same.
        """
        zarr = _import_zarr()
        for place, path in self.files:
            if not fill or path.exists():
                self._check_chunk(place, path, fill=fill)
        pixels = np.asarray(
            zarr.open_array(self.folder, mode="r", zarr_format=self.zarr_format)[...]
        )
        return pixels.reshape(self.shape)

    def _check_chunk(self, place: tuple[int, ...], path: Path, *, fill: bool) -> None:
        name = path.relative_to(self.folder).as_posix()
        try:
            status = path.lstat()
        except FileNotFoundError:
            msg = f"chunk {name} is missing. {_REMEDY}"
            raise BadImage(msg, "chunk is missing") from None
        if not stat.S_ISREG(status.st_mode):
            msg = f"chunk {name} is a link or a folder"
            raise BadImage(msg, "chunk is missing")
        if self.inner is not None:
            for offset, count in self._shard(
                self.inner, place, path, status.st_size, name, fill=fill
            ):
                self._check_blosc(path, offset, count, name)
        else:
            self._check_blosc(path, 0, status.st_size, name)

    def _shard(
        self,
        inner: tuple[int, ...],
        place: tuple[int, ...],
        path: Path,
        size: int,
        name: str,
        *,
        fill: bool,
    ) -> Iterator[tuple[int, int]]:
        """Offset and length of every chunk of the array that lies in a shard."""
        grid = [c // i for c, i in zip(self.chunks, inner, strict=True)]
        length = 16 * math.prod(grid) + self.index_bytes
        with path.open("rb") as file:
            file.seek(max(size - length, 0) if self.index_at_end else 0)
            index = file.read(length)
        if len(index) < length:
            msg = f"shard {name} is cut"
            raise BadImage(msg)
        entries = struct.iter_unpack("<QQ", index[: length - self.index_bytes])
        for within, (offset, count) in zip(
            itertools.product(*map(range, grid)), entries, strict=True
        ):
            starts = [
                p * c + w * i for p, c, w, i in zip(place, self.chunks, within, inner, strict=True)
            ]
            if any(start >= end for start, end in zip(starts, self.shape, strict=True)):
                continue  # beyond the edge of the array
            if offset == count == _EMPTY and fill:
                continue
            if offset == count == _EMPTY:
                msg = f"chunk {within} of shard {name} is missing. {_REMEDY}"
                raise BadImage(msg, "chunk is missing")
            if offset + count > size:
                msg = f"shard {name} is cut"
                raise BadImage(msg)
            yield offset, count

    def _check_blosc(self, path: Path, offset: int, count: int, name: str) -> None:
        """Decode a chunk once by a library that bears damage.

        The one that Zarr uses trusts the sizes in a chunk, and takes the process down with it.
        """
        if not self.blosc:
            return
        import imagecodecs

        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(count)
        size = math.prod(self.inner or self.chunks) * self.dtype.itemsize
        if len(data) < 16 or struct.unpack_from("<I", data, 4) != (size,):
            msg = f"chunk {name} is cut"
            raise BadImage(msg)
        imagecodecs.blosc2_decode(data)


def open_array(folder: Path, zarr_format: int, max_pixels: int) -> ZarrArray:
    """The array in `folder`, its metadata checked; no chunk is read.

    Programs that move an array to another version leave the metadata of both.

    Raises:
        BadImage: the metadata are damaged, too large, or of a kind that is not read; or there are
            two, which contradict each other.
    """
    array = _described(folder, zarr_format)
    other = 5 - zarr_format
    if (folder / _METADATA[other]).exists() and _described(folder, other) != array:
        msg = f"{' and '.join(_METADATA.values())} of {folder.name} describe different arrays"
        raise BadImage(msg)
    check_size(array.shape, max_pixels)
    check_size(array.chunks, max_pixels)
    if array.inner is not None:
        check_size(array.inner, max_pixels)
    if len(array.chunks) != len(array.shape) or (
        math.prod(math.ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True))
        > _MAX_CHUNKS
    ):
        msg = f"it has chunks {array.chunks} for {array.shape}"
        raise BadImage(msg, "too many chunks")
    return array


def _described(folder: Path, zarr_format: int) -> ZarrArray:
    """What the metadata of one version say."""
    values = read_json(folder / _METADATA[zarr_format])
    if values["zarr_format"] != zarr_format:
        msg = f"{folder.name} is of Zarr {values['zarr_format']}, its group of {zarr_format}"
        raise BadImage(msg)
    return _array_v2(folder, values) if zarr_format == 2 else _array_v3(folder, values)


def read_json(path: Path) -> Any:
    """The values of a small JSON file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_JSON_BYTES:
        msg = f"{path.name} is not a file of at most {_MAX_JSON_BYTES} bytes"
        raise BadImage(msg)
    return json.loads(path.read_bytes())


def _array_v2(folder: Path, values: dict[str, Any]) -> ZarrArray:
    compressor = values.get("compressor")
    _check_codecs([] if compressor is None else [compressor["id"]], _V2_COMPRESSORS)
    _check_codecs([f["id"] for f in values.get("filters") or ()], ())
    return ZarrArray(
        folder,
        _sizes(values["shape"]),
        _dtype(values["dtype"]),
        _sizes(values["chunks"]),
        prefix="",
        separator=_separator(values.get("dimension_separator", ".")),
        blosc=compressor is not None and compressor["id"] == "blosc",
        zarr_format=2,
        dimension_names=_dimension_names(folder),
    )


def _dimension_names(folder: Path) -> tuple[str | None, ...]:
    """What xarray calls the axes of an array of version 2, which has no place for them."""
    attributes = read_json(folder / ".zattrs") if (folder / ".zattrs").exists() else {}
    return tuple(attributes.get("_ARRAY_DIMENSIONS") or ())


def _array_v3(folder: Path, values: dict[str, Any]) -> ZarrArray:
    codecs = values["codecs"]
    names = [codec["name"] for codec in codecs]
    _check_codecs(names, _V3_CODECS)
    if values["chunk_grid"]["name"] != "regular" or values.get("storage_transformers"):
        msg = "its chunks are not a regular grid"
        raise BadImage(msg, "kind of Zarr array is not read")
    encoding = values["chunk_key_encoding"]
    default = encoding["name"] == "default"
    separator = _separator(
        encoding.get("configuration", {}).get("separator", "/" if default else ".")
    )
    array = ZarrArray(
        folder,
        _sizes(values["shape"]),
        _dtype(values["data_type"]),
        _sizes(values["chunk_grid"]["configuration"]["chunk_shape"]),
        prefix="c" + separator if default else "",
        separator=separator,
        blosc="blosc" in names,
        zarr_format=3,
        dimension_names=tuple(values.get("dimension_names") or ()),
    )
    return _sharded(array, codecs[0]["configuration"]) if "sharding_indexed" in names else array


def _sharded(array: ZarrArray, shard: dict[str, Any]) -> ZarrArray:
    index = [codec["name"] for codec in shard["index_codecs"]]
    inside = [codec["name"] for codec in shard["codecs"]]
    _check_codecs(inside, _V3_CODECS[:-1])
    little = shard["index_codecs"][0].get("configuration", {}).get("endian") == "little"
    if index not in (["bytes"], ["bytes", "crc32c"]) or not little:
        msg = f"the index of its shards is kept as {index}"
        raise BadImage(msg, "kind of Zarr array is not read")
    inner = _sizes(shard["chunk_shape"])
    if len(inner) != len(array.chunks) or any(
        c % i for c, i in zip(array.chunks, inner, strict=True)
    ):
        msg = f"its shards {array.chunks} are not whole numbers of chunks {inner}"
        raise BadImage(msg)
    return dataclasses.replace(
        array,
        inner=inner,
        index_at_end=shard.get("index_location", "end") == "end",
        index_bytes=4 if "crc32c" in index else 0,
        blosc="blosc" in inside,
    )


def _check_codecs(found: Sequence[str], known: Sequence[str]) -> None:
    """Refuse codecs that may run code, lose numbers, or are not known to us."""
    for name in found:
        if name not in known:
            msg = f"its codec {name!r} is not one of {', '.join(known) or '(none)'}"
            raise BadImage(msg, "kind of Zarr array is not read")


def _dtype(name: Any) -> np.dtype[Any]:
    """A type of plain numbers by its name in either version."""
    try:
        dtype = np.dtype(str(name))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "buif":
        msg = f"it holds {name}, not plain numbers"
        raise BadImage(msg, "pixel type is not kept")
    return dtype


def _separator(text: str) -> str:
    if text not in ("/", "."):
        msg = f"the numbers of its chunks are divided by {text!r}"
        raise BadImage(msg)
    return text


def _sizes(values: Sequence[Any]) -> tuple[int, ...]:
    sizes = tuple(int(value) for value in values)
    if not sizes or min(sizes) < 1:
        msg = f"it declares sizes {sizes}"
        raise BadImage(msg)
    return sizes


def _import_zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        msg = (
            f"OME-Zarr images need the package zarr. Received: none. Install it: {install('zarr')}."
        )
        raise SourceError(msg) from error
    return zarr
