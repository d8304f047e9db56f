"""Views of a crop whose predictions are averaged: five windows, eight orientations, or both.

A model normalizes the whole crop and then cuts its window out of the middle. To let it see another
window, the raw crop is rolled: what leaves on one side enters on the other. The pixels stay the
same ones, so their percentiles, minimum and maximum and hence the normalization do too, and the
window holds exactly the pixels asked for; those that went around stay outside. The network,
its layers and its weights are left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import log_expit, log_softmax, logsumexp

from deeploc_tf.models.augmentation import RandomCrop
from deeploc_tf.network_choices import TestTime
from tfrecords.errors import SchemaError

TEST_TIMES = get_args(TestTime)
_NO_YES = (False, True)
_ORIENTATIONS = [
    (rows, columns, turn) for rows in _NO_YES for columns in _NO_YES for turn in _NO_YES
]


@dataclasses.dataclass(frozen=True)
class View:
    """One way to look at a batch of raw crops or masks: flipped, turned, then rolled.

    Attributes:
        flip_rows: top and bottom change places.
        flip_columns: left and right change places.
        transpose: rows become columns.
        roll: by how many rows and columns, at last.
    """

    flip_rows: bool = False
    flip_columns: bool = False
    transpose: bool = False
    roll: tuple[int, int] = (0, 0)

    def __call__(self, pixels: Any) -> Any:
        """That view of images `(batch_size, height, width, channels)` or masks without the last."""
        if self.flip_rows:
            pixels = pixels[:, ::-1]
        if self.flip_columns:
            pixels = pixels[:, :, ::-1]
        if self.transpose:
            pixels = tf.transpose(pixels, (0, 2, 1, *range(3, len(pixels.shape))))
        # Not by `tf.roll`, which of 8 and 16 bits has no kernel for GPUs.
        rows, columns = self.roll
        if rows:
            pixels = tf.concat([pixels[:, -rows:], pixels[:, :-rows]], axis=1)
        if columns:
            pixels = tf.concat([pixels[:, :, -columns:], pixels[:, :, :-columns]], axis=2)
        return pixels


def views(model: keras.Model, test_time: str) -> list[View]:
    """The views that a way of averaging takes; the first is the crop as it is.

    Args:
        model: as `DeepLoc` made it; its window is that of its layer `RandomCrop`.
        test_time: "none": one view. "crops": the middle window and those in the four corners.
            "orientations": the eight flips and quarter turns of the middle window. "both": those
            eight of each of the five windows.

    Raises:
        ValueError: `test_time` is none of these.
        SchemaError: "crops" of a model that sees the whole crop, or orientations of crops that are
            not square.

    References:
        Kraus et al. 2017, Mol Syst Biol 13:924, for "crops".
    """
    if test_time not in TEST_TIMES:
        msg = (
            f"`test_time` must be one of {', '.join(TEST_TIMES)}. Received: "
            f"test_time={test_time!r}."
        )
        raise ValueError(msg)
    rows, columns = _slack(model)
    middle = rows // 2, columns // 2
    windows = [middle]
    if test_time in ("crops", "both"):
        if (rows, columns) == (0, 0):
            msg = (
                "Windows can be averaged where the model sees a part of the crop. Received: "
                f"test_time={test_time!r} for a model that sees all of it. Use 'orientations', or "
                "train with a smaller window."
            )
            raise SchemaError(msg)
        windows += [(0, 0), (0, columns), (rows, 0), (rows, columns)]
    orientations = _ORIENTATIONS[:1]
    if test_time in ("orientations", "both"):
        height, width = model.inputs[0].shape[1:3]
        if height != width:
            msg = (
                "Quarter turns need square crops. Received: "
                f"test_time={test_time!r} for crops of {height}x{width} pixels. Use 'crops'."
            )
            raise SchemaError(msg)
        orientations = _ORIENTATIONS
    return [
        _view(window, orientation, (rows, columns))
        for window in windows
        for orientation in orientations
    ]


def window_size(model: keras.Model) -> tuple[int, int]:
    """Height and width of the window of the crop that the network sees."""
    for layer in model.layers:
        if isinstance(layer, RandomCrop):
            return layer.height, layer.width
    height, width = model.inputs[0].shape[1:3]
    return height, width


def _slack(model: keras.Model) -> tuple[int, int]:
    """By how many rows and columns the crop exceeds that window."""
    height, width = model.inputs[0].shape[1:3]
    rows, columns = window_size(model)
    return height - rows, width - columns


def _view(
    window: tuple[int, int], orientation: tuple[bool, bool, bool], slack: tuple[int, int]
) -> View:
    """The view that brings a window of the crop, given by its offsets, into the middle, turned."""
    flip_rows, flip_columns, transpose = orientation
    row = slack[0] - window[0] if flip_rows else window[0]
    column = slack[1] - window[1] if flip_columns else window[1]
    if transpose:  # only of squares, so that the slack is the same either way
        row, column = column, row
    return View(*orientation, roll=(slack[0] // 2 - row, slack[1] // 2 - column))


def outputs_of_views(
    network: Callable[[Any], Any], crops: Mapping[str, Any], of: Sequence[View]
) -> list[Any]:
    """What a network gives for each view of a batch, in a graph or outside.

    Args:
        network: a function of `image`, or of a dict of `image` and `mask`.
        crops: these, `(batch_size, height, width, channels)` and `(batch_size, height, width)`.
        of: the views, one after the other: the memory is that of one.
    """
    outputs: list[Any] = []
    for view in of:
        with tf.control_dependencies(tf.nest.flatten(outputs[-1:])):
            seen = {name: view(tf.identity(pixels)) for name, pixels in crops.items()}
            outputs.append(network(seen if "mask" in seen else seen["image"]))
    return outputs


def mean_of_vectors(vectors: Sequence[Any]) -> Any:
    """Mean over views of float32 tensors `(batch_size, num_features)`."""
    return vectors[0] if len(vectors) == 1 else tf.add_n(vectors) / len(vectors)


def mean_of_logits(
    logits: Sequence[NDArray[np.floating]], *, multi_label: bool
) -> NDArray[np.float32]:
    """Scores of crops whose logits were computed for several views, finite whatever those are.

    Args:
        logits: of each view, `(num_crops, num_classes)`.
        multi_label: a crop may belong to several classes.

    Returns:
        ``log(mean over views of softmax(logits))``, or, for several labels a crop, the logits of
        the mean over views of ``sigmoid(logits)``; computed in float64.
    """
    views = [np.asarray(values, np.float64) for values in logits]
    if not multi_label:
        logs = [log_softmax(values, axis=1) for values in views]
        return np.asarray(logsumexp(logs, axis=0) - np.log(len(views)), np.float32)
    present = logsumexp([log_expit(values) for values in views], axis=0)
    absent = logsumexp([log_expit(-values) for values in views], axis=0)
    return np.asarray(present - absent, np.float32)


def mean_of_logits_in_graph(logits: Sequence[Any], *, multi_label: bool) -> Any:
    """`mean_of_logits` of float32 tensors for exported models, which have no NumPy; in float32."""
    stacked = tf.stack(logits)
    if not multi_label:
        return _log_mean_exp(tf.nn.log_softmax(stacked))
    return _log_mean_exp(tf.math.log_sigmoid(stacked)) - _log_mean_exp(
        tf.math.log_sigmoid(-stacked)
    )


def _log_mean_exp(values: Any) -> Any:
    """Over the first axis, without ever forming a probability that rounds to 0 or 1."""
    return tf.reduce_logsumexp(values, axis=0) - tf.math.log(float(values.shape[0]))
