"""The documentation says what the code does: commands, options, targets, links."""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deeploc_tf.cli import main
from deeploc_tf.cli.benchmark import NamedFile

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")}
    - {*(ROOT / "docs/_build").rglob("*.md")}
)
page_ids = [page.relative_to(ROOT).as_posix() for page in PAGES]
# A page whose commands no test runs says why.
NOT_RUN = "<!-- Commands are checked against the options, not run: "
# Of pip, Beam and Slurm, and of nothing in particular.
OTHER_OPTIONS = {
    *("--only-binary", "--no-deps", "--runner", "--flink_master", "--environment_type"),
    *("--dependency", "--array", "--checkpoint-*", "--x/--no-x"),
}


def shell_commands(text: str, program: str) -> list[list[str]]:
    """Every call of `program` in the blocks of a Markdown page, as words."""
    languages = "sh|bash|shell|console|text"
    blocks = re.findall(rf"^```(?:{languages})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [
        line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    calls = [
        re.split(r" [>|&](?: |$)", line)[0] for line in lines if line.startswith(f"{program} ")
    ]
    calls = [re.sub(r"\$\{?\w+(:-\w+\})?", "1", call) for call in calls]  # a shell's variables
    return [shlex.split(call, comments=True)[1:] for call in calls]


def check_value(parameter: click.Parameter, value: object, context: click.Context) -> None:
    """Raises click's usage error unless the option takes the value; files need not be there."""
    if isinstance(parameter.type, click.Path | NamedFile):
        return
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str):
            parameter.type.convert(text, parameter, context)


def check_call(group: click.Group, words: list[str], *, whole: bool = True) -> None:
    """Raises click's usage error when a documented call does not fit the command.

    `whole`: nothing that the command needs may be missing.
    """
    context = click.Context(group, info_name="deeploc-tf")
    name, command, rest = group.resolve_command(context, list(words))
    assert command is not None
    below = click.Context(command, info_name=name, parent=context)
    values, left, _ = command.make_parser(below).parse_args(rest)
    assert not left, f"{name} takes no further arguments: {left}"
    for parameter in command.get_params(below):
        check_value(parameter, values.get(str(parameter.name)), below)
    if whole and not {"--help", "-h"} & set(words):
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


def test_troubleshooting_quotes_messages_that_the_code_has() -> None:
    sources = [path for room in ("deeploc_tf", "tfrecords") for path in (ROOT / room).rglob("*.py")]
    texts = [
        node.value if isinstance(node, ast.Constant) else "".join(map(_literal, node.values))
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]
    said = "\n".join(map(str, texts))
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"^\| ``? ?(.+?) ?``?[ ,|]", page, re.MULTILINE)
    assert len(quoted) > 30
    parts = [part.strip() for message in quoted for part in message.split("...")]
    assert not [part for part in parts if part not in said]


def _literal(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "{}"


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


def spans(text: str) -> list[list[str]]:
    """The words of every piece of code within a sentence or a table."""
    prose = re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    found = []
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose):
        with contextlib.suppress(ValueError):  # a single quotation mark
            found.append(shlex.split(span.replace("\\|", "|")))
    return [words for words in found if words]


@functools.cache
def all_options() -> frozenset[str]:
    context = click.Context(main, info_name="deeploc-tf")
    commands = [main, *(main.get_command(context, name) for name in main.list_commands(context))]
    return frozenset(
        option
        for command in commands
        if command is not None
        for parameter in command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
    )


@functools.cache
def options_of_scripts() -> frozenset[str]:
    scripts = [path for room in ("experiments", "perf") for path in (ROOT / room).glob("*.py")]
    found = (re.findall(r'"(--[a-z-]+)"', path.read_text("utf-8")) for path in scripts)
    return frozenset(option for options in found for option in options)


@functools.cache
def pages_that_tests_name() -> frozenset[str]:
    tests = [path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py")]
    return frozenset(name for test in tests for name in re.findall(r'"([\w-]+\.md)"', test))


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_commands_and_options_in_sentences_exist(page: Path) -> None:
    options = all_options() | options_of_scripts() | OTHER_OPTIONS
    for words in spans(page.read_text(encoding="utf-8")):
        if words[0] == "deeploc-tf" and len(words) > 1 and words[1][0] not in "-C":
            check_call(main, words[1:], whole=False)
        elif words[0].startswith("--"):
            assert words[0].split("=")[0] in options, words


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_commands_of_a_page_are_run_or_it_says_why_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if shell_commands(text, "deeploc-tf") and page.name not in {"cli.md", "pypi.md"}:
        run = page.name in pages_that_tests_name()
        assert run or NOT_RUN in text, "name the page in a test that runs it, or say why not"


def test_the_check_of_calls_can_fail() -> None:
    (words,) = shell_commands("```sh\ndeeploc-tf embed RUN --no-such-option 3\n```\n", "deeploc-tf")
    with pytest.raises(click.UsageError):
        check_call(main, words)
    for wrong in ("--epochs many", "--optimizer eve", "--dense-units 5"):
        with pytest.raises(click.UsageError):
            check_call(main, ["fit", "RECORDS", "RUN", *wrong.split()])
    assert spans("a `deeploc-tf fit`\n```sh\n`y`\n```\n") == [["deeploc-tf", "fit"]]
    with pytest.raises(AssertionError):
        check_call(main, ["embed"])
    with pytest.raises(AssertionError):
        check_call(main, ["embed", "RECORDS", "RUN", "cells.h5"])


def test_readme_shows_the_way_from_pixels_to_vectors() -> None:
    calls = shell_commands((ROOT / "README.md").read_text(encoding="utf-8"), "deeploc-tf")
    steps = ["build-records", "fit", "embed", "neighbors", "map", "benchmark", "export"]
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
