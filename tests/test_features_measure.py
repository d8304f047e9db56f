"""Tables of features: rows, profiles, going on after a stop, several processes, bad input."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import contents, names

import tfrecords
from deeploc_tf.features import measure as module
from deeploc_tf.features.cellprofiler import cellprofiler_features
from deeploc_tf.features.intensity import Intensity
from deeploc_tf.features.masks import otsu_mask
from deeploc_tf.features.white_levels import white_levels
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import in_memory, read_table
from deeploc_tf.profiles.tables.spill import Spill
from tfrecords.errors import (
    DamagedRecordsError,
    LockedError,
    OutputExistsError,
    SchemaError,
    SplitError,
)
from tfrecords.framing import records as framed_records
from tfrecords.locking import locked
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.schema import Crop

needs_cp_measure = pytest.mark.skipif(
    find_spec("cp_measure") is None, reason="the extra cellprofiler is not installed"
)

measure = functools.partial(module.measure, batch_size=4)


@pytest.fixture(scope="module")
def masked(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("measure") / "records"
    write_screen(folder, size=14, has_mask=True)
    return folder


@pytest.fixture(scope="module")
def plain(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("measure") / "records"
    write_screen(folder, size=14)
    return folder


def crops(records: Path, split: str = "test") -> list[Crop]:
    return [crop for _, crop in tfrecords.read_crops(records, [split])]


def rewrite(records: Path, output: Path, change: Callable[[int, Crop], Crop]) -> None:
    """The same records with other crops in the split `test`."""
    manifest = read_manifest(records)
    changed = [change(i, crop) for i, crop in enumerate(crops(records))]
    entries = [tfrecords.Entry(c.key, "test", c.labels, c.protein) for c in changed]
    tfrecords.write_records(output, manifest.schema, entries, changed)


@pytest.mark.parametrize("suffix", [".h5", ".parquet", ".npz", ".h5ad"])
def test_rows_are_the_crops_in_manifest_order(
    masked: Path, suffix: str, tmp_path: Path, notes: list[str]
) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    done: list[int] = []
    written = measure(
        masked,
        tmp_path / f"cells{suffix}",
        "intensity",
        progress=lambda count, _: done.append(count),
    )
    assert not notes
    table, cells = read_table(written.embeddings), crops(masked)
    images = np.stack([cell.image for cell in cells])
    masks = np.stack([cell.mask for cell in cells if cell.mask is not None]).astype(bool)
    np.testing.assert_array_equal(table.features, Intensity(("gfp", "rfp"), 1.0)(images, masks))
    labels = read_manifest(masked).schema.label_names
    expected = {
        "key": [cell.key for cell in cells],
        "protein": [cell.protein for cell in cells],
        "label": [labels[cell.labels[0]] for cell in cells],
        "split": ["test"] * len(cells),
        **{n: [cell.metadata[n] for cell in cells] for n in ("field", "focus", "plate")},
    }
    pd.testing.assert_frame_equal(table.metadata, pd.DataFrame(expected), check_dtype=False)
    assert done == [4, 8, 11]
    assert (written.num_crops, written.num_features, written.num_left_out) == (11, 19, 0)
    assert table.provenance["mask"] == "stored"
    assert table.provenance["features"] == "intensity"
    assert table.provenance["batch_size"] == 4
    assert table.provenance["records_digest"] == read_manifest(masked).digest
    assert str(tmp_path) not in json.dumps(dict(table.provenance))
    assert set(names(tmp_path)) == {f"cells.profiles{suffix}", f"cells{suffix}"}


def test_what_does_not_fit_into_memory_is_refused_before_it_is_measured(
    masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "MOST_BYTES", 11 * 19 * 4 - 1)
    monkeypatch.setattr(module, "computed", pytest.fail)
    for name, message in (
        ("cells.npz", r"11 rows of 19 .*Write \.h5"),
        ("cells.csv", "must end in"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(masked, tmp_path / name, "intensity")
    assert names(tmp_path) == []


def test_profiles_are_means_and_can_be_benchmarked(masked: Path, tmp_path: Path) -> None:
    written = measure(masked, tmp_path / "cells.parquet", "intensity")
    cells, profiles = read_table(written.embeddings), read_profiles(written.profiles)
    frame = pd.DataFrame(cells.features.astype(float)).groupby(cells.metadata["protein"])
    assert profiles.metadata["protein"].tolist() == sorted(set(cells.metadata["protein"]))
    assert profiles.metadata["num_crops"].tolist() == frame.size().tolist()
    np.testing.assert_allclose(profiles.features, frame.mean().to_numpy(), rtol=1e-6)
    assert (written.num_proteins, written.num_profile_features) == profiles.features.shape


def test_the_table_has_the_columns_that_embed_writes(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    from deeploc_tf.embedding.embed import embed
    from deeploc_tf.models.deeploc import DeepLoc

    for number, options in enumerate([{}, {"multi_label": True}, {"label_names": ()}]):
        records = tmp_path / f"records{number}"
        manifest = write_screen(records, {"test": (2, 1, 1)}, size=14, **options)
        if not number:
            (tmp_path / "run").mkdir()
            model = DeepLoc((14, 14, 2), 3, window=12, width=0.06, dense_units=(8, 12))
            model.save(tmp_path / "run" / "model.keras")
            config = {
                "schema": manifest.schema.to_json(),
                "records_digest": manifest.digest,
                "config": {},
            }
            (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        theirs = embed(tmp_path / "run", records, tmp_path / f"embedded{number}.h5")
        ours = measure(records, tmp_path / f"measured{number}.h5", "intensity")
        for kind in ("embeddings", "profiles"):
            tables = [read_table(getattr(written, kind)) for written in (ours, theirs)]
            pd.testing.assert_frame_equal(*(table.metadata for table in tables))
            kinds = [[t.provenance[n] for n in ("kind", "columns", "splits")] for t in tables]
            assert kinds[0] == kinds[1]


@needs_cp_measure
def test_cellprofiler_gets_stored_masks_and_the_level_of_white_of_the_training_crops(
    notes: list[str], masked: Path, tmp_path: Path
) -> None:
    written = measure(masked, tmp_path / "cells.parquet")
    manifest, cells = read_manifest(masked), crops(masked)
    training = module.crop_batches(masked, manifest, ["train"], 5)
    levels = white_levels(training, lambda batch: batch.masks)
    expected = cellprofiler_features(("gfp", "rfp"), levels, (14, 14))
    table = read_table(written.embeddings)
    masks = np.stack([cell.mask for cell in cells if cell.mask is not None])
    np.testing.assert_array_equal(
        table.features, expected(np.stack([cell.image for cell in cells]), masks.astype(bool))
    )
    assert table.provenance["white_levels"] == list(levels)
    assert "cp_measure" in table.provenance
    # three moments are undefined by definition
    profiles = read_profiles(written.profiles)
    assert written.num_profile_features == profiles.features.shape[1] < written.num_features
    assert "Cells_NormalizedMoment_0_0" in profiles.provenance["features_left_out"]
    assert np.isfinite(profiles.features).all()
    assert any("5% of the cells" in note for note in notes)


def test_masks_are_made_where_none_are_stored_and_it_is_said(
    notes: list[str], plain: Path, tmp_path: Path
) -> None:
    measure(plain, tmp_path / "cells.h5", "intensity")
    assert notes == [
        "Masks are made from the channel 'rfp' by Otsu's threshold, since none are stored."
    ]
    table, cells = read_table(tmp_path / "cells.h5"), crops(plain)
    images = np.stack([cell.image for cell in cells])
    masks = np.stack([otsu_mask(image[..., 1]) for image in images])
    np.testing.assert_array_equal(table.features, Intensity(("gfp", "rfp"), 1.0)(images, masks))
    assert table.provenance["mask"] == "otsu of rfp"


def test_another_channel_or_the_whole_crop_can_be_asked_for(
    notes: list[str], masked: Path, tmp_path: Path
) -> None:
    tables = [
        read_table(
            measure(
                masked,
                tmp_path / f"{name}.h5",
                "intensity",
                mask_channel=name,
            ).embeddings
        )
        for name in ("gfp", "none")
    ]
    assert [table.provenance["mask"] for table in tables] == ["otsu of gfp", "none"]
    assert notes == [
        "Masks are made from the channel 'gfp' by Otsu's threshold, instead of the stored ones."
    ]
    images = np.stack([cell.image for cell in crops(masked)])
    intensity = Intensity(("gfp", "rfp"), 1.0)
    np.testing.assert_array_equal(tables[1].features, intensity(images, None))
    masks = np.stack([otsu_mask(image[..., 0]) for image in images])
    np.testing.assert_array_equal(tables[0].features, intensity(images, masks))


def test_without_a_structural_channel_one_must_choose(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    records = tmp_path / "records"
    write_screen(records, {"test": (3, 2, 2)}, size=12, channels=("gfp",))
    with pytest.raises(SchemaError, match=r"--threshold-channel gfp\), or 'none'"):
        measure(records, tmp_path / "cells.h5", "intensity")
    assert names(tmp_path) == ["records"]
    written = measure(records, tmp_path / "cells.h5", "intensity", mask_channel="gfp")
    assert written.num_features == 9
    measure(records, tmp_path / "pixels.h5", "pixels", num_components=3)  # needs no mask


def test_empty_masks_are_rows_of_nan_and_in_no_profile(
    notes: list[str], masked: Path, tmp_path: Path
) -> None:
    records = tmp_path / "records"

    def emptied(number: int, crop: Crop) -> Crop:
        empty = np.zeros((14, 14), np.uint8)
        return dataclasses.replace(crop, mask=empty) if number in (0, 5) else crop

    rewrite(masked, records, emptied)
    written = measure(records, tmp_path / "cells.h5", "intensity")
    features = read_table(written.embeddings).features
    assert np.isnan(features).all(axis=1).sum() == 2
    assert written.num_left_out == 2
    assert "2 of 11 cells have an empty mask" in notes[0]
    profiles = read_table(written.profiles)
    assert profiles.metadata["num_crops"].sum() == 9
    assert np.isfinite(profiles.features).all()


def test_masks_that_are_all_empty_are_refused(masked: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    empty = np.zeros((14, 14), np.uint8)
    rewrite(masked, records, lambda _, crop: dataclasses.replace(crop, mask=empty))
    with pytest.raises(ValueError, match="11 empty masks"):
        measure(records, tmp_path / "cells.h5", "intensity")
    assert not list(tmp_path.glob("cells*.h5"))


def test_pixels_learn_from_the_training_crops_only(plain: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "test.h5", tmp_path / "both.h5"]
    splits = [("test",), ("validation", "test")]
    tables = [
        read_table(measure(plain, output, "pixels", splits=s, num_components=5).embeddings)
        for output, s in zip(outputs, splits, strict=True)
    ]
    assert tables[0].features.shape == (11, 5)
    # a product of matrices may round a row by how many there are
    np.testing.assert_allclose(tables[1].features[9:], tables[0].features, rtol=0, atol=1e-6)
    assert tables[1].metadata["split"].tolist() == ["validation"] * 9 + ["test"] * 11
    assert "mask" not in tables[0].provenance


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def whole(plain: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a measurement ends in that nothing disturbs."""
    (tmp_path / "whole").mkdir()
    measure(plain, tmp_path / "whole" / "cells.parquet", "intensity", splits=("test", "train"))
    return contents(tmp_path / "whole")


