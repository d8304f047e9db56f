from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import contents

from deeploc_tf.embedding.embed import embed
from deeploc_tf.models import folding
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.profiles.tables import in_memory, read_table
from tfrecords.errors import (
    DamagedRecordsError,
    OutputExistsError,
    PartsError,
    RecordsError,
    SchemaError,
    SplitError,
)
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.schema import Crop
from tfrecords.writer import Entry, write_records


@dataclasses.dataclass(frozen=True)
class Screen:
    """Records and a run folder as `fit` leaves it, without the time that training takes."""

    records: Path
    run: Path
    manifest: Manifest


def make_screen(folder: Path, manifest: Manifest, *, mask: bool) -> Screen:
    run = folder / "run"
    run.mkdir()
    model = DeepLoc(
        manifest.schema.image_shape, 3, window=12, mask=mask, width=0.06, dense_units=(8, 12)
    )
    random = np.random.default_rng(0)  # the values must not all be those of a fresh batch norm
    model.set_weights(
        [w + random.uniform(-0.05, 0.05, w.shape).astype(w.dtype) for w in model.get_weights()]
    )
    model.save(run / "model.keras")
    config = {
        "schema": manifest.schema.to_json(),
        "records_digest": manifest.digest,
        "config": {},
    }
    (run / "config.json").write_text(json.dumps(config))
    return Screen(folder / "records", run, manifest)


