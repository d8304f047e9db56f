"""Runs of before presets carried recipes: finished ones are read, others do not go on unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shared import tiny_fit

from deeploc_tf.models.trained import load_trained, read_config
from deeploc_tf.models.views import window_size
from deeploc_tf.training.fit import fit
from deeploc_tf.training.run_folder import open_run
from tfrecords.errors import RecordsError
from tfrecords.manifest import Manifest

WriteScreen = Callable[..., Manifest]


def as_before(run: Path, window: int | None) -> None:
    """Rewrite the settings of a run as they were stored before; None: the preset's window."""
    path = run / "config.json"
    values: dict[str, Any] = json.loads(path.read_text())
    del values["recipe_version"]
    del values["config"]["window"]
    values["config"]["crop_size"] = window
    values["resolved"]["crop_size"] = values["resolved"].pop("window")
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("window", [12, None])
def test_a_finished_run_of_before_is_read(
    window: int | None, write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=16)
    fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1))
    as_before(tmp_path / "run", window)
    assert read_config(tmp_path / "run")["config"]["window"] == 12
    assert open_run(tmp_path / "run").config.window == 12
    assert window_size(load_trained(tmp_path / "run").model) == (12, 12)


def test_an_unfinished_run_of_before_is_refused_unless_told(
    write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=16)
    fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1))
    as_before(tmp_path / "run", 12)
    (tmp_path / "run" / "model.keras").unlink()
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(RecordsError, match=r"recipe 2 \(was 1\).*--allow-changed"):
        fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1))
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    fit(tmp_path / "records", tmp_path / "run", tiny_fit(epochs=1), allow_changed=True)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe_version"] == 2
