"""Keras' own settings are the user's: none of them may change a network, its vectors or a training.

They stand in `keras.json`, in variables of the environment, and in what a program has called.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from shared import run_cli

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.folding import fast_model
from deeploc_tf.models.inpainting import PairedCellInpainting
from deeploc_tf.models.trained import load_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from tfrecords.manifest import Manifest

KERAS_2 = keras.__version__.startswith("2.")
ROOT = Path(__file__).resolve().parents[1]
WriteScreen = Callable[..., Manifest]

CHANNELS_FIRST = {"image_data_format": "channels_first"}
HOSTILE = {
    "half": {**CHANNELS_FIRST, "floatx": "float16", "epsilon": 0.1, "backend": "tensorflow"},
    "double": {**CHANNELS_FIRST, "floatx": "float64", "epsilon": 1e-3},
}

# One process does all that makes numbers, and writes them to a file.
EVERYTHING = """
import sys
from pathlib import Path

import keras
import numpy as np

from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.trained import load_trained
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit

records, folder, trained_before = map(Path, sys.argv[1:])
folder.mkdir()
config = FitConfig(
    epochs=2, batch_size=8, width=0.05, dense_units=(6, 5), window=16, precision="float32",
    last_block=False, test_time="crops",
)
metrics = fit(records, folder / "run", config)
numbers = {"loss": np.array([metrics["test"]["loss"], metrics["epochs"]])}
for number, weight in enumerate(load_trained(folder / "run").model.get_weights()):
    numbers[f"weight_{number:02}"] = weight
for name, run in (("own", folder / "run"), ("before", trained_before)):
    embed(run, records, folder / f"{name}.npz", layer=["fc_2", "conv_3:max", "conv_3"])
    numbers[f"vectors of {name}"] = read_table(folder / f"{name}.npz").features
images = np.random.default_rng(0).integers(0, 400, (3, 20, 20, 2)).astype("uint16")
for name, values in open_model(trained_before)(images).items():
    numbers[name] = values
np.savez(folder / "numbers.npz", **numbers)
"""


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, as Keras reads its settings once."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from deeploc_tf.cli import main; main(prog_name='deeploc-tf')"
    return python(code, *arguments, **environment)


def keras_home(folder: Path, settings: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "keras.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, write_screen: WriteScreen) -> Path:
    folder = tmp_path_factory.mktemp("settings") / "records"
    write_screen(folder)
    return folder


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: pytest.TempPathFactory, records: Path) -> Path:
    """What everything gives where nobody has set anything."""
    folder = tmp_path_factory.mktemp("default")
    home = keras_home(folder / "home", {})
    done = python(EVERYTHING, records, folder / "done", folder / "done" / "run", KERAS_HOME=home)
    assert done.returncode == 0, done.stderr
    return folder / "done"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["half", pytest.param("double", marks=pytest.mark.long)])
def test_a_hostile_keras_json_changes_no_number(
    name: str, by_default: Path, records: Path, tmp_path: Path
) -> None:
    home = keras_home(tmp_path / "home", HOSTILE[name])
    folder = tmp_path / "done"
    done = python(EVERYTHING, records, folder, by_default / "run", KERAS_HOME=home)
    assert done.returncode == 0, done.stderr
    expected, found = (dict(np.load(path / "numbers.npz")) for path in (by_default, folder))
    assert set(found) == set(expected)
    for number in expected:
        assert found[number].dtype == expected[number].dtype, number
        np.testing.assert_array_equal(found[number], expected[number], number)


def networks() -> dict[str, keras.Model]:
    """One of each kind, with the same weights at each call."""
    keras.utils.set_random_seed(1)
    small: dict[str, Any] = {"width": 0.05, "dense_units": (6, 5)}
    models = {
        "kraus2017": DeepLoc((20, 20, 2), 3, window=16, mask=True, dropout=0.3, **small),
        "razdaibiedina2022": DeepLoc(
            (48, 48, 2), 3, preset="razdaibiedina2022", triplets=True, image_dtype="float32",
            augmentation="rotations", last_block=False, **small,
        ),
        "inpainting": PairedCellInpainting((20, 20, 2), width=0.05, window=16),
    }  # fmt: skip
    for name, layer in (("kraus2017", "conv_3"), ("inpainting", "source_conv_3")):
        addresses = [f"{layer}:max", f"{layer}:mean", f"{layer}:flatten"]
        models[f"{name} {layer}"] = feature_extractor(models[name], addresses)
    models["vectors"] = feature_extractor(models["razdaibiedina2022"])
    models["fast"] = fast_model(models["vectors"], "float32")
    return models


def answers(models: dict[str, keras.Model]) -> dict[str, NDArray[np.float32]]:
    """What each gives for crops, and what each of its layers is."""
    random = np.random.default_rng(0)
    found = {}
    for name, model in models.items():
        crops = {
            tensor.name: random.integers(
                0, 2 if tensor.name == "mask" else 60000, (2, *tensor.shape[1:])
            ).astype(tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.as_numpy_dtype)
            for tensor in model.inputs
        }
        given = model(crops if len(crops) > 1 else crops["image"], training=False)
        parts = given if isinstance(given, dict) else {"": given}
        found |= {f"{name} {part}": np.asarray(values) for part, values in parts.items()}
        found |= {f"{name} weight {n}": w for n, w in enumerate(model.get_weights())}
    return found


def layers(models: dict[str, keras.Model]) -> list[str]:
    return [
        f"{name}: {type(layer).__name__} {layer.get_config()} {layer.compute_dtype}"
        for name, model in models.items()
        for layer in model.layers
    ]


@contextlib.contextmanager
def changed(setting: str, value: Any) -> Iterator[None]:
    """A program's own call, undone at the end."""
    of = keras.mixed_precision if setting == "global_policy" else keras.backend
    before = getattr(of, setting)()
    policy = keras.mixed_precision.global_policy()
    getattr(of, f"set_{setting}")(value)
    if setting == "floatx":  # layers follow it where nobody has named a policy yet
        keras.mixed_precision.set_global_policy(value)
    try:
        yield
    finally:
        getattr(of, f"set_{setting}")(before)
        keras.mixed_precision.set_global_policy(policy)


