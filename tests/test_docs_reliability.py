"""docs/reliability.md names tests that exist, and every file of tests about faults."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_the_page_names_tests_that_exist_and_all_that_are_about_faults() -> None:
    page = PAGE.read_text("utf-8")
    named = re.findall(r"`(test_\w+)(?:::(test_\w+))?`", page)
    content = {path.stem: path.read_text("utf-8") for path in TESTS.glob("test_*.py")}
    for file, test in named:
        assert file in content
        assert not test or f"\ndef {test}(" in content[file], f"{file}::{test}"
    about = {"test_environments", "test_fuzzing", "test_formulas", "test_hostile_names"}
    about |= {name for name in content if name.startswith(("test_faults_", "test_failpoints"))}
    assert about <= {file for file, _ in named}


def test_every_fault_has_its_tests() -> None:
    sections = PAGE.read_text("utf-8").split("| fault | what happens | tests |")[1:]
    rows = [
        line
        for section in sections
        for line in section.split("\n\n")[0].splitlines()
        if line.startswith("| ")
    ]
    assert len(rows) >= 75
    assert [row for row in rows if not re.search(r"`test_\w+(::test_\w+)?` \|$", row)] == []
