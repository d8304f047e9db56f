"""Commands that write tables, whose process is killed or whose disk fails at any operation.

After each, the outputs are all there or none; the same command then ends in the same bytes, with
nothing else left in the folder. By default every ninth operation; all of them with
DEEPLOC_TF_RELIABILITY=1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from failpoints import ACTIONS, compiler, explored

from deeploc_tf.profiles.tables import VectorTable, write_table

ALL = os.environ.get("DEEPLOC_TF_RELIABILITY") == "1"
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "change": ("change IN/cells.h5 IN/treated.h5 OUT/moved.csv", ("moved.csv", "moved.json")),
    "profile": ("profile IN/cells.h5 OUT/profiles.h5", ("profiles.h5",)),
    "profile, .h5ad": ("profile IN/cells.h5 OUT/profiles.h5ad", ("profiles.h5ad",)),
    "profile, .parquet": ("profile IN/cells.h5 OUT/profiles.parquet", ("profiles.parquet",)),
    "profile, four files": (
        "profile IN/cells.h5 OUT/p.npz --intervals --normalize standardize --save OUT/t.npz",
        ("p.npz", "p.low.npz", "p.high.npz", "t.npz"),
    ),
    "neighbors": (
        "neighbors IN/profiles.h5 P000 --index OUT/near.usearch",
        ("near.usearch.json", "near.usearch"),
    ),
    "standards": ("standards IN/standard.tsv --gmt OUT/standard.gmt", ("standard.gmt",)),
    "benchmark": ("benchmark IN/profiles.h5 IN/standard.tsv OUT/results", ("results",)),
}


def make_inputs(home: Path) -> None:
    """Two screens of 40 proteins, profiles, and a standard of them."""
    random = np.random.default_rng(0)
    names = [f"P{i:03d}" for i in range(40)]
    who = np.repeat(names, 6)
    places = np.repeat(random.normal(size=(40, 6)), 6, axis=0) * 3
    for name in ("cells", "treated"):
        cells = pd.DataFrame({"key": [f"k{i}" for i in range(len(who))], "protein": who})
        vectors = (places + random.normal(size=places.shape)).astype(np.float32)
        features = [f"fc_2_{i:03d}" for i in range(6)]
        provenance = {"kind": "embeddings", "layer": "fc_2"}
        write_table(home / f"{name}.h5", VectorTable(vectors, cells, provenance), features)
    profiles = pd.DataFrame({"protein": names})
    vectors = places[::6].astype(np.float32)
    write_table(home / "profiles.h5", VectorTable(vectors, profiles, {}), features)
    lines = [f"{name}\tterm {i % 5}\n" for i, name in enumerate(names)]
    (home / "standard.tsv").write_text("".join(lines))


@pytest.mark.skipif(compiler() is None, reason="needs Linux and a C compiler")
@pytest.mark.parametrize("name", COMMANDS)
def test_all_files_or_none_and_mended_by_the_same_command(tmp_path: Path, name: str) -> None:
    if name == "neighbors":
        pytest.importorskip("usearch", reason="needs the extra search")
    make_inputs(tmp_path)
    words, outputs = COMMANDS[name]
    step = 1 if ALL else 26 if name == "benchmark" else 9
    jobs: list[dict[str, Any]] = [
        {
            "words": words.split(),
            "outputs": outputs,
            "action": action,
            "start": 1 + 2 * number % step,
            "step": step,
            "again": 0 if name == "neighbors" else 1,
        }
        for number, action in enumerate(ACTIONS)
    ]
    results = explored(tmp_path, jobs)
    assert [result["wrong"] for result in results] == [[]] * len(ACTIONS), json.dumps(results)
