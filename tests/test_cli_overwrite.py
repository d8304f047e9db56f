"""`--overwrite` replaces what we wrote, at once, and nothing that somebody has put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.profiles.tables import VectorTable, write_table
from tfrecords import publishing
from tfrecords.errors import OutputExistsError
from tfrecords.file_set import publishing_set
from tfrecords.publishing import publishing_folder, replacing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    metadata = pd.DataFrame(
        {"key": list("abcdef"), "protein": ["P1", "P1", "P2", "P2", "P3", "P3"]}
    )
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    write_table(
        tmp_path / "cells.parquet", VectorTable(vectors, metadata, {"kind": "x"}), list("abcd")
    )
    (tmp_path / "terms.gmt").write_text("one\tx\tP1\tP2\ntwo\tx\tP2\tP3\n")
    return tmp_path


def test_a_table_is_replaced_and_one_of_others_is_not(folder: Path) -> None:
    words = ("profile", folder / "cells.parquet", folder / "p.parquet", "--write-intervals")
    assert run_cli(*words).exit_code == 0
    before = (folder / "p.parquet").read_bytes()
    again = run_cli(*words, "--statistic", "median", "--resamples", "20")
    assert (again.exit_code, "must not exist yet" in again.stderr) == (1, True)
    assert (folder / "p.parquet").read_bytes() == before
    again = run_cli(*words, "--statistic", "median", "--resamples", "20", "--overwrite")
    assert again.exit_code == 0, again.output
    assert (folder / "p.parquet").read_bytes() != before
    assert run_cli("verify", folder / "p.parquet").exit_code == 0
    pd.DataFrame({"a": [1.0]}).to_parquet(folder / "mine.parquet")
    before = (folder / "mine.parquet").read_bytes()
    refused = run_cli("profile", folder / "cells.parquet", folder / "mine.parquet", "--overwrite")
    assert refused.exit_code == 1, refused.output
    assert "a file that deeploc-tf did not write" in refused.stderr
    assert (folder / "mine.parquet").read_bytes() == before
    same = run_cli("profile", folder / "cells.parquet", folder / "cells.parquet", "--overwrite")
    assert (same.exit_code, "An input cannot be overwritten" in same.stderr) == (2, True)


def test_a_folder_is_replaced_unless_it_holds_other_files(folder: Path) -> None:
    profiles = folder / "p.parquet"
    assert run_cli("profile", folder / "cells.parquet", profiles).exit_code == 0
    words = ("benchmark", profiles, folder / "terms.gmt", folder / "results", "--no-intervals")
    assert run_cli(*words, "--shuffles", "1").exit_code == 0
    before = (folder / "results" / "scores.json").read_bytes()
    done = run_cli(*words, "--shuffles", "2", "--overwrite")
    assert done.exit_code == 0, done.output
    after = (folder / "results" / "scores.json").read_bytes()
    assert after != before
    assert run_cli("verify", folder / "results").exit_code == 0
    (folder / "results" / "notes.txt").write_text("mine")
    refused = run_cli(*words, "--shuffles", "3", "--overwrite")
    assert (refused.exit_code, "notes.txt" in refused.stderr) == (1, True), refused.output
    assert (folder / "results" / "scores.json").read_bytes() == after
    assert (folder / "results" / "notes.txt").read_text() == "mine"
    wrong = run_cli("simulate", folder / "results", "--proteins", "34", "--overwrite")
    assert wrong.exit_code == 1
    (folder / "mine").mkdir()
    (folder / "mine" / "a.txt").write_text("mine")
    assert run_cli(*words[:3], folder / "mine", "--overwrite").exit_code == 1
    assert [path.name for path in (folder / "mine").iterdir()] == ["a.txt"]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_another_kind_of_folder_stays(folder: Path) -> None:
    profiles = folder / "p.parquet"
    assert run_cli("profile", folder / "cells.parquet", profiles).exit_code == 0
    words = (profiles, folder / "terms.gmt", folder / "results", "--no-intervals", "-q")
    assert run_cli("benchmark", *words).exit_code == 0
    refused = run_cli("simulate", folder / "results", "--overwrite")
    assert (refused.exit_code, "another kind (scores)" in refused.stderr) == (1, True)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_what_fails_leaves_the_old_folder(
    tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(publishing, "exchange", lambda *_: False)
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_text("old")

    def fail() -> None:
        with replacing(output, lambda _: None), publishing_folder(output) as made:
            (made / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in output.iterdir()] == ["old"]
    with replacing(output, lambda _: None), publishing_folder(output) as made:
        (made / "new").write_text("new")
    assert [path.name for path in output.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OutputExistsError), publishing_folder(output):
        pass


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()

    def check(path: Path) -> None:
        if any(path.iterdir()):
            raise OutputExistsError(str(path))

    def meet() -> None:
        with replacing(output, check), publishing_folder(output) as made:
            (made / "new").write_text("new")
            (output / "mine").write_text("mine")

    with pytest.raises(OutputExistsError):
        meet()
    assert [path.name for path in output.iterdir()] == ["mine"]


def test_a_set_is_replaced_and_a_name_like_it_is_not(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("cells.h5", "cells.profiles.h5")]
    for path in (*paths, tmp_path / "cells2.h5"):
        path.write_text("old")
    with replacing(paths[0], lambda _: None):
        with publishing_set(paths) as places:
            for place in places:
                place.write_text("new")
        with pytest.raises(OutputExistsError), publishing_set([tmp_path / "cells2.h5"]):
            pass
    assert [path.read_text() for path in paths] == ["new", "new"]
