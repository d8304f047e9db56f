"""Functions and settings that test files share, where a fixture would not reach.

Helpers, parameters and settings of a module need them before a test runs. Nothing here imports
TensorFlow before it is called.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from deeploc_tf.cli import main
from deeploc_tf.training.config import FitConfig
from tfrecords.publishing import json_digest

TINY_OPTIONS = (
    *("--width", "0.06", "--dense-units", "8,6", "--window", "8", "--batch-size", "4"),
    *("--epochs", "2", "--warmup-epochs", "1", "--test-time", "none", "--no-last-block"),
    *("--optimizer", "sgd", "--ema-momentum", "0"),
)
"""Options of `deeploc-tf fit` for a training of seconds on crops of 10 pixels."""


RECIPE: dict[str, Any] = {"optimizer": "adamw", "ema_momentum": 0.5}
"""What `tiny_fit` leaves out of the recommended recipe: their graphs take two thirds of a fit."""


def run_cli(*words: object) -> Result:
    """What `deeploc-tf` with these words prints and returns, run in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


# Programs of a page, and how a test says them.
PROGRAMS = {
    "alone/bin/python": [sys.executable],
    "saved_model_cli": [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"],
}


def run_shell(block: str, more: Mapping[str, Sequence[str]] | None = None) -> str:
    """What the commands of a page print; those that make an environment are left out.

    `more`: by command of `deeploc-tf`, words that a test puts behind those of the page.
    """
    output = ""
    for line in block.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "deeploc-tf":
            result = run_cli(*arguments, *(more or {}).get(arguments[0], ()))
            assert result.exit_code == 0, (line, result.output)
            output += result.stdout
        elif program in PROGRAMS:
            command = [*PROGRAMS[program], *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (line, done.stderr[-2000:])
            output += done.stdout
    return output


def tiny_fit(**changes: Any) -> FitConfig:
    """Settings for a training of seconds on crops of 16 to 20 pixels, with these changes.

    What is about optimizers or averages takes `RECIPE` too.
    """
    tiny: dict[str, Any] = {
        "width": 0.06,
        "dense_units": (8, 6),
        "last_block": False,
        "window": 12,
        "epochs": 2,
        "batch_size": 9,
        "warmup_epochs": 1,
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "ema_momentum": 0.0,
        "test_time": "none",  # of eight views: their graph takes a second
    }
    return FitConfig(**{**tiny, **changes})


def write_config(run: Path, values: dict[str, Any]) -> None:
    """Write the `config.json` of a run as `fit` does, with its digest."""
    text = json.dumps({**values, "digest": json_digest(values)})
    (run / "config.json").write_text(text)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there; none where there is no folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
