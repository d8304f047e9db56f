"""The tool that spoils the code, on code of a few lines."""

from __future__ import annotations

import ast
from pathlib import Path

import mutants
import pytest

SOURCE = b'''"""Text."""
LIMIT: int = 3


def rank(values: "list[1 + 2]", by: str = "a") -> "x < y":
    """More text: 1 + 1."""
    if len(values) < LIMIT:
        msg = f"Received: {len(values) + 1}." + "So."
        raise ValueError(msg)
    return sorted(values)[0] * 2 + by.count("\xc3\xa9")
'''


def test_faults_are_of_what_computes_and_can_be_run() -> None:
    found = list(mutants.mutants_of("x.py", SOURCE))
    pairs = {(SOURCE[m.start : m.end].decode(), m.kind, m.text) for m in found}
    assert ("len(values) < LIMIT", "comparison", "(len(values) >= LIMIT)") in pairs
    assert ("len(values) < LIMIT", "boundary", "(len(values) <= LIMIT)") in pairs
    assert ("sorted(values)[0] * 2", "arithmetic", "(sorted(values)[0] / 2)") in pairs
    assert ("sorted(values)", "removed call", "(values)") in pairs
    assert ("2", "constant", "(3)") in pairs
    assert ("3", "constant", "(4)") in pairs
    assert not any("1 + " in before or "x < y" in before for before, *_ in pairs)
    assert not any("Received" in before for before, *_ in pairs)
    for mutant in found:
        ast.parse(mutant.of(SOURCE))
        assert mutant.of(SOURCE) != SOURCE


def test_the_same_seed_draws_the_same_faults_of_all_rooms() -> None:
    first = mutants.drawn(300, 0)
    assert first == mutants.drawn(300, 0)
    assert first != mutants.drawn(300, 1)
    assert len({mutant.kind for mutant in first}) == 5
    paths = {mutant.path for mutant in first}
    for room in ("deeploc_tf/benchmark", "deeploc_tf/profiles", "tfrecords/codec.py"):
        assert any(path.startswith(room) for path in paths)
    for path in paths:
        (near, *_) = mutants.tests_of(path)
        assert near


@pytest.mark.parametrize(("fault", "killed"), [("a - b", True), ("a + b + 0", False)])
def test_a_fault_is_killed_by_a_test_that_fails(
    fault: str, killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def add(a, b):\n    return a + b\n"
    (tmp_path / "sums.py").write_text(source)
    (tmp_path / "test_sums.py").write_text(
        "import sums\n\n\ndef test_sum():\n    assert sums.add(2, 3) == 5\n"
    )
    monkeypatch.setattr(mutants, "tests_of", lambda path: [["test_sums.py"]])
    mutant = mutants.Mutant("sums.py", 26, 31, "arithmetic", fault)
    row = mutants.judge(mutant, tmp_path, 60)
    assert row["before"] == "a + b"
    assert row["line"] == 2
    assert (row["killed_by"] is not None) == killed
    assert (tmp_path / "sums.py").read_text() == source
