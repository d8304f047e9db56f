"""Functions and settings that test files share, where a fixture would not reach.

Helpers, parameters and settings of a module need them before a test runs. Nothing here imports
TensorFlow before it is called.
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from deeploc_tf.cli import main


def run_cli(*words: object) -> Result:
    """What `deeploc-tf` with these words prints and returns, run in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there; none where there is no folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
