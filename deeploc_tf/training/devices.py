"""Which devices train: all visible GPUs under `MirroredStrategy`, otherwise one device.

Where the variable `TF_CONFIG` names several workers, those of all of them train together.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import keras
import tensorflow as tf

from deeploc_tf.extras import install
from deeploc_tf.models.hardware import device_names, share_gpus
from deeploc_tf.models.keras_compat import IS_KERAS_2
from deeploc_tf.training.multi_worker import this_worker


def choose_strategy(
    device: str = "auto", batch_size: int | None = None, *, xla: bool = False
) -> tf.distribute.Strategy:
    """The strategy for `--device`: a request that cannot be met is an error, never a silent CPU.

    Args:
        device: "auto" (every visible GPU, else the CPU), "cpu", "gpu" (every visible GPU), or a
            list such as "gpu:0,gpu:1" or "cpu:0,cpu:1".
        batch_size: of all replicas together; checked to be divisible.
        xla: the step will be compiled by XLA, which fails on several devices.

    Returns:
        `MultiWorkerMirroredStrategy` for several workers; `MirroredStrategy` for several devices;
        `OneDeviceStrategy` for a single one; the default strategy for "auto" where there is the CPU
        alone. All but the last copy batches to their devices ahead of the step.

    Raises:
        ValueError: the device does not exist, the batch cannot be shared out evenly, or XLA is to
            compile for several.
    """
    share_gpus()
    if this_worker().num_workers > 1:
        workers = _of_workers(device)
        replicas = [f"worker:{i}" for i in range(workers.num_replicas_in_sync)]
        _check_replicas(replicas, batch_size, xla)
        return workers
    names = device_names(device)
    _check_replicas(names, batch_size, xla)
    if len(names) > 1:
        return _mirrored(tuple(names))
    if device == "auto" and names == ["cpu:0"]:
        return tf.distribute.get_strategy()
    return tf.distribute.OneDeviceStrategy(names[0])


def first_device(strategy: tf.distribute.Strategy) -> str | None:
    """Where a training computes what one device computes; None: where TensorFlow chooses.

    Args:
        strategy: as `choose_strategy` gives it; not to be called in its scope.
    """
    of_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if of_workers or strategy is tf.distribute.get_strategy():
        return None
    return str(strategy.extended.worker_devices[0])


def describe_strategy(strategy: tf.distribute.Strategy) -> str:
    """Where the training runs, and whether there is an NVIDIA card that TensorFlow misses."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        this = this_worker()
        text = f"{replicas} devices of {this.num_workers} workers, of which this is {this.index}"
    elif replicas > 1:
        text = f"{replicas} devices under MirroredStrategy"
    elif isinstance(strategy, tf.distribute.OneDeviceStrategy):
        kind, number = strategy.extended.worker_devices[0].split(":")[-2:]
        text = f"{kind.upper()} {number}" if int(number) else f"the {kind.upper()}"
    else:
        text = "one GPU" if gpus else "the CPU"
    if not gpus and invisible_nvidia_device():
        text += f"; there is an NVIDIA device that TensorFlow cannot see: {install('gpu')}"
    return text


def invisible_nvidia_device() -> bool:
    """Whether the system has an NVIDIA device although TensorFlow sees no GPU."""
    present = sys.platform == "linux" and Path("/proc/driver/nvidia/version").exists()
    return present and not tf.config.list_physical_devices("GPU")


@functools.cache
def _mirrored(names: tuple[str, ...]) -> tf.distribute.Strategy:
    # A second one in a process would count its collective operations from the start again, and
    # TensorFlow takes them for those of the first: "Shape mismatch in the collective instance".
    return tf.distribute.MirroredStrategy(list(names))


@functools.cache
def _of_workers(device: str) -> tf.distribute.Strategy:
    if not IS_KERAS_2:
        msg = (
            "Several workers need the addons stack: `fit` of Keras 3 does not work with "
            "MultiWorkerMirroredStrategy (keras-team/keras#20585). Received: TF_CONFIG of "
            f"{this_worker().num_workers} workers, Keras {keras.__version__}. Unset TF_CONFIG to "
            "train on the devices of one machine, or install deeploc-tf with its extra `addons` on "
            "Python 3.11."
        )
        raise ValueError(msg)
    if device != "auto":
        msg = f"Each of several workers takes all its devices. Received: device={device!r}."
        raise ValueError(msg)
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_replicas(names: list[str], batch_size: int | None, xla: bool) -> None:
    if xla and len(names) > 1:
        msg = (
            "XLA compiles for one device. Received: xla=True, "
            f"devices={','.join(names)}. Name one of them, or train without XLA."
        )
        raise ValueError(msg)
    if batch_size is not None and batch_size % len(names):
        msg = (
            "The batch size must be divisible by the number of devices. Received: "
            f"batch_size={batch_size}, devices={','.join(names)}."
        )
        raise ValueError(msg)
