"""Label dictionaries: splits, names and files come out as listed, and pickles run nothing."""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeploc_tf.ingest import build_records
from deeploc_tf.sources.folders import FolderSource
from deeploc_tf.sources.historical.channel_naming import NAMINGS
from deeploc_tf.sources.historical.label_dictionary import LabelDictionarySource
from deeploc_tf.sources.historical.pickled_dictionary import read_pickled_dictionary
from deeploc_tf.sources.source import SourceError
from tfrecords.codec import decode
from tfrecords.errors import SplitError
from tfrecords.reader import read_serialized

Dictionary = dict[Any, Any]
Write = Callable[..., Path]

LISTED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "ER": {"train": ["ER1/a_1", "ER1/a_2"], "val": ["ER1/b_1"], "test": []},
    "Golgi": {"train": ["GO1/a_1", "GO1/a_12"], "val": [], "test": ["GO2/a_1", "GO2/a_2"]},
}


def save(path: Path, value: object) -> Path:
    np.save(path, np.array(value, dtype=object), allow_pickle=True)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the dictionary, and the files of all its crops, all different."""

    def write(
        naming: str = "gfp",
        listed: Mapping[str, Mapping[str, Sequence[str]]] = LISTED,
        *,
        start: str = "",
    ) -> Path:
        number = 0
        dictionary: Dictionary = {}
        for name, splits in listed.items():
            dictionary[name] = {}
            for split, cells in splits.items():
                dictionary[name][split] = []
                for cell in cells:
                    for channel, mark in NAMINGS[naming].marks.items():
                        number += 1
                        path = tmp_path / place(cell, mark)
                        path.parent.mkdir(exist_ok=True, parents=True)
                        image = np.random.default_rng(number).integers(0, 999, (6, 5), np.uint16)
                        if channel == "mask":
                            image = np.where(image > 500, 255, 0).astype(np.uint8)
                        tifffile.imwrite(path, image)
                    mark = NAMINGS[naming].marks["gfp"]
                    dictionary[name][split].append(start + place(cell, mark))
        return save(tmp_path / "labels.npy", dictionary)

    return write


def place(cell: str, mark: str) -> str:
    folder, name = cell.split("/")
    before, after = name.split("_")
    return (
        f"{folder}/{before}_{after}{mark}tif"
        if mark[-1] == "."
        else f"{folder}/{before}{mark}{after}.tif"
    )


def refused(path: Path, match: str, error: type[Exception] = SourceError, **options: Any) -> None:
    with pytest.raises(error, match=match):
        LabelDictionarySource(path, **options).index()


def test_names_and_splits_are_those_of_the_dictionary(write: Write) -> None:
    source = LabelDictionarySource(write())
    assert source.index().to_numpy().tolist() == [
        ["ER1/a_1", "ER", "train"],
        ["ER1/a_2", "ER", "train"],
        ["ER1/b_1", "ER", "validation"],
        ["GO1/a_1", "Golgi", "train"],
        ["GO1/a_12", "Golgi", "train"],
        ["GO2/a_1", "Golgi", "test"],
        ["GO2/a_2", "Golgi", "test"],
    ]
    assert list(source.index().columns) == ["key", "label", "split"]
    assert not source.rejects
    assert not source.passed_over


@pytest.mark.parametrize(
    ("naming", "channels"),
    [
        ("gfp", ("gfp",)),
        ("gfp", ("gfp", "rfp")),
        ("gfp", ("rfp", "gfp")),
        ("ch1", ("gfp", "rfp")),
        ("ch1", ("gfp", "nucleus", "rfp")),
    ],
)
@pytest.mark.parametrize("mask", [None, "mask"])
def test_other_channels_have_the_renamed_files(
    write: Write, tmp_path: Path, naming: str, channels: tuple[str, ...], mask: str | None
) -> None:
    source = LabelDictionarySource(write(naming), channels, mask_channel=mask)
    assert source.index()["key"][4] == "GO1/a_12"
    marks = NAMINGS[naming].marks
    names = tuple(place("GO1/a_12", marks[c]) for c in (*channels, *([mask] if mask else [])))
    assert source.files(4) == names
    assert source.paths(4) == tuple(str(tmp_path / name) for name in names)
    image, found = source.read(4)
    for number, name in enumerate(names[: len(channels)]):
        np.testing.assert_array_equal(image[..., number], tifffile.imread(tmp_path / name))
    if mask is None:
        assert found is None
    else:
        assert found is not None
        np.testing.assert_array_equal(found, tifffile.imread(tmp_path / names[-1]) // 255)


def test_only_the_name_of_the_file_is_changed(tmp_path: Path) -> None:
    folder = tmp_path / "plate_ch1_a" / "x_gfp.d"
    folder.mkdir(parents=True)
    for mark in ("_ch1_", "_ch3_"):
        tifffile.imwrite(folder / f"AAC1{mark}7.tif", np.ones((4, 4), np.uint8))
    path = save(tmp_path / "a.npy", {"ER": {"train": ["plate_ch1_a/x_gfp.d/AAC1_ch1_7.tif"]}})
    source = LabelDictionarySource(path, ["gfp", "rfp"])
    assert source.index()["key"].tolist() == ["plate_ch1_a/x_gfp.d/AAC1_7"]
    assert source.files(0)[1] == "plate_ch1_a/x_gfp.d/AAC1_ch3_7.tif"


def test_names_that_leave_a_choice_need_a_naming(tmp_path: Path) -> None:
    for name in ("a_ch1_b_gfp.tif", "a_ch1_b_rfp.tif", "a_ch3_b_gfp.tif"):
        tifffile.imwrite(tmp_path / name, np.full((4, 4), len(name), np.uint8))
    path = save(tmp_path / "a.npy", {"ER": {"train": ["a_ch1_b_gfp.tif"]}})
    refused(path, "in one way, and exactly once.*'a_ch1_b_gfp.tif'")
    keys = {}
    for naming in NAMINGS:
        source = LabelDictionarySource(path, ["gfp", "rfp"], naming=naming)
        keys[naming] = source.index()["key"][0], source.files(0)[1]
        assert source.description["naming"] == naming
    assert keys == {
        "gfp": ("a_ch1_b", "a_ch1_b_rfp.tif"),
        "ch1": ("a_b_gfp", "a_ch3_b_gfp.tif"),
    }


@pytest.mark.parametrize("name", ["a.tif", "a_rfp.tif", "a_gfp.b_gfp.tif", "a_ch2_1.tif"])
def test_names_that_tell_no_channel_are_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "a.npy", {"ER": {"train": ["b_gfp.tif", name]}})
    refused(path, f"exactly once.*GFP file '{name}'")


@pytest.mark.parametrize(
    "options",
    [
        {"channels": []},
        {"channels": ["gfp", "gfp"]},
        {"channels": ["dapi"]},
        {"channels": ["gfp", "nucleus"], "naming": "gfp"},
        {"mask_channel": "gfp"},
        {"mask_channel": "mask_2"},
        {"naming": "chong"},
        {"keys": "split"},
        {"pattern": "{label}_gfp.tif"},
        {"pattern": "{split}/{cell}_gfp.tif"},
    ],
)
def test_descriptions_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="Received"):
        LabelDictionarySource(tmp_path / "a.npy", **options)


def test_keys_may_be_proteins_and_numbers(write: Write) -> None:
    source = LabelDictionarySource(write(), keys="protein")
    assert source.index()["protein"].tolist()[:3] == ["ER"] * 3
    path = write(listed={3: {"train": ["AAC1/a_1"]}})  # type: ignore[dict-item]
    assert LabelDictionarySource(path).index()["label"].tolist() == ["3"]


def test_pattern_makes_columns_of_paths(write: Write) -> None:
    path = write()
    source = LabelDictionarySource(path, pattern="{protein}/{plate}_{cell}_{channel}.tif")
    index = source.index()
    assert index["protein"].tolist() == ["ER1"] * 3 + ["GO1"] * 2 + ["GO2"] * 2
    assert index["cell"].tolist()[3:5] == ["1", "12"]
    source = LabelDictionarySource(path, pattern="{protein}/a_{cell}_{channel}.tif")
    assert len(source.index()) == 6
    (reject,) = source.rejects
    assert reject.reason == "path does not match the pattern"
    assert reject.key == "ER1/b_1"


def test_missing_files_are_listed(write: Write, tmp_path: Path) -> None:
    path = write()
    (tmp_path / "ER1" / "a_2_rfp.tif").unlink()
    (tmp_path / "GO2" / "a_1_mask.tif").unlink()
    (tmp_path / "GO2" / "a_1_gfp.tif").unlink()
    source = LabelDictionarySource(path, ["gfp", "rfp"], mask_channel="mask")
    assert len(source.index()) == 5
    assert [(r.reason, r.key, r.files) for r in source.rejects] == [
        (
            "file is missing",
            name,
            tuple(f"{name}_{c}.tif" for c in ("gfp", "rfp", "mask")),
        )
        for name in ("ER1/a_2", "GO2/a_1")
    ]
    assert source.rejects[1].detail.endswith("needs GO2/a_1_gfp.tif, GO2/a_1_mask.tif.")
    assert str(tmp_path) not in source.rejects[0].detail
    refused(path, "none of 7.*as `root`", root=tmp_path / "ER1")


def test_a_file_in_two_splits_is_a_leak(write: Write, tmp_path: Path) -> None:
    write()
    for again in ("ER1/a_1_gfp.tif", "./ER1//x/../a_1_gfp.tif"):
        for name in ("ER", "Golgi"):
            listed: Dictionary = {"ER": {"train": ["ER1/a_1_gfp.tif"]}, name: {}}
            listed["ER"] = {"train": ["ER1/a_1_gfp.tif"]}
            listed.setdefault(name, {})["test"] = [again]
            path = save(tmp_path / "leak.npy", listed)
            refused(
                path,
                rf"leaks.*'ER1/a_1_gfp\.tif' in train of 'ER', in test of '{name}'",
                SplitError,
                label_separator="|",
            )


def test_a_file_listed_twice_is_taken_once(write: Write, tmp_path: Path) -> None:
    write()
    lists = {"train": ["ER1/a_1_gfp.tif", "ER1/a_2_gfp.tif", "ER1/./a_1_gfp.tif"]}
    source = LabelDictionarySource(save(tmp_path / "a.npy", {"ER": lists}))
    assert source.index()["key"].tolist() == ["ER1/a_1", "ER1/a_2"]
    assert [(r.reason, r.key) for r in source.rejects] == [("file is listed twice", "ER1/a_1")]


def test_a_file_of_two_classes_needs_a_separator(write: Write, tmp_path: Path) -> None:
    write()
    lists = {"train": ["ER1/a_1_gfp.tif"]}
    path = save(tmp_path / "a.npy", {"ER": lists, "Golgi": {**lists, "val": ["GO1/a_1_gfp.tif"]}})
    refused(path, "label_separator.*in train of 'ER', in train of 'Golgi'")
    refused(path, "must have one protein", keys="protein", label_separator="|")
    source = LabelDictionarySource(path, label_separator="|")
    assert source.index()["label"].tolist() == ["ER|Golgi", "Golgi"]


@pytest.mark.parametrize("file", ["../secret_gfp.tif", "a/../../secret_gfp.tif", "/etc/x_gfp.tif"])
def test_paths_out_of_the_root_are_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "root").mkdir()
    path = save(tmp_path / "root" / "a.npy", {"ER": {"train": [file]}})
    refused(path, r"stay inside .*\(a\.npy, train of 'ER'\)")
    refused(
        path, r"stay inside|must begin with|none of 1", prefix="/etc" if file[0] == "/" else "a"
    )


def test_links_out_of_the_root_are_refused(write: Write, tmp_path: Path) -> None:
    path = write()
    outside = tmp_path.parent / f"{tmp_path.name}_outside.tif"
    inside = tmp_path / "ER1" / "a_2_gfp.tif"
    inside.rename(outside)
    inside.symlink_to(outside)
    source = LabelDictionarySource(path)
    source.index()
    with pytest.raises(SourceError, match=r"inside .*a_2_gfp\.tif, a link"):
        source.read(1)


def test_prefix_stands_for_the_root(write: Write, tmp_path: Path) -> None:
    plain = LabelDictionarySource(write()).index()
    path = write(start="/home/someone/images/")
    refused(path, "stay inside")
    refused(path, "must begin with '/home/someone/image/'", prefix="/home/someone/image")
    for prefix in ("/home/someone/images", "/home/someone/images/"):
        assert LabelDictionarySource(path, prefix=prefix).index().equals(plain)
    path = write(start=f"{tmp_path.resolve().as_posix()}/")
    assert LabelDictionarySource(path).index().equals(plain)
    moved = path.rename(tmp_path / "GO1" / "labels.npy")
    assert LabelDictionarySource(moved, root=tmp_path).index().equals(plain)


@pytest.mark.parametrize(
    ("dictionary", "message"),
    [
        ({}, "lists none"),
        ({"ER": {"train": []}}, "lists none"),
        ({"ER": {"trian": []}}, "Splits must be train.*Did you mean 'train'"),
        ({"ER": {"holdout": []}}, "Splits must be train"),
        ({"ER": {1: []}}, "Splits must be.*Received: 1 with list"),
        ({"ER": {"train": {"a": 1}}}, "each a list of paths.*'train' with dict"),
        ({"ER": {"train": "a_gfp.tif"}}, "each a list of paths.*'train' with str"),
        ({"ER": ["a_gfp.tif"]}, "dictionary of splits.*'ER' with list"),
        ({"": {"train": []}}, "dictionary of splits"),
        ({True: {"train": []}}, "dictionary of splits.*bool"),
        ({None: {"train": []}}, "dictionary of splits.*NoneType"),
        ({"ER": {"train": [3]}}, r"path must be text. Received: int \(a\.npy, train of 'ER'\)"),
        ({"ER": {"train": [["a_gfp.tif"]]}}, "path must be text. Received: list"),
        ({"ER": {"train": [" "]}}, "path must be text"),
        ({"ER": {"train": ["\udcff_gfp.tif"]}}, "must be UTF-8"),
        ({"ER": {"train": ["a\0b_gfp.tif"]}}, "none of 1"),
        (["ER"], "holds no dictionary"),
        ("ER", "holds no dictionary"),
        ({"ER": {"train": [b"a_gfp.tif"]}}, "path must be text. Received: bytes"),
        ({"ER": {"train": ("a_gfp.tif",)}}, "each a list of paths.*tuple"),
        ({"ER": {"train": [0.5]}}, "it has the instruction BINFLOAT"),
        ({"ER": {"train": {"a_gfp.tif"}}}, "it has the instruction|asks for builtins.set"),
        ({"ER": {"train": [np.str_("a_gfp.tif")]}}, r"asks for numpy\.\w+\.multiarray\.scalar"),
        ({"ER": {"train": np.array(["a_gfp.tif"])}}, "each a list of paths|it has the instruction"),
        ({"ER": {"train": [Path("a_gfp.tif")]}}, "asks for pathlib"),
        ({tuple("ab"): {"train": []}}, "dictionary of splits.*tuple"),
        ({"ER": {"train": [(i,) for i in range(99)]}}, "it has tuples"),
        ({2**4000: {"train": []}}, "it has the instruction LONG4"),
    ],
)
def test_other_dictionaries_are_refused(tmp_path: Path, dictionary: Any, message: str) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        array = np.empty((), object)
        array[()] = dictionary
        np.save(file, array)
    refused(tmp_path / "a.npy", message)


def npy(pickled: bytes) -> bytes:
    """A `.npy` file with this pickle."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickled


