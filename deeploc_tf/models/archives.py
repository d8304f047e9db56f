"""What is in a `.keras` archive, looked at before Keras opens it.

Keras' safe mode keeps stored code out. It neither counts what an archive unpacks to nor asks what
else is in it, and any class of Keras may be made. Here an archive holds the three files that Keras
writes, of a size they may have, layers that compute and nothing else, and weights of its own.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MOST_BYTES = {"metadata.json": 1 << 20, _CONFIG: 64 << 20, _WEIGHTS: 4 << 30}
_MOST_UNPACKED = 20  # times the size of the archive; Keras does not compress at all
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_DEPTH = 100  # of nested objects

_MOST_OBJECTS = 50_000  # a layer is about six; networks of a thousand layers are made in a minute
_MOST_PIXELS = 1 << 20  # along an axis
_LENGTHS = {
    *("batch_input_shape", "batch_shape", "cropping", "height", "kernel_size", "n", "padding"),
    *("pool_size", "shape", "size", "target_shape", "width"),
}
_SIZES = {"filters", "units"}  # of layers with weights, which have as many rows or columns
_SPARE_NUMBERS = 1 << 20  # of weights that a layer keeps to itself

# Classes of a network by the module that an archive names, in Keras 3 and 2. They compute or hold
# settings; those that run code of the archive's maker, read further files or call whatever they
# name are not among them. A name is one word: Keras looks a dotted one up from its own top.
_LAYERS = """
Activation ActivityRegularization AdaptiveAveragePooling2D AdaptiveMaxPooling2D Add AlphaDropout
Average AveragePooling2D BatchNormalization CenterCrop Concatenate Conv2D Conv2DTranspose Cropping2D
Dense DepthwiseConv2D Dot Dropout ELU EinsumDense Flatten GaussianDropout GaussianNoise
GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization Identity InputLayer LayerNormalization
LeakyReLU MaxPooling2D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute
RMSNormalization RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation
RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv2D Softmax
SpatialDropout2D Subtract ThresholdedReLU UnitNormalization UpSampling2D ZeroPadding2D
"""
_KNOWN = {
    "keras": "DTypePolicy Functional Model Sequential",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras.initializers": (
        "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform "
        "Ones Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros"
    ),
    "keras.layers": _LAYERS,
    "keras.mixed_precision": "Policy",
    "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
    "keras.src.engine.functional": "Functional",
    "keras.src.models.functional": "Functional",
}
_CLASSES = {(module, name) for module, names in _KNOWN.items() for name in names.split()}
OUR_LAYERS = frozenset(
    {"Dropout", "Normalization", "RandomCrop", "RandomOrientation", "RandomRotation"}
    | {"SelectChannels", "StopGradient", "SynchronizedBatchNormalization", "UnitLength"}
)
_OURS = "deeploc_tf.models.", "deeploc_tf>"
_UNNAMED = ("__keras_tensor__",)  # the only one without a module


def check_archive(path: str | Path) -> int:
    """Refuse a model that may be more than layers and weights; nothing of it is run or unpacked.

    Args:
        path: of a `.keras` file.

    Returns:
        How many numbers the weights of its layers may be, which are made before they are read.

    Raises:
        ValueError: it is no `.keras` archive, damaged, or one that Keras must not open: other files
            in it, names that lead elsewhere, more bytes than it may have, classes that run code or
            of other packages, or weights that lie in other files, or are fewer than its
            layers have. Or it takes masks and scales crops by what is outside of them, too, as
            models once did.
        FileNotFoundError: there is none.
    """
    path = Path(path)
    with path.open("rb") as file:
        if file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC or path.suffix in (".h5", ".hdf5"):
            _refuse(path, "an HDF5 file, which may hold code. Save it as .keras")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            damaged = archive.testzip()
            if damaged is None:
                config = json.loads(archive.read(_CONFIG))
                _check_scale(path, config)
                _check_classes(path, config)
                numbers, longest = _check_weights(path, archive)
                _check_sizes(path, config, longest)
    except _RefusedError:
        raise
    except Exception as error:  # which one depends on the byte that is wrong
        damaged = str(error)
    if damaged is not None:
        msg = (
            f"A model must be a whole .keras file. Received: {str(path)!r}, damaged at {damaged}. "
            "Restore it or train again."
        )
        raise ValueError(msg)
    return 2 * numbers + _SPARE_NUMBERS


class _RefusedError(ValueError):
    """The archive is readable and not wanted."""


def _refuse(path: Path, what: str) -> None:
    msg = (
        "A model must be a .keras archive of layers and weights alone. Received: "
        f"{str(path)!r} with {what}."
    )
    raise _RefusedError(msg)


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    if names != sorted(_MOST_BYTES):
        _refuse(path, f"{', '.join(map(repr, names))} instead of {', '.join(sorted(_MOST_BYTES))}")
    for member in members:
        mode = member.external_attr >> 16
        if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            _refuse(path, f"{member.filename}, which is no file")
        if member.flag_bits & 1:
            _refuse(path, f"{member.filename}, which is encrypted")
        if member.file_size > _MOST_BYTES[member.filename]:
            _refuse(path, f"{member.filename} of {member.file_size} bytes")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MOST_UNPACKED * path.stat().st_size:
        _refuse(path, f"{unpacked} bytes packed into {path.stat().st_size}")


def _check_scale(path: Path, config: dict[str, Any]) -> None:
    """Refuse a model with masks that has no layer which heeds them: it would give other vectors."""
    layers = [(found["class_name"], found.get("config") or {}) for found in _objects(config)]
    takes_mask = ("InputLayer", "mask") in [(name, of.get("name")) for name, of in layers]
    if takes_mask and any(name == "Normalization" and not of.get("masked") for name, of in layers):
        msg = (
            "A model with masks must scale each crop by the pixels of its cell. Received: "
            f"{str(path)!r}, whose crops are scaled by those of the whole crop. Train it again."
        )
        raise _RefusedError(msg)


def _check_classes(path: Path, config: dict[str, Any]) -> None:
    # How it was compiled is not read back: models are loaded with compile=False.
    model = {name: value for name, value in config.items() if name != "compile_config"}
    for count, described in enumerate(_objects(model)):
        name, module = described["class_name"], described.get("module")
        registered = described.get("registered_name")
        if count == _MOST_OBJECTS:
            _refuse(path, f"more than {count} objects")
        try:
            ours = name in OUR_LAYERS and str(module).startswith(_OURS[0])
            ours = ours and registered == f"{_OURS[1]}{name}"
            theirs = (module, name) in _CLASSES and registered in (None, "", name)
        except TypeError:  # no text
            ours = theirs = False
        if not (ours or theirs or (module is None and name in _UNNAMED)):
            _refuse(path, f"an object of the class {name!r} of {module!r}")


def _check_sizes(path: Path, config: dict[str, Any], longest: int) -> None:
    """Refuse layers that are larger than the weights that are stored for them."""
    for key, number in _numbers(config):
        most = longest if key in _SIZES else _MOST_PIXELS
        if not -most <= number <= most:  # neither is NaN
            _refuse(path, f"{key}={number}, where its weights allow {most}")


def _numbers(values: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a configuration that say how large something is, and what they are called."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _numbers(value, name)
    elif isinstance(values, list):
        for value in values:
            yield from _numbers(value, key)
    elif isinstance(values, int | float) and key in _SIZES | _LENGTHS:
        yield key, values


def _objects(values: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Everything in a configuration that names a class."""
    if depth > _DEPTH:
        msg = f"{_CONFIG}, nested more than {_DEPTH} deep"
        raise ValueError(msg)
    if isinstance(values, dict):
        if "class_name" in values:
            yield values
        for value in values.values():
            yield from _objects(value, depth + 1)
    elif isinstance(values, list):
        for value in values:
            yield from _objects(value, depth + 1)


def _check_weights(path: Path, archive: zipfile.ZipFile) -> tuple[int, int]:
    """How many numbers the weights are, and along how long an axis at most.

    HDF5 can read other files, and claim more numbers than it has bytes.
    """
    size = archive.getinfo(_WEIGHTS).file_size
    with h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r") as file:
        claimed = numbers = longest = 0
        for name, item in _items(path, file):
            if isinstance(item, h5py.Dataset):
                claimed += item.nbytes
                numbers += item.size or 0
                longest = max(longest, *(item.shape or ()), 0)
                if item.external or item.is_virtual:
                    _refuse(path, f"weights {name!r} that lie in another file")
        if claimed > size:
            _refuse(path, f"weights of {claimed} bytes in a file of {size}")
    return numbers, longest


def _items(path: Path, group: h5py.Group) -> Iterator[tuple[str, Any]]:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            _refuse(path, f"weights {name!r} that are a link")
        item = group[name]
        yield item.name, item
        if isinstance(item, h5py.Group):
            yield from _items(path, item)
