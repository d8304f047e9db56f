"""The recommended preset is read through averaged views by everybody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deeploc_tf.embedding.embed import embed
from deeploc_tf.profiles.tables import read_table
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from tfrecords.manifest import Manifest


@pytest.fixture(scope="module")
def records(
    write_screen: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("map")
    write_screen(folder / "records", size=14)
    settings = {
        "width": 0.06,
        "dense_units": (8, 12),
        "window": 12,
        "epochs": 1,
        "batch_size": 9,
    }
    fit(folder / "records", folder / "run", FitConfig(**settings))
    return folder / "records"


def test_embed_averages_unless_told_otherwise(
    notes: list[str], records: Path, tmp_path: Path
) -> None:
    run = records.parent / "run"
    tables = {
        name: read_table(embed(run, records, tmp_path / f"{name}.h5", test_time=views).embeddings)
        for name, views in (("preset", None), ("told", "orientations"), ("one", "none"))
    }
    assert notes.count("Vectors are averaged over views, as the run says: orientations.") == 1
    np.testing.assert_array_equal(tables["preset"].features, tables["told"].features)
    assert np.abs(tables["preset"].features - tables["one"].features).max() > 1e-4
    assert tables["preset"].provenance["test_time"] == "orientations"
    assert "test_time" not in tables["one"].provenance


def test_what_serves_it_averages_too(records: Path, tmp_path: Path) -> None:
    run = records.parent / "run"
    assert open_model(run).description.test_time == "orientations"
    assert open_model(run, test_time="none").description.test_time == "none"
    exported = open_model(export(run, tmp_path / "model"))
    assert exported.description.test_time == "orientations"