def pickled(dictionary: object, protocol: int = 4) -> bytes:
    array = np.empty((), object)
    array[()] = dictionary
    return pickle.dumps(array, protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_every_numpy_writes_what_is_read(tmp_path: Path, protocol: int, module: str) -> None:
    dictionary = {"ER": {"train": ["a", "a", "b" * 300, "ä"], "val": []}, 3: {"test": [1 << 40]}}
    data = pickled(dictionary, protocol)
    old = next(m for m in (b"numpy.core.multiarray", b"numpy._core.multiarray") if m in data)
    new = module.encode()
    if protocol > 3 and len(new) != len(old):  # the length stands before it, and that of the frame
        data = data.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
        (frame,) = struct.unpack_from("<Q", data, 3)
        data = data[:3] + struct.pack("<Q", frame + len(new) - len(old)) + data[11:]
    else:
        data = data.replace(old, new)
    (tmp_path / "a.npy").write_bytes(npy(data))
    assert read_pickled_dictionary(tmp_path / "a.npy") == dictionary


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path, call: Any = os.mkdir) -> None:
        self.call, self.folder = call, str(folder)

    def __reduce__(self) -> Any:
        return self.call, (self.folder,)


def attacks(folder: Path) -> dict[str, bytes]:
    """Pickles that make `folder` if they are run, by every way that pickle knows."""
    path = str(folder).encode()
    text = b"X" + struct.pack("<I", len(path)) + path
    return {
        **{f"reduce {p}": pickled({"ER": Attack(folder)}, p) for p in (2, 3, 4, 5)},
        "in a path": pickled({"ER": {"train": [Attack(folder)]}}),
        "as a key": pickled({Attack(folder): {"train": []}}),
        "alone": pickle.dumps(Attack(folder)),
        "global": b"\x80\x02cos\nmkdir\n" + text + b"\x85R.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + text + b"\x85R.",
        "by eval": b"\x80\x02c__builtin__\neval\nX\x0d\0\0\0__import__(1)\x85R.",
        "inst": b"(S'" + path + b"'\nios\nmkdir\n.",
        "obj": b"(cos\nmkdir\nS'" + path + b"'\no.",
        "newobj": b"\x80\x02cos\nmkdir\n" + text + b"\x85\x81.",
        "extension": b"\x80\x02\x82\xf1" + text + b"\x85R.",
        "persistent": b"Pos.mkdir\n.",
        "numpy's own names": b"\x80\x02cnumpy\nmemmap\n" + text + b"\x85R.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__class_\x93" + text + b"\x85R.",
    }


