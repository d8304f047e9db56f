from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from deeploc_tf.training import devices
from deeploc_tf.training.devices import choose_strategy, describe_strategy


@pytest.fixture
def machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """TensorFlow as it answers where there are two GPUs; the list records what was asked of it."""
    calls: list[str] = []
    physical = [SimpleNamespace(name=f"/physical_device:GPU:{i}") for i in range(2)]
    counts = {"CPU": 1, "GPU": 2}

    def logical_devices(kind: str) -> list[Any]:
        calls.append("logical")  # from here on TensorFlow has begun, and memory growth is fixed
        return [SimpleNamespace(name=f"/device:{kind}:{i}") for i in range(counts[kind])]

    def set_memory_growth(device: Any, enable: bool) -> None:
        if "logical" in calls:
            msg = "Physical devices cannot be modified after being initialized"
            raise RuntimeError(msg)
        calls.append(f"growth {device.name}")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: physical)
    monkeypatch.setattr(tf.config, "list_logical_devices", logical_devices)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_memory_growth)
    monkeypatch.setattr(devices, "_mirrored", lambda names: ("mirrored", *names))
    monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", lambda name: ("one", name))
    return calls


def test_the_cpu_is_chosen_where_there_is_nothing_else() -> None:
    for device in ("auto", "cpu", "cpu:0"):
        strategy = choose_strategy(device, 7)
        assert strategy.num_replicas_in_sync == 1
        assert "the CPU" in describe_strategy(strategy)


def test_a_list_of_devices_is_mirrored(two_cpus: list[str]) -> None:
    strategy = choose_strategy(",".join(two_cpus), 8)
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 2
    assert "2 devices" in describe_strategy(strategy)
    assert choose_strategy("cpu:0,cpu:1") is strategy  # TensorFlow cannot tell two apart
    single = choose_strategy("cpu:1", 7)
    assert isinstance(single, tf.distribute.OneDeviceStrategy)


def test_a_batch_that_cannot_be_shared_out_is_refused(two_cpus: list[str]) -> None:
    with pytest.raises(ValueError, match=r"divisible by the number of devices.*batch_size=7"):
        choose_strategy(",".join(two_cpus), 7)


def test_xla_is_for_one_device(two_cpus: list[str]) -> None:
    with pytest.raises(ValueError, match=r"XLA compiles for one device.*devices=cpu:0,cpu:1"):
        choose_strategy(",".join(two_cpus), 8, xla=True)
    assert choose_strategy("cpu", 8, xla=True).num_replicas_in_sync == 1


@pytest.mark.parametrize("device", ["gpu", "gpu:0", "GPU:1", "cpu:0,gpu:0"])
def test_a_gpu_that_is_not_there_is_never_a_silent_cpu(device: str) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"it sees cpu:0.*tensorflow\[and-cuda\].*--device auto"):
        choose_strategy(device)


@pytest.mark.parametrize("device", ["", "tpu", "gpu0", "cpu:99", "cpu,", "cpu:0;cpu:1", "cpu:-1"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="A device must be"):
        choose_strategy(device)


def test_a_device_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named once"):
        choose_strategy("cpu:0,cpu")


def test_all_gpus_are_used_and_their_memory_is_set_before_tensorflow_begins(
    machine_with_gpus: list[str],
) -> None:
    assert choose_strategy("auto", 8) == ("mirrored", "gpu:0", "gpu:1")
    assert machine_with_gpus[:2] == [f"growth /physical_device:GPU:{i}" for i in range(2)]
    # A second call, in a process that computed already, must not fail.
    assert choose_strategy("gpu", 8) == ("mirrored", "gpu:0", "gpu:1")


@pytest.mark.usefixtures("machine_with_gpus")
def test_a_cpu_that_is_asked_for_is_a_cpu_where_there_are_gpus_too() -> None:
    assert choose_strategy("cpu") == ("one", "cpu:0")
    assert choose_strategy("cpu:0") == ("one", "cpu:0")
    assert choose_strategy("gpu:1") == ("one", "gpu:1")
    assert choose_strategy("gpu:0") == ("one", "gpu:0")