@pytest.fixture(scope="module", params=[False, True], ids=["image", "masked"])
def screen(request: Any, write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Screen:
    folder = tmp_path_factory.mktemp("embed")
    manifest = write_screen(folder / "records", size=14, has_mask=True)
    return make_screen(folder, manifest, mask=request.param)


@pytest.fixture(scope="module")
def plain(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Screen:
    folder = tmp_path_factory.mktemp("embed")
    return make_screen(folder, write_screen(folder / "records", size=14), mask=False)


def expected(screen: Screen, split: str, layer: str = "fc_2") -> tuple[np.ndarray, pd.DataFrame]:
    """By Keras' own `predict`, on the whole split at once."""
    trained = load_trained(screen.run)
    (batch,) = batches(screen.records, split, batch_size=1000)
    inputs: Any = batch["image"].numpy()
    if trained.takes_mask:
        inputs = {"image": inputs, "mask": batch["mask"].numpy()}
    features = feature_extractor(trained.model, layer).predict(inputs, verbose=0)
    names = screen.manifest.schema.label_names
    columns = {
        "key": [key.decode() for key in batch["key"].numpy()],
        "protein": [protein.decode() for protein in batch["protein"].numpy()],
        "label": [names[label] for label in batch["label"].numpy()],
        "split": [split] * len(features),
        "field": [field.decode() for field in batch["meta/field"].numpy()],
        "focus": batch["meta/focus"].numpy(),
        "plate": batch["meta/plate"].numpy(),
    }
    return features, pd.DataFrame(columns)


@pytest.mark.addons
@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
def test_rows_are_the_crops_in_manifest_order(screen: Screen, suffix: str, tmp_path: Path) -> None:
    done: list[int] = []
    written = embed(
        screen.run,
        screen.records,
        tmp_path / f"cells{suffix}",
        batch_size=4,
        progress=lambda count, _: done.append(count),
    )
    features, metadata = expected(screen, "test")
    table = read_table(written.embeddings)
    assert table.features.dtype == np.float32
    np.testing.assert_allclose(table.features, features, atol=1e-5)
    pd.testing.assert_frame_equal(table.metadata, metadata, check_dtype=False)
    assert np.ptp(table.features, axis=0).max() > 1e-3  # the crops differ
    assert (written.num_crops, written.num_features) == (11, 12)
    assert done == [4, 6, 10, 11]  # shards of 6 and 5: no batch spans them
    assert table.provenance["records_digest"] == screen.manifest.digest
    assert table.provenance["layer"] == "fc_2"
    assert table.provenance["splits"] == ["test"]
    assert len(table.provenance["model_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(dict(table.provenance))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"cells{suffix}", f"cells.profiles{suffix}"}


def test_profiles_are_of_the_groups_that_are_asked_for(plain: Screen, tmp_path: Path) -> None:
    written = embed(plain.run, plain.records, tmp_path / "cells.h5", summarize_by=["plate"])
    cells, profiles = read_table(written.embeddings), read_table(written.profiles)
    plates = cells.metadata["plate"].astype(str)
    frame = pd.DataFrame(cells.features.astype(float)).groupby(plates)
    assert profiles.metadata["plate"].astype(str).tolist() == list(frame.groups)
    assert "protein" not in profiles.metadata
    assert profiles.metadata["num_crops"].tolist() == frame.size().tolist()
    np.testing.assert_allclose(profiles.features, frame.mean().to_numpy(), atol=1e-6)
    with pytest.raises(ValueError, match=r"columns of the records: .*plate.* Received: .*compound"):
        embed(plain.run, plain.records, tmp_path / "other.h5", summarize_by=["compound"])
    assert not list(tmp_path.glob("other*"))


def test_profiles_are_the_means_of_the_rows(screen: Screen, tmp_path: Path) -> None:
    written = embed(screen.run, screen.records, tmp_path / "cells.parquet", batch_size=3)
    cells, profiles = read_table(written.embeddings), read_table(written.profiles)
    frame = pd.DataFrame(cells.features.astype(float)).groupby(cells.metadata["protein"])
    assert profiles.metadata["protein"].tolist() == sorted(set(cells.metadata["protein"]))
    assert profiles.metadata["num_crops"].tolist() == frame.size().tolist()
    np.testing.assert_allclose(profiles.features, frame.mean().to_numpy(), atol=1e-6)
    assert profiles.provenance["kind"] == "profiles"
    assert written.num_proteins == 4


def test_the_batch_size_makes_no_difference(plain: Screen, tmp_path: Path) -> None:
    tables = []
    for batch_size in (1, 3, 256):
        path = tmp_path / f"cells{batch_size}.h5"
        embed(plain.run, plain.records, path, batch_size=batch_size)
        tables.append(read_table(path))
    for table in tables[1:]:
        np.testing.assert_allclose(table.features, tables[0].features, atol=1e-5)
        pd.testing.assert_frame_equal(table.metadata, tables[0].metadata)


def test_parts_are_joined_into_the_bytes_of_a_single_run(
    plain: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("single", "home"):
        (tmp_path / folder).mkdir()
    splits, output = ("test", "train"), tmp_path / "home" / "cells.parquet"
    embed(plain.run, plain.records, tmp_path / "single" / output.name, splits=splits)
    with pytest.raises(ValueError, match="K from 1 to N"):
        embed(plain.run, plain.records, output, splits=splits, part="3/2")
    steps: list[int] = []
    done = [
        embed(
            *(plain.run, plain.records, output),
            splits=splits,
            part=f"{number}/4",
            progress=lambda count, _: steps.append(count),
        ).num_crops
        for number in (4, 1, 3)
    ]
    with pytest.raises(PartsError, match=r"none of number 2 in .*--part 2/4"):
        embed(plain.run, plain.records, output, splits=splits)
    with pytest.raises(PartsError, match="parts of 4 are in"):
        embed(plain.run, plain.records, output, splits=splits, part="2/5")
    with pytest.raises(PartsError, match="same input and settings"):
        embed(plain.run, plain.records, output, splits=splits, layer="fc_1", part="2/4")
    done.append(embed(plain.run, plain.records, output, splits=splits, part="2/4").num_crops)
    assert sum(done) == 38
    assert min(done) > 0
    assert done[0] in steps
    monkeypatch.setattr(
        "deeploc_tf.embedding.embed.column_values", lambda *_: pytest.fail("computed again")
    )
    embed(plain.run, plain.records, output, splits=splits)
    assert contents(tmp_path / "home") == contents(tmp_path / "single")


def test_several_splits_follow_each_other(plain: Screen, tmp_path: Path) -> None:
    splits = ("validation", "train")
    written = embed(plain.run, plain.records, tmp_path / "cells.h5", splits=splits, batch_size=8)
    table = read_table(written.embeddings)
    parts = [expected(plain, split) for split in splits]
    np.testing.assert_allclose(table.features, np.concatenate([p[0] for p in parts]), atol=1e-5)
    metadata = pd.concat([p[1] for p in parts], ignore_index=True)
    pd.testing.assert_frame_equal(table.metadata, metadata, check_dtype=False)
    assert written.num_crops == 9 + 27


@pytest.mark.parametrize(("layer", "size"), [("conv_5", 3 * 3 * 15), ("fc_1", 8), ("logits", 3)])
def test_any_layer_can_be_taken(plain: Screen, layer: str, size: int, tmp_path: Path) -> None:
    written = embed(plain.run, plain.records, tmp_path / "cells.parquet", layer=layer)
    table = read_table(written.embeddings)
    np.testing.assert_allclose(table.features, expected(plain, "test", layer)[0], atol=1e-5)
    assert table.features.shape == (11, size)
    frame = pd.read_parquet(written.embeddings)
    width = len(str(size - 1))
    assert [name for name in frame if not name.startswith("Metadata_")] == [
        f"{layer}_{i:0{width}}" for i in range(size)
    ]


def test_unlabeled_records_of_equal_crops_can_be_embedded(
    notes: list[str], plain: Screen, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "other", {"screen": (5,)}, size=14, label_names=(), pixel_size=0.2)
    embed(plain.run, tmp_path / "other", tmp_path / "cells.h5", splits=["screen"])
    table = read_table(tmp_path / "cells.h5")
    assert "label" not in table.metadata
    assert len(table.features) == 5
    assert table.provenance["trained_on_records_digest"] == plain.manifest.digest
    assert table.provenance["records_digest"] == read_manifest(tmp_path / "other").digest
    assert "pixel size" in notes[0]


def test_several_labels_are_joined(
    plain: Screen, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    write_screen(tmp_path / "multi", {"test": (2, 1, 1)}, size=14, multi_label=True)
    embed(plain.run, tmp_path / "multi", tmp_path / "cells.h5")
    labels = sorted(read_table(tmp_path / "cells.h5").metadata["label"])
    assert labels == ["cytoplasm", "cytoplasm", "mitochondrion", "nucleus"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ("rfp", "gfp")}, "channels="),
        ({"channels": ("gfp",)}, "image_shape="),
        ({"size": 16}, "image_shape="),
        ({"dtype": "uint8"}, "dtype="),
    ],
)
def test_records_of_other_crops_are_refused(
    plain: Screen,
    changes: dict[str, Any],
    message: str,
    write_screen: Callable[..., Manifest],
    tmp_path: Path,
) -> None:
    write_screen(tmp_path / "other", **{"size": 14, **changes})
    with pytest.raises(SchemaError, match=message):
        embed(plain.run, tmp_path / "other", tmp_path / "cells.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_model_with_masks_refuses_records_without(
    write_screen: Callable[..., Manifest], plain: Screen, tmp_path: Path
) -> None:
    manifest = write_screen(tmp_path / "records", size=14, has_mask=True)
    screen = make_screen(tmp_path, manifest, mask=True)
    with pytest.raises(SchemaError, match="needs masks"):
        embed(screen.run, plain.records, tmp_path / "cells.h5")


def test_what_cannot_be_embedded_is_refused_and_leaves_nothing(
    plain: Screen, tmp_path: Path
) -> None:
    output = tmp_path / "cells.h5"
    with pytest.raises(ValueError, match="must end in"):
        embed(plain.run, plain.records, tmp_path / "cells.csv")
    with pytest.raises(FileNotFoundError, match="folder of `output`"):
        embed(plain.run, plain.records, tmp_path / "deep" / "cells.h5")
    with pytest.raises(ValueError, match="layer='fc_3'"):
        embed(plain.run, plain.records, output, layer="fc_3")
    with pytest.raises(SplitError, match="train"):
        embed(plain.run, plain.records, output, splits=["tset"])
    with pytest.raises(SplitError, match="once"):
        embed(plain.run, plain.records, output, splits=["test", "train", "test"])
    with pytest.raises(ValueError, match="batch_size=0"):
        embed(plain.run, plain.records, output, batch_size=0)
    with pytest.raises(RecordsError):
        embed(plain.records, plain.records, output)
    shutil.copytree(plain.run, tmp_path / "run")
    (tmp_path / "run" / "model.keras").unlink()
    with pytest.raises(RecordsError, match="must be finished"):
        embed(tmp_path / "run", plain.records, output)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["cells.h5", "cells.profiles.h5"])
def test_an_existing_output_is_not_touched(plain: Screen, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=name):
        embed(plain.run, plain.records, tmp_path / "cells.h5")
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_several_layers_stand_side_by_side(plain: Screen, tmp_path: Path) -> None:
    layers = ["conv_5:max", "fc_1", "conv_5:mean", "conv_8"]
    written = embed(plain.run, plain.records, tmp_path / "cells.parquet", layer=layers)
    table = read_table(written.embeddings)
    places = expected(plain, "test", "conv_5")[0].reshape(11, -1, 15)
    wanted = [
        places.max(axis=1),
        expected(plain, "test", "fc_1")[0],
        places.mean(axis=1),
        expected(plain, "test", "conv_8")[0],
    ]
    np.testing.assert_allclose(table.features, np.concatenate(wanted, axis=1), atol=1e-5)
    assert written.layer == table.provenance["layer"] == "conv_5:max+fc_1+conv_5:mean+conv_8"
    assert table.feature_names[14:16] == ("conv_5_max_14", "fc_1_0")
    assert len(set(table.feature_names)) == written.num_features == table.features.shape[1]
    assert read_table(written.profiles).feature_names == table.feature_names


@pytest.mark.parametrize("masked", [False, True])
def test_test_time_averages_over_views(
    masked: bool, write_screen: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = write_screen(tmp_path / "records", {"test": (3, 2, 2)}, size=14, has_mask=masked)
    screen = make_screen(tmp_path, manifest, mask=masked)
    written = embed(
        screen.run, screen.records, tmp_path / "cells.h5", test_time="orientations", batch_size=3
    )
    (batch,) = batches(screen.records, "test").as_numpy_iterator()
    extractor = feature_extractor(load_trained(screen.run).model)
    seen = []
    for turn in range(4):
        for flip in (False, True):
            views = {}
            for name in ("image", "mask") if masked else ("image",):
                turned = np.rot90(batch[name], turn, axes=(1, 2))
                views[name] = turned[:, ::-1] if flip else turned
            seen.append(extractor(views if masked else views["image"], training=False).numpy())
    assert np.ptp(seen, axis=0).max() > 1e-4  # the views differ
    np.testing.assert_allclose(
        read_table(written.embeddings).features, np.mean(seen, axis=0), atol=1e-5
    )
    assert read_table(written.profiles).provenance["test_time"] == "orientations"


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_fast_is_nearly_the_same(
    notes: list[str],
    precision: str,
    tolerance: float,
    plain: Screen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has = precision == "bfloat16"
    monkeypatch.setattr(folding, "cpu_has_bfloat16", lambda: has)
    written = embed(plain.run, plain.records, tmp_path / "cells.h5", fast=True)
    table, (features, _) = read_table(written.embeddings), expected(plain, "test")
    assert 0 < np.abs(table.features - features).max() < tolerance * np.abs(features).max()
    assert table.provenance["fast"] == precision
    assert notes == [f"Batch norm is folded into the layers before it, in {precision}."]


@pytest.mark.parametrize("suffix", [".npz", ".h5ad"])
def test_tables_that_fit_into_memory_are_converted(
    suffix: str, plain: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".h5ad":
        pytest.importorskip("anndata")
    written = embed(plain.run, plain.records, tmp_path / f"cells{suffix}")
    features, metadata = expected(plain, "test")
    found = read_table(written.embeddings)
    np.testing.assert_allclose(found.features, features, atol=1e-5)
    pd.testing.assert_frame_equal(found.metadata, metadata, check_dtype=False)
    assert read_table(written.profiles).metadata["protein"].tolist() == sorted(
        set(metadata["protein"])
    )
    monkeypatch.setattr(in_memory, "MOST_BYTES", 11 * 12 * 4 - 1)
    with pytest.raises(ValueError, match="11 rows of 12 float32 features"):
        embed(plain.run, plain.records, tmp_path / f"other{suffix}")
    assert len(list(tmp_path.iterdir())) == 2


def test_metadata_columns_with_our_own_names_are_kept_beside_them(
    plain: Screen, tmp_path: Path
) -> None:
    schema = dataclasses.replace(
        plain.manifest.schema, metadata={"label": "text", "split": "int64"}
    )
    crops = [
        Crop(
            f"cell/{i}",
            np.full(schema.image_shape, i, np.uint16),
            None,
            (0,),
            "AAC1",
            {"label": f"theirs {i}", "split": i},
        )
        for i in range(3)
    ]
    entries = [Entry(crop.key, "test", crop.labels, crop.protein) for crop in crops]
    write_records(tmp_path / "records", schema, entries, crops)
    written = embed(plain.run, tmp_path / "records", tmp_path / "cells.parquet")
    metadata = read_table(written.embeddings).metadata
    assert set(metadata["label"]) == {schema.label_names[0]}
    assert set(metadata["split"]) == {"test"}
    assert sorted(metadata["meta_label"]) == ["theirs 0", "theirs 1", "theirs 2"]
    assert sorted(metadata["meta_split"]) == [0, 1, 2]


def test_an_interrupt_leaves_nothing(plain: Screen, tmp_path: Path) -> None:
    def stop(done: int, _: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(plain.run, plain.records, tmp_path / "cells.parquet", batch_size=4, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_in_a_shard_is_our_error_and_leaves_nothing(
    plain: Screen, tmp_path: Path
) -> None:
    shutil.copytree(plain.records, tmp_path / "records")
    shard = next((tmp_path / "records").glob("*test*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DamagedRecordsError, match=f"Place: shard {shard.name}, record"):
        embed(plain.run, tmp_path / "records", tmp_path / "cells.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
