"""docs/reliability.md names tests that exist, and every file of tests about faults."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"


def test_the_page_names_tests_that_exist_and_all_that_are_about_faults() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    files = {path.stem for path in TESTS.glob("test_*.py")}
    assert named <= files
    assert {name for name in files if name.startswith("test_faults_")} <= named
