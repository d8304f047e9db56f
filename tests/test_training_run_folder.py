from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest
from shared import write_config

from deeploc_tf.models import trained
from deeploc_tf.report import training_sections
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.run_folder import open_for_training, open_run
from tfrecords.errors import LockedError, OutputExistsError, RecordsError
from tfrecords.manifest import Manifest


@pytest.fixture(scope="module")
def manifests(
    write_screen: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory
) -> list[Manifest]:
    folder = tmp_path_factory.mktemp("run_folder")
    return [write_screen(folder / str(seed), size=6, seed=seed) for seed in range(2)]


CONFIG = FitConfig(epochs=3, width=0.1, dense_units=(8, 8), patience=2)


def test_a_new_run_remembers_settings_and_records(
    tmp_path: Path, manifests: list[Manifest]
) -> None:
    run = open_for_training(tmp_path / "deep" / "run", CONFIG, manifests[0])
    assert not run.is_finished
    found = open_run(str(tmp_path / "deep" / "run"))
    assert (found.config, found.schema) == (CONFIG, manifests[0].schema)
    assert found.records_digest == manifests[0].digest
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["packages"]["tensorflow"]
    assert environment["packages"]["keras"]
    assert str(tmp_path) not in (run.path / "config.json").read_text()  # a run can be moved


def test_the_same_run_is_found_again_wherever_it_lies(
    tmp_path: Path, manifests: list[Manifest]
) -> None:
    open_for_training(tmp_path / "run", CONFIG, manifests[0])
    (tmp_path / "run").rename(tmp_path / "moved")
    before = {path.name: path.read_bytes() for path in (tmp_path / "moved").iterdir()}
    assert open_for_training(tmp_path / "moved", CONFIG, manifests[0]).config == CONFIG
    assert {path.name: path.read_bytes() for path in (tmp_path / "moved").iterdir()} == before


def test_other_records_and_other_settings_are_refused(
    tmp_path: Path, manifests: list[Manifest]
) -> None:
    open_for_training(tmp_path / "run", CONFIG, manifests[0])
    with pytest.raises(RecordsError, match=manifests[1].digest[:12]):
        open_for_training(tmp_path / "run", CONFIG, manifests[1])
    other = CONFIG.model_copy(update={"epochs": 4, "dropout": 0.1})
    expected = r"Received: dropout=0\.1 \(was 0\.3\), epochs=4 \(was 3\) in run"
    with pytest.raises(RecordsError, match=expected):
        open_for_training(tmp_path / "run", other, manifests[0])


def test_a_folder_with_something_else_is_refused(tmp_path: Path, manifests: list[Manifest]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(OutputExistsError, match="new or empty folder"):
            open_for_training(path, CONFIG, manifests[0])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    open_for_training(tmp_path / "empty", CONFIG, manifests[0])


def test_a_start_that_was_killed_at_once_can_be_repeated(
    tmp_path: Path, manifests: list[Manifest]
) -> None:
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / ".config.partial-123.json").write_text("{")
    open_for_training(tmp_path, CONFIG, manifests[0])
    assert open_run(tmp_path).config == CONFIG


def test_one_process_at_a_time_trains_in_a_folder_and_clears_up(
    tmp_path: Path, manifests: list[Manifest]
) -> None:
    run = open_for_training(tmp_path / "run", CONFIG, manifests[0])
    (run.path / "checkpoint").mkdir()
    left = [run.path / ".model.partial-7.keras", run.path / "checkpoint" / ".epoch.partial-7.npz"]
    for path in left:
        path.write_bytes(b"half")
    with run.alone():
        assert not any(path.exists() for path in left)
        again = open_for_training(tmp_path / "run", CONFIG, manifests[0])
        with pytest.raises(LockedError, match="One process at a time may write a run folder"):
            again.alone().__enter__()
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoint", "config.json", "environment.json",
    ]  # fmt: skip


def test_settings_that_this_version_does_not_know_are_refused(
    tmp_path: Path, manifests: list[Manifest]
) -> None:
    open_for_training(tmp_path / "run", CONFIG, manifests[0])
    values = json.loads((tmp_path / "run" / "config.json").read_text())
    values["config"]["width"] = -1
    values["config"]["brightness"] = 2
    write_config(tmp_path / "run", values)
    with pytest.raises(RecordsError, match="settings of this version"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": -1}, {"batch_size": 0}, {"width": 0}, {"dense_units": (8,)}, {"window": -1},
        {"dropout": 1.0}, {"ema_momentum": 1.0}, {"label_smoothing": 1.0}, {"learning_rate": 0},
        {"weight_decay": -1}, {"patience": 0}, {"seed": -1}, {"seed": 2**31}, {"preset": "vgg16"},
        {"normalization": "none"}, {"augmentation": "all"}, {"optimizer": "sag"}, {"epoch": 3},
        {"width": float("inf")}, {"learning_rate": float("nan")}, {"warmup_epochs": float("inf")},
        {"ema_momentum": float("nan")},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        FitConfig(**values)  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    assert (
        FitConfig.model_validate(json.loads(json.dumps(CONFIG.model_dump(mode="json")))) == CONFIG
    )


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("read", [trained.read_config, training_sections.read_config])
def test_no_flipped_bit_changes_what_a_run_says(
    read: Callable[[Path], dict[str, Any]], every: int, tmp_path: Path, manifests: list[Manifest]
) -> None:
    run = open_for_training(tmp_path / "run", CONFIG, manifests[0])
    path = run.path / "config.json"
    whole = path.read_bytes()
    values = read(run.path)
    assert values.pop("digest")
    for bit in range(0, 8 * len(whole), every):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = read(run.path)
        except (RecordsError, ValueError):
            continue
        found = {name: value for name, value in found.items() if name in values}
        assert found == values  # another key than `digest`
