"""Plain TIFF files one after another: most files of a folder begin with the same bytes."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.formats.description import ImageDescription
from deeploc_tf.sources.formats.tiff_header import TiffHeader, read_header


@dataclasses.dataclass(frozen=True, slots=True)
class PlainTiff:
    """All of a file but its pixels; to compare it costs a tenth of reading a directory.

    Attributes:
        head: the bytes before the pixels, with the whole directory among them.
        num_bytes: size of the file.
        dtype: of the pixels.
        shape: `(height, width)`.
        description: what the file says of itself.
    """

    head: bytes
    num_bytes: int
    dtype: Any
    shape: tuple[int, int]
    description: ImageDescription

    @classmethod
    def of(
        cls, data: bytes, header: TiffHeader, image: NDArray[Any], description: ImageDescription
    ) -> PlainTiff | None:
        """That of a file whose plain pixels are `image`; None if more than `head` decides."""
        if b"<UUID" in header.description:  # the name of the file decides, too
            return None
        head = data[: header.tags[273]]
        try:
            same = read_header(head) == header
        except struct.error:  # the directory stands behind the pixels
            return None
        height, width = image.shape
        if not same:
            return None
        return cls(head, len(data), image.dtype, (height, width), description)

    def pixels(self, data: bytes) -> NDArray[Any] | None:
        """The pixels of another file that begins with the same bytes; None for any other file."""
        if len(data) != self.num_bytes or not data.startswith(self.head):
            return None
        return np.ndarray(self.shape, self.dtype, data, len(self.head))
