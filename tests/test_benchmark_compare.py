"""`compare` and `deeploc-tf benchmark` say the same, and others may add scores and formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.comparable import comparable
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.registry import FORMATS, Format
from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.results import Comparison
from deeploc_tf.benchmark.scores import SCORES, Bar, Extent, Scores, Scoring
from deeploc_tf.benchmark.standards import Standard, StandardError
from deeploc_tf.profiles.tables import VectorTable, write_table

NAMES = [f"P{i:02}" for i in range(24)]
QUICK = Extent(num_shuffles=0)
GROUPS = Standard("groups", {f"g{k}": frozenset(NAMES[6 * k : 6 * k + 6]) for k in range(4)})


def profiles(names: list[str], seed: int = 0) -> VectorTable:
    random = np.random.default_rng(seed)
    centers = {name: random.normal(size=5) for name in ("0", "1", "2", "3")}
    features = [centers[str(int(name[1:]) // 6)] + 0.7 * random.normal(size=5) for name in names]
    metadata = pd.DataFrame({"protein": names})
    return VectorTable(np.array(features, np.float32), metadata, {"kind": "profiles"})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for number, names in enumerate([NAMES, NAMES[::-1], NAMES[2:]]):
        table = profiles(names, number)
        write_table(tmp_path / f"{number}.parquet", table, list("abcde"))
    lines = [f"{term}\t\t" + "\t".join(sorted(members)) for term, members in GROUPS.terms.items()]
    (tmp_path / "groups.gmt").write_text("\n".join(lines))
    rows = [
        f"Y{i:02}\tP{i:02}\tX\t{aspect}\tt{i % k}\tGO:000000{i % k}\tORF"
        for aspect, k in (("C", 4), ("P", 3))
        for i in range(24)
    ]
    (tmp_path / "slim.tab").write_text("\n".join(rows))
    (tmp_path / "names.tsv").write_text("".join(f"{name}\tS{name[1:]}\n" for name in NAMES[:20]))
    random = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(60)],
            "label": [f"l{i % 2}" for i in range(60)],
            "protein": [f"P{i % 6}" for i in range(60)],
            "field": [str(i % 5) for i in range(59)] + [""],
        }
    )
    cells = VectorTable(random.normal(size=(60, 5)).astype(np.float32), metadata, {"kind": "x"})
    write_table(tmp_path / "cells.parquet", cells, list("abcde"))
    return tmp_path


def command(*words: object) -> dict[str, Any]:
    done = run_cli("benchmark", *words, "--json")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def same(values: dict[str, Any], comparison: Comparison) -> None:
    found = json.loads(json.dumps(comparison.to_json()))
    # The file, which is what is printed, says beside this where it came from.
    assert values.keys() - found.keys() == {"command", "deeploc_tf", "digest", "files", "made_from"}
    for part, value in found.items():
        assert values[part] == value, part


def test_the_command_and_python_say_the_same(files: Path) -> None:
    values = command(files / "0.parquet", files / "groups.gmt", files / "r")
    same(values, compare([("0", files / "0.parquet")], [files / "groups.gmt"]))
    methods = [("a", files / "0.parquet"), ("a", files / "1.parquet"), ("b", files / "2.parquet")]
    comparison = compare(
        methods,
        [files / "slim.tab", files / "groups.gmt"],
        similarity="pearson",
        min_size=3,
        max_size=9,
        extent=Extent(2, 20, 1, True, seed=5),
        identifiers=read_identifiers(files / "names.tsv"),
        num_random=4,
        cells=[(None, files / "cells.parquet")],
        group=["field"],
    )
    values = command(
        *[f"{name}={file}" for name, file in methods],
        *(files / "r2", "-s", files / "slim.tab", "-s", files / "groups.gmt", "--pairs"),
        *(
            "--identifiers",
            files / "names.tsv",
            "--random",
            4,
            "--cell-vectors",
            files / "cells.parquet",
        ),
        *("--hold-out", "field", "--similarity", "pearson", "--min-size", 3, "--max-size", 9),
        *("--shuffles", 2, "--permutations", 20, "--draws", 1, "--seed", 5),
    )
    same(values, comparison)
    assert list(values["standards"]) == ["slim C", "slim P", "groups"]
    comparison.write(files / "python", pairs=True)
    written = sorted(path.name for path in (files / "python").iterdir())
    assert {"pairs-4.csv.gz", "scores.csv", "scores.json", "terms.csv"} < set(written)
    one, other = (json.loads((files / f / "scores.json").read_text()) for f in ("python", "r2"))
    assert {name for name in other if one.get(name) != other[name]} == {"command", "digest"}
    for name in set(written) - {"scores.json"}:
        assert (files / "python" / name).read_bytes() == (files / "r2" / name).read_bytes(), name


def test_tables_in_memory_are_compared_as_those_of_files(files: Path) -> None:
    of_files = compare([("m", files / "2.parquet")], [GROUPS], extent=QUICK)
    (method,) = compare([("m", profiles(NAMES[2:], 2))], [GROUPS], extent=QUICK).methods
    assert method.file is None
    assert method.results[0].numbers == of_files.methods[0].results[0].numbers
    table = pd.read_parquet(files / "cells.parquet")
    metadata = table.filter(regex="Metadata_").rename(columns=lambda n: n[9:].lower())
    cells = VectorTable(table[list("abcde")].to_numpy(np.float32), metadata, {})
    found, read = (
        compare([("m", profiles(NAMES))], [GROUPS], extent=QUICK, cells=[("net", one)]).cells[0]
        for one in (cells, files / "cells.parquet")
    )
    assert {**found, "file": "cells.parquet"} == read
    nameless = VectorTable(np.ones((3, 2), np.float32), pd.DataFrame({"gene": list("abc")}), {})
    with pytest.raises(ValueError, match="'protein' for VectorTable"):
        compare([("m", nameless)], [GROUPS])
    with pytest.raises(ValueError, match="Received: none"):
        compare([], [GROUPS])


def test_only_chosen_proteins_take_part() -> None:
    chosen = NAMES[14:3:-1]
    (method,) = compare([("m", profiles(NAMES))], [GROUPS], extent=QUICK, proteins=chosen).methods
    rows = sorted(map(NAMES.index, chosen))
    expected = benchmark(profiles(NAMES).features[rows], sorted(chosen), [GROUPS], extent=QUICK)[0]
    assert method.results[0].numbers == expected.numbers
    assert method.excluded is not None
    assert (method.excluded["profiles"], method.excluded["not_chosen"]) == (24, 13)
    several = [("a", profiles(NAMES)), ("b", profiles(NAMES[5:]))]
    with pytest.raises(ValueError, match=r"P04 \(1 of 11\) without one in 'b'"):
        comparable(several, proteins=chosen)
    found = comparable(several, proteins=chosen[:-1])
    assert [m.profiles.metadata["protein"].tolist() for m in found] == [sorted(chosen[:-1])] * 2
    excluded = found[1].excluded
    assert excluded is not None
    assert (excluded["not_chosen"], excluded["not_in_every_method"]) == (9, 0)


def test_what_is_not_there_is_no_standard_and_no_reference(files: Path) -> None:
    with pytest.raises(ValueError, match=r"must be standards, or their files\. Received: none"):
        compare([("a", files / "0.parquet")], [])
    found = compare([("deeploc", files / "0.parquet")], [files / "groups.gmt"])
    with pytest.raises(ValueError, match=r"reference='deplocc'\. Did you mean 'deeploc'\?"):
        found.summary("deplocc")


def test_the_summary_is_of_what_was_computed() -> None:
    seeds = [
        ("ours", profiles(NAMES)),
        ("ours", profiles(NAMES, 1)),
        ("theirs", profiles(NAMES, 2)),
    ]
    comparison = compare(seeds, [GROUPS], extent=Extent(0, intervals=True))
    summary = comparison.summary("ours")
    assert set(summary["score"]) == {"average_precision", "mean_average_precision"}
    rows = summary.set_index(["score", "method"])
    table = comparison.to_frame().set_index("method")
    for method in ("ours", "theirs"):
        mean = np.mean(table.loc[[method], "average_precision"])
        assert rows.loc[("average_precision", method), "mean"] == pytest.approx(mean)
    (stored,) = (d for d in comparison.differences() if d["score"] == "average_precision")
    assert rows.loc[("average_precision", "theirs"), "difference"] == stored["difference"]
    row = rows.loc[("mean_average_precision", "theirs")]
    assert row["low"] < row["mean"] < row["high"]
    assert 0 < row["p_value"] <= row["adjusted_p_value"] <= 1


@pytest.fixture
def spread() -> Iterator[None]:
    """A score of another package."""

    def compute(scoring: Scoring) -> dict[str, float | None]:
        scoring.notes["spread"] = "Spread is a joke."
        return {"spread": float(scoring.features.std()), "no_spread": 0.0}

    what = {"spread": "standard deviation of all features"}
    bars = {"spread": Bar("spread of features", "no_spread", "none")}
    SCORES.register("spread", Scores(compute, what, {"spread": ("sprd", ".2f")}, bars))
    yield
    SCORES.unregister("spread")


@pytest.mark.usefixtures("spread")
def test_a_score_of_another_package_is_stored_shown_and_drawn(files: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
    words = [f"{name}={files / file}" for name in "ab" for file in ("0.parquet", "1.parquet")]
    words += ["-s", str(files / "groups.gmt"), str(files / "r"), "--shuffles", "0"]
    done = run_cli("benchmark", *words, "--no-intervals")
    assert done.exit_code == 0, done.output
    head, row = done.stdout.splitlines()[:2]
    assert head.split()[-1] == "sprd"
    assert "Spread is a joke." in done.stdout
    values = json.loads((files / "r" / "scores.json").read_text())
    spread = values["standards"]["groups"]["spread"]
    assert row.split()[-1] == f"{spread:.2f}"
    assert values["definitions"]["spread"] == "standard deviation of all features"
    assert values["seeds"][0]["spread_sd"] > 0
    assert "<!-- spread of features" in (files / "r" / "scores.svg").read_text()


def test_scores_of_two_packages_must_not_share_a_name() -> None:
    SCORES.register("again", Scores(lambda _: {"average_precision": 1.0}))
    try:
        with pytest.raises(ValueError, match="average_precision, of the scores 'again'"):
            benchmark(profiles(NAMES).features, NAMES, [GROUPS], extent=QUICK)
    finally:
        SCORES.unregister("again")


@pytest.mark.parametrize(
    ("compute", "problem"),
    [
        (lambda scoring: scoring.nothing, "AttributeError: 'Scoring' object has no attribute"),
        (lambda _: None, "TypeError: 'NoneType' object is not iterable"),
        (lambda _: {"spread": np.int64(3)}, "TypeError: Object of type int64 is not JSON"),
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero."),
    ],
)
def test_a_score_of_another_package_that_fails_is_named_and_left_out(
    compute: Any, problem: str, files: Path
) -> None:
    bars = {"spread": Bar("spread of features", "no_spread", "none")}
    SCORES.register("spread", Scores(compute, {}, {"spread": ("sprd", ".2f")}, bars))
    words = [f"{name}={files / file}" for name in "ab" for file in ("0.parquet", "1.parquet")]
    words += ["-s", files / "groups.gmt", files / "r", "--shuffles", "0", "--no-intervals"]
    try:
        done = run_cli("benchmark", *words)
    finally:
        SCORES.unregister("spread")
    assert done.exit_code == 0, done.output
    assert "Warning: The scores 'spread' of another package cannot be computed and are left " in (
        done.stderr
    )
    assert problem in done.stderr
    assert "Traceback" not in done.output
    values = json.loads((files / "r" / "scores.json").read_text())
    assert "spread" not in values["standards"]["groups"]
    assert values["standards"]["groups"]["average_precision"] > 0


def test_a_format_of_another_package_is_read(files: Path) -> None:
    def read(reading: Reading) -> Iterator[Entry]:
        for _, line in reading.lines():
            term, _, members = line.partition(": ")
            yield entry(term, members.split())

    text = "".join(f"{term}: {' '.join(members)}\n" for term, members in GROUPS.terms.items())
    (files / "groups.sets").write_text(text)
    FORMATS.register("sets", Format(read, "term: members", suffixes=(".sets",)))
    try:
        (method,) = compare(
            [("m", files / "0.parquet")], [files / "groups.sets"], extent=QUICK
        ).methods
        values = command(files / "0.parquet", files / "groups.sets", files / "r")
    finally:
        FORMATS.unregister("sets")
    assert method.results[0].numbers["terms_scored"] == 4
    assert values["standard_files"]["groups"]["format"] == "sets"
    with pytest.raises(StandardError, match="`format` must be one of gmt, "):
        FORMATS.get("sets")


def test_random_vectors_are_no_seed_of_a_method_of_that_name() -> None:
    with pytest.raises(ValueError, match="called 'random'"):
        compare([("random", profiles(NAMES))], [GROUPS], extent=QUICK, num_random=4)
