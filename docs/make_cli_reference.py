"""Writes docs/cli.md from `--help`, or with --check says whether it is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from deeploc_tf.cli import main
from deeploc_tf.cli.command import ALL_OPTIONS

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

<!-- Written by `make cli-reference` from the commands' own help: change that, not this page. -->

The same from Python: [Python](python.md). `python -m deeploc_tf` and, in a bare clone,
`python cli.py` are the same as `deeploc-tf`.

Results go to standard output, progress and messages to standard error. `--quiet` (`-q`) hides
progress and notes, `--verbose` (`-v`) shows versions and details as well, before or after the name
of the command. `--json` prints the result as one JSON document ([its keys](json.md)).

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed, and one sentence says why; or `verify`, `trace` or `doctor` found a problem |
| 2 | wrong usage |
| 3 | out of memory |
| 75 | stopped by SIGTERM at a checkpoint; the same command resumes (`fit`, `study`) |
| 130, 143 | interrupted by Ctrl-C or SIGTERM |

Options from a file: commands with many options take `--config FILE`, YAML or JSON with the names
of the options as keys (`learning_rate: 0.001`); the `config.json` of a run is such a file. Options
that are given win. `--print-config` prints all options, as such a file.

Completion of commands, options and choices, for the present shell:

```shell
eval "$(_DEEPLOC_TF_COMPLETE=bash_source deeploc-tf)"          # bash 4.4 or later
eval "$(_DEEPLOC_TF_COMPLETE=zsh_source deeploc-tf)"           # zsh
_DEEPLOC_TF_COMPLETE=fish_source deeploc-tf | source           # fish
```
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
