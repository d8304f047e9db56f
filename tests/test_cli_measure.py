"""`deeploc-tf measure` as one types it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf  # noqa: F401 - two logical CPUs must be there before its first use
from shared import run_cli

from deeploc_tf.profiles.tables import read_table
from tfrecords.manifest import Manifest


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("cli") / "records"
    write_screen(folder, {"train": (4, 4, 4), "test": (3, 2, 2)}, size=12)
    return folder


@pytest.mark.parametrize(
    ("options", "features"),
    [
        (("--kind", "intensity"), 19),
        (("--kind", "pixels", "--components", 4, "--quiet"), 4),
        (("--kind", "intensity", "--split", "train", "--split", "test", "--workers", 2), 19),
    ],
)
def test_features_of_each_kind(
    records: Path, options: tuple[Any, ...], features: int, tmp_path: Path
) -> None:
    output = tmp_path / "cells.parquet"
    result = run_cli("measure", records, output, *options)
    assert result.exit_code == 0, result.output
    cells = 19 if "train" in options else 7
    assert result.stdout.splitlines() == [
        f"{output}: {cells} cells, {features} features ({options[1]})",
        f"{tmp_path / 'cells.profiles.parquet'}: 4 proteins, {features} features",
    ]
    assert ("Otsu" in result.stderr) == ("intensity" in options)
    assert ("Measuring crops" in result.stderr) == ("--quiet" not in options)
    assert read_table(output).features.shape == (cells, features)


@pytest.mark.skipif(find_spec("cp_measure") is None, reason="extra cellprofiler not installed")
def test_cellprofiler_is_the_default(records: Path, tmp_path: Path) -> None:
    result = run_cli("measure", records, tmp_path / "cells.h5")
    assert result.exit_code == 0, result.output
    assert "(cellprofiler)" in result.stdout
    assert "undefined in more than 5% of the cells" in result.stderr
    assert read_table(tmp_path / "cells.h5").features.shape[1] > 400


def test_a_missing_extra_is_a_sentence_with_the_install_line(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cp_measure", None)
    result = run_cli("measure", records, tmp_path / "cells.h5")
    assert result.exit_code == 1
    assert "pip install 'cp-measure>=" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--split", "tests"), 1, "Did you mean 'test'"),
        (("--kind", "intensity", "--threshold-channel", "bfp"), 1, "mask_channel="),
        (("--kind", "pixels", "--components", 60), 1, "num_components=60"),
        (("--kind", "colour"), 2, "'colour' is not one of"),
    ],
)
def test_errors_are_sentences(
    records: Path, options: tuple[Any, ...], code: int, message: str, tmp_path: Path
) -> None:
    result = run_cli("measure", records, tmp_path / "cells.h5", *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
