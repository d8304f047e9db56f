"""`--help` fits a screen where a command has many options; `--help-all` has them all."""

from __future__ import annotations

import click
import pytest
from shared import run_cli

from deeploc_tf.cli import COMMANDS, main
from deeploc_tf.cli.common_options import CommonOptionsCommand

GROUP = click.Context(main, **main.context_settings)


def command_of(name: str) -> click.Command:
    found = main.get_command(GROUP, name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["fit", "build-records"])
def test_help_shows_what_is_common_and_help_all_everything(name: str) -> None:
    command = command_of(name)
    assert isinstance(command, CommonOptionsCommand)
    parameters = command.get_params(click.Context(command, GROUP))
    flags = {flag for parameter in parameters for flag in parameter.opts}
    assert command.common <= flags
    short, long = (run_cli(name, flag) for flag in ("--help", "--help-all"))
    assert short.exit_code == long.exit_code == 0
    assert len(short.stdout.splitlines()) <= 60
    listed = short.stdout.partition("Examples:")[0].replace("\n", " ")
    for parameter in parameters:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            shown = f"  {', '.join(parameter.opts)}"
            assert shown in long.stdout
            is_common = {*command.common, "--help", "--help-all"}.intersection(parameter.opts)
            assert (f"{shown} " in listed) == bool(is_common)


def test_options_that_are_not_shown_work(tmp_path: object) -> None:
    done = run_cli("fit", tmp_path, f"{tmp_path}/run", "--label-smoothing", "2")
    assert done.exit_code == 2
    assert "--label-smoothing" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_short_help_and_quiet_is_q(name: str) -> None:
    done = run_cli(name, "-h")
    assert done.exit_code == 0, done.output
    assert "-h, --help" in done.stdout
    for option in command_of(name).params:
        if "--quiet" in option.opts:
            assert option.opts == ["-q", "--quiet"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("train", "'fit'"),
        ("Bench", "'benchmark'"),
        ("umap", "'map'"),
        ("e", ""),
        ("ex", "'export' or 'explain'"),
        ("evaluat", "'evaluate'"),
        ("xyzzy", ""),
    ],
)
def test_a_word_that_is_no_command_is_told_which_it_may_mean(word: str, meant: str) -> None:
    done = run_cli(word)
    assert done.exit_code == 2
    question = f" Did you mean {meant}?" if meant else ""
    assert done.stderr.splitlines()[-1] == f"Error: No such command {word!r}.{question}"


def test_no_word_of_others_is_a_command_of_ours() -> None:
    words = [word for lazy in COMMANDS.values() for word in lazy.also]
    assert len(words) == len(set(words))
    assert not set(words) & set(COMMANDS)
