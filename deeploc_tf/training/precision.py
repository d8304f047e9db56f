"""The numbers a training computes in: float32, or convolutions in 16 bits and the rest in float32.

Only training is affected. The model that is evaluated and saved computes in float32, so a run can
be used on any machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from deeploc_tf.models.hardware import cpu_has_bfloat16, gpus_have_bfloat16
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.training.choices import Precision

_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def resolve_precision(precision: Precision, strategy: tf.distribute.Strategy) -> str:
    """What "auto" means on the devices of a strategy: bfloat16 where they multiply it in hardware.

    Args:
        precision: "auto", "float32", "bfloat16" or "float16".
        strategy: the devices.

    Returns:
        "float32", "bfloat16" or "float16".

    Raises:
        ValueError: float16 is asked of a CPU.
    """
    if isinstance(strategy, tf.distribute.OneDeviceStrategy | tf.distribute.MirroredStrategy):
        on_gpu = "GPU" in strategy.extended.worker_devices[0].upper()
    else:  # of several workers, or the CPU alone
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if precision == "float16" and not on_gpu:
        msg = (
            "float16 is for GPUs. Received: precision='float16', no GPU to train on. "
            "Use bfloat16, or auto."
        )
        raise ValueError(msg)
    if precision != "auto":
        return precision
    fast = gpus_have_bfloat16() if on_gpu else cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers and models made meanwhile compute in this precision; their weights are float32."""
    with our_settings(_POLICIES[precision]):
        yield
