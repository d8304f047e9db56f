"""The numbers a training computes in: float32, or 16 bits with weights, head and loss in float32.

Only training is affected. The model that is evaluated and saved computes in float32, so a run can
be used on any machine.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

_CPU_INFO = Path("/proc/cpuinfo")
_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def resolve_precision(precision: str, strategy: tf.distribute.Strategy) -> str:
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
    else:  # the default strategy, which takes the first GPU if there is one
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if precision == "float16" and not on_gpu:
        msg = (
            "float16 is for GPUs. Received: precision='float16', no GPU to train on. "
            "Use bfloat16, or auto."
        )
        raise ValueError(msg)
    if precision != "auto":
        return precision
    fast = _gpus_have_bfloat16() if on_gpu else _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers and models made meanwhile compute in this precision; their weights are float32."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _cpu_has_bfloat16() -> bool:
    if not _CPU_INFO.exists():
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", _CPU_INFO.read_text("utf-8")) is not None


def _gpus_have_bfloat16() -> bool:
    """NVIDIA's have it from compute capability 8.0 on."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return all(device.get("compute_capability", (0, 0)) >= (8, 0) for device in details)