@pytest.fixture
def extension() -> Iterator[None]:
    """`os.mkdir` under a number, by which a pickle may ask for it."""
    copyreg.add_extension("os", "mkdir", 241)
    yield
    copyreg.remove_extension("os", "mkdir", 241)


def test_nothing_in_a_pickle_is_run(tmp_path: Path, extension: None) -> None:
    folder = tmp_path / "pwned"
    ran = 0
    for name, data in attacks(folder).items():
        (tmp_path / "a.npy").write_bytes(npy(data))
        refused(tmp_path / "a.npy", "must be a .npy file of a dictionary")
        assert not folder.exists(), name
        with contextlib.suppress(Exception):
            pickle.loads(data)
        if folder.exists():
            ran += 1
            folder.rmdir()
    assert ran >= 8  # so the attacks are real


def test_numpy_is_named_but_not_called(tmp_path: Path) -> None:
    # an array of a terabyte, whose dtype is not one
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x06\0\0\0\0\0\1\x85C\1b\x87R"
    )
    state = b"(K\1)cnumpy\ndtype\nX\2\0\0\0zz\x85R\x89]}atb"
    (tmp_path / "a.npy").write_bytes(npy(b"\x80\2" + array + state + b"."))
    assert read_pickled_dictionary(tmp_path / "a.npy") == {}
    with pytest.raises((MemoryError, ValueError)):
        pickle.loads(b"\x80\2" + array + b".")