def stopping_at(count: int) -> Callable[[int, int | None], None]:
    def progress(done: int, _: int | None) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_a_stopped_measurement_goes_on_and_ends_in_the_same_bytes(
    plain: Path, home: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = home / "cells.parquet"
    with pytest.raises(KeyboardInterrupt) as stopped:
        measure(
            plain, output, "intensity", splits=("test", "train"), progress=stopping_at(12)
        )  # three parts
    assert "give the same command again" in stopped.value.__notes__[0]
    (partial,) = home.glob("cells.parquet.partial-*")
    assert names(home) == [partial.name]
    assert names(partial) == ["000000.part", "000001.part", "000002.part"]
    measured: list[int] = []
    vectors_of = module._vectors

    def counting(features: Any, channel: Any, crop: Any, images: Any, masks: Any) -> Any:
        measured.append(len(images))
        return vectors_of(features, channel, crop, images, masks)

    monkeypatch.setattr(module, "_vectors", counting)
    measure(plain, output, "intensity", splits=("test", "train"))
    assert contents(home) == whole
    assert sum(measured) == 38 - 12


def test_a_damaged_part_is_computed_again(plain: Path, home: Path, whole: dict[str, bytes]) -> None:
    output = home / "cells.parquet"
    arguments: dict[str, Any] = {"kind": "intensity", "splits": ("test", "train")}
    with pytest.raises(KeyboardInterrupt):
        measure(plain, output, **arguments, progress=stopping_at(12))
    (partial,) = home.glob("cells.parquet.partial-*")
    content = bytearray((partial / "000001.part").read_bytes())
    content[-3] ^= 1
    (partial / "000001.part").write_bytes(content)
    (partial / "000002.part").write_bytes(b"")
    measure(plain, output, **arguments)
    assert contents(home) == whole


def test_remains_of_another_measurement_are_not_taken(
    plain: Path, home: Path, whole: dict[str, bytes]
) -> None:
    output = home / "cells.parquet"
    with pytest.raises(KeyboardInterrupt):
        measure(plain, output, "pixels", num_components=5, progress=stopping_at(8))
    foreign = home / "cells.parquet.partial-notes"
    foreign.mkdir()
    (foreign / "diary.txt").write_text("mine")
    measure(plain, output, "intensity", splits=("test", "train"))
    assert (foreign / "diary.txt").read_text() == "mine"
    (foreign / "diary.txt").unlink()
    foreign.rmdir()
    assert contents(home) == whole


def test_several_processes_end_in_the_same_bytes(
    plain: Path, home: Path, whole: dict[str, bytes]
) -> None:
    measure(plain, home / "cells.parquet", "intensity", splits=("test", "train"), workers=2)
    assert contents(home) == whole


KILLED = """
    import os, signal, sys
    from deeploc_tf.features import measure as module

    def progress(done, _):
        if done >= 8:
            import multiprocessing
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    if __name__ == "__main__":
        module.measure(
            sys.argv[1], sys.argv[2], "intensity", splits=("test", "train"), workers=2,
            batch_size=4, progress=progress,
        )
"""


@pytest.mark.skipif(not hasattr(os, "kill") or os.name == "nt", reason="POSIX signals")
def test_a_killed_measurement_leaves_no_process_and_goes_on(
    plain: Path, home: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    output = home / "cells.parquet"
    done = subprocess.run(
        [sys.executable, str(script), str(plain), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    assert not output.exists()
    assert list(home.glob("cells.parquet.partial-*/000001.part"))
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    measure(plain, output, "intensity", splits=("test", "train"))
    left = contents(home)
    for name in set(left) - set(whole):  # what a kill leaves of files that were being written
        assert name.startswith(".cells.partial-")
        del left[name]
    assert left == whole


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return True
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def batches(records: Path) -> Iterator[Any]:
    return module.crop_batches(records, read_manifest(records), ["test"], 4)


def test_a_worker_that_dies_is_told_with_its_crops(plain: Path, tmp_path: Path) -> None:
    parts = Spill(tmp_path / "cells.h5", "0" * 64)
    with (
        parts.opened(),
        pytest.raises(
            ChildProcessError,
            match=r"exit code 9 in crops 'test/0\d\d' to 'test/0\d\d'\. .* use fewer workers",
        ),
    ):
        list(module.measured(batches(plain), ends_process, parts, 2))


def ends_process(images: Any, masks: Any) -> Any:
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_the_crops(plain: Path, tmp_path: Path, workers: int) -> None:
    parts = Spill(tmp_path / "cells.h5", "0" * 64)
    with parts.opened(), pytest.raises(ZeroDivisionError) as error:
        list(module.measured(batches(plain), divides_by_zero, parts, workers))
    assert error.value.__notes__[-1].startswith("Place: crops 'test/0")


def divides_by_zero(images: Any, masks: Any) -> Any:
    return 1 / 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "intensities"}, ValueError, "Did you mean 'intensity'"),
        ({"splits": ("test", "test")}, SplitError, "each named once"),
        ({"splits": ("tests",)}, SplitError, "Did you mean 'test'"),
        ({"mask_channel": "rpf"}, SchemaError, "Did you mean 'rfp'"),
        ({"kind": "pixels", "num_components": 99}, ValueError, "num_components=99, 27 crops"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    plain: Path, tmp_path: Path, arguments: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        measure(plain, tmp_path / "cells.h5", **{"kind": "intensity", **arguments})
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["cells.h5", "cells.profiles.h5"])
def test_nothing_is_overwritten(plain: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=name):
        measure(plain, tmp_path / "cells.h5", "intensity")
    assert (tmp_path / name).read_text() == "mine"
    assert names(tmp_path) == [name]


def test_two_cannot_write_one_output(plain: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path / ".cells.h5.lock", "it"),
        pytest.raises(LockedError, match=str(os.getpid())),
    ):
        measure(plain, tmp_path / "cells.h5", "intensity")


@pytest.mark.parametrize("change", ["flip", "swap"])
def test_damaged_records_are_named(
    write_screen: Callable[..., Manifest], tmp_path: Path, change: str
) -> None:
    records = tmp_path / "records"
    write_screen(records, {"test": (9, 8, 8)}, size=8)
    first, second = (records / shard.name for shard in read_manifest(records).shards("test")[:2])
    content = bytearray(first.read_bytes())
    if change == "flip":
        content[len(content) // 2] ^= 1
    else:
        bounds = [stop + 4 for _, stop in framed_records(bytes(content))]
        content = content[: bounds[-2]] + bytes(len(content) - bounds[-2])
    first.write_bytes(content)
    assert second.exists()
    place = (
        f"{first.name}" if change == "swap" else rf"Place: shard {first.name}, record \d, byte \d"
    )
    with pytest.raises(DamagedRecordsError, match=place):
        measure(records, tmp_path / "cells.h5", "intensity")
    assert not (tmp_path / "cells.h5").exists()


def test_crops_are_measured_without_tensorflow(
    write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", {"test": (8, 8)}, size=8)
    program = """
import sys
from deeploc_tf.features.measure import measure
measure("records", "cells.h5", "intensity")
assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert run.returncode == 0
    assert (tmp_path / "cells.h5").exists()
