"""`deeploc-tf benchmark` from files to files, without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from deeploc_tf.cli import main
from deeploc_tf.profiles.tables import VectorTable, write_table


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    centers = np.repeat(random.normal(size=(4, 5)), 6, axis=0)
    features = (centers + 0.5 * random.normal(size=centers.shape)).astype(np.float32)
    names = [f"P{i:02}" for i in range(24)]
    metadata = pd.DataFrame({"protein": names, "num_crops": [9] * 24})
    table = VectorTable(features, metadata, {"kind": "profiles"})
    write_table(tmp_path / "p.parquet", table, [f"f{i}" for i in range(5)])
    pd.DataFrame(features, index=pd.Index(names, name="gene")).to_csv(tmp_path / "p.tsv", sep="\t")
    lines = [f"g{k}\t\t" + "\t".join(names[6 * k : 6 * k + 6]) for k in range(4)]
    (tmp_path / "groups.gmt").write_text("\n".join(lines))
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\tt{int(n[1:]) % 5}\n" for n in names))
    return tmp_path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["benchmark", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_two_standards_and_either_form_of_profiles(files: Path) -> None:
    code, out, _ = run(files / "p.parquet", files / "groups.gmt", files / "pairs.tsv", files / "r")
    assert code == 0
    assert out.splitlines()[0].split() == (
        [
            "standard",
            "proteins",
            "terms",
            "prevalence",
            "AP",
            "shuffled",
            "lift",
            "mAP",
            "P@10",
            "R@10",
        ]
    )
    values = json.loads((files / "r" / "scores.json").read_text())
    groups, pairs = (values["standards"][name] for name in ("groups", "pairs"))
    assert (
        groups["average_precision"]
        > groups["shuffled_average_precision"] + 3 * (groups["shuffled_average_precision_sd"])
    )
    assert groups["average_precision"] > 2 * groups["prevalence"]
    assert abs(pairs["average_precision"] - pairs["prevalence"]) < 0.1
    table = pd.read_csv(files / "r" / "scores.csv")
    assert table["standard"].tolist() == ["groups", "pairs"]
    assert table["average_precision"].tolist() == [
        pytest.approx(groups["average_precision"]),
        pytest.approx(pairs["average_precision"]),
    ]
    curve = pd.read_csv(files / "r" / "precision_recall.csv").query("standard == 'groups'")
    assert curve["recall"].is_monotonic_increasing
    assert curve["recall"].iloc[-1] == 1

    code, out, _ = run(files / "p.tsv", files / "groups.gmt", files / "r2", "--json")
    assert code == 0
    again = json.loads(out)["standards"]["groups"]
    assert again["average_precision"] == pytest.approx(groups["average_precision"])


def test_bad_input_is_one_sentence_and_writes_nothing(files: Path) -> None:
    (files / "full").mkdir()
    (files / "full" / "mine").touch()
    (files / "words.csv").write_text("gene,f0\nP00,high\n")
    (files / "broken.gmt").write_text("ER\n")
    for arguments, message in [
        ((files / "p.tsv", files / "groups.gmt", files / "full"), "new or empty folder"),
        ((files / "words.csv", files / "groups.gmt", files / "r"), "others. Received: "),
        ((files / "p.tsv", files / "broken.gmt", files / "r"), "broken.gmt, line 1"),
        ((files / "groups.gmt", files / "groups.gmt", files / "r"), "Profiles must end in"),
        (
            (files / "p.tsv", files / "pairs.tsv", files / "pairs.tsv", files / "r"),
            "different names",
        ),
    ]:
        code, out, err = run(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("Error: ")
        assert message in err
        assert not (files / "r").exists()


def test_tables_of_cells_are_refused(files: Path) -> None:
    metadata = pd.DataFrame({"key": ["a", "b"], "protein": ["P00", "P01"]})
    cells = VectorTable(np.ones((2, 3), np.float32), metadata, {"kind": "embeddings"})
    write_table(files / "cells.h5", cells, ["a", "b", "c"])
    code, _, err = run(files / "cells.h5", files / "groups.gmt", files / "r")
    assert code == 1
    assert "a table of embeddings" in err


def test_the_benchmark_never_imports_tensorflow() -> None:
    script = (
        "import sys; import deeploc_tf.benchmark.benchmark, deeploc_tf.profiles.reading; "
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
