"""A crop as bytes and back: one `tf.train.Example` a crop, its pixels raw and little-endian.

`encode` spells the protocol buffer out by hand. An Example is a map, and protocol buffers may
write a map in any order, another one in each version; here the features are sorted, so the same
crop gives the same bytes everywhere. It is also several times faster than to build message
objects. To decode a record protocol buffers are asked, which read any order; TensorFlow is needed
for batches alone.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any, overload

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError

from tfrecords.errors import DamagedRecordsError, SchemaError
from tfrecords.schema import PIXEL_DTYPES, TEXTS, Crop, MetadataType, Schema

META_PREFIX = "meta/"

_SHORT_VARINTS = [bytes([value]) for value in range(0x80)]
_MIDDLE_BYTES = 2048
_SORTED_TEXTS = sorted(TEXTS)  # all behind META_PREFIX in the alphabet
_MAX_HEAD_BYTES = 64  # of a record, before its pixels
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in PIXEL_DTYPES}
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # fields of tf.train.Feature
# tf.train.Example: fields in the order of their numbers, from 1. A map is a list of its entries.
_MESSAGES = {
    "BytesList": {"value": "repeated bytes"},
    "FloatList": {"value": "repeated float"},
    "Int64List": {"value": "repeated int64"},
    "Feature": {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"},
    "Entry": {"key": "string", "value": "Feature"},
    "Features": {"feature": "repeated Entry"},
    "Example": {"features": "Features"},
}


def encode(crop: Crop, schema: Schema) -> bytes:
    """One crop as a serialized `tf.train.Example`; the same crop gives the same bytes everywhere.

    Args:
        crop: the crop.
        schema: what it must follow.

    Returns:
        The record, without TFRecord framing.

    Raises:
        SchemaError: `crop` does not follow `schema`; its key is named.
    """
    schema.check(crop)
    parts = [
        *_bytes("image", crop.image.astype(_LITTLE[schema.dtype], copy=False).tobytes()),
        *_bytes("key", crop.key.encode()),
    ]
    if schema.label_names:
        parts.append(_int64s("label", crop.labels))
    if crop.mask is not None:
        parts += _bytes("mask", crop.mask.tobytes())
    for name, kind in sorted(schema.metadata.items()):
        value: Any = crop.metadata[name]
        if kind == "text":
            parts += _bytes(META_PREFIX + name, value.encode())
        elif kind == "int64":
            parts.append(_int64s(META_PREFIX + name, (int(value),)))
        else:
            parts.append(_float(META_PREFIX + name, value))
    for name in _SORTED_TEXTS:
        parts += _bytes(name, getattr(crop, name).encode())
    return b"".join((b"\x0a", _varint(sum(map(len, parts))), *parts))


def pixels_of(record: bytes | memoryview, schema: Schema) -> bytes:
    """The pixels in a record that `encode` made, as they stand in it."""
    size = schema.num_image_bytes
    begin = _place_of_pixels(bytes(record[:_MAX_HEAD_BYTES]), size)
    return bytes(record[begin : begin + size])


def pixel_checksum(record: bytes, schema: Schema) -> int:
    """CRC-32C of the pixels amid a record that `encode` made: equal crops have an equal one.

    Of the middle alone, all channels: it only has to tell which crops are worth a comparison.
    """
    size = schema.num_image_bytes
    part = min(size, _MIDDLE_BYTES)
    begin = _place_of_pixels(record, size) + (size - part) // 2
    checksum: int = google_crc32c.value(record[begin : begin + part])
    return checksum


def _place_of_pixels(record: bytes, size: int) -> int:
    """Byte at which the pixels begin: those of the first feature, since they are sorted."""
    head = _bytes_head("image", size)
    return record.index(head, 0, _MAX_HEAD_BYTES) + len(head)


@overload
def decode(record: bytes, schema: Schema) -> Crop: ...  # type: ignore[overload-overlap]
@overload
def decode(record: object, schema: Schema) -> dict[str, Any]: ...
def decode(record: Any, schema: Schema) -> Crop | dict[str, Any]:
    """The crop that `encode` was given; for one record at a time (use `decode_batch` to train).

    Args:
        record: bytes of a record, without TFRecord framing; or a string tensor of it, of shape
            `()`, as `tf.data.Dataset.map` gives it.
        schema: schema of the records.

    Returns:
        A `Crop`; of a tensor what `decode_batch` gives, without the batch's axis.

    Raises:
        DamagedRecordsError: `record` is no Example, or lacks a feature.
        SchemaError: the crop in it does not follow `schema`.
        tf.errors.InvalidArgumentError: when run, a tensor does not follow `schema`.

    Example:
        schema = read_manifest("records").schema
        read_serialized("records", "train").map(lambda record: decode(record, schema))
    """
    if not isinstance(record, bytes | bytearray | memoryview):
        if getattr(getattr(record, "shape", None), "rank", None) != 0:
            msg = (
                "A record must be bytes, or a string tensor of shape (). Received: "
                f"{getattr(record, 'shape', type(record).__name__)}. Decode batches with "
                "`decode_batch`."
            )
            raise SchemaError(msg)
        batch = decode_batch(record[None], schema)
        return {name: values[0] for name, values in batch.items()}
    try:
        entries = _example_class().FromString(record).features.feature
    except DecodeError as error:
        msg = "A record must be a `tf.train.Example`. Received: bytes that are none."
        raise DamagedRecordsError(msg) from error
    features = {entry.key: entry.value for entry in entries}  # of equal names the last one
    try:
        crop = _crop(features, schema)
    except KeyError as error:
        missing = sorted(_feature_types(schema).keys() - features.keys())
        msg = f"A record must have every feature of its schema. Received: none of {missing}."
        raise DamagedRecordsError(msg) from error
    except ValueError as error:
        msg = f"Features must be of the type and size of the schema. Received: {error}."
        raise DamagedRecordsError(msg) from error
    schema.check(crop)
    return crop


def feature_spec(schema: Schema, features: Collection[str] | None = None) -> dict[str, Any]:
    """What `tf.io.parse_example` needs to parse a batch of records.

    Args:
        schema: schema of the records.
        features: names to parse, None for all; what is left out costs nothing.

    Returns:
        A `tf.io` feature by name: `image`, `mask`, `label`, `protein`, `key`, `meta/<name>`.

    Raises:
        SchemaError: `features` names one that the records do not have.
    """
    import tensorflow as tf

    kinds = {"text": tf.string, "int64": tf.int64, "float32": tf.float32}
    types = {name: kinds[kind] for name, kind in _feature_types(schema).items()}
    unknown = sorted(set(features or ()) - set(types))
    if unknown:
        msg = f"`features` must be among {', '.join(types)}. Received: features={unknown}."
        raise SchemaError(msg)
    spec = {
        name: tf.io.FixedLenFeature([], dtype)
        for name, dtype in types.items()
        if features is None or name in features
    }
    if schema.multi_label and "label" in spec:
        spec["label"] = tf.io.FixedLenSequenceFeature(
            [], tf.int64, allow_missing=True, default_value=-1
        )
    return spec


def decode_batch(
    serialized: Any, schema: Schema, features: Collection[str] | None = None
) -> dict[str, Any]:
    """Parse a whole batch of records at once, three times faster than one by one; for `tf.data`.

    Args:
        serialized: string tensor `(batch,)` of records.
        schema: schema of the records.
        features: names to decode, None for all.

    Returns:
        By name, as far as the schema has it:

        - `image`: `(batch, height, width, channels)`, in the dtype of the schema, not rescaled;
        - `mask`: uint8 `(batch, height, width)`, 0 or 1;
        - `label`: int64 `(batch,)`, or with `multi_label` float32 `(batch, num_classes)`, 0 or 1;
        - `protein`, `key`: string `(batch,)`;
        - `meta/<name>`: string, int64 or float32 `(batch,)`.

    Raises:
        SchemaError: `features` names one that the records do not have.
        tf.errors.InvalidArgumentError: when run, a record does not follow `schema`.
    """
    import tensorflow as tf

    batch: dict[str, Any] = tf.io.parse_example(serialized, feature_spec(schema, features))
    if "image" in batch:
        batch["image"] = _raw(batch["image"], schema.dtype, schema.image_shape)
    if "mask" in batch:
        batch["mask"] = _raw(batch["mask"], "uint8", schema.image_shape[:2])
    if schema.multi_label and "label" in batch:
        batch["label"] = tf.reduce_max(tf.one_hot(batch["label"], schema.num_classes), axis=1)
    return batch


def _raw(values: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    import tensorflow as tf

    flat = tf.io.decode_raw(values, tf.dtypes.as_dtype(dtype), little_endian=True)
    # The number of records stays in the shape: bytes of a wrong size must not pass as more crops.
    pixels = tf.reshape(flat, tf.concat([tf.shape(values), shape], axis=0))
    return tf.ensure_shape(pixels, (values.shape[0], *shape))


def _feature_types(schema: Schema) -> dict[str, MetadataType]:
    types: dict[str, MetadataType] = {"image": "text", "key": "text"}
    types |= dict.fromkeys(TEXTS, "text")
    if schema.has_mask:
        types["mask"] = "text"
    if schema.label_names:
        types["label"] = "int64"
    return types | {META_PREFIX + name: kind for name, kind in schema.metadata.items()}


@functools.cache
def _example_class() -> Any:
    """`tf.train.Example` as it is on disk, in a pool of its own, without TensorFlow."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    described = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example", package="tfrecords", syntax="proto3")
    for message, fields in _MESSAGES.items():
        in_file = file.message_type.add(name=message)
        for number, (name, words) in enumerate(fields.items(), 1):
            repeated, _, kind = words.rpartition(" ")
            label = described.LABEL_REPEATED if repeated else described.LABEL_OPTIONAL
            field = in_file.field.add(name=name, number=number, label=label)
            if kind in _MESSAGES:
                field.type_name = f".tfrecords.{kind}"
            else:
                field.type = described.Type.Value(f"TYPE_{kind.upper()}")
            if message == "Feature":
                field.oneof_index = 0
        if message == "Feature":
            in_file.oneof_decl.add(name="kind")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfrecords.Example"))


