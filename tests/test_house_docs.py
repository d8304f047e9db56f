"""The documentation says what the code does: commands, options, targets, links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deeploc_tf.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    {ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/adr").glob("*.md")}
)
page_ids = [page.relative_to(ROOT).as_posix() for page in PAGES]


def shell_commands(text: str, program: str) -> list[list[str]]:
    """Every call of `program` in the blocks of a Markdown page, as words."""
    languages = "sh|bash|shell|console|text"
    blocks = re.findall(rf"^```(?:{languages})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [
        line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    calls = [re.split(r" [>|] ", line)[0] for line in lines if line.startswith(f"{program} ")]
    return [shlex.split(call, comments=True)[1:] for call in calls]


def check_call(group: click.Group, words: list[str]) -> None:
    """Raises click's usage error when a documented call does not fit the command."""
    context = click.Context(group, info_name="deeploc-tf")
    name, command, rest = group.resolve_command(context, list(words))
    assert command is not None
    below = click.Context(command, info_name=name, parent=context)
    values, left, _ = command.make_parser(below).parse_args(rest)
    assert not left, f"{name} takes no further arguments: {left}"
    if not {"--help", "-h"} & set(words):
        needed = {parameter.name for parameter in command.params if parameter.required}
        given = {
            name: word for name, word in values.items() if isinstance(word, str | tuple | list)
        }
        is_asked = any(
            parameter.is_eager and parameter.name in given for parameter in command.params
        )
        assert is_asked or needed <= set(given), words
        # RUN where RECORDS belongs would pass for a path
        arguments = {item.name for item in command.params if isinstance(item, click.Argument)}
        swapped = [
            word
            for name, word in given.items()
            if name in arguments and str(word).lower() in arguments - {name}
        ]
        assert not swapped, words


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in main.list_commands(click.Context(main)):
        assert f"\n## deeploc-tf {name}\n" in page, f"{name}: run `make cli-reference`"


@pytest.mark.parametrize(
    "script", ["make_cli_reference.py", "make_api_reference.py", "make_pypi_page.py"]
)
def test_generated_pages_are_up_to_date(script: str) -> None:
    command = [sys.executable, str(ROOT / "docs" / script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_summaries_of_commands_are_whole_at_80_columns() -> None:
    context = click.Context(main, info_name="deeploc-tf", terminal_width=80, max_content_width=80)
    listed = main.get_help(context).split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == main.list_commands(context)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_every_command_shows_an_example() -> None:
    context = click.Context(main, info_name="deeploc-tf")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=context))
        assert f"deeploc-tf {name}" in text.split("\n", 1)[1], f"{name} --help has no example"


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_documented_calls_fit_the_commands(page: Path) -> None:
    for words in shell_commands(page.read_text(encoding="utf-8"), "deeploc-tf"):
        check_call(main, words)


def test_the_check_of_calls_can_fail() -> None:
    (words,) = shell_commands("```sh\ndeeploc-tf embed RUN --no-such-option 3\n```\n", "deeploc-tf")
    with pytest.raises(click.UsageError):
        check_call(main, words)
    with pytest.raises(AssertionError):
        check_call(main, ["embed"])
    with pytest.raises(AssertionError):
        check_call(main, ["embed", "RECORDS", "RUN", "cells.h5"])


def test_readme_shows_the_way_from_pixels_to_vectors() -> None:
    calls = shell_commands((ROOT / "README.md").read_text(encoding="utf-8"), "deeploc-tf")
    steps = ["build-records", "fit", "embed", "benchmark", "export"]
    assert [words[0] for words in calls] == steps


def test_make_prints_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)
    assert sorted(explained) == sorted(phony.replace("\\", " ").split())


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_documented_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    targets = {words[0] for words in shell_commands(text, "make") if words}
    targets |= set(re.findall(r"`make ([a-z][a-z-]*)", text))
    assert not {target for target in targets if f"\n{target}:" not in makefile}


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    links = re.findall(r"\]\(([^)#\s]+)", text)
    assert not [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
