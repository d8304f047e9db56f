"""Random views of a crop: turned, cut and flipped while training, one fixed view otherwise."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.randomness import RandomLayer


@keras.utils.register_keras_serializable(package="deeploc_tf")
class RandomRotation(RandomLayer):
    """Turn each crop about its center by a random angle while training; leave it alone otherwise.

    Pixels are interpolated bilinearly. Those from outside the crop mirror its border, so that no
    black corner tells the network the angle; of masked crops they are background as well, since a
    cell that touches the border would be mirrored into what is none of it.

    Args:
        max_degrees: angles are uniform in [-max_degrees, max_degrees].
        masked: pixels outside the cell are 0, as `Normalization` leaves them, and so is what lies
            outside the crop.
        seed: of the random numbers.

    Input shape:
        `(batch_size, height, width, channels)`, float32.

    Output shape:
        The same.
    """

    def __init__(
        self, max_degrees: float = 45.0, *, masked: bool = False, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.max_degrees = float(max_degrees)
        self.masked = bool(masked)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Turned crops, of the input's shape."""
        if not training:
            return inputs
        height, width = inputs.shape[1], inputs.shape[2]
        radians = math.radians(self.max_degrees)
        batch_size = tf.shape(inputs)[0]
        angle = tf.random.stateless_uniform(
            (batch_size,), self.next_seed(), minval=-radians, maxval=radians
        )
        cosine, sine = tf.cos(angle), tf.sin(angle)
        center_x, center_y = (width - 1) / 2, (height - 1) / 2
        zeros = tf.zeros_like(angle)
        # Output (x, y) comes from input (a0 x + a1 y + a2, b0 x + b1 y + b2).
        transforms = tf.stack(
            [
                cosine,
                -sine,
                center_x - cosine * center_x + sine * center_y,
                sine,
                cosine,
                center_y - sine * center_x - cosine * center_y,
                zeros,
                zeros,
            ],
            axis=1,
        )
        turned = tf.raw_ops.ImageProjectiveTransformV3(
            images=inputs,
            transforms=transforms,
            output_shape=(height, width),
            interpolation="BILINEAR",
            fill_mode="CONSTANT" if self.masked else "REFLECT",
            fill_value=0.0,
        )
        return tf.ensure_shape(turned, inputs.shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "max_degrees": self.max_degrees, "masked": self.masked}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class RandomCrop(RandomLayer):
    """Cut a window out of each crop: at a random place while training, at the center otherwise.

    Every offset is equally likely, the last one too (the ancestor's code never drew it).

    Args:
        height: of the window, in pixels.
        width: of the window, in pixels.
        seed: of the random numbers.

    Input shape:
        `(batch_size, height, width, channels)`.

    Output shape:
        `(batch_size, window height, window width, channels)`.

    Raises:
        ValueError: the window is larger than the crops.
    """

    def __init__(self, height: int, width: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.height = int(height)
        self.width = int(width)

    def build(self, input_shape: Any) -> None:
        """Refuse crops smaller than the window."""
        if input_shape[1] < self.height or input_shape[2] < self.width:
            msg = (
                "The window must not exceed the stored crop. Received: "
                f"window={(self.height, self.width)}, stored {tuple(input_shape[1:3])}. "
                "Choose a smaller window or rebuild the records with larger crops."
            )
            raise ValueError(msg)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Windows `(batch_size, window height, window width, channels)`."""
        slack = inputs.shape[1] - self.height, inputs.shape[2] - self.width
        if not training:
            top, left = slack[0] // 2, slack[1] // 2
            return inputs[:, top : top + self.height, left : left + self.width]
        seed = self.next_seed()
        batch_size = tf.shape(inputs)[0]
        draw = [
            tf.random.stateless_uniform(
                (batch_size, 1), seed + tf.constant([i, 0], tf.int64), 0, room + 1, tf.int32
            )
            for i, room in enumerate(slack)
        ]
        rows = draw[0] + tf.range(self.height)
        columns = draw[1] + tf.range(self.width)
        window = tf.gather(inputs, rows, axis=1, batch_dims=1)
        return tf.gather(window, columns, axis=2, batch_dims=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch_size, window height, window width, channels)`."""
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.utils.register_keras_serializable(package="deeploc_tf")
class RandomOrientation(RandomLayer):
    """Flip and turn each crop at random while training; leave it alone otherwise.

    A cell on a slide has no up and no left: the eight flips and quarter turns of a square crop are
    equally likely views of it.

    Args:
        quarter_turns: draw all eight orientations; otherwise the four that flips alone reach.
        seed: of the random numbers.

    Input shape:
        `(batch_size, height, width, channels)`; square where quarter turns are drawn.

    Output shape:
        The same.

    Raises:
        ValueError: quarter turns are asked for crops that are not square.
    """

    def __init__(self, quarter_turns: bool = True, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.quarter_turns = bool(quarter_turns)

    def build(self, input_shape: Any) -> None:
        """Refuse quarter turns of crops that are not square."""
        if self.quarter_turns and input_shape[1] != input_shape[2]:
            msg = (
                "Quarter turns need square crops. Received: "
                f"{input_shape[1]}x{input_shape[2]} pixels. Use augmentation='flips' or a square "
                "window."
            )
            raise ValueError(msg)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Oriented crops, of the input's shape."""
        if not training:
            return inputs
        height, width, channels = inputs.shape[1:]
        views = _orientations(height, width)[: 8 if self.quarter_turns else 4]
        orientation = tf.random.stateless_uniform(
            (tf.shape(inputs)[0],), self.next_seed(), 0, len(views), tf.int32
        )
        # One gather: reversing and selecting whole batches costs ten times as much on a CPU.
        pixels = tf.reshape(inputs, (-1, height * width, channels))
        turned = tf.gather(pixels, tf.gather(views, orientation), batch_dims=1)
        return tf.reshape(turned, (-1, height, width, channels))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "quarter_turns": self.quarter_turns}


def _orientations(height: int, width: int) -> NDArray[np.int32]:
    """For each of the eight views `(8, height * width)`: which pixel comes to which place."""
    pixels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    views = []
    for orientation in range(8):
        view = pixels[::-1] if orientation % 2 else pixels
        view = view[:, ::-1] if orientation // 2 % 2 else view
        views.append((view.T if orientation // 4 else view).ravel())
    return np.stack(views)


def none(x: Any, *, window: int | None, seed: int, masked: bool) -> Any:  # noqa: ARG001
    """The window alone, at a random place while training."""
    if not window:
        return x
    return RandomCrop(window, window, seed=seed, name="random_crop")(x)


def flips(x: Any, *, window: int | None, seed: int, masked: bool) -> Any:
    """The window in one of four views: as it is, mirrored either way, or both."""
    x = none(x, window=window, seed=seed, masked=masked)
    return RandomOrientation(False, seed=seed, name="random_orientation")(x)


def orientations(x: Any, *, window: int | None, seed: int, masked: bool) -> Any:
    """The window in one of all eight flips and quarter turns."""
    x = none(x, window=window, seed=seed, masked=masked)
    return RandomOrientation(True, seed=seed, name="random_orientation")(x)


def rotations(x: Any, *, window: int | None, seed: int, masked: bool) -> Any:
    """The window of a crop that is turned by any angle, then flipped and turned as well."""
    # Turned before the window is cut: its margin hides the mirrored border.
    x = RandomRotation(45.0, masked=masked, seed=seed, name="random_rotation")(x)
    return orientations(x, window=window, seed=seed, masked=masked)
