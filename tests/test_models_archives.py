"""Models of others: what is more than layers and weights is refused before Keras opens it."""

from __future__ import annotations

import io
import json
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from deeploc_tf.models.archives import OUR_LAYERS, check_archive
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.trained import load_model


@pytest.fixture(scope="module")
def members(tmp_path_factory: Any) -> dict[str, bytes]:
    """Of a model as `fit` saves it."""
    path = tmp_path_factory.mktemp("archives") / "model.keras"
    model = DeepLoc(
        (16, 16, 2), 3, window=12, mask=True, width=0.05, dense_units=(4, 3),
        augmentation="rotations", dropout=0.5, num_proteins=2,
    )  # fmt: skip
    model.compile("adam", "mse")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[Any, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def reconfigured(members: dict[str, bytes], change: Callable[[Any], None]) -> dict[str, bytes]:
    config = json.loads(members["config.json"])
    change(config)
    return {**members, "config.json": json.dumps(config).encode()}


def refused(path: Path, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        load_model(path)


def test_what_fit_saves_is_loaded(members: dict[str, bytes], tmp_path: Path) -> None:
    model = load_model(write(tmp_path / "model.keras", members))
    assert model.get_layer("fc_2").output.shape == (None, 3)
    load_model(write(tmp_path / "small.keras", members, zipfile.ZIP_DEFLATED))


def test_networks_of_keras_applications_are_loaded(tmp_path: Path) -> None:
    image = keras.Input((32, 32, 2))
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=image)
    model.save(tmp_path / "model.keras")
    check_archive(tmp_path / "model.keras")


def test_a_lambda_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    image = keras.Input((4,))
    # the name is looked up where the layer is made, so that a loaded one would write the file
    harmful = keras.layers.Lambda(
        lambda x, path=str(mark): (open(path, "w").close(), x)[1],  # noqa: PTH123
        output_shape=(4,),
    )
    model = keras.Model(image, harmful(image))
    model.save(tmp_path / "model.keras")
    mark.unlink(missing_ok=True)
    refused(tmp_path / "model.keras", r"class 'Lambda'|class '__lambda__'")
    assert not mark.exists()


def insert_layer(class_name: str, module: str | None) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        described = {"class_name": class_name, "module": module, "config": {"name": "x"}}
        config["config"]["layers"][1]["config"]["hidden"] = [{"deep": described}]

    return change


@pytest.mark.parametrize(
    ("class_name", "module"),
    [
        ("Lambda", "keras.layers"),
        ("TFSMLayer", "keras.layers"),
        ("get_file", "keras.utils"),
        ("load_model", "keras.saving"),
        ("function", "builtins"),
        ("system", "os"),
        ("Run", "deeploc_tf.training.run_folder"),
        ("Popen", "deeploc_tf.models.deeploc"),
        ("Dense", None),
        ("layers.Lambda", "keras"),
        ("utils.get_file", "keras"),
        ("src.saving.saving_api.load_model", "keras"),
        ("Lambda", "keras.src.layers"),
        ("deserialize", "keras.layers"),
        ("TextVectorization", "keras.layers"),
        ("StringLookup", "keras.layers"),
        ("Functional", "keras.layers"),
    ],
)
def test_a_class_that_is_no_layer_of_a_network_is_refused(
    class_name: str, module: str | None, members: dict[str, bytes], tmp_path: Path
) -> None:
    changed = reconfigured(members, insert_layer(class_name, module))
    refused(write(tmp_path / "model.keras", changed), f"class '{class_name}'")


@pytest.mark.parametrize(
    "described",
    [
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "keras>Lambda"},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "deeploc_tf>Dropout"},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": ["Dense"]},
        {"class_name": ["Dense"], "module": "keras.layers"},
        {"class_name": "Dense", "module": {"keras": "layers"}},
        {"class_name": "load_model", "module": "deeploc_tf.models.trained",
         "registered_name": "deeploc_tf>load_model"},
        {"class_name": "Dropout", "module": "deeploc_tf.models.trained",
         "registered_name": "deeploc_tf>models.trained.load_model"},
    ],
)  # fmt: skip
def test_other_ways_to_name_a_class_are_refused(
    described: dict[str, Any], members: dict[str, bytes], tmp_path: Path
) -> None:
    def change(config: Any) -> None:
        config["config"]["layers"][1]["config"]["hidden"] = [{**described, "config": {}}]

    refused(write(tmp_path / "model.keras", reconfigured(members, change)), "object of the class")


def test_our_layers_are_those_that_keras_knows() -> None:
    registered = keras.saving.get_custom_objects()
    ours = {
        name.removeprefix("deeploc_tf>")
        for name, kind in registered.items()
        if name.startswith("deeploc_tf>") and issubclass(kind, keras.layers.Layer)
    }
    assert ours == OUR_LAYERS


def resized(key: str, value: Any, layer: str) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        found = next(x for x in config["config"]["layers"] if x["class_name"] == layer)
        found["config"][key] = value

    return change