@pytest.mark.parametrize(
    ("pickled_bytes", "message"),
    [
        (b"\x80\x04}r\xff\xff\xff\x7f.", "it keeps 1 values and numbers one 2147483647"),
        (b"\x80\x04" + b")\x85" + b"\x85" * 100_000 + b".", "it has tuples"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + b"a.", "expected"),
        (b"\x80\x04B\xff\xff\xff\x7fa.", "expected"),
        (b"\x80\x04B\2\0\0\0ab.", "instruction BINBYTES"),
        (b"\x80\x04\x96\xff\xff\xff\xff\0\0\0\0.", "BYTEARRAY8|expected"),
        (b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f}.", ""),
        (b"", ""),
        (b"\x80\x04", ""),
        (b".", ""),
        (b"0000", ""),
        (b"\x80\x04}}s.", ""),
        (b"\x80\x04}]}s.", ""),
        (b"\x80\x04h\x07.", ""),
        (b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".", "holds no dictionary"),
    ],
)
def test_bombs_and_wrecks_are_refused(tmp_path: Path, pickled_bytes: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(npy(pickled_bytes))
    refused(tmp_path / "a.npy", f"must be a .npy file of a dictionary.*{message}")


def test_one_list_many_times_over_is_refused(tmp_path: Path) -> None:
    paths = [f"{i}_gfp.tif" for i in range(2000)]
    splits = {"train": paths}
    path = save(tmp_path / "a.npy", {f"c{i}": splits for i in range(2000)})
    assert path.stat().st_size < 100_000
    refused(path, "list each file once", label_separator="|")


def test_files_that_are_too_large_or_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(npy(pickled({})))
        file.truncate((1 << 31) + 1)  # takes no room on the disk
    refused(path, "at most 2147483648 bytes")
    path.write_bytes(b"")
    refused(path, "must be a .npy file")
    path.write_bytes(pickle.dumps({"ER": {}}))
    refused(path, "must be a .npy file.*magic")
    np.save(path, np.arange(3))
    refused(path, r"it holds an array of int64 \(3,\)")
    np.save(path, np.array([{}, {}], dtype=object))
    refused(path, r"it holds an array of object \(2,\)")
    path.write_bytes(npy(pickled({"ER": {"train": ["a_gfp.tif"]}}))[:-20])
    refused(path, "must be a .npy file")
    refused(tmp_path, "not a regular file")
    refused(tmp_path / "none.npy", "none", FileNotFoundError)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.npy")
        refused(tmp_path / "pipe.npy", "not a regular file")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_pickles_give_dictionaries_or_our_errors(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(npy(pickled({k: dict(v) for k, v in LISTED.items()})))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.npy").write_bytes(content)
    with contextlib.suppress(SourceError, SplitError, OSError):
        LabelDictionarySource(tmp_path / "a.npy").index()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.text() | st.integers(),
        st.dictionaries(st.text(), st.lists(st.text() | st.integers())),
    )
)
def test_any_dictionary_comes_back(tmp_path: Path, dictionary: Dictionary) -> None:
    save_as = tmp_path / "a.npy"
    save_as.write_bytes(npy(pickled(dictionary)))
    assert read_pickled_dictionary(save_as) == dictionary


