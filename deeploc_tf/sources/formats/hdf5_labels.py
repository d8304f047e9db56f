"""Label images in HDF5 files, as ilastik and YeaZ write them: one data set, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.hdf5_trial import UnreadableError, lacks_checksums, try_elsewhere
from deeploc_tf.sources.formats.limits import BadImage, check_size
from deeploc_tf.sources.hdf5_file import data_set, open_hdf5, whole
from deeploc_tf.sources.source import RejectedCrop, SourceError
from tfrecords.schema import MAX_PIXELS

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: str) -> bool:
    """Whether a file begins as HDF5 does."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def read_hdf5_labels(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """The one image of numbers in a file: `exported_data` of ilastik, `FOV0/T0` of YeaZ.

    Returns:
        As it is stored, but for axes of length 1, which ilastik writes around it.

    Raises:
        RejectedCrop: the file is damaged, or holds no image or several.
    """
    try:
        if lacks_checksums(path):
            try_elsewhere(path)
        return np.squeeze(_only_image(path, max_pixels))
    except (UnreadableError, SourceError, BadImage) as error:
        msg = (
            "A label image in HDF5 must be the one data set of numbers in its file. Received: "
            f"{path.name}: {str(error).replace(str(path), path.name)}"
        )
        reason = error.reason if isinstance(error, BadImage) else "label image is damaged"
        raise RejectedCrop(msg, reason=reason) from error


def _only_image(path: Path, max_pixels: int) -> NDArray[Any]:
    import h5py

    found: list[str] = []

    def note(name: str, here: Any) -> None:
        if isinstance(here, h5py.Dataset) and here.dtype.kind in "buif" and len(here.shape) >= 2:
            found.append(name)

    with open_hdf5(path) as file:
        with whole(path):
            file.visititems(note)
        if len(found) != 1:
            msg = f"it holds {len(found)} ({', '.join(found[:5])}). Write one file an image."
            raise BadImage(msg, "several images in a file" if found else "not an image")
        with whole(path):
            image = data_set(file, found[0])
        check_size(image.shape, max_pixels)
        with whole(path):
            pixels: NDArray[Any] = image[...]
        return pixels
