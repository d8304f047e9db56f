"""Some channels of the crops: what a network does not look at, its first layer leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from deeploc_tf.names import same_form
from tfrecords.errors import SchemaError, did_you_mean


@keras.utils.register_keras_serializable(package="deeploc_tf")
class SelectChannels(keras.layers.Layer):
    """Some channels of an image, in a certain order.

    Args:
        channels: their numbers, from 0.

    Input shape:
        `(batch_size, height, width, channels)`, any numeric dtype.

    Output shape:
        `(batch_size, height, width, len(channels))`, float32.
    """

    def __init__(self, channels: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.channels = tuple(int(channel) for channel in channels)

    def call(self, inputs: Any) -> Any:
        """Those channels."""
        return tf.gather(tf.cast(inputs, tf.float32), self.channels, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's, with these channels."""
        return (*input_shape[:-1], len(self.channels))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "channels": list(self.channels)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SelectChannels:
        """The layer of a configuration, also of one that has the first channel and the last."""
        values = dict(config)
        if "start" in values:
            values["channels"] = range(values.pop("start"), values.pop("stop"))
        return cls(**values)


def seen_channels(
    image_shape: Sequence[int], at_most: int | None, given: Sequence[int] | None
) -> tuple[int, ...]:
    """Numbers of the channels that a network sees.

    Args:
        image_shape: `(height, width, channels)` of the crops.
        at_most: that many, from the first on; None: all.
        given: what a user chose instead, or None.

    Raises:
        ValueError: none is given, one that the crops do not have, or one twice.
    """
    known = range(image_shape[-1])
    if given is None:
        return tuple(known[:at_most])
    chosen = tuple(given)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
        msg = (
            f"`channels` must be different numbers below {len(known)}, at least one. Received: "
            f"channels={chosen}."
        )
        raise ValueError(msg)
    return chosen


def find_channels(names: Sequence[str], known: Sequence[str]) -> tuple[int, ...] | None:
    """Numbers of the channels of those names among the known ones; None: nothing is named.

    Raises:
        SchemaError: there is no such channel, or one is named twice.
    """
    forms = [same_form(name, "channel") for name in known]
    for name in names:
        if same_form(name, "channel") not in forms:
            msg = (
                f"`channels` must be of the records, which have {', '.join(known)}. Received: "
                f"{name!r}.{did_you_mean(name, known)}"
            )
            raise SchemaError(msg)
    found = tuple(forms.index(same_form(name, "channel")) for name in names)
    if len(set(found)) < len(found):
        msg = f"`channels` must be different ones. Received: {', '.join(names)}. Name each once."
        raise SchemaError(msg)
    return found or None


def select_channels(image: Any, channels: Sequence[int], name: str = "channels") -> Any:
    """Those channels of an image `(batch_size, height, width, channels)`; itself, if all are."""
    if tuple(channels) == tuple(range(image.shape[-1])):
        return image
    return SelectChannels(channels, name=name)(image)