SETTINGS = [
    ("image_data_format", "channels_first"),
    ("floatx", "float16"),
    ("floatx", "float64"),
    ("epsilon", 0.1),
    ("global_policy", "float64"),
    ("global_policy", "mixed_float16"),
    ("global_policy", "mixed_bfloat16"),
]


@pytest.fixture(scope="module")
def unset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    """A saved model, and what it and all networks are where nobody has set anything."""
    path = tmp_path_factory.mktemp("unset") / "model.keras"
    plain = networks()
    plain["kraus2017"].save(path)
    plain["loaded"] = load_model(path)
    return path, answers(plain), layers(plain)


@pytest.mark.parametrize(("setting", "value"), SETTINGS)
def test_what_a_program_sets_changes_no_network(
    setting: str, value: Any, unset: tuple[Path, dict[str, Any], Any]
) -> None:
    path, expected, expected_layers = unset
    with changed(setting, value):
        found = {**networks(), "loaded": load_model(path)}
        assert layers(found) == expected_layers
        for name, values in answers(found).items():
            assert values.dtype == np.float32 or "weight" in name, name
            np.testing.assert_array_equal(values, expected[name], name)
        of = keras.mixed_precision if setting == "global_policy" else keras.backend
        now = getattr(of, setting)()
        assert getattr(now, "name", now) == value  # it is the program's, and stays


def test_a_backbone_is_refused_under_another_image_data_format() -> None:
    with (
        changed("image_data_format", "channels_first"),
        pytest.raises(ValueError, match=r"Received: image_data_format='channels_first'"),
    ):
        DeepLoc((32, 32, 2), 3, backbone="vgg16", window=0)


NEEDING_KERAS = (
    "models.deeploc", "models.hardware", "training.fit", "training.evaluate", "embedding.embed",
    "serving.export", "serving.open_model", "serving.inputs", "study.methods",
)  # fmt: skip
IMPORTS = """
import importlib, sys
import deeploc_tf
for name in sys.argv[1:]:
    try:
        importlib.import_module(f"deeploc_tf.{name}")
    except ImportError as error:
        print(type(error).__name__, error)
for name in ("fit", "DeepLoc"):
    try:
        getattr(deeploc_tf, name)
    except ImportError as error:
        print(type(error).__name__, error)
print(deeploc_tf.build_records.__name__, "keras" in sys.modules)
"""
only_keras_3 = pytest.mark.skipif(KERAS_2, reason="Keras 2 has one backend and no such limits")


