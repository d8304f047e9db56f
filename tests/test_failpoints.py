"""Commands that write tables, whose process is killed or whose disk fails at any operation.

After each, the outputs are all there or none; the same command then ends in the same bytes, with
nothing else left in the folder. By default every ninth operation, or fewer; all of them with
DEEPLOC_TF_RELIABILITY=1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from failpoints import ACTIONS, compiler, explored
from made_run import make_run

from deeploc_tf.profiles.tables import VectorTable, write_table
from tfrecords.schema import Schema

ALL = os.environ.get("DEEPLOC_TF_RELIABILITY") == "1"
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "change": ("change IN/cells.h5 IN/treated.h5 OUT/moved.csv", ("moved.csv", "moved.json")),
    "profile": ("profile IN/cells.h5 OUT/profiles.h5", ("profiles.h5",)),
    "profile, .h5ad": ("profile IN/cells.h5 OUT/profiles.h5ad", ("profiles.h5ad",)),
    "profile, .parquet": ("profile IN/cells.h5 OUT/profiles.parquet", ("profiles.parquet",)),
    "profile, four files": (
        "profile IN/cells.h5 OUT/p.npz --write-intervals --normalize standardize --save OUT/t.npz",
        ("p.npz", "p.low.npz", "p.high.npz", "t.npz"),
    ),
    "neighbors": (
        "neighbors IN/profiles.h5 P000 --index OUT/near.usearch",
        ("near.usearch.json", "near.usearch"),
    ),
    "standards": ("standards IN/standard.tsv --gmt OUT/standard.gmt", ("standard.gmt",)),
    "map": (
        "map IN/profiles.h5 OUT/map.html --standard IN/standard.tsv --projection tsne --quiet",
        ("map.html",),
    ),
    "report": ("report IN/run OUT/page.html", ("page.html",)),
    "convert": (
        "convert IN/deeploc.hdf5 OUT/records --channels gfp,rfp --crop-size 8 --label label "
        "--fractions train=0.5,test=0.5 --group key --quiet",
        ("records",),
    ),
    "simulate": (
        "simulate OUT/screen --proteins 34 --fields 1 --cells-per-field 1 --workers 1 --quiet",
        ("screen",),
    ),
    "benchmark": ("benchmark IN/profiles.h5 IN/standard.tsv OUT/results", ("results",)),
}
OVERWRITING = ("neighbors", "map", "report")  # also uses, or makes anew, what is there
LONG = ("simulate", "map", "report")
STEPS = {
    "profile, four files": 18,
    "benchmark": 52,
    "simulate": 150,
    "convert": 13,
    "map": 2,
    "report": 2,
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
    schema = Schema((8, 8, 2), "uint16", ("gfp", "rfp"), label_names=("a", "b"))
    make_run(home / "run", SimpleNamespace(schema=schema, digest="0" * 64))
    with h5py.File(home / "deeploc.hdf5", "w") as file:
        file["data1"] = random.integers(0, 200, (12, 2 * 64)).astype(np.uint16)
        file["Index1"] = np.eye(2)[np.arange(12) % 2]
        file.attrs["class_names"] = np.array(["a", "b"], "S")


@pytest.mark.skipif(compiler() is None, reason="needs Linux and a C compiler")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.long) if n in LONG else n for n in COMMANDS],
)
def test_all_files_or_none_and_mended_by_the_same_command(tmp_path: Path, name: str) -> None:
    if name == "neighbors":
        pytest.importorskip("usearch", reason="needs the extra search")
    make_inputs(tmp_path)
    words, outputs = COMMANDS[name]
    step = 1 if ALL else STEPS.get(name, 9)
    jobs: list[dict[str, Any]] = [
        {
            "words": words.split(),
            "outputs": outputs,
            "action": action,
            "start": 1 + 2 * number % step,
            "step": step,
            "again": 0 if name in OVERWRITING else 1,
        }
        for number, action in enumerate(ACTIONS)
    ]
    results = explored(tmp_path, jobs)
    assert [result["wrong"] for result in results] == [[]] * len(ACTIONS), json.dumps(results)