def test_copies_read_the_same(write: Write) -> None:
    source = LabelDictionarySource(write("ch1"), ["gfp", "rfp"], mask_channel="mask")
    source.index()
    copy = pickle.loads(pickle.dumps(source))
    for one, other in zip(copy.read(3), source.read(3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert copy.index().equals(source.index())


@pytest.mark.parametrize("naming", NAMINGS)
def test_records_have_the_splits_and_pixels_of_the_dictionary(
    write: Write, tmp_path: Path, naming: str
) -> None:
    path = write(naming)
    source = LabelDictionarySource(
        path, ["gfp", "rfp"], mask_channel="mask", pattern="{protein}/{cell}.tif"
    )
    manifest = build_records(source, tmp_path / "records", label="label", metadata=[])
    assert {s: manifest.num_crops(s) for s in manifest.split_names} == {
        "train": 4,
        "validation": 1,
        "test": 2,
    }
    assert manifest.schema.label_names == ("ER", "Golgi")
    assert str(tmp_path) not in (tmp_path / "records" / "manifest.json").read_text()
    for row, (key, label, split, protein) in enumerate(
        source.index()[["key", "label", "split", "protein"]].to_numpy().tolist()
    ):
        crops = {
            crop.key: crop
            for crop in (
                decode(record, manifest.schema)
                for record in read_serialized(tmp_path / "records", split).as_numpy_iterator()
            )
        }
        crop = crops[key]
        image, mask = source.read(row)
        assert crop.labels == (manifest.schema.label_names.index(label),)
        assert crop.protein == protein
        np.testing.assert_array_equal(crop.image, image)
        np.testing.assert_array_equal(crop.mask, mask)


def test_missing_files_fail_a_build_or_are_counted(write: Write, tmp_path: Path) -> None:
    path = write()
    (tmp_path / "ER1" / "a_2_gfp.tif").unlink()
    with pytest.raises(SourceError, match="'ER1/a_2' needs ER1/a_2_gfp"):
        build_records(LabelDictionarySource(path), tmp_path / "records", label="label")
    manifest = build_records(
        LabelDictionarySource(path), tmp_path / "records", label="label", max_rejects=1
    )
    assert manifest.rejects == {"file is missing": 1}


@pytest.mark.real
def test_yeast_crops_are_those_of_their_folder(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "yeast_crops" / "images"
    pattern = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
    folder = FolderSource(root, pattern, ["gfp", "rfp"])
    cells = folder.index()
    dictionary: Dictionary = {}
    splits = {"3": "val", "4": "test"}
    for key, protein, field in cells[["key", "protein", "field"]].itertuples(index=False):
        lists = dictionary.setdefault(protein, {"train": [], "val": [], "test": []})
        lists[splits.get(field, "train")].append(f"/elsewhere/{key}_gfp.tif")
    path = save(tmp_path / "labels.npy", dictionary)
    options: dict[str, Any] = {"root": root, "prefix": "/elsewhere", "keys": "protein"}
    source = LabelDictionarySource(path, ["gfp", "rfp"], pattern="{x}/{cell}.tif", **options)
    index = source.index()
    assert index["split"].value_counts().to_dict() == {"train": 770, "validation": 450, "test": 422}
    assert sorted(index["key"]) == sorted(cells["key"])
    for position in range(0, len(index), 149):
        other = cells["key"].tolist().index(index["key"][position])
        np.testing.assert_array_equal(source.read(position)[0], folder.read(other)[0])
