"""What reads the files of one image format."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription

HEAD_BYTES = 64

Image: TypeAlias = tuple[NDArray[Any], ImageDescription]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFormat:
    """How the files of one format are recognised and read.

    Pixels are gray levels as the camera counted them, `(height, width)` or with more axes, never
    rescaled. `max_pixels` is the most pixels that a file may declare: `check_size` refuses more,
    before anything is allocated for them. Whatever else a function raises sets the file aside;
    a `BadImage` says under which reason.

    Attributes:
        signatures: what such a file begins with, one of these; at most `HEAD_BYTES` each.
        decode: from the bytes of a file, `max_pixels` and the path: pixels, and what the file says
            of them. It is called for each crop.
        describe: from an open file, `max_pixels` and its name: what it says; no pixels are decoded.
        read: as `describe`, and the pixels, where `decode` is not to hold the whole file.
    """

    signatures: tuple[bytes, ...]
    decode: Callable[[bytes, int, str | os.PathLike[str]], Image]
    describe: Callable[[BinaryIO, int, str], ImageDescription]
    read: Callable[[BinaryIO, int, str], Image] | None = None

    def read_file(self, file: BinaryIO, max_pixels: int, name: str) -> Image:
        """Pixels and description of an open file, with all that it says of axes and channels."""
        read = self.read or (lambda *_: self.decode(file.read(), max_pixels, name))
        return read(file, max_pixels, name)
