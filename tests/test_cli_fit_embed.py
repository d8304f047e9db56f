"""From crops to vectors with three commands, as one types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf  # noqa: F401 - two logical CPUs must be there before its first use
from click.testing import Result
from shared import TINY_OPTIONS, run_cli

from deeploc_tf.profiles.tables import read_table
from tfrecords.manifest import Manifest


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("cli") / "records"
    write_screen(folder, {"train": (4, 4, 4), "validation": (2, 2, 2), "test": (3, 2, 2)}, size=10)
    return folder


@pytest.fixture(scope="module")
def trained(records: Path, tmp_path_factory: Any) -> tuple[Path, Result]:
    folder: Path = tmp_path_factory.mktemp("cli") / "run"
    return folder, run_cli("fit", records, folder, *TINY_OPTIONS)


@pytest.mark.slow
def test_the_story_from_crops_to_vectors(write_crops: Callable[..., Path], tmp_path: Path) -> None:
    crops = write_crops(shape=(10, 10))
    records, folder, table = tmp_path / "records", tmp_path / "run", tmp_path / "cells.parquet"
    result = run_cli(
        "build-records", crops, records, "--label", "protein", "--channels", "gfp,rfp",
        "--pattern", "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif",
        "--test", "field=4", "--validation", "field=3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = run_cli("fit", records, folder, *TINY_OPTIONS, "--no-evaluate-test")
    assert result.exit_code == 0, result.output
    assert "validation: 4 crops" in result.stdout
    assert "test: " not in result.stdout
    result = run_cli("embed", folder, records, table)
    assert result.exit_code == 0, result.output
    assert f"{table}: 4 cells, 6 features" in result.stdout
    assert "2 proteins" in result.stdout
    found = read_table(table)
    assert sorted(set(found.metadata["protein"])) == ["AAC1", "AAH1"]
    assert set(found.metadata["split"]) == {"test"}
    assert len(read_table(tmp_path / "cells.profiles.parquet").features) == 2


def test_fit_prints_results_and_keeps_progress_apart(trained: tuple[Path, Result]) -> None:
    folder, result = trained
    assert result.exit_code == 0, result.output
    for line in ("validation: 6 crops, accuracy", "test: 7 crops", "always 'cytoplasm': 0.4286"):
        assert line in result.stdout
    assert f"{folder}: model.keras" in result.stdout
    assert "Epoch 1 of 2: loss" in result.stderr
    assert "Training on the CPU" in result.stderr
    assert "Epoch" not in result.stdout


def test_json_is_json_and_a_finished_run_is_not_trained_again(
    trained: tuple[Path, Result], records: Path
) -> None:
    folder, _ = trained
    result = run_cli("fit", records, folder, *TINY_OPTIONS, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((folder / "metrics.json").read_text())
    assert "is finished" in result.stderr


def test_other_settings_are_refused_with_their_names(
    trained: tuple[Path, Result], records: Path
) -> None:
    result = run_cli("fit", records, trained[0], *TINY_OPTIONS, "--dropout", "0.1")
    assert result.exit_code == 1
    assert "dropout=0.1 (was 0.3)" in result.stderr
    assert result.stdout == ""


def test_an_interrupted_fit_says_that_it_goes_on(
    trained: tuple[Path, Result], records: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    for name in ("model.keras", "metrics.json", "checkpoint/epoch-00002-step-0000000.npz"):
        (folder / name).unlink()
    result = run_cli("fit", records, folder, *TINY_OPTIONS)
    assert result.exit_code == 0, result.output
    assert "Going on after epoch 1 of 2." in result.stderr
    assert "Epoch 1 of 2" not in result.stderr
    assert (folder / "metrics.json").read_bytes() == (trained[0] / "metrics.json").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        ["--epochs", "-1"], ["--epochs", "many"], ["--batch-size", "0"], ["--width", "-1"],
        ["--width", "nan"], ["--dense-units", "8"], ["--dense-units", "8,x"],
        ["--dense-units", "0,8"], ["--dropout", "1"], ["--preset", "vgg16"], ["--patience", "0"],
        ["--seed", "-1"], ["--seed", "4294967296"], ["--label-smoothing", "2"],
        ["--window", "-3"], ["--normalization", "none"], ["--nonsense"],
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_wrong_usage(
    options: list[str], records: Path, tmp_path: Path
) -> None:
    result = run_cli("fit", records, tmp_path / "run", *options)
    assert result.exit_code == 2, result.output
    assert options[0] in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_a_sentence_and_1_for_what_is_not_there(
    trained: tuple[Path, Result], records: Path, tmp_path: Path
) -> None:
    run_folder, output = trained[0], tmp_path / "cells.h5"
    for arguments in (
        ("fit", tmp_path / "missing", tmp_path / "run"),
        ("fit", records, tmp_path / "run", *TINY_OPTIONS, "--device", "gpu:7"),
        ("fit", records, tmp_path / "run", *TINY_OPTIONS, "--mask"),
        ("fit", records, tmp_path / "run", *TINY_OPTIONS, "--window", "11"),
        ("fit", records, tmp_path / "run", *TINY_OPTIONS, "--batch-size", "400"),
        ("embed", tmp_path / "missing", records, output),
        ("embed", run_folder, tmp_path / "missing", output),
        ("embed", run_folder, records, tmp_path / "cells.txt"),
        ("embed", run_folder, records, output, "--layer", "fc_9"),
        ("embed", run_folder, records, output, "--split", "tset"),
    ):
        result = run_cli(*arguments)
        assert result.exit_code == 1, (arguments, result.output)
        assert result.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in result.output
        assert list(tmp_path.iterdir()) == []
    result = run_cli("embed", run_folder, records, output, "--batch-size", "0")
    assert result.exit_code == 2


def test_embed_takes_splits_and_layers(
    trained: tuple[Path, Result], records: Path, tmp_path: Path
) -> None:
    result = run_cli(
        "embed", trained[0], records, tmp_path / "cells.h5", "--split", "validation",
        "--split", "test", "--layer", "conv_2", "--batch-size", "3", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "13 cells, 256 features" in result.stdout
    assert read_table(tmp_path / "cells.h5").metadata["split"].tolist() == (
        ["validation"] * 6 + ["test"] * 7
    )
    again = run_cli("embed", trained[0], records, tmp_path / "cells.h5")
    assert again.exit_code == 1
    assert "must not exist yet" in again.stderr


def test_a_shell_sees_nothing_but_json_on_stdout(
    trained: tuple[Path, Result], records: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "deeploc_tf", "fit", records, trained[0], *TINY_OPTIONS, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["epochs"] == 2
