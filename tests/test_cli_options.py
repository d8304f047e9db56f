"""An option has one name, one meaning and one default over all commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from deeploc_tf.cli import COMMANDS, main

OTHER_DEFAULTS = {
    "--allow-unmatched": "every crop should have its label; standards list proteins of no screen",
    "--batch-size": "a training step is smaller than a batch of inference",
    "--channels": "a preset may use only the first of those that are stored",
    "--classes": "the labeling page may ask a run",
    "--components": "of pixels, components are all there is",
    "--controls": "a report tests nothing without them; a transform is fitted on all rows",
    "--crop-size": "the model of `predict` expects a size",
    "--epochs": "the demo is over in minutes",
    "--label-separator": "records refuse a crop with several labels; label leaves the protein out",
    "--layer": "inpainting cannot be served",
    "--memory": "scores record the bound, and rankings that fit need none",
    "--neighbors": "those of `explain` are pictures side by side",
    "--permutations": "of `change` each costs a pass over the screen",
    "--protein": "records are built by us; tables come from other programs, too",
    "--split": "labels are given to cells of every split",
    "--suite": "scores name theirs",
    "--test-time": "a finished run knows its own",
    "--title": "each page has its own",
}
"""Options whose default differs between commands, and why."""


def options() -> Iterator[tuple[str, str, click.Option, click.Context]]:
    group = click.Context(main, info_name="deeploc-tf", **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(group, name)
        assert command is not None
        context = click.Context(command, group, info_name=name)
        for option in command.get_params(context):
            if isinstance(option, click.Option):
                for flag in option.opts:
                    yield flag, name, option, context


def by_flag() -> dict[str, list[tuple[str, click.Option, click.Context]]]:
    found: dict[str, list[tuple[str, click.Option, click.Context]]] = {}
    for flag, name, option, context in options():
        if flag.startswith("--"):
            found.setdefault(flag, []).append((name, option, context))
    return found


def meaning(option: click.Option) -> str:
    """What the help says first: the rest tells how this command does it."""
    return re.split(r"[;:.,(]|  \[", option.help or "", maxsplit=1)[0].strip()


def default(option: click.Option, context: click.Context) -> str:
    told = re.search(r"\[default: (.*)\]$", option.help or "")
    if told:
        return told[1]
    value = option.get_default(context)
    if value is None or value is False or value == () or "UNSET" in repr(value):
        return ""
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("flag", sorted(by_flag()))
def test_an_option_has_one_meaning_and_one_default(flag: str) -> None:
    uses = by_flag()[flag]
    meanings = {meaning(option): name for name, option, _ in uses}
    assert len(meanings) == 1, meanings
    defaults = {default(option, context): name for name, option, context in uses}
    assert (len(defaults) > 1) == (flag in OTHER_DEFAULTS), defaults


def test_every_option_has_help_in_sentences() -> None:
    for flag, name, option, _ in options():
        text = (option.help or "").partition("  [")[0]
        assert text[:1].isupper() or text.startswith("HDF5"), (name, flag, text)
        assert text.endswith("."), (name, flag, text)


def test_one_thing_has_one_name() -> None:
    """Two options of equal help are one option under two names."""
    names: dict[str, set[str]] = {}
    for flags in {(option.help, tuple(option.opts)) for _, _, option, _ in options()}:
        names.setdefault(str(flags[0]), set()).add(" ".join(flags[1]))
    assert {text: flags for text, flags in names.items() if len(flags) > 1} == {}


def test_names_that_had_several_meanings_are_gone() -> None:
    found = by_flag()
    assert {"--number", "--side", "--group-by", "--minimum-cells"}.isdisjoint(found)
    commands = {flag: {name for name, _, _ in uses} for flag, uses in found.items()}
    assert commands["--test"] == commands["--group"] == {"build-records", "convert"}
    assert commands["--cells"] == {"build-records", "predict"}
    assert commands["--method"] == {"fit"}
    assert commands["--center"] == {"map", "neighbors"}
    assert commands["--crop-size"] == {"build-records", "convert", "predict"}


def test_every_summary_fits_the_listing() -> None:
    settings = {**main.context_settings, "terminal_width": 80, "max_content_width": 80}
    group = click.Context(main, info_name="deeploc-tf", **settings)
    listing = main.get_help(group)
    assert max(map(len, listing.partition("Examples:")[0].splitlines())) <= 80
    for name, lazy in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(lazy.summary)}$", listing, re.MULTILINE), name
