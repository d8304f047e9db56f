"""What devices can, and what they are asked for.

bfloat16 is for those that multiply it in hardware; elsewhere it saves nothing and costs digits.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import tensorflow as tf

_CPU_INFO = Path("/proc/cpuinfo")


def share_gpus() -> None:
    """Take as much of a GPU's memory as is used, so that others have room on it."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # too late: this process has used it already
            tf.config.experimental.set_memory_growth(gpu, True)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU does; False where the system does not tell."""
    if not _CPU_INFO.exists():
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", _CPU_INFO.read_text("utf-8")) is not None


def gpus_have_bfloat16() -> bool:
    """Whether all GPUs do; NVIDIA's have it from compute capability 8.0 on."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return all(device.get("compute_capability", (0, 0)) >= (8, 0) for device in details)
