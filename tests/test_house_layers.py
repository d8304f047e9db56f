"""The import contracts hold, and each of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytest.importorskip("importlinter", reason="import-linter is in the extra dev, default stack")


def lint_imports(folder: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs lint-imports in `folder`, on the packages that lie there."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as f; f()"]
    command += ["--config", "setup.cfg", "--no-cache"]
    if contract is not None:
        command += ["--contract", contract]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the packages and of the contracts, to be spoilt."""
    for package in ("tfrecords", "deeploc_tf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def test_contracts_hold(project: Path) -> None:
    done = lint_imports(project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("rooms", "deeploc_tf/sources/__init__.py", "import deeploc_tf.ingest"),
        ("rooms", "deeploc_tf/models/__init__.py", "import deeploc_tf.cli"),
        ("storage-rooms", "tfrecords/errors.py", "import tfrecords.schema"),
        ("storage-rooms", "tfrecords/sharding.py", "import tfrecords.writer"),
        ("stations", "deeploc_tf/embedding/__init__.py", "import deeploc_tf.training"),
        ("storage", "tfrecords/codec.py", "import keras"),
        ("storage", "tfrecords/codec.py", "import deeploc_tf.version"),
        ("ingest", "deeploc_tf/ingest/__init__.py", "import deeploc_tf.models"),
        ("no-tensorflow", "deeploc_tf/profiles/__init__.py", "import tensorflow"),
        ("no-tensorflow", "deeploc_tf/profiles/__init__.py", "import tfrecords.codec"),
        ("click", "deeploc_tf/models/__init__.py", "import click"),
    ],
)
def test_contract_can_fail(project: Path, contract: str, module: str, line: str) -> None:
    spoilt = project / module
    spoilt.write_text(spoilt.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint_imports(project, contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "0 kept, 1 broken" in done.stdout


def test_a_room_that_no_contract_names_fails(project: Path) -> None:
    (project / "deeploc_tf" / "utils.py").touch()
    done = lint_imports(project, "rooms")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "deeploc_tf.utils" in done.stdout


def test_every_contract_is_seen_to_fail() -> None:
    from importlinter.api import read_configuration

    options = read_configuration(str(ROOT / "setup.cfg"))["contracts_options"]
    marks = test_contract_can_fail.pytestmark  # type: ignore[attr-defined]
    assert {option["id"] for option in options} == {case[0] for case in marks[0].args[1]}