def _crop(features: dict[str, Any], schema: Schema) -> Crop:
    def text(name: str) -> str:
        (value,) = features[name].bytes_list.value
        return str(value.decode())

    def pixels(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
        (value,) = features[name].bytes_list.value
        return np.frombuffer(value, _LITTLE[dtype]).astype(dtype, copy=False).reshape(shape)

    def metadata(name: str, kind: MetadataType) -> str | int | float:
        feature = features[META_PREFIX + name]
        if kind == "text":
            return text(META_PREFIX + name)
        (value,) = feature.int64_list.value if kind == "int64" else feature.float_list.value
        return int(value) if kind == "int64" else float(value)

    return Crop(
        key=text("key"),
        image=pixels("image", schema.dtype, schema.image_shape),
        mask=pixels("mask", "uint8", schema.image_shape[:2]) if schema.has_mask else None,
        labels=tuple(features["label"].int64_list.value) if schema.label_names else (),
        **{name: text(name) for name in TEXTS},
        metadata={name: metadata(name, kind) for name, kind in schema.metadata.items()},
    )


@functools.lru_cache(maxsize=4096)  # most records of a data set are of a few sizes
def _varint(value: int) -> bytes:
    if 0 <= value <= 0x7F:
        return _SHORT_VARINTS[value]
    value &= 2**64 - 1  # negative numbers are their two's complement
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a message."""
    return _SHORT_VARINTS[number << 3 | 2] + _varint(len(content)) + content


def _feature(name: str, kind: int, content: bytes) -> bytes:
    """A feature of an Example: an entry of its map, from a name to a list of one kind."""
    feature = field(kind, field(1, content))
    return field(1, field(1, name.encode()) + field(2, feature))


@functools.lru_cache(maxsize=4096)
def _bytes_head(name: str, size: int) -> bytes:
    """What stands before `size` bytes: with pixels of one size it is the same in all crops."""
    return _feature(name, _BYTES_LIST, bytes(size))[: -size or None]


def _bytes(name: str, value: bytes) -> tuple[bytes, bytes]:
    return _bytes_head(name, len(value)), value


def _float(name: str, value: float) -> bytes:
    return _feature(name, _FLOAT_LIST, np.float32(value).astype("<f4").tobytes())


@functools.lru_cache(maxsize=4096)
def _int64s(name: str, values: tuple[int, ...]) -> bytes:
    return _feature(name, _INT64_LIST, b"".join(_varint(int(value)) for value in values))
