"""Embedding that is stopped, disturbed or given foreign models; see docs/reliability.md."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from shared import contents

from deeploc_tf.embedding import embed as module
from deeploc_tf.embedding.embed import embed
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.trained import load_trained
from deeploc_tf.profiles.tables import read_table
from tfrecords import file_set, publishing
from tfrecords.errors import DamagedRecordsError, LockedError, OutputExistsError
from tfrecords.locking import locked
from tfrecords.manifest import Manifest

ROWS = 24  # in four shards
OPTIONS: dict[str, Any] = {"splits": ["validation", "test"], "batch_size": 4}
KILLED = """
import os, signal, sys
from deeploc_tf.embedding import embed as module

run, records, output, place = sys.argv[1:]
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if place == "shards":
    progress = lambda done, _: done > 10 and kill()
else:
    progress = False
    written = module.write_table
    def between(*arguments):
        written(*arguments)
        kill()
    module.write_table = between
module.embed(run, records, output, splits=["validation", "test"], batch_size=4, progress=progress)
"""


@dataclasses.dataclass(frozen=True)
class Screen:
    records: Path
    run: Path


@pytest.fixture(scope="module")
def screen(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Screen:
    folder = tmp_path_factory.mktemp("embed")
    splits = {"train": (1, 1, 1), "validation": (4, 4, 4), "test": (5, 4, 3)}
    manifest = write_screen(folder / "records", splits, size=14)
    model = DeepLoc((14, 14, 2), 3, window=12, width=0.06, dense_units=(8, 12), last_block=False)
    (folder / "run").mkdir()
    model.save(folder / "run" / "model.keras")
    config = {
        "schema": manifest.schema.to_json(),
        "records_digest": manifest.digest,
        "config": {},
    }
    (folder / "run" / "config.json").write_text(json.dumps(config))
    return Screen(folder / "records", folder / "run")


@pytest.fixture
def one_model(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded once, since here `embed` is called again and again."""
    trained = load_trained(screen.run)
    monkeypatch.setattr(module, "load_trained", lambda _: trained)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "suffix"),
    [pytest.param("shards", ".h5", marks=pytest.mark.long), ("names", ".parquet")],
)
def test_killed_it_goes_on_and_ends_in_the_same_bytes(
    place: str, suffix: str, screen: Screen, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    embed(screen.run, screen.records, tmp_path / "whole" / f"cells{suffix}", **OPTIONS)
    output = tmp_path / "killed" / f"cells{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(screen.run), str(screen.records), str(output), place],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not output.exists()
    (folder,) = (tmp_path / "killed").glob("cells*.partial-*")
    finished = len(list(folder.glob("[0-9]*.part")))
    assert finished == (1 if place == "shards" else 4)
    steps: list[int] = []
    embed(
        screen.run, screen.records, output, progress=lambda count, _: steps.append(count), **OPTIONS
    )
    assert steps == ([10, 12, 16, 18, 22, 24] if place == "shards" else [])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    keys = read_table(output).metadata["key"]
    assert len(keys) == len(set(keys)) == ROWS


@pytest.mark.usefixtures("one_model")
def test_another_command_does_not_go_on_from_it(screen: Screen, tmp_path: Path) -> None:
    def stop(done: int, _: int | None) -> None:
        if done > 20:
            raise KeyboardInterrupt

    output = tmp_path / "cells.h5"
    with pytest.raises(KeyboardInterrupt) as caught:
        embed(screen.run, screen.records, output, progress=stop, **OPTIONS)
    assert "give the same command again" in caught.value.__notes__[0]
    (folder,) = tmp_path.iterdir()
    (folder / "000001.part").write_bytes(b"not whole")
    steps: list[int] = []
    other = {**OPTIONS, "batch_size": 3}
    with pytest.raises(KeyboardInterrupt):
        embed(screen.run, screen.records, output, progress=stop, **other)
    (other_folder,) = tmp_path.iterdir()
    assert other_folder != folder  # parts of other batches are removed
    (other_folder / "000001.part").write_bytes(b"not whole")
    embed(
        screen.run, screen.records, output, progress=lambda count, _: steps.append(count), **other
    )
    assert steps[0] < 24  # the damaged part is made again
    assert len(read_table(output).features) == ROWS
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5", "cells.profiles.h5"}


@pytest.mark.usefixtures("one_model")
def test_what_somebody_else_put_there_is_not_replaced(screen: Screen, tmp_path: Path) -> None:
    def stop(done: int, _: int | None) -> None:
        if done > 20:
            raise KeyboardInterrupt

    output = tmp_path / "cells.h5"
    with pytest.raises(KeyboardInterrupt):
        embed(screen.run, screen.records, output, progress=stop, **OPTIONS)
    for name in ("cells.h5", "cells.profiles.h5"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputExistsError, match=name):
            embed(screen.run, screen.records, output, **OPTIONS)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    lock = tmp_path / ".cells.h5.lock"
    with locked(lock, "cells"), pytest.raises(LockedError, match="One process at a time"):
        embed(screen.run, screen.records, output, **OPTIONS)


@pytest.mark.usefixtures("one_model")
def test_fewer_rows_than_the_manifest_says_get_no_name(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = module.verify(screen.records)
    first, *rest = true.splits["test"]
    more = dataclasses.replace(first, num_crops=first.num_crops + 1)
    lying = dataclasses.replace(true, splits={**true.splits, "test": (more, *rest)})
    monkeypatch.setattr(module, "verify", lambda _: lying)
    with pytest.raises(DamagedRecordsError, match=f"Received: 6 in {first.name}, expected 7"):
        embed(screen.run, screen.records, tmp_path / "cells.h5")
    assert list(tmp_path.iterdir()) == []


class Failing:
    """Fails at the n-th force to the disk or change of a name."""

    def __init__(self, patch: pytest.MonkeyPatch, place: int) -> None:
        self.place, self.count = place, 0
        sync, replace, rename = publishing.sync, Path.replace, Path.rename

        def failing_sync(path: Path) -> None:
            self.step()
            sync(path)

        def failing_replace(path: Path, target: Path) -> Path:
            self.step()
            return replace(path, target)

        def failing_rename(path: Path, target: Path) -> Path:
            self.step()
            return rename(path, target)

        for one in (publishing, file_set):
            patch.setattr(one, "sync", failing_sync)
        patch.setattr(Path, "replace", failing_replace)
        patch.setattr(Path, "rename", failing_rename)

    def step(self) -> None:
        self.count += 1
        if self.count == self.place:
            raise OSError(28, "No space left on device")  # one that is not tried again


@pytest.mark.slow
@pytest.mark.usefixtures("one_model")
@pytest.mark.parametrize(
    "suffix",
    [".h5", *(pytest.param(s, marks=pytest.mark.long) for s in (".parquet", ".npz", ".h5ad"))],
)
def test_tables_are_there_whole_or_not_at_all_wherever_the_disk_fails(
    suffix: str, screen: Screen, tmp_path: Path
) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata", reason="anndata is an extra")
    (tmp_path / "whole").mkdir()
    embed(screen.run, screen.records, tmp_path / "whole" / f"cells{suffix}")
    whole = contents(tmp_path / "whole")
    failures = 0
    for place in range(1, 100):
        folder = tmp_path / f"failed-{place}"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, place)
            try:
                embed(screen.run, screen.records, folder / f"cells{suffix}")
            except OSError:
                failures += 1
            if failing.count < place:
                break
        for name, content in whole.items():
            assert not (folder / name).exists() or (folder / name).read_bytes() == content
        embed(screen.run, screen.records, folder / f"cells{suffix}")
        assert contents(folder) == whole
        shutil.rmtree(folder)
    # Two parts, renamed; two tables, each synced, renamed, and the name synced; as a set, each
    # synced and renamed, and their folders synced; and what says that all is written.
    assert failures == 16


def lambda_model() -> keras.Model:
    image = keras.Input((14, 14, 2), name="image")
    return keras.Model(image, keras.layers.Lambda(lambda x: x, output_shape=(14, 14, 2))(image))


@pytest.mark.parametrize("what", ["lambda", "h5"])
def test_a_run_with_a_foreign_model_is_refused(what: str, screen: Screen, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(screen.run, run)
    if what == "lambda":
        lambda_model().save(run / "model.keras")
    else:
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "model.h5")
        (tmp_path / "model.h5").replace(run / "model.keras")
    with pytest.raises(ValueError, match="archive of layers and weights alone"):
        embed(run, screen.records, tmp_path / "cells.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.usefixtures("one_model")
def test_the_same_again_is_the_same_and_other_batches_and_shards_nearly(
    screen: Screen, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    embed(screen.run, screen.records, tmp_path / "first.h5", **OPTIONS)
    embed(screen.run, screen.records, tmp_path / "second.h5", **OPTIONS)
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()
    first = read_table(tmp_path / "first.h5")
    splits = {"train": (1, 1, 1), "validation": (4, 4, 4), "test": (5, 4, 3)}
    write_screen(tmp_path / "records", splits, size=14, crops_of_a_shard=3)
    for records, batch_size in ((screen.records, 5), (tmp_path / "records", 4)):
        output = tmp_path / f"other{batch_size}.h5"
        embed(screen.run, records, output, splits=OPTIONS["splits"], batch_size=batch_size)
        other = read_table(output)
        assert other.metadata.equals(first.metadata)
        np.testing.assert_allclose(other.features, first.features, atol=1e-5)
