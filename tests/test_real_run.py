"""The real run of docs/real-run.md in short: fewer epochs, one seed, looser bounds."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import real_run

from deeploc_tf.profiles.tables import read_table


@pytest.mark.real
@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    keras.__version__.startswith("2."), reason="takes minutes, so it runs on the default stack only"
)
def test_real_cells_are_told_apart_and_mitochondrial_proteins_are_neighbors(
    real_data: Path, tmp_path: Path
) -> None:
    records = real_run.build(real_data / "yeast_crops", tmp_path)
    for task, epochs, lowest in (("A", 10, 0.93), ("B", 16, 0.62)):
        (run,) = real_run.fit_all(records[task], tmp_path, task, [0], epochs)
        test = json.loads((run / "metrics.json").read_text())["test"]
        assert test["num_crops"] == 422
        assert test["accuracy"] >= lowest, f"task {task}: {test['accuracy']}"

    real_run.run_command("embed", tmp_path / "run-A-0", records["A"], tmp_path / "cells.parquet")
    profiles = read_table(tmp_path / "cells.profiles.parquet")
    names = profiles.metadata["protein"].tolist()
    centered = profiles.features - profiles.features.mean(axis=0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    similarity = unit @ unit.T - 2 * np.eye(len(names))
    assert names[int(similarity[names.index("AAC1")].argmax())] == "AAC3"
    assert names[int(similarity[names.index("AAC3")].argmax())] == "AAC1"