@only_keras_3
@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_another_backend_is_refused_where_keras_is_needed(backend: str) -> None:
    done = python(IMPORTS, *NEEDING_KERAS, KERAS_BACKEND=backend)
    *refusals, works = done.stdout.splitlines()
    assert works == "build_records False", done.stderr
    assert len(refusals) == len(NEEDING_KERAS) + 2
    for refusal in refusals:
        assert refusal.startswith(
            "KerasBackendError Keras must run on TensorFlow. Received: "
            f"backend={backend!r} of KERAS_BACKEND. "
        )


@only_keras_3
def test_commands_refuse_another_backend_in_one_sentence(records: Path, tmp_path: Path) -> None:
    home = keras_home(tmp_path / "home", {"backend": "jax"})
    for arguments in (["fit", records], ["export", records], ["embed", records, records]):
        done = command(*arguments, tmp_path / "output.npz", KERAS_HOME=home)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "Error: Keras must run on TensorFlow. Received: backend='jax'"
        )
        assert len(done.stderr.splitlines()) == 1
        assert str(Path(home) / "keras.json") in done.stderr
    done = command("embed", records, records, tmp_path / "output.npz", KERAS_BACKEND="Tensorflow")
    assert done.stderr.startswith("Error: Keras must run on TensorFlow. Received: backend='Tensorf")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "output.npz").exists()


HELP = """
from click.testing import CliRunner
from deeploc_tf.cli import COMMANDS, main
for name in COMMANDS:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0 and done.output.startswith("Usage: "), done.output
    done = CliRunner().invoke(main, [name, "-h"])
    assert "Examples:" in done.output, done.output
"""