@pytest.mark.parametrize(
    ("key", "value", "layer", "match"),
    [
        ("units", 10**10, "Dense", "units=10000000000, where its weights allow"),
        ("units", 1e10, "Dense", r"units=10000000000\.0, where"),
        ("units", 10**400, "Dense", "units=1000"),
        ("filters", 5000, "Conv2D", "filters=5000, where"),
        ("batch_shape", [None, 10**10, 16, 2], "InputLayer", "batch_shape=10000000000, where"),
        ("kernel_size", [30_000, 30_000], "Conv2D", "more weights than it holds: (30000, 30000"),
        ("units", "10000000000", "Dense", "more weights than it holds|must be one that this"),
    ],
)
def test_a_layer_that_is_larger_than_its_weights_is_refused(
    key: str, value: Any, layer: str, match: str, members: dict[str, bytes], tmp_path: Path
) -> None:
    changed = reconfigured(members, resized(key, value, layer))
    tracemalloc.start()
    refused(write(tmp_path / "model.keras", changed), match.replace("(3", r"\(3"))
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_layers_that_fit_one_by_one_may_not_together(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    def change(config: Any) -> None:
        for found in config["config"]["layers"]:
            if found["config"]["name"] == "image":
                found["config"]["batch_shape"] = [None, 20_000, 20_000, 2]
            if found["class_name"] == "RandomCrop":
                found["config"] |= {"height": 20_000, "width": 20_000}

    refused(write(tmp_path / "model.keras", reconfigured(members, change)), "model must be one")


def test_a_model_of_a_later_keras_is_refused_with_both_versions(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    changed = reconfigured(members, resized("invented_in_keras_9", 3, "Conv2D"))
    changed["metadata.json"] = json.dumps({"keras_version": "9.1.0"}).encode()
    path = write(tmp_path / "model.keras", changed)
    refused(path, r"saved by Keras 9\.1\.0: .*\. Use that version, or train again")
    refused(path, keras.__version__)


def test_an_endless_network_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    def change(config: Any) -> None:
        config["config"]["layers"] *= 500

    path = write(tmp_path / "model.keras", reconfigured(members, change), zipfile.ZIP_STORED)
    refused(path, "more than 50000 objects")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a\\..\\b", "assets/x", "model.pkl"])
def test_other_files_in_the_archive_are_refused(
    name: str, members: dict[str, bytes], tmp_path: Path
) -> None:
    path = write(tmp_path / "model.keras", {**members, name: b"x"})
    refused(path, "instead of config.json, metadata.json, model.weights.h5")
    assert [found.name for found in tmp_path.iterdir()] == ["model.keras"]


def test_a_file_twice_and_one_too_few_are_refused(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    path = write(tmp_path / "twice.keras", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", members["config.json"])
    refused(path, "instead of")
    few = {name: members[name] for name in ("config.json", "metadata.json")}
    refused(write(tmp_path / "few.keras", few), "instead of")


def test_a_symbolic_link_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    link = zipfile.ZipInfo("model.weights.h5")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    del (rest := dict(members))["model.weights.h5"]
    path = write(tmp_path / "model.keras", {**rest, link: b"/etc/passwd"})
    refused(path, "which is no file")


def test_a_bomb_is_refused_unopened(members: dict[str, bytes], tmp_path: Path) -> None:
    padded = {**members, "config.json": members["config.json"] + b" " * (60 << 20)}
    path = write(tmp_path / "model.keras", padded, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, "bytes packed into")
    padded["config.json"] += b" " * (5 << 20)
    refused(write(path, padded, zipfile.ZIP_DEFLATED), r"config\.json of \d+ bytes")


def weights_with(
    members: dict[str, bytes], change: Callable[[h5py.File], None]
) -> dict[str, bytes]:
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "a") as file:
        change(file)
    return {**members, "model.weights.h5": content.getvalue()}


def external_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/x")


def soft_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.SoftLink("/layers")


def external_data(file: h5py.File) -> None:
    file.create_dataset("elsewhere", (2,), "u1", external=[("/etc/hostname", 0, 2)])


def virtual_data(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (2,))
    file.create_virtual_dataset("elsewhere", layout)


def hollow_data(file: h5py.File) -> None:
    file.create_dataset("hollow", (1 << 30,), "f4", chunks=(1 << 20,))


def circle(file: h5py.File) -> None:
    file.create_group("circle")["again"] = file["/"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (external_link, "'elsewhere' that are a link"),
        (soft_link, "'elsewhere' that are a link"),
        (external_data, "'/elsewhere' that lie in another file"),
        (virtual_data, "'/elsewhere' that lie in another file"),
        (hollow_data, r"weights of \d+ bytes in a file of"),
        (circle, "damaged at"),
    ],
)
def test_weights_that_are_not_in_the_file_are_refused(
    change: Callable[[h5py.File], None], match: str, members: dict[str, bytes], tmp_path: Path
) -> None:
    path = write(tmp_path / "model.keras", weights_with(members, change))
    refused(path, match)


def test_hdf5_models_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.h5")
    refused(tmp_path / "model.h5", "HDF5 file")
    (tmp_path / "model.h5").rename(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "HDF5 file")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing.keras")


def test_every_changed_byte_is_refused_or_harmless(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    path = write(tmp_path / "model.keras", members)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    places = [
        *random.choice(len(content), 60, replace=False),
        *range(len(content) - 60, len(content)),
    ]
    refusals = 0
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        try:
            check_archive(path)
        except ValueError:
            refusals += 1
        else:  # in a date, a version or other things that nobody reads
            with zipfile.ZipFile(path) as archive:
                assert {name: archive.read(name) for name in archive.namelist()} == members
    assert refusals > len(places) / 2
