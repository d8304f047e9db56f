"""All formats of image files, and which of them a file has."""

from __future__ import annotations

from deeploc_tf.registry import Registry
from deeploc_tf.sources.formats.image_format import ImageFormat
from deeploc_tf.sources.formats.limits import BadImage
from deeploc_tf.sources.formats.npy import NPY
from deeploc_tf.sources.formats.png import PNG
from deeploc_tf.sources.formats.tiff import TIFF

_OURS = {"TIFF": TIFF, "PNG": PNG, "NPY": NPY}
IMAGE_FORMATS: Registry[ImageFormat] = Registry(
    "image format", _OURS, group="deeploc_tf.image_formats"
)


def format_of(head: bytes) -> ImageFormat:
    """The format of a file, by its first bytes; those of this package are tried first.

    Args:
        head: all bytes of the file, or the first `HEAD_BYTES`.

    Raises:
        BadImage: no format begins so.
        PluginError: a package that offers a format cannot be imported.
    """
    for ours in _OURS.values():  # without the registry, since each crop comes here
        if head.startswith(ours.signatures):
            return ours
    for name in IMAGE_FORMATS:
        found = IMAGE_FORMATS.get(name)
        if head.startswith(found.signatures):
            return found
    msg = f"it begins with {head[:8]!r}, which is neither {format_names('nor')}"
    raise BadImage(msg, "not an image")


def format_names(conjunction: str) -> str:
    """The names of all formats, for a message: "TIFF, PNG or NPY"."""
    *others, last = IMAGE_FORMATS
    return f"{', '.join(others)} {conjunction} {last}"
