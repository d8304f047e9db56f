"""What one crop is, and the schema that all crops of a data set share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfrecords.errors import SchemaError

TEXTS = ("protein",)
"""Attributes of a crop that are text, beside its key, as records, tables and TFDS have them."""

PIXEL_DTYPES = ("uint8", "uint16", "float32")
MetadataType = Literal["text", "int64", "float32"]
METADATA_TYPES: tuple[MetadataType, ...] = ("text", "int64", "float32")

_ITEM_BYTES = {name: np.dtype(name).itemsize for name in PIXEL_DTYPES}
_TOO_LARGE = 2.0**128 - 2.0**103  # float32 rounds it to infinity, and all below to a number
MAX_PIXELS = 1 << 28  # of one crop, all channels: 256 Mi; a limit before anything is allocated
_NOT_IN_NAMES = "/\\"  # of metadata columns: TFDS and HDF5 divide paths by them


@dataclasses.dataclass(frozen=True, slots=True)
class Crop:
    """One cell: what a source yields and what a record holds.

    Attributes:
        key: unique and stable name of the crop within its data set.
        image: `(height, width, channels)`, uint8, uint16 or float32, as the microscope gave it.
        mask: uint8 `(height, width)`, 0 outside the cell and 1 inside, or None.
        labels: class indices into `Schema.label_names`, ascending; empty where the schema has no
            labels.
        protein: gene name or ORF of the tagged protein; "" where there is none.
        metadata: value of each metadata column of the schema.
    """

    key: str
    image: NDArray[Any]
    mask: NDArray[np.uint8] | None = None
    labels: tuple[int, ...] = ()
    protein: str = ""
    metadata: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Schema:
    """What all crops of a data set have in common; it travels into the run and the exported model.

    Attributes:
        image_shape: `(height, width, channels)` in pixels.
        dtype: "uint8", "uint16" or "float32": the pixels' own type, never rescaled.
        channels: names of the channels in their stored order, the tagged protein first by custom.
        has_mask: every crop has a mask, or none has.
        label_names: class names in the order of their indices; empty for unlabeled crops.
        multi_label: a crop may have several labels.
        metadata: name and type of each metadata column, in their order.
        pixel_size: micrometres a pixel, or None where nobody said.
        resampled_from: micrometres a pixel of the images that the crops were averaged from, or None
            where they are as the camera took them.
    """

    image_shape: tuple[int, int, int]
    dtype: str
    channels: tuple[str, ...]
    has_mask: bool = False
    label_names: tuple[str, ...] = ()
    multi_label: bool = False
    metadata: Mapping[str, MetadataType] = dataclasses.field(default_factory=dict)
    pixel_size: float | None = None
    resampled_from: float | None = None

    def __post_init__(self) -> None:
        """Refuse a schema that no crop could follow."""
        if len(self.image_shape) != 3 or not all(
            isinstance(n, int) and n >= 1 for n in self.image_shape
        ):
            msg = (
                "`image_shape` must be whole (height, width, channels), each at least 1. "
                f"Received: image_shape={self.image_shape}."
            )
            raise SchemaError(msg)
        if int(np.prod(self.image_shape, dtype=np.int64)) > MAX_PIXELS:
            msg = (
                f"A crop must not hold more than {MAX_PIXELS} pixels. "
                f"Received: image_shape={self.image_shape}. Cut smaller crops."
            )
            raise SchemaError(msg)
        if self.dtype not in PIXEL_DTYPES:
            msg = (
                f"`dtype` must be one of {', '.join(PIXEL_DTYPES)}. Received: dtype={self.dtype!r}."
            )
            raise SchemaError(msg)
        if len(self.channels) != self.image_shape[2] or len(set(self.channels)) != len(
            self.channels
        ):
            msg = (
                "`channels` must name each channel once. Received: "
                f"channels={list(self.channels)} for image_shape={self.image_shape}."
            )
            raise SchemaError(msg)
        names = self.label_names
        if len(set(names)) != len(names) or any(
            n != n.strip() or len(n.splitlines()) != 1 for n in names
        ):
            # TFDS keeps them in a text file, one a line, and strips it.
            msg = (
                "`label_names` must differ, and each must be one line of text without spaces "
                f"around it. Received: label_names={list(names)}."
            )
            raise SchemaError(msg)
        if self.multi_label and not names:
            msg = "`multi_label` needs `label_names`. Received: multi_label=True, label_names=()."
            raise SchemaError(msg)
        for name in ("pixel_size", "resampled_from"):
            size = getattr(self, name)
            if size is not None and not 0 < size < math.inf:
                msg = f"`{name}` must be positive micrometres. Received: {name}={size}."
                raise SchemaError(msg)
        for name, kind in self.metadata.items():
            if not is_column_name(name) or kind not in METADATA_TYPES:
                msg = (
                    "A metadata column must have a name of one line, without slashes and spaces "
                    f"around it, and a type of {', '.join(METADATA_TYPES)}. "
                    f"Received: name={name!r}, type={kind!r}."
                )
                raise SchemaError(msg)

    @property
    def num_classes(self) -> int:
        """How many classes the labels distinguish."""
        return len(self.label_names)

    @property
    def num_image_bytes(self) -> int:
        """Size in bytes of one crop's pixels."""
        return math.prod(self.image_shape) * _ITEM_BYTES[self.dtype]

    def to_json(self) -> dict[str, Any]:
        """The schema as plain JSON values; `from_json` reads it back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["metadata"] = [{"name": n, "type": t} for n, t in self.metadata.items()]
        if self.resampled_from is None:  # as in all records that were made before it was known
            del values["resampled_from"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Schema:
        """The schema that `to_json` wrote; raises `SchemaError` for anything else."""
        try:
            schema = cls(
                image_shape=tuple(values["image_shape"]),
                dtype=values["dtype"],
                channels=tuple(values["channels"]),
                has_mask=values["has_mask"],
                label_names=tuple(values["label_names"]),
                multi_label=values["multi_label"],
                metadata={column["name"]: column["type"] for column in values["metadata"]},
                pixel_size=values["pixel_size"],
                resampled_from=values.get("resampled_from"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"A schema must have all its fields, each of its type. Received: {values!r}."
            raise SchemaError(msg) from error
        if schema.to_json() != values or {type(schema.has_mask), type(schema.multi_label)} != {
            bool
        }:
            msg = f"A schema must have its own fields only, each of its type. Received: {values!r}."
            raise SchemaError(msg)
        return schema

    def check(self, crop: Crop) -> None:
        """Raise `SchemaError` unless `crop` follows this schema; its key is named."""
        problem = self._problem(crop)
        if problem is not None:
            msg = f"{problem} Key: {crop.key!r}."
            raise SchemaError(msg)

    def _problem(self, crop: Crop) -> str | None:
        return (
            self._problem_of_pixels(crop)
            or self._problem_of_labels(crop.labels)
            or self._problem_of_text(crop)
            or self._problem_of_metadata(crop.metadata)
        )

    def _problem_of_pixels(self, crop: Crop) -> str | None:
        image, mask = crop.image, crop.mask
        if image.shape != self.image_shape or image.dtype != np.dtype(self.dtype):
            return (
                "All crops of a data set must share one shape (height, width, channels) and "
                f"one dtype. Received: {image.shape} {image.dtype}, "
                f"expected {self.image_shape} {self.dtype}."
            )
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            bad = int(image.size - np.isfinite(image).sum())
            return f"Pixels must be finite. Received: {bad} NaN or infinite pixels."
        if (mask is not None) != self.has_mask:
            return f"Either all crops have a mask or none. Received: mask={mask is not None}."
        if mask is None:
            return None
        if mask.shape != self.image_shape[:2] or mask.dtype != np.uint8:
            return (
                "A mask must be uint8, of the height and width of its image. "
                f"Received: {mask.shape} {mask.dtype}, expected {self.image_shape[:2]} uint8."
            )
        if mask.max() > 1:
            return f"A mask must be 0 outside the cell and 1 inside. Received: {mask.max()} in it."
        return None

    def _problem_of_labels(self, labels: tuple[int, ...]) -> str | None:
        if not self.multi_label and len(labels) != bool(self.label_names):
            wanted = "exactly one label" if self.label_names else "no label"
            return f"A crop must have {wanted} here. Received: labels={labels}."
        if self.multi_label and not labels:
            return "A crop must have at least one label. Received: labels=()."
        if labels and not 0 <= min(labels) <= max(labels) < self.num_classes:
            return f"Labels must lie in [0, {self.num_classes}). Received: labels={labels}."
        if len(labels) > 1 and tuple(sorted(set(labels))) != labels:
            return f"Labels must be distinct and ascending. Received: labels={labels}."
        return None

    def _problem_of_text(self, crop: Crop) -> str | None:
        if not crop.key or not _is_text(crop.key):
            return f"A key must be text, and not empty. Received: key={crop.key!r}."
        for name in TEXTS:
            if not _is_text(value := getattr(crop, name)):
                return f'A {name} must be text ("" for none). Received: {name}={value!r}.'
        return None

    def _problem_of_metadata(self, metadata: Mapping[str, str | int | float]) -> str | None:
        if metadata.keys() != self.metadata.keys():
            return (
                "A crop must have the metadata columns of the schema. "
                f"Received: {sorted(metadata)}, expected {sorted(self.metadata)}."
            )
        for name, kind in self.metadata.items():
            if not _IS_OF_TYPE[kind](metadata[name]):
                return f"Metadata column {name!r} must be {kind}. Received: {metadata[name]!r}."
        return None


def is_column_name(name: object) -> bool:
    """Whether a metadata column may have this name in records, TFDS, HDF5 and Parquet alike."""
    return (
        isinstance(name, str)
        and name.isprintable()  # so no lone surrogates, either
        and name == name.strip()
        and name not in ("", ".", "..")
        and not any(mark in name for mark in _NOT_IN_NAMES)
    )


def metadata_text(value: str | float) -> str:
    """A value of a metadata column as the text from which it was made: "" for a missing number."""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else str(np.float32(value))
    return str(value)


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()  # file names may hold lone surrogates, which no UTF-8 record can
    except UnicodeEncodeError:
        return False
    return True


def _is_int64(value: object) -> bool:
    return isinstance(value, int | np.integer) and -(2**63) <= int(value) < 2**63


def _is_float32(value: object) -> bool:
    """Any number that float32 can hold; NaN stands for a missing one."""
    if not isinstance(value, float | int | np.floating | np.integer):
        return False
    number = float(value)
    return not math.isfinite(number) or abs(number) < _TOO_LARGE


_IS_OF_TYPE: Mapping[str, Callable[[object], bool]] = {
    "text": _is_text,
    "int64": _is_int64,
    "float32": _is_float32,
}
