"""What a file may claim before anything is allocated for it, and why one cannot be used."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from deeploc_tf.sources.source import RejectedCrop

MAX_FILE_BYTES = 1 << 31  # a crop of MAX_PIXELS float32 pixels is half of it
MAX_PLANES = 4096
NOT_GRAY = "not gray-level"
PALETTE = "palette"

_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class BadImage(ValueError):
    """Why a file is not an image that we read; the reader of the file adds its place.

    Attributes:
        reason: what `RejectedCrop` has.
    """

    def __init__(self, problem: str, reason: str = "image is damaged") -> None:
        super().__init__(problem)
        self.reason = reason


def not_gray(kind: str) -> BadImage:
    """What to raise for an image in color; `kind` says which."""
    remedy = (
        "Where red, green and blue are channels of a microscope, say so by axes and names (--axes "
        "YXC --channels er,nucleus,actin); else write a file a channel (ImageJ: Image > Color > "
        "Split Channels)"
    )
    if kind == PALETTE:
        remedy = "Save it in gray levels (ImageJ: Image > Lookup Tables > Grays)"
    elif "transparency" in kind:
        remedy = "Save it without transparency, the alpha channel"
    return BadImage(f"it is not gray-level but in color ({kind}). {remedy}", NOT_GRAY)


def check_size(shape: Sequence[int], max_pixels: int) -> None:
    """Refuse an image that declares no pixels, or too many to be one."""
    pixels = math.prod(map(int, shape))
    if not 0 < pixels <= max_pixels:
        msg = f"it declares {pixels} pixels {tuple(shape)}, where 1 to {max_pixels} are allowed"
        raise BadImage(msg, "too many pixels" if pixels > 0 else "image is damaged")


def read_bytes(path: str | os.PathLike[str], statuses: list[os.stat_result] | None = None) -> bytes:
    """All bytes of a regular file of bounded size.

    Args:
        path: the file.
        statuses: gets the status that the file had before its first byte was read.

    Raises:
        RejectedCrop: the file is empty, too large, or a pipe or device.
        OSError: the file cannot be read.
    """
    name = os.fspath(path)
    file = os.open(name, _OPEN)  # a pipe must not block: it is refused below
    try:
        status = os.fstat(file)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode) or not 0 < size <= MAX_FILE_BYTES:
            raise unusable_file(name, status)
        if statuses is not None:
            statuses.append(status)
        data = os.read(file, size)
        while len(data) < size:  # network disks may give less than asked for
            more = os.read(file, size - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(file)


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuse what `read_bytes` refuses, without reading it."""
    status = os.stat(path)  # noqa: PTH116 -- as read_bytes
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_FILE_BYTES:
        raise unusable_file(os.fspath(path), status)


def unusable_file(name: str, status: os.stat_result) -> RejectedCrop:
    """The error for a file that is no regular file, empty or too large."""
    if not stat.S_ISREG(status.st_mode):
        found, reason = "not a regular file", "not a regular file"
    else:
        found = f"{status.st_size} bytes"
        reason = "file is too large" if status.st_size else "file is empty"
    msg = (
        f"An image file must hold 1 to {MAX_FILE_BYTES} bytes. Received: {Path(name).name}: "
        f"{found}. Mend or remove the file."
    )
    return RejectedCrop(msg, reason=reason)
