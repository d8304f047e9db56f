"""`make size` counts what it says: code by tokens, error texts, options, dependencies."""

from __future__ import annotations

from pathlib import Path

import pytest
import size

SAMPLE = '''"""A docstring of the module.

Three lines long.
"""

# A comment is no code.
import os

TEXT = """one
# two, in a string

four"""


class Shelf:
    """One line."""

    places: int = 4  # a comment behind code

    def take(self, place: int) -> str:
        """Two lines,
        of a method."""
        "An expression that is no docstring: code."
        if place >= self.places:
            msg = (
                # Not a line of code.
                f"place must be below {self.places}. "
                f"Received: place={place}."
            )
            raise IndexError(msg)
        if place < 0:
            raise IndexError("place must not be negative")
        return os.fspath(
            "shelf"
        )
'''


def test_a_sample_is_counted_by_its_tokens() -> None:
    # import, 4 of TEXT, class, places, def, expression, if, 4 of msg, raise, if, raise, 3 of return
    expected = size.Size(files=1, code=20, error_texts=5, docstrings=7)
    assert size.size_of(SAMPLE) == expected
    assert size.size_of("") == size.Size(files=1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("deeploc_tf/names.py", "deeploc_tf/models/a.py", "deeploc_tf/models/deep/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\ny = 2\n", encoding="utf-8")
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    # why\n    numpy>=1\n    click>=8\n", encoding="utf-8"
    )
    return tmp_path


def test_rooms_and_dependencies_of_a_project(project: Path) -> None:
    assert size.sizes(project) == {
        "deeploc_tf": size.Size(files=1, code=2),
        "deeploc_tf/models": size.Size(files=2, code=4),
    }
    assert size.base_dependencies(project) == ["numpy>=1", "click>=8"]


def test_the_tables_name_rooms_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    size.main()
    printed = capsys.readouterr().out
    assert "\n| deeploc_tf/cli | " in printed
    assert "\n| **all** | " in printed
    assert f"\n| inspect | {size.options()['inspect']} |\n" in printed
