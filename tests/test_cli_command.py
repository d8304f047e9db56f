"""`--help` fits a screen where a command has many options; `--help-all` has them all."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from shared import run_cli

from deeploc_tf.cli import COMMANDS, main
from deeploc_tf.cli.command import Command
from deeploc_tf.cli.fit import fit
from deeploc_tf.cli.recorded import recorded_words
from deeploc_tf.cli.settings import given_settings
from deeploc_tf.training.config import FitConfig

GROUP = click.Context(main, **main.context_settings)


def command_of(name: str) -> Command:
    found = main.get_command(GROUP, name)
    assert isinstance(found, Command)
    return found


@pytest.mark.parametrize(
    "name", ["fit", "build-records", "convert", "embed", "predict", "benchmark"]
)
def test_help_shows_what_is_common_and_help_all_everything(name: str) -> None:
    command = command_of(name)
    parameters = command.get_params(click.Context(command, GROUP))
    flags = {flag for parameter in parameters for flag in parameter.opts}
    assert command.common <= flags
    short, long = (run_cli(name, flag) for flag in ("--help", "--help-all"))
    assert short.exit_code == long.exit_code == 0
    assert len(short.stdout.splitlines()) <= 60
    listed = short.stdout.partition("Examples:")[0].replace("\n", " ")
    for parameter in parameters:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            shown = f"  {', '.join(sorted(parameter.opts, key=len))}"
            assert shown in long.stdout
            is_common = {*command.common, "--help", "--help-all", "--quiet"}.intersection(
                parameter.opts
            )
            assert (f"{shown} " in listed) == bool(is_common)


def test_options_that_are_not_shown_work(tmp_path: object) -> None:
    done = run_cli("fit", tmp_path, f"{tmp_path}/run", "--label-smoothing", "2")
    assert done.exit_code == 2
    assert "--label-smoothing" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_h_q_v_and_json(name: str) -> None:
    done = run_cli(name, "-h")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) <= 60
    for flags in ("-h, --help", "-q, --quiet"):
        assert flags in done.stdout
    command = command_of(name)
    options = {flag for p in command.get_params(click.Context(command, GROUP)) for flag in p.opts}
    assert {"-q", "--quiet", "-v", "--verbose", "--json"} <= options
    many = sum(isinstance(p, click.Option) for p in command.params) > 15
    assert {"--config", "--print-config"} <= options or not many


def test_verbose_shows_versions_and_details_and_quiet_no_note(screen: Path, tmp_path: Path) -> None:
    words = ("standards", screen / "terms.gmt", "--gmt", tmp_path / "out.gmt")
    done = run_cli(*words, "-v")
    assert done.exit_code == 0, done.output
    assert "deeploc-tf 0" in done.stderr
    assert "out.gmt is written" in done.stderr
    assert "It took " in done.stderr
    (tmp_path / "out.gmt").unlink()
    assert run_cli("-v", *words).stderr.count("It took ") == 1
    assert run_cli(*words, "-q", "-v").exit_code == 2
    profiles = ("map", screen / "profiles.tsv", tmp_path / "a.html", "--projection", "tsne")
    assert run_cli(*profiles, "-q").stderr == ""
    assert run_cli("--quiet", *profiles[:2], tmp_path / "b.html", *profiles[3:]).stderr == ""
    assert "deeploc-tf 0" not in run_cli("standards", screen / "terms.gmt").stderr


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    (tmp_path / "terms.gmt").write_text("one\tx\tP0\tP1\tP2\ntwo\tx\tP3\tP4\n")
    rows = [f"P{i}\t{i % 3}.5\t{i * i}\t{i}" for i in range(8)]
    (tmp_path / "profiles.tsv").write_text("\n".join(["protein\ta\tb\tc", *rows]) + "\n")
    return tmp_path


def test_json_is_one_document_and_the_exit_code_is_the_same(screen: Path) -> None:
    shown = run_cli("neighbors", screen / "profiles.tsv", "P1", "--json")
    assert json.loads(shown.stdout)["queries"][0]["query"] == "P1"
    assert run_cli("map", screen / "profiles.tsv", screen / "m.html", "--quiet").exit_code == 0
    whole = run_cli("verify", screen / "m.html", "--json")
    assert (whole.exit_code, json.loads(whole.stdout)["whole"]) == (0, True)
    page = screen / "m.html"
    page.write_bytes(page.read_bytes().replace(b"P1", b"P9", 1))
    broken = run_cli("verify", page, "--json")
    found = json.loads(broken.stdout)
    assert broken.exit_code == run_cli("verify", page).exit_code == 1
    assert (found["whole"], found["problem"] in broken.stderr) == (False, True)
    assert broken.stderr.startswith("Error: ")


def test_keys_of_json_are_documented(screen: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "json.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (`.+?) \| (.+) \|$", page, re.MULTILINE))
    listed = {
        name: text for names, text in rows.items() for name in re.findall(r"`([^`]+)`", names)
    }
    assert set(listed) == set(COMMANDS)
    for name, words in {
        "neighbors": ("profiles.tsv", "P1"),
        "map": ("profiles.tsv", screen / "m.html"),
        "standards": ("terms.gmt",),
        "verify": ("m.html",),
    }.items():
        done = run_cli(name, screen / words[0], *words[1:], "--json")
        assert done.exit_code == 0, done.output
        for key in json.loads(done.stdout):
            assert f"`{key}`" in listed[name], (name, key)


def piped(stdin: bytes, *words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=stdin)


def test_a_dash_is_standard_input_and_output(screen: Path) -> None:
    table, terms = (screen / name for name in ("profiles.tsv", "terms.gmt"))
    usual = run_cli("neighbors", table, "P1", "--json").stdout
    for content in (table.read_bytes(), gzip.compress(table.read_bytes())):
        assert piped(content, "neighbors", "-", "P1", "--json").stdout == usual
    made = piped(terms.read_bytes(), "standards", "-", "--gmt", "-")
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines()[0].split("\t")[::2] == ["one", "P0", "P2"]
    assert piped(b"", "neighbors", "-", "P1").exit_code == 2
    twice = piped(b"x", "neighbors", "-", "P1", "--standard", "-")
    assert (twice.exit_code, "can be read once" in twice.stderr) == (2, True)
    both = piped(terms.read_bytes(), "standards", "-", "--gmt", "-", "--json")
    assert (both.exit_code, both.stdout) == (2, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipes_are_read_once(screen: Path) -> None:
    names = {"a": "profiles.tsv", "b": "terms.gmt"}
    for name, file in names.items():
        os.mkfifo(screen / name)
        write = (screen / name).write_bytes
        threading.Thread(target=write, args=((screen / file).read_bytes(),), daemon=True).start()
    done = run_cli("neighbors", screen / "a", "P1", "--standard", screen / "b", "--json")
    assert done.exit_code == 0, done.output
    nearest = json.loads(done.stdout)["queries"][0]["neighbors"]
    assert any(list(one["shared"].values()) for one in nearest)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_line_for_bash_completes_commands_and_options(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text("utf-8")
    (line,) = re.findall(r"^(eval .*bash_source deeploc-tf\)\")", page, re.MULTILINE)
    program = tmp_path / "deeploc-tf"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deeploc_tf "$@"\n')
    program.chmod(0o755)
    script = (
        f'{line}\nCOMP_WORDS=(deeploc-tf "$@"); COMP_CWORD=$#\n'
        '_deeploc_tf_completion deeploc-tf; echo "${COMPREPLY[@]}"\n'
    )
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }

    def completed(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", script, "bash", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    if (
        "_deeploc_tf_completion"
        not in subprocess.run(
            ["bash", "-c", f"{line}; declare -F"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    ):
        pytest.skip("this bash is older than 4.4")
    assert completed("ben") == ["benchmark"]
    assert completed("fit", "--learning") == ["--learning-rate"]
    assert "pearson" in completed("neighbors", "--similarity", "p")


def test_options_come_from_a_file_and_what_is_typed_wins(screen: Path) -> None:
    (screen / "config.yaml").write_text("center: true\nneighbors: 2\nsimilarity: pearson\n")
    words = (
        "neighbors",
        screen / "profiles.tsv",
        "P1",
        "--json",
        "--config",
        screen / "config.yaml",
    )
    found = json.loads(run_cli(*words).stdout)
    assert (found["similarity"], found["center"]) == ("pearson", True)
    assert len(found["queries"][0]["neighbors"]) == 2
    found = json.loads(run_cli(*words, "-k", "3", "--similarity", "cosine").stdout)
    assert (found["similarity"], len(found["queries"][0]["neighbors"])) == ("cosine", 3)
    printed = run_cli(*words[:1], *words[4:], "-k", "3", "--print-config")
    assert printed.exit_code == 0, printed.output
    values = yaml.safe_load(printed.stdout)
    assert (values["neighbors"], values["center"], values["standard"]) == (3, True, [])
    (screen / "again.yaml").write_text(printed.stdout)
    again = run_cli(*words[:4], "--config", screen / "again.yaml")
    assert len(json.loads(again.stdout)["queries"][0]["neighbors"]) == 3


@pytest.mark.parametrize("name", [name for name in COMMANDS if command_of(name).reads_config])
def test_what_print_config_prints_can_be_read(name: str, tmp_path: Path) -> None:
    printed = run_cli(name, "--print-config")
    assert printed.exit_code == 0, printed.output
    (tmp_path / "config.yaml").write_text(printed.stdout)
    again = run_cli(name, "--config", tmp_path / "config.yaml", "--print-config")
    assert again.stdout == printed.stdout


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        ("fit", "epoch: 3", "Received: 'epoch'. Did you mean 'epochs'?"),
        ("fit", "epochs: many", "epochs must be a whole number. Received: 'many'."),
        ("fit", "epochs: 2.5", "epochs must be a whole number. Received: 2.5."),
        ("fit", "epochs: true", "epochs must be a whole number. Received: True."),
        ("fit", "mask: 1", "mask must be true or false. Received: 1."),
        ("fit", "learning_rate: [1]", "learning_rate must be a number. Received: [1]."),
        ("fit", "optimizer: 3", "optimizer must be one of"),
        ("fit", "optimizer: adamx", "config.yaml: optimizer: 'adamx' is not one of"),
        ("fit", "dense_units: [8]", "config.yaml: dense_units: '8' must be two numbers"),
        ("fit", "epochs: 3\nepochs: 4", "'epochs' must be there once"),
        ("fit", "learning_rate: 1\nlearning-rate: 2", "is there twice, under two names"),
        ("fit", "- epochs", "must be keys with values. Received:"),
        ("fit", "{", "must be a YAML file"),
        ("fit", "quiet: true", "keys must be options of the command. Received: 'quiet'."),
        ("build-records", "test: {field: {a: 1}}", "test must be text or a number"),
        ("build-records", "fractions: 0.5", "config.yaml: fractions: '0.5' must have the form"),
    ],
)
def test_a_bad_file_is_refused_with_the_key(
    command: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    done = run_cli(command, "--config", tmp_path / "config.yaml", "--print-config")
    assert done.exit_code == 2, done.output
    assert message in done.stderr


def test_mappings_and_lists_are_conditions(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "test: {field: [4, 5]}\nfractions: {train: 0.5, test: 0.5}\nchannels: [gfp, rfp]\n"
    )
    done = run_cli("build-records", "--config", tmp_path / "config.yaml", "--print-config")
    values = yaml.safe_load(done.stdout)
    assert values["test"] == ["field=4,5"]
    assert values["fractions"] == {"train": 0.5, "test": 0.5}
    assert values["channels"] == ["gfp", "rfp"]


def test_the_config_of_a_run_is_one(tmp_path: Path) -> None:
    config = FitConfig(preset="kraus2017", epochs=3, dense_units=(8, 6)).model_dump(mode="json")
    (tmp_path / "config.json").write_text(json.dumps({"config": config, "schema": {}}))
    with fit.make_context(
        "fit", ["RECORDS", "RUN", "--config", str(tmp_path / "config.json"), "--dropout", "0.1"]
    ) as context:
        found = given_settings(context, FitConfig)
    assert found == FitConfig(**{**config, "dropout": 0.1})
    with fit.make_context(
        "fit", ["RECORDS", "RUN", "--config", str(tmp_path / "config.json"), "--steps", "5"]
    ) as context:
        found = given_settings(context, FitConfig)
    assert (found.steps, found.epochs) == (5, None)


def test_a_file_is_recorded_as_what_it_says(screen: Path) -> None:
    (screen / "config.yaml").write_text(
        "center: true\nneighbors: 2\nstandard: [{screen}/terms.gmt]\n".replace(
            "{screen}", str(screen)
        )
    )
    command = command_of("neighbors")
    words = ["profiles.tsv", "P1", "--config", str(screen / "config.yaml"), "-k", "3"]
    assert recorded_words(command, "neighbors", words, GROUP) == [
        *("neighbors", "--neighbors", "3", "--center", "--standard", "terms.gmt"),
        *("profiles.tsv", "P1"),
    ]


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
