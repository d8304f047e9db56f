"""Writes docs/cli.md from `--help`, or with --check says whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from deeploc_tf.cli import main
from deeploc_tf.cli.common_options import ALL_OPTIONS

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

<!-- Written by `make cli-reference` from the commands' own help: change that, not this page. -->

The same from Python: [Python](python.md). `python -m deeploc_tf` and, in a bare clone,
`python cli.py` are the same as `deeploc-tf`.

Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 failed
(one sentence says why), 2 wrong usage, 3 out of memory, 130 and 143 interrupted.
"""


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yields (full name, help text) of a command and of all below it."""
    settings = {**command.context_settings, "terminal_width": 80, "max_content_width": 80}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    context.meta[ALL_OPTIONS] = True
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from commands(found, child, context)


def page() -> str:
    """The whole page."""
    sections = [
        f"## {name}\n\n```text\n{text.rstrip()}\n```\n"
        for name, text in commands(main, "deeploc-tf")
    ]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/cli.md must equal the commands' help. Run `make cli-reference`.")
    else:
        PAGE.write_text(page(), encoding="utf-8")