@only_keras_3
def test_help_is_shown_under_any_backend(tmp_path: Path) -> None:
    done = python(HELP, KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr
    (tmp_path / "keras.json").write_text('{"floatx": 3}')
    assert command("fit", "--help", KERAS_HOME=str(tmp_path)).returncode == 0


@only_keras_3
@pytest.mark.long
def test_commands_without_a_network_do_not_mind_the_backend(records: Path, tmp_path: Path) -> None:
    for arguments in (
        ["verify", records, "--deep"],
        ["measure", records, tmp_path / "cells.parquet", "--kind", "intensity"],
    ):
        done = command(*arguments, KERAS_BACKEND="torch")
        assert done.returncode == 0, done.stderr


@only_keras_3
def test_doctor_works_under_another_backend_and_says_so() -> None:
    done = command("doctor", "--json", KERAS_BACKEND="torch")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["keras"] == {"backend": "torch"}
    (problem,) = (text for text in report["problems"] if "Keras" in text)
    assert problem.startswith("Keras must run on TensorFlow. Received: backend='torch'")
    assert any(device.startswith("CPU ") for device in report["devices"])


def test_doctor_tells_the_settings(tmp_path: Path) -> None:
    home = keras_home(tmp_path / "home", HOSTILE["half"])
    done = command("doctor", "--json", KERAS_HOME=home, TF_ENABLE_ONEDNN_OPTS="0")
    report = json.loads(done.stdout)
    assert report["keras"] == {
        "backend": "tensorflow",
        "image_data_format": "channels_first",
        "floatx": "float16",
        "epsilon": 0.1,
        "dtype_policy": "float16",
    }
    assert report["variables"]["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert report["variables"]["KERAS_HOME"] == home
    shown = command("doctor", KERAS_HOME=home).stdout
    assert "image_data_format channels_first" in " ".join(shown.split())


@pytest.mark.parametrize(
    "settings", [{"floatx": "bfloat16"}, {"epsilon": 1}, {"image_data_format": "NCHW"}]
)
def test_a_keras_json_that_keras_cannot_read_is_named(
    settings: dict[str, Any], records: Path, tmp_path: Path
) -> None:
    home = keras_home(tmp_path / "home", settings)
    done = command("fit", records, tmp_path / "run", KERAS_HOME=home)
    assert done.returncode == 1
    ((name, value),) = settings.items()
    assert f"keras.json must hold what Keras takes. Received: {name}={value!r}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "Received: Expecting property name"),
        ('{"floatx": "float32",}', "must be JSON"),
        (json.dumps(CHANNELS_FIRST), "Received: image_data_format='channels_first' in "),
        (json.dumps(HOSTILE["double"]), "floatx='float64', epsilon=0.001, image_data_format"),
    ],
)
def test_doctor_names_what_keras_json_says(
    content: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # Keras read another one; doctor asks the file
    done = run_cli("doctor")
    assert done.exit_code == 1, done.stderr
    assert "No problems found" not in done.stdout
    (problem,) = (line for line in done.stdout.splitlines() if line.startswith("Problem: "))
    assert told in problem
    assert f"{tmp_path / 'keras.json'}. Correct it, or remove the file." in problem


@pytest.mark.long
def test_doctor_finds_nothing_wrong_with_what_keras_writes_itself(tmp_path: Path) -> None:
    for _ in range(2):  # where there is no file, Keras writes one
        done = command("doctor", "--json", KERAS_HOME=str(tmp_path / "home"))
        assert not [text for text in json.loads(done.stdout)["problems"] if "eras" in text]
    assert (tmp_path / "home" / "keras.json").exists()


def a_file(home: Path) -> None:
    home.write_text("")


def a_folder_as_file(home: Path) -> None:
    (home / "keras.json").mkdir(parents=True)


def locked_folder(home: Path) -> None:
    home.mkdir(mode=0)


def locked_file(home: Path) -> None:
    home.mkdir()
    (home / "keras.json").touch(mode=0)


UNREADABLE = [
    a_file,
    pytest.param(a_folder_as_file, marks=pytest.mark.long),
    locked_folder,
    locked_file,
]


@pytest.mark.parametrize("make", UNREADABLE)
def test_settings_that_cannot_be_read_are_told_in_one_sentence(
    make: Callable[[Path], None], records: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    make(home)
    if make in (locked_folder, locked_file) and os.geteuid() == 0:
        pytest.skip("root may read everything")
    told = "The folder of Keras' settings, and keras.json in it, must be readable. Received: "
    done = python("import deeploc_tf.training.fit", KERAS_HOME=str(home))
    assert done.stderr.splitlines()[-1].startswith(f"deeploc_tf.backend.KerasBackendError: {told}")
    done = command("fit", records, tmp_path / "run", KERAS_HOME=str(home))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {told}")
    assert len(done.stderr.splitlines()) == 1
    assert f"{home / 'keras.json'}. " in done.stderr
    done = command("doctor", "--json", KERAS_HOME=str(home))
    assert done.returncode == 1, done.stderr
    (problem,) = (text for text in json.loads(done.stdout)["problems"] if "eras" in text)
    assert problem.startswith(told)


def fitted(records: Path, run: Path) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    config = FitConfig(
        epochs=2,
        batch_size=8,
        width=0.05,
        dense_units=(6, 5),
        window=16,
        precision="float32",
        last_block=False,
        test_time="none",
    )
    metrics = fit(records, run, config)
    return load_model(run / "model.keras").get_weights(), metrics


@pytest.mark.long
def test_what_a_program_sets_changes_no_training(records: Path, tmp_path: Path) -> None:
    expected, metrics = fitted(records, tmp_path / "plain")
    with contextlib.ExitStack() as stack:
        stack.enter_context(changed("floatx", "float16"))
        stack.enter_context(changed("global_policy", "mixed_bfloat16"))
        stack.enter_context(changed("epsilon", 0.1))
        if not KERAS_2:
            for limit in ("max_epochs", "max_steps_per_epoch"):
                getattr(keras.config, f"set_{limit}")(1)
                stack.callback(getattr(keras.config, f"set_{limit}"), None)
        found, metrics_found = fitted(records, tmp_path / "changed")
        if not KERAS_2:
            assert keras.config.max_epochs() == 1
    assert metrics_found == metrics
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    environment = json.loads((tmp_path / "changed" / "environment.json").read_text())
    assert environment["keras"] == {
        "backend": "tensorflow",
        "image_data_format": "channels_last",
        "floatx": "float16",
        "epsilon": 0.1,
        "dtype_policy": "mixed_bfloat16",
    }
    assert "TF_CPP_MIN_LOG_LEVEL" in environment["variables"]
