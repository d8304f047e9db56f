"""`deeploc-tf doctor`: whether this installation can work, and how to mend what cannot."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import click

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


@click.command(epilog=EPILOG)
@json_option
def doctor(as_json: bool) -> int:
    """Show versions, settings and devices, and report problems; exit with 1 if there are any."""
    from deeploc_tf.installation import doctor as examine

    with contextlib.suppress(Exception):  # told below, without what TensorFlow says at its start
        start_tensorflow()
    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print(report)
    return 1 if report["problems"] else 0


def _print(report: dict[str, Any]) -> None:
    click.echo(
        f"deeploc-tf {report['deeploc-tf']}, Python {report['python']}, {report['platform']}"
    )
    click.echo(f"installed in {Path(__file__).resolve().parents[2]}")
    for name, version in report["packages"].items():
        click.echo(f"  {name:20}{version or 'not installed'}")
    for name, is_there in report["extras"].items():
        click.echo(f"  extra {name:14}{'installed' if is_there else install(name)}")
    for name, value in report["keras"].items():
        click.echo(f"  Keras {name:20}{value}")
    for name, value in report["variables"].items():
        click.echo(f"  {name}={value}")
    for extension in report["extensions"]:
        click.echo(f"  {extension}")
    for device in report["devices"]:
        click.echo(f"  {device}")
    for name, count in report["memory_bytes"].items():
        click.echo(f"  {name} memory {count / 2**30:.1f} GiB")
    for place, count in report["disk_bytes"].items():
        click.echo(f"  {count / 2**30:.1f} GiB free in {place}")
    for problem in report["problems"]:
        click.echo(f"Problem: {problem}")
    if not report["problems"]:
        click.echo("No problems found.")
