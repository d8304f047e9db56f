"""docs/Snakefile names commands and options that there are, and runs where Snakemake is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from shared import TINY_OPTIONS

from deeploc_tf.cli import main

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "Snakefile"
SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake")


def shells() -> list[list[str]]:
    """The words of each command that a rule runs."""
    found = re.findall(r"shell:\n((?: +\".*\"\n?)+)", FILE.read_text("utf-8"))
    return [shlex.split("".join(re.findall(r'"(.*)"', lines))) for lines in found]


def test_every_command_and_option_exists() -> None:
    group = click.Context(main)
    commands = [words[1] for words in shells()]
    assert len(commands) == len(set(commands)) == FILE.read_text("utf-8").count("shell:") == 7
    for program, name, *words in shells():
        assert program == "{PROGRAM}"
        command = main.get_command(group, name)
        assert command is not None, name
        params = command.get_params(click.Context(command, group))
        known = {flag for param in params for flag in param.opts}
        assert {word for word in words if word.startswith("--")} <= known
    defaults = re.search(r"LABELED = \((.*?)\n\)", FILE.read_text("utf-8"), re.DOTALL)
    assert defaults is not None
    flags = set(re.findall(r"--[a-z-]+", defaults[1]))
    build = main.get_command(group, "build-records")
    assert build is not None
    assert flags <= {flag for param in build.params for flag in param.opts}


@pytest.mark.long
@pytest.mark.skipif(not SNAKEMAKE, reason="needs snakemake, which SNAKEMAKE or PATH names")
def test_it_runs_from_crops_to_the_map(write_crops: Callable[..., Path], tmp_path: Path) -> None:
    write_crops(proteins=["AAC1", "AAH1", "PEX3"], shape=(10, 10))
    (tmp_path / "terms.gmt").write_text("one\tx\tAAC1\tAAH1\ntwo\tx\tAAH1\tPEX3\n")
    program = tmp_path / "deeploc-tf"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m deeploc_tf "$@"\n')
    program.chmod(0o755)
    pattern = "'{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif'"
    splits = "--test field=4 --validation field=3"
    # Snakemake takes off a quotation mark at the end of a value.
    records = f"--pattern {pattern} --label protein --channels gfp,rfp {splits}"
    words = [
        *(str(SNAKEMAKE), "--cores", "2", "--snakefile", str(FILE), "--directory", str(tmp_path)),
        *("--config", f"crops={tmp_path / 'crops'}", "standard=terms.gmt", f"program={program}"),
        *(f"build_records={records}", f"fit={shlex.join(TINY_OPTIONS)}", "map=--projection tsne"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("map.html", "report.html", "results/scores.json", "evaluation/metrics.json"):
        assert (tmp_path / name).is_file(), name
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Nothing to be done" in again.stdout + again.stderr
