"""What devices can, and what they are asked for.

bfloat16 is for those that multiply it in hardware; elsewhere it saves nothing and costs digits.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from deeploc_tf.extras import install

_CPU_INFO = Path("/proc/cpuinfo")
_DEVICE = re.compile(r"(cpu|gpu)(?::(\d+))?")


def share_gpus() -> None:
    """Take as much of a GPU's memory as is used, so that others have room on it."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # too late: this process has used it already
            tf.config.experimental.set_memory_growth(gpu, True)


def placed_on(device: str | None) -> contextlib.AbstractContextManager[Any]:
    """Compute on a device what TensorFlow is asked for inside; None: on the one that it chooses."""
    return contextlib.nullcontext() if device is None else tf.device(device)


@contextlib.contextmanager
def computing_on(device: str = "auto") -> Iterator[None]:
    """Compute on the one device that `--device` names.

    Args:
        device: "auto" (the one that TensorFlow chooses: the first GPU, else the CPU), "cpu", "gpu"
            (the first one), or one such as "gpu:1".

    Raises:
        ValueError: there is no such device, or there are several.
    """
    share_gpus()
    names = device_names(device)
    if len(names) > 1 and device not in ("auto", "gpu"):
        msg = f"This is computed on one device. Received: device={device!r}. Name one of them."
        raise ValueError(msg)
    with placed_on(None if device == "auto" else names[0]):
        yield


def memory_bytes() -> int:
    """Memory of this machine, whoever uses it; more than there is where the system does not tell.

    That of a GPU is not asked for: TensorFlow says when it is full, while a full machine swaps.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 60


def device_names(device: str) -> list[str]:
    """The devices that `--device` names, such as "gpu:0": see `choose_strategy`.

    Raises:
        ValueError: TensorFlow sees no such device, or one is named twice.
    """
    counts = {kind: len(tf.config.list_logical_devices(kind.upper())) for kind in ("cpu", "gpu")}
    if device == "auto":
        device = "gpu" if counts["gpu"] else "cpu"
    if device == "cpu":
        return ["cpu:0"]
    if device == "gpu" and counts["gpu"]:
        return [f"gpu:{i}" for i in range(counts["gpu"])]
    names = []
    for part in device.split(","):
        match = _DEVICE.fullmatch(part.strip().lower())
        if match is None or int(match[2] or 0) >= counts[match[1]]:
            available = ", ".join(f"{kind}:{i}" for kind, n in counts.items() for i in range(n))
            msg = (
                "A device must be auto, cpu, gpu or a list of devices that TensorFlow sees. "
                f"Received: device={device!r}; it sees {available}."
            )
            if match is not None and match[1] == "gpu":
                msg += f" For NVIDIA cards: {install('gpu')}. Use --device auto to accept the CPU."
            raise ValueError(msg)
        names.append(f"{match[1]}:{int(match[2] or 0)}")
    if len(set(names)) != len(names):
        msg = f"Each device must be named once. Received: device={device!r}."
        raise ValueError(msg)
    return names


def cpu_has_bfloat16() -> bool:
    """Whether this CPU does; False where the system does not tell."""
    if not _CPU_INFO.exists():
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", _CPU_INFO.read_text("utf-8")) is not None


def gpus_have_bfloat16() -> bool:
    """Whether all GPUs do; NVIDIA's have it from compute capability 8.0 on."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return all(device.get("compute_capability", (0, 0)) >= (8, 0) for device in details)
