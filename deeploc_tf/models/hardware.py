"""What devices can, and what they are asked for.

bfloat16 is for those that multiply it in hardware; elsewhere it saves nothing and costs digits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf

from deeploc_tf.extras import install

_CPU_INFO = Path("/proc/cpuinfo")
_DEVICE = re.compile(r"(cpu|gpu)(?::(\d+))?")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def share_gpus() -> None:
    """Take as much of a GPU's memory as is used, so that others have room on it.

    It must come before the first tensor: whoever computes calls it first of all.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        # Too late, as this process has used it already; or the caller has divided it.
        with contextlib.suppress(RuntimeError, ValueError):
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


def computing_devices(device: str = "auto") -> list[str | None]:
    """Where batches are computed that several devices may share; see `computed_in_turn`.

    Args:
        device: "auto" (every visible GPU, else the CPU), "cpu", "gpu" (every visible GPU), or a
            list such as "gpu:0,gpu:1".

    Returns:
        Names for `placed_on`; None of the only one, where that is left to TensorFlow.
    """
    share_gpus()
    names = device_names(device)
    return [None] if device == "auto" and len(names) == 1 else [*names]


def computed_in_turn(
    functions: Sequence[Callable[[_Item], _Result]], items: Iterable[_Item]
) -> Iterator[tuple[_Item, _Result]]:
    """Each item with what a function makes of it, in the order of the items.

    The functions, one a device, take whole items in turn, so that results do not depend on their
    number. They compute while the caller takes care of earlier results and the next items are made.

    Args:
        functions: they do the same, each on a device of its own.
        items: such as batches.
    """
    waiting: deque[tuple[_Item, Future[_Result]]] = deque()
    with ThreadPoolExecutor(len(functions)) as pool:
        for number, item in enumerate(items):
            waiting.append((item, pool.submit(functions[number % len(functions)], item)))
            if len(waiting) > len(functions):
                item, future = waiting.popleft()
                yield item, future.result()
        for item, future in waiting:
            yield item, future.result()


@contextlib.contextmanager
def within_memory(
    batch_size: int, attempt: Callable[[int], Any], multiple: int = 1
) -> Iterator[None]:
    """Find out which batch size fits, where the device has too little memory for what is inside.

    Args:
        batch_size: of what is computed inside.
        attempt: takes as much memory of any number of crops.
        multiple: batch sizes are multiples of this.

    Raises:
        MemoryError: it has; half of the batch, a quarter, and so on, were tried.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not _is_of_memory(error):
            raise
        fits = batch_size
        while fits := fits // 2 // multiple * multiple:
            try:
                attempt(fits)
                break
            except tf.errors.OpError as another:
                if not _is_of_memory(another):
                    raise
        msg = (
            "A batch, with its gradients in training, must fit into the device's memory. Received: "
            f"batch_size={batch_size}. "
        )
        msg += (
            f"Use a smaller batch size: --batch-size {fits} fits."
            if fits
            else "No smaller one fits either: use a narrower network or a smaller window."
        )
        raise MemoryError(msg) from error


def _is_of_memory(error: tf.errors.OpError) -> bool:
    """Whether a device's memory has run out; TensorFlow says of a full disk nearly the same."""
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return os.strerror(errno.ENOSPC) not in str(error)
    return isinstance(error, tf.errors.InternalError) and "out of memory" in str(error).lower()


@contextlib.contextmanager
def rounding_to_tf32(allowed: bool) -> Iterator[None]:
    """Whether NVIDIA GPUs may round the factors of float32 products to 10 bits of fraction."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def on_gpu() -> bool:
    """Whether a GPU computes here what TensorFlow is asked for now."""
    return "GPU" in tf.zeros(()).device.upper()


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
        ValueError: TensorFlow sees no such device, one is named twice, or they are of two kinds.
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
    if len({name[:3] for name in names}) > 1:
        msg = (
            "Devices that compute together must be of one kind: all would wait for the slowest. "
            f"Received: device={device!r}. Name the GPUs, or the CPU."
        )
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
