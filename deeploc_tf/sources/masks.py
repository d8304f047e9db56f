"""Masks of one cell and label images of many: what their pixels may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.sources.source import RejectedCrop

_SPECK = 0.1  # of the largest part's area, below which another part is none


def single_plane(image: NDArray[Any], name: str) -> NDArray[Any]:
    """The image without axes of length 1 around `(height, width)`; `name` is its file.

    Raises:
        RejectedCrop: it holds several planes.
    """
    plane = image
    while plane.ndim > 2 and 1 in (plane.shape[0], plane.shape[-1]):
        plane = plane[0] if plane.shape[0] == 1 else plane[..., 0]
    if plane.ndim != 2:
        msg = (
            f"A file must hold one plane (height, width). Received: {name} of shape {image.shape}. "
            "Write one file a channel, or name channels that lie in one file."
        )
        raise RejectedCrop(msg, reason="not one plane")
    return plane


def as_mask(
    image: NDArray[Any], name: str, shape: Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """A mask image of 0 and one other value as uint8 0 and 1, `(height, width)`.

    Args:
        image: the mask, of any type.
        name: its file, for messages.
        shape: of the image that it belongs to; the first two axes count.

    Raises:
        RejectedCrop: the mask is empty, of another shape, or tells several objects apart.
    """
    plane = single_plane(image, name)
    inside = plane != 0
    values = plane[inside]
    if not values.size:
        problem, reason = "no pixel inside", "mask is empty"
    elif (values != values[0]).any():
        problem, reason = "several values beside 0", "mask has several objects"
    elif shape is not None and plane.shape != tuple(shape[:2]):
        problem = f"{plane.shape} for an image of {tuple(shape[:2])}"
        reason = "mask shape differs"
    else:
        mask: NDArray[np.uint8] = inside.view(np.uint8)
        return mask
    msg = (
        "A mask must be 0 outside the cell and one other value inside, in the shape of its image. "
        f"Received: {problem} in {name}."
    )
    raise RejectedCrop(msg, reason=reason)


def as_labels(image: NDArray[Any], name: str) -> NDArray[Any]:
    """A label image `(height, width)`: 0 is background, any number above it an object.

    Returns:
        Whole numbers of a type that int64 holds.

    Raises:
        RejectedCrop: it is not one plane, or has numbers that are not whole, below 0 (as labels
            over 32,767 become in signed 16 bits), or too large for its type to hold all of them.
    """
    labels = single_plane(image, name)
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.trunc(labels))).all():
        problem, reason = "numbers that are not whole", "label image has no whole numbers"
    elif labels.dtype.kind != "u" and labels.size and labels.min() < 0:
        problem, reason = f"label {labels.min()}", "label image has negative numbers"
    elif labels.size and int(labels.max()) >= _limit(labels.dtype):
        problem = f"label {int(labels.max())} as {labels.dtype}"
        reason = "label image has numbers that are too large"
    else:
        # of uint64 and int64 NumPy would make float64 wherever they meet
        is_small = labels.dtype.kind != "f" and labels.dtype != np.uint64
        return labels if is_small else labels.astype(np.int64)
    msg = (
        "A label image must hold 0 (background) and whole numbers above it. Received: "
        f"{problem} in {name}."
    )
    raise RejectedCrop(msg, reason=reason)


def check_numbered(labels: NDArray[Any], num_objects: int, name: str) -> None:
    """Refuse a binary mask, which tells cells from background and not from each other.

    Args:
        labels: of `as_labels`.
        num_objects: how many numbers it has beside 0.
        name: its file, for messages.

    Raises:
        RejectedCrop: its one number is on several parts that do not touch, or it has two numbers at
            most and no background.
    """
    if num_objects == 1:
        from scipy import ndimage

        parts, _ = ndimage.label(labels != 0, np.ones((3, 3)))
        areas = np.bincount(parts.ravel())[1:]
        large = int((areas >= _SPECK * areas.max()).sum())  # pixels astray make no second cell
        problem = f"the number {labels.max()} on {large} parts that do not touch"
        is_binary = large > 1
    else:
        problem = f"only the numbers {labels.min()} and {labels.max()}, and no background"
        is_binary = num_objects == 2 and bool((labels != 0).all())
    if is_binary:
        msg = (
            f"A label image must give each cell a number of its own. Received: {problem} in "
            f"{name}, as in a binary mask. Number the cells first (ImageJ: Analyze Particles with "
            "Count Masks; Python: skimage.measure.label; ilastik: export Object Identities)."
        )
        raise RejectedCrop(msg, reason="label image is a binary mask")


def first_gap(dtype: np.dtype[Any]) -> int:
    """The whole number from which on a float type does not hold every one: 2**53 of float64."""
    return 1 << (np.finfo(dtype).nmant + 1)


def _limit(dtype: np.dtype[Any]) -> int:
    """The first number that no label of this type may have."""
    return first_gap(dtype) if dtype.kind == "f" else 1 << 63
