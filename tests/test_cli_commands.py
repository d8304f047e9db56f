"""build-records, inspect, verify and doctor, as a person calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from shared import names, run_cli

from deeploc_tf.installation import clashes
from deeploc_tf.installation import doctor as examine
from deeploc_tf.sources import FolderSource
from tfrecords.locking import locked

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
WriteCrops = Callable[..., Path]


def build(crops: Path, records: Path, *options: str) -> Result:
    folder = ["--pattern", PATTERN, "--channels", "gfp,rfp"]
    return run_cli("build-records", crops, records, *folder, "--label", "protein", *options)


@pytest.fixture
def records(write_crops: WriteCrops, tmp_path: Path) -> Path:
    done = build(
        write_crops(), tmp_path / "records", "--test", "field=4", "--validation", "field=3"
    )
    assert done.exit_code == 0, done.stderr
    return tmp_path / "records"


@pytest.mark.parametrize(
    "words",
    [
        "benchmark FILE OUT", "build-records FOLDER OUT", "change FILE FILE OUT",
        "convert FILE OUT", "demo OUT", "embed FOLDER FOLDER OUT", "evaluate FOLDER FOLDER OUT",
        "explain FOLDER OUT", "export FOLDER OUT", "map FILE OUT", "measure FOLDER OUT",
        "predict FOLDER FOLDER OUT", "profile FILE OUT", "profile FILE OTHER --save OUT",
        "report FOLDER OUT", "simulate OUT", "standards FILE --gmt OUT",
    ],
)  # fmt: skip
def test_one_command_at_a_time_writes_an_output(words: str, tmp_path: Path) -> None:
    places = {"FILE": tmp_path / "file.csv", "FOLDER": tmp_path, "OUT": tmp_path / "out.h5"}
    places["FILE"].touch()
    with locked(tmp_path / ".out.h5.lock", "it"):
        done = run_cli(*[places.get(word, word) for word in words.split()])
    assert done.exit_code == 1
    assert f"One process at a time may write {tmp_path / 'out.h5'}. Received: " in done.stderr
    done = run_cli(*[places.get(word, word) for word in words.split()], "--no-such-option")
    assert done.exit_code == 2
    assert names(tmp_path) == ["file.csv"]


def test_build_records_prints_what_it_wrote(write_crops: WriteCrops, tmp_path: Path) -> None:
    done = build(
        write_crops(),
        tmp_path / "records",
        *("--test", "field=4", "--validation", "field=3", "--pixel-size", "0.1"),
    )
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'records'}: crops of 6 x 5 x 2 uint16"
    assert [line.split() for line in lines[1:]] == [
        ["test", "4", "(AAC1", "2,", "AAH1", "2)"],
        ["train", "8", "(AAC1", "4,", "AAH1", "4)"],
        ["validation", "4", "(AAC1", "2,", "AAH1", "2)"],
    ]
    assert "Reading crops: 16 of 16" in done.stderr


def test_build_records_from_a_table_with_fractions(write_crops: WriteCrops, tmp_path: Path) -> None:
    root = write_crops()
    table = FolderSource(root, PATTERN, ["gfp", "rfp"]).index()
    for channel in ("gfp", "rfp"):
        table[channel] = [f"crops/{key}_{channel}.tif" for key in table["key"]]
    (tmp_path / "tables").mkdir()
    table.to_csv(tmp_path / "tables" / "cells.csv", index=False)
    (tmp_path / "huh.tsv").write_text("protein\tplace\nAAC1\tmitochondrion\nAAH1\tcytoplasm\n")
    done = run_cli(
        *("build-records", tmp_path / "tables" / "cells.csv", tmp_path / "records"),
        *("--image-column", "gfp=gfp", "--image-column", "rfp=rfp", "--root", tmp_path),
        *("--label", "place", "--label-table", tmp_path / "huh.tsv"),
        *("--classes", "mitochondrion,cytoplasm", "--fractions", "train=0.5,test=0.5"),
        *("--group", "protein,field", "--quiet"),
    )
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert "mitochondrion 4, cytoplasm 4" in done.stdout
    shown = json.loads(run_cli("inspect", tmp_path / "records", "--json").stdout)
    assert shown["group_by"] == ["protein", "field"]
    assert shown["schema"]["label_names"] == ["mitochondrion", "cytoplasm"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--test", "field=9"], 1, "field=9"),
        (["--test", "field"], 2, "column=value"),
        (["--fractions", "train=1"], 1, "--group protein,field"),
        (["--fractions", "train"], 2, "train=0.8"),
        (["--fractions", "train=0.5,train=0.5"], 2, "each split once"),
        (["--test", "field=4", "--fractions", "train=1"], 2, "Use one of"),
        (["--test", "field=4", "--group", "protein"], 1, "in one split"),
        (["--image-column", "gfp=path"], 2, "--image-column does not go with a folder"),
        (["--root", "."], 2, "--root does not go with a folder"),
        (["--classes", "AAC1,,AAH1"], 2, "divided by commas"),
        (["--classes", "AAC1,AAH2"], 1, "Did you mean 'AAH2'"),
        (["--pixel-size", "0"], 2, "--pixel-size"),
        (["--label-table", "none.csv"], 2, "none.csv"),
    ],
)
def test_build_records_refuses_in_one_sentence(
    write_crops: WriteCrops, tmp_path: Path, options: list[str], code: int, text: str
) -> None:
    done = build(write_crops(), tmp_path / "records", *options)
    assert done.exit_code == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_build_records_says_which_options_a_folder_or_table_needs(tmp_path: Path) -> None:
    done = run_cli("build-records", tmp_path, tmp_path / "records")
    assert (done.exit_code, "needs --pattern" in done.stderr) == (2, True)
    (tmp_path / "cells.csv").write_text("path\na.tif\n")
    done = run_cli("build-records", tmp_path / "cells.csv", tmp_path / "records")
    assert (done.exit_code, "needs --image-column" in done.stderr) == (2, True)
    twice = ["--image-column", "gfp=a", "--image-column", "gfp=b"]
    done = run_cli("build-records", tmp_path / "cells.csv", tmp_path / "records", *twice)
    assert (done.exit_code, "each channel once" in done.stderr) == (2, True)
    done = run_cli("build-records", tmp_path / "none", tmp_path / "records")
    assert (done.exit_code, "does not exist" in done.stderr) == (2, True)


def test_existing_output_is_refused(write_crops: WriteCrops, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    done = build(write_crops(), tmp_path / "records")
    assert (done.exit_code, "must not exist yet" in done.stderr) == (1, True)


def test_inspect_prints_a_table(records: Path) -> None:
    done = run_cli("inspect", records)
    assert done.exit_code == 0
    rows = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert ("crops", "16", "of", "6", "x", "5", "x", "2", "uint16") in rows
    assert ("test", "train", "validation") in rows
    assert ("crops", "4", "8", "4") in rows
    assert ("label", "AAC1", "2", "4", "2") in rows
    assert ("protein", "AAH1", "2", "4", "2") in rows
    assert ("groups", "field") in rows


def test_inspect_shows_some_proteins_or_all(write_crops: WriteCrops, tmp_path: Path) -> None:
    names = [f"P{i:02}" for i in range(25)]
    crops = write_crops(proteins=names, fields=(1,), cells=1)
    folder = ["--pattern", PATTERN, "--channels", "gfp,rfp"]
    assert run_cli("build-records", crops, tmp_path / "records", *folder).exit_code == 0
    some, everything = (
        run_cli("inspect", tmp_path / "records"),
        run_cli("inspect", tmp_path / "records", "--all"),
    )
    assert some.stdout.count("protein P") == 20
    assert some.stdout.splitlines()[-1] == "... and 5 more proteins (--all)"
    assert everything.stdout.count("protein P") == 25


def test_inspect_prints_json(records: Path) -> None:
    done = run_cli("inspect", records, "--json")
    shown = json.loads(done.stdout)
    assert shown["num_crops"] == 16
    assert shown["counts"]["train"]["label"] == {"AAC1": 4, "AAH1": 4}


def test_verify_says_whole_or_damaged(records: Path) -> None:
    for options in ([], ["--deep"]):
        done = run_cli("verify", records, *options)
        assert (done.exit_code, "whole, 16 crops" in done.stdout) == (0, True), done.stderr
    shard = records / "deeploc-test.tfrecord-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run_cli("verify", records).exit_code == 0
    deep = run_cli("verify", records, "--deep", "--quiet")
    assert (deep.exit_code, deep.stdout) == (1, "")
    assert shard.name in deep.stderr
    shard.write_bytes(data[:-1])
    quick = run_cli("verify", records)
    assert (quick.exit_code, quick.stdout) == (1, "")
    assert shard.name in quick.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_are_no_records_is_refused(command: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        done = run_cli(command, path)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: ")
        assert done.stdout == ""


def test_doctor_reports_versions_and_devices() -> None:
    shown = json.loads(run_cli("doctor", "--json").stdout)
    assert shown["packages"]["tensorflow"].startswith(("2.15", "2.21"))
    assert any(device.startswith("CPU ") for device in shown["devices"])
    done = run_cli("doctor")
    assert ("No problems found." in done.stdout) == (shown["problems"] == [])
    assert done.exit_code == (1 if shown["problems"] else 0)


def test_doctor_fails_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "tifffile"
    monkeypatch.setattr("deeploc_tf.installation.PACKAGES", ("numpy", missing, "no-such-package"))
    report = examine()
    assert any("no-such-package is not installed" in problem for problem in report["problems"])
    done = run_cli("doctor")
    assert done.exit_code == 1
    assert "Problem: no-such-package" in done.stdout


def test_doctor_names_a_clashing_package() -> None:
    assert clashes(["deeploc-tf"], ["deeploc-tf"]) == []
    (problem,) = clashes(["deeploc-tf", "tfrecords"], ["deeploc-tf"])
    assert "pip uninstall tfrecords" in problem


@pytest.mark.real
def test_command_of_the_issue_builds_the_yeast_crops(real_data: Path, tmp_path: Path) -> None:
    crops = real_data / "yeast_crops" / "images"
    done = build(crops, tmp_path / "records", "--test", "field=4", "--validation", "field=3")
    assert done.exit_code == 0, done.stderr
    shown = json.loads(run_cli("inspect", tmp_path / "records", "--json").stdout)
    assert shown["num_crops"] == 1642
    assert shown["splits"]["test"]["num_crops"] == 422
    assert shown["schema"]["label_names"] == ["AAC1", "AAC3", "AAH1", "AAP1", "AAR2"]
