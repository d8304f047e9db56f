"""`deeploc-tf doctor`: whether this installation can work, and how to mend what cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import json_option
from deeploc_tf.cli.tensorflow_start import start_tensorflow
from deeploc_tf.extras import (
    install,
)

EPILOG = """\b
Examples:
  deeploc-tf doctor
  deeploc-tf doctor --json
"""


@click.command(cls=Command, epilog=EPILOG)
@json_option
def doctor(as_json: bool) -> int:
    """Show versions, settings and devices, and report problems; exit with 1 if there are any."""
    from deeploc_tf.installation import doctor as examine

    with contextlib.suppress(Exception):  # told below, without what TensorFlow says at its start
        start_tensorflow()
    report = examine()
    answer(report, _lines(report), as_json=as_json)
    return 1 if report["problems"] else 0


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield (f"deeploc-tf {report['deeploc-tf']}, Python {report['python']}, {report['platform']}")
    yield (f"installed in {Path(__file__).resolve().parents[2]}")
    for name, version in report["packages"].items():
        yield (f"  {name:20}{version or 'not installed'}")
    for name, is_there in report["extras"].items():
        yield (f"  extra {name:14}{'installed' if is_there else install(name)}")
    for name, value in report["keras"].items():
        yield (f"  Keras {name:20}{value}")
    for name, value in report["variables"].items():
        yield (f"  {name}={value}")
    for extension in report["extensions"]:
        yield (f"  {extension}")
    for device in report["devices"]:
        yield (f"  {device}")
    for name, count in report["memory_bytes"].items():
        yield (f"  {name} memory {count / 2**30:.1f} GiB")
    for place, count in report["disk_bytes"].items():
        yield (f"  {count / 2**30:.1f} GiB free in {place}")
    for problem in report["problems"]:
        yield (f"Problem: {problem}")
    if not report["problems"]:
        yield ("No problems found.")
