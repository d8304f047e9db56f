"""Files that get their names together."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared import contents, names

from tfrecords.errors import LockedError, OutputExistsError
from tfrecords.file_set import publishing_set


def test_all_appear_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = [tmp_path / "a.csv", tmp_path / "a.json", tmp_path / "other/t.npz"]
    with publishing_set(paths) as places:
        assert [place.name for place in places] == ["a.csv", "a.json", "t.npz"]
        for place in places:
            place.write_text(place.name)
        assert names(tmp_path / "other") == [".a.csv.partial"]
        assert not any(path.exists() for path in paths)
    assert contents(tmp_path) == {
        "a.csv": b"a.csv",
        "a.json": b"a.json",
        "other/t.npz": b"t.npz",
    }
    assert names(tmp_path) == ["a.csv", "a.json", "other"]
    assert names(tmp_path / "other") == ["t.npz"]


def test_none_appears_after_an_error(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "a.json"]

    def half_written(error: type[BaseException] | None) -> None:
        with publishing_set(paths) as places:
            places[1].write_text("{}")
            if error is not None:
                raise error

    with pytest.raises(KeyboardInterrupt):
        half_written(KeyboardInterrupt)
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        half_written(None)  # which forgets the other
    assert names(tmp_path) == []


@pytest.mark.parametrize("taken", ["a.csv", "a.json"])
def test_a_name_that_is_taken_is_refused_and_kept(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with (
        pytest.raises(OutputExistsError, match=taken),
        publishing_set([tmp_path / "a.csv", tmp_path / "a.json"]),
    ):
        pytest.fail("it was taken")
    assert contents(tmp_path) == {taken: b"mine"}


@pytest.mark.parametrize("taken", ["a.csv", "a.json"])
def test_a_name_that_is_taken_meanwhile_is_kept(tmp_path: Path, taken: str) -> None:
    def while_another_writes() -> None:
        with publishing_set([tmp_path / "a.csv", tmp_path / "a.json"]) as places:
            for place in places:
                place.write_text("ours")
            (tmp_path / taken).write_text("mine")

    with pytest.raises(OutputExistsError, match=taken):
        while_another_writes()
    assert contents(tmp_path) == {taken: b"mine"}


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "a.json"]
    with publishing_set(paths) as places:
        with pytest.raises(LockedError), publishing_set(paths):
            pytest.fail("two at once")
        for place in places:
            place.write_text("first")
    assert contents(tmp_path) == {"a.csv": b"first", "a.json": b"first"}


def test_a_folder_of_somebody_else_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / ".a.csv.partial"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with (
        pytest.raises(OutputExistsError, match=r"mine\.txt"),
        publishing_set([tmp_path / "a.csv", tmp_path / "a.json"]),
    ):
        pytest.fail("its folder was taken")
    assert contents(tmp_path) == {".a.csv.partial/mine.txt": b"mine"}


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="names of their own"),
        publishing_set([tmp_path / "a.csv", tmp_path / "a.csv"]),
    ):
        pytest.fail("two files of one name")
