"""Whole fields through a model: a row per cell, and how wells and proteins spread."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tifffile
from shared import contents, run_cli

from deeploc_tf import read_table
from deeploc_tf.models.calibration import calibrate
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.serving.drift import Drift
from deeploc_tf.serving.export import export
from deeploc_tf.serving.inputs import Columns, _scaled
from deeploc_tf.serving.localization_table import Tally
from deeploc_tf.serving.open_model import OpenModel, open_model
from deeploc_tf.serving.predict import predict
from deeploc_tf.simulation.simulate import Screen, simulate
from deeploc_tf.sources import CellTable, FieldSource, SourceError
from deeploc_tf.text_tables import TableError
from tfrecords.errors import OutputExistsError, SchemaError
from tfrecords.schema import Schema

GOLDEN = Path(__file__).parent / "golden" / "savedmodel_v2"
PATTERN, LABELS = "{well}_{field}-{channel}.tif", "{well}_{field}_labels.tif"
CLASSES = ["cytoplasm", "µ-body"]
OPTIONS = ["--pattern", PATTERN, "--label-image", LABELS]


@pytest.fixture(scope="module", params=["image", "masked"])
def golden(request: Any, tmp_path_factory: Any) -> Path:
    """An exported model of crops of 14 x 14, gfp and rfp; with masks or without."""
    folder: Path = tmp_path_factory.mktemp("golden")
    shutil.unpack_archive(GOLDEN / f"keras3_{request.param}.zip", folder)
    return folder / "model"


@pytest.fixture(scope="module")
def model(golden: Path) -> OpenModel:
    return open_model(golden)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: Any) -> OpenModel:
    """The one without masks."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.unpack_archive(GOLDEN / "keras3_image.zip", folder)
    return open_model(folder / "model")


def write_fields(
    folder: Path,
    wells: Sequence[str] = ("A01", "A02", "B01"),
    *,
    size: tuple[int, int] = (70, 60),
    dtype: str = "uint16",
) -> Path:
    """Two fields a well with six objects each, two at the border; bars lie in every second one."""
    folder.mkdir()
    labels = np.zeros(size, np.uint16)
    centers = [(3, 3), (15, 20), (15, 45), (40, 12), (40, 30), (67, 40)]
    for number, (y, x) in enumerate(centers, 1):
        labels[y - 2 : y + 3, x - 2 : x + 3] = number
    for number, name in enumerate(f"{well}_{field}" for well in wells for field in (1, 2)):
        random = np.random.default_rng(number)
        for channel in ("gfp", "rfp"):
            image = random.integers(20, 100, size) + 20 * number
            for i, (y, x) in enumerate(centers):
                height, width = (2, 7) if i % 2 else (7, 2)
                image[max(y - height, 0) : y + height, max(x - width, 0) : x + width] += 150
            image = image.astype(dtype)
            tifffile.imwrite(folder / f"{name}-{channel}.tif", image)
        tifffile.imwrite(folder / f"{name}_labels.tif", labels)
    return folder


def source_of(folder: Path, **options: Any) -> FieldSource:
    arguments: dict[str, Any] = {"label_image": LABELS, "crop_size": 14, **options}
    return FieldSource(folder, PATTERN, ("gfp", "rfp"), **arguments)


def test_a_row_a_cell_as_the_model_says_of_its_crop(model: OpenModel, tmp_path: Path) -> None:
    source = source_of(write_fields(tmp_path / "fields"))
    told: list[int] = []
    done = predict(
        model,
        source,
        tmp_path / "out",
        embedding=True,
        batch_size=5,
        progress=lambda count, _: told.append(count),
    )
    assert (done.num_cells, done.num_wells, done.num_proteins) == (24, 3, 0)
    assert done.passed_over == {
        "cell is at the border of its field": 12,
        "file does not match the pattern": 6,  # the label images
    }
    assert told == [5, 10, 15, 20, 24]

    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    index = source.index()
    assert cells["key"].tolist() == index["key"].tolist()
    for column in ("well", "field", "x", "y", "object"):
        assert cells[column].tolist() == index[column].tolist()
    crops = [source.read(position) for position in range(len(index))]
    masks = np.stack([mask for _, mask in crops if mask is not None])
    expected = model(np.stack([image for image, _ in crops]), masks)
    probabilities = cells[[f"probability_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(probabilities, expected["probabilities"], rtol=0, atol=1e-5)
    assert np.ptp(probabilities, axis=0).min() > 0.05  # the cells differ
    assert cells["call"].tolist() == [CLASSES[i] for i in probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(cells["confidence"], probabilities.max(axis=1))

    vectors = read_table(tmp_path / "out" / "embeddings.parquet")
    np.testing.assert_allclose(vectors.features, expected["embedding"], rtol=0, atol=1e-5)
    assert vectors.metadata["key"].tolist() == cells["key"].tolist()
    assert vectors.metadata["call"].tolist() == cells["call"].tolist()
    assert vectors.provenance["layer"] == "fc_2"
    assert vectors.provenance["model_sha256"] == model.description.model_sha256
    values = json.loads((tmp_path / "out" / "predict.json").read_text("utf-8"))
    assert values["num_cells"] == 24
    assert values["class_names"] == CLASSES
    assert str(tmp_path) not in json.dumps(values)


def test_several_devices_write_what_one_writes(
    golden: Path, two_cpus: list[str], tmp_path: Path
) -> None:
    fields = write_fields(tmp_path / "fields")
    for device in ("cpu:1", "cpu:0,cpu:1"):
        model = open_model(golden, device=device)
        assert len(model.others) == device.count(",")
        predict(model, source_of(fields), tmp_path / device, batch_size=5, embedding=True)
    one, two = (contents(tmp_path / device) for device in ("cpu:1", "cpu:0,cpu:1"))
    assert one == two
    assert set(one) >= {"cells.parquet", "embeddings.parquet", "wells.csv"}


def test_cells_that_are_not_accepted_are_counted_and_drift_is_told(
    plain: OpenModel, tmp_path: Path, notes: list[str]
) -> None:
    levels = [0.0, 0.1, 0.5, 0.9, 1.0]
    training = {"gfp": [0.0, 1.0, 2.0, 3.0, 4.0], "rfp": [0.0, 80.0, 150.0, 240.0, 999.0]}
    quantiles = {"intensity": training, "confidence": [0.5, 0.5, 0.6, 0.9, 1.0]}
    quantiles |= {"novelty": [0.0, 10.0, 150.0, 250.0, 400.0]}

    def signature(image: Any) -> dict[str, Any]:
        novelty = tf.reduce_mean(tf.cast(image, tf.float32), axis=(1, 2, 3))
        told = {"novelty": novelty, "accepted": novelty < 120}
        return {**plain.signature(image=image), **told}

    acceptance = {"levels": levels, "quantiles": quantiles}
    model = OpenModel(dataclasses.replace(plain.description, acceptance=acceptance), signature)
    out = tmp_path / "out"
    source = source_of(write_fields(tmp_path / "fields"))
    done = predict(model, source, out, embedding=True, batch_size=5)
    cells = pd.read_parquet(out / "cells.parquet")
    assert cells["accepted"].dtype == bool
    np.testing.assert_array_equal(cells["accepted"], cells["novelty"] < 120)
    assert done.num_not_accepted == int((~cells["accepted"]).sum())
    assert 0 < done.num_not_accepted < len(cells)
    assert pd.read_csv(out / "cells.csv")["accepted"].tolist() == cells["accepted"].tolist()
    wells = pd.read_csv(out / "wells.csv").set_index("well")
    refused = (~cells["accepted"]).groupby(cells["well"]).sum()
    assert wells["num_not_accepted"].to_dict() == refused.to_dict()
    assert wells["num_cells"].sum() == len(cells)  # they count all the same
    texts = read_table(out / "embeddings.parquet").metadata["accepted"].tolist()
    assert texts == cells["accepted"].astype(str).tolist()

    drift = json.loads((out / "predict.json").read_text("utf-8"))["drift"]
    images = np.stack([source.read(position)[0] for position in range(len(cells))])
    means = np.quantile(images[..., 0].mean(axis=(1, 2)), levels)
    np.testing.assert_allclose(drift["intensity"]["gfp"]["quantiles"], means)
    apart = np.abs(means - training["gfp"])
    area = float(((apart[1:] + apart[:-1]) / 2 * np.diff(levels)).sum())
    assert drift["intensity"]["gfp"]["distance"] == pytest.approx(area / 2)  # from 1 to 3
    assert done.warnings[0] in notes
    assert done.warnings[0].startswith("The intensity of channel 'gfp' of these cells differs")


def test_a_model_of_before_tells_no_novelty(
    plain: OpenModel, tmp_path: Path, notes: list[str]
) -> None:
    done = predict(plain, source_of(write_fields(tmp_path / "fields", ("A01",))), tmp_path / "out")
    assert done.num_not_accepted is None
    assert "The model tells no novelty: it was made by a version before." in notes
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert not {"novelty", "accepted"} & set(cells)
    assert pd.read_csv(tmp_path / "out" / "wells.csv")["num_not_accepted"].isna().all()
    assert json.loads((tmp_path / "out" / "predict.json").read_text("utf-8"))["drift"] is None


def test_drift_keeps_some_of_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeploc_tf.serving.drift._MOST_KEPT", 50)
    levels, line = [0.0, 0.1, 0.5, 0.9, 1.0], [0.0, 100.0, 500.0, 900.0, 1000.0]
    quantiles = {"intensity": {"gfp": line}, "confidence": line, "novelty": line}
    drift = Drift({"levels": levels, "quantiles": quantiles})
    for part in np.array_split(np.arange(1001.0), 90):
        images = np.broadcast_to(part[:, np.newaxis, np.newaxis, np.newaxis], (len(part), 2, 2, 1))
        drift.add(images, part, part)
    report = drift.report()
    np.testing.assert_allclose(report["confidence"]["quantiles"], line, atol=60)
    assert report["novelty"]["distance"] < 0.03
    assert not drift.sentences()


def test_pixels_of_another_size_are_told_refused_or_resampled(
    tmp_path: Path, tmp_path_factory: Any
) -> None:
    shutil.unpack_archive(GOLDEN / "keras3_image.zip", tmp_path)
    fields, model = write_fields(tmp_path / "fields", ("A01",)), tmp_path / "model"
    output = (tmp_path / name for name in "abcd")
    words = ("predict", model, fields, next(output), *OPTIONS)
    near = run_cli(*words, "--pixel-size", 0.1, "--other-pixel-size", "refuse")  # of 0.108
    assert near.exit_code == 0, near.output
    words = ("predict", model, fields, next(output), *OPTIONS, "--pixel-size", 0.054)
    refused = run_cli(*words, "--other-pixel-size", "refuse")
    assert refused.exit_code == 1
    assert "(0.054) is not that of the training (0.108)" in refused.output
    assert "--resample-to 0.108" in refused.output
    warned = run_cli(*words)
    assert warned.exit_code == 0, warned.output
    assert "(0.054) is not that of the training (0.108)" in warned.output
    words = ("predict", model, fields, next(output), *OPTIONS, "--pixel-size", 0.054)
    done = run_cli(*words, "--resample-to", 0.108, "--border", "pad")
    assert done.exit_code == 0, done.output
    assert "is not that of the training" not in done.output
    cells = pd.read_parquet(words[3] / "cells.parquet")
    assert len(cells) == 12
    assert cells["x"].max() > 40  # of the image as it is
    values = json.loads((words[3] / "predict.json").read_text("utf-8"))
    assert values["sources"][""]["resampled_from"] == 0.054


def test_wells_and_proteins_are_counted(plain: OpenModel, tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "fields")
    (tmp_path / "wells.csv").write_text("well,protein,plate\nA01,SEC61,7\nB01,SEC61,7\nZ9,ERG6,7\n")
    columns = Columns(plate_map=tmp_path / "wells.csv", allow_unmatched=1)
    done = predict(plain, source_of(folder), tmp_path / "out", columns=columns, batch_size=7)
    assert (done.num_wells, done.num_proteins) == (3, 1)
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert set(cells.loc[cells["well"] != "A02", "protein"]) == {"SEC61"}
    assert set(cells.loc[cells["well"] == "A02", "protein"]) == {""}
    by_object = dict(zip(cells["object"], cells["call"], strict=True))
    assert by_object == {2: "cytoplasm", 3: "µ-body", 4: "cytoplasm", 5: "µ-body"}  # by the bars
    wells = pd.read_csv(tmp_path / "out" / "wells.csv", dtype={"plate": str})
    assert wells["well"].tolist() == ["A02", "A01", "B01"]  # A02 has no plate
    proteins = pd.read_csv(tmp_path / "out" / "proteins.csv")
    for table, column in ((wells, "well"), (proteins, "protein")):
        for row in table.to_dict("records"):
            mine = cells[cells[column] == row[column]]
            assert row["num_cells"] == len(mine)
            assert row["mean_confidence"] == pytest.approx(mine["confidence"].mean())
            fractions = {name: (mine["call"] == name).mean() for name in CLASSES}
            for name, fraction in fractions.items():
                assert row[f"fraction_{name}"] == pytest.approx(fraction)
                mean = mine[f"probability_{name}"].mean()
                assert row[f"probability_{name}"] == pytest.approx(mean, abs=1e-6)
            largest = sorted(CLASSES, key=lambda name: -fractions[name])
            chosen = [name for name in largest if fractions[name] >= 0.2]
            assert row["localizations"] == "|".join(chosen)
    assert "|" in proteins["localizations"].iloc[0]  # in both compartments


def calibrated(model: OpenModel, fields: int = 4) -> OpenModel:
    """The model as if it took a tenth of each class for the other on held-out fields."""
    labels = np.arange(400) % 2
    called = np.where(np.arange(400) // 2 % 10 == 0, 1 - labels, labels)
    units = [f"A01/{i * fields // 400}" for i in range(400)]
    found = calibrate(labels, 3 * np.eye(2)[called], units, CLASSES, columns=("well", "field"))
    training = {**model.description.training, "calibration": found.to_json()}
    description = dataclasses.replace(model.description, training=training)
    return dataclasses.replace(model, description=description)


def test_a_calibrated_model_gives_sets_and_corrected_fractions(
    plain: OpenModel, tmp_path: Path
) -> None:
    folder = write_fields(tmp_path / "fields", ("A01", "A02", "B01", "B02"))
    (tmp_path / "wells.csv").write_text("well,protein\nA01,P\nA02,P\nB01,P\nB02,Q\n")
    model = calibrated(plain)
    calibration = model.description.calibration
    assert calibration is not None
    columns = Columns(plate_map=tmp_path / "wells.csv")
    for name, used in (("plain", plain), ("with", model)):
        predict(used, source_of(folder), tmp_path / name, columns=columns, batch_size=7)
    cells = pd.read_parquet(tmp_path / "with" / "cells.parquet")
    new = ["label_set", "calibrated_confidence"]
    before = pd.read_parquet(tmp_path / "plain" / "cells.parquet")
    pd.testing.assert_frame_equal(cells.drop(columns=new), before)  # calls are as they were
    probabilities = cells[[f"probability_{name}" for name in CLASSES]].to_numpy(np.float64)
    sets = calibration.in_words(calibration.label_sets(np.log(probabilities)))
    assert cells["label_set"].tolist() == sets
    expected = calibration.probabilities(np.log(probabilities)).max(axis=1)
    np.testing.assert_allclose(cells["calibrated_confidence"], expected, atol=1e-5)
    confusion = calibration.sums.sum(axis=0) / calibration.counts.sum(axis=0)[:, None]
    for name, group, units in (
        ("wells.csv", "well", ["2 fields"] * 4),
        ("proteins.csv", "protein", ["3 wells", "2 fields"]),
    ):
        table = pd.read_csv(tmp_path / "with" / name)
        old = pd.read_csv(tmp_path / "plain" / name)
        pd.testing.assert_frame_equal(table[list(old)], old)
        assert table["interval_over"].tolist() == units
        for row in table.to_dict("records"):
            mean = probabilities[cells[group] == row[group]].mean(axis=0)
            share = np.clip((mean @ np.linalg.inv(confusion))[0], 0, 1)
            assert row["corrected_fraction_cytoplasm"] == pytest.approx(share, abs=1e-4)
            assert row["lower_fraction_cytoplasm"] <= share <= row["upper_fraction_cytoplasm"]
            shares = [row[f"corrected_fraction_{class_name}"] for class_name in CLASSES]
            assert sum(shares) == pytest.approx(1)
    values = json.loads((tmp_path / "with" / "predict.json").read_text("utf-8"))
    assert values["calibration"] == calibration.describe()
    assert values["without_interval"] == {"wells.csv": 0, "proteins.csv": 0}


def test_one_field_of_a_well_or_of_the_calibration_has_no_interval_and_says_so(
    plain: OpenModel, tmp_path: Path, caplog: Any
) -> None:
    folder = write_fields(tmp_path / "fields", ("A01",))
    caplog.set_level("INFO")
    columns = Columns(where={"field": ["1"]})
    predict(calibrated(plain), source_of(folder), tmp_path / "out", columns=columns)
    predict(calibrated(plain, 1), source_of(folder), tmp_path / "one")
    for name in ("out", "one"):
        wells = pd.read_csv(tmp_path / name / "wells.csv")
        assert wells[[f"lower_fraction_{c}" for c in CLASSES]].isna().all(axis=None)
        assert wells["interval_over"].isna().all()
        assert wells["corrected_fraction_cytoplasm"].notna().all()
    assert caplog.text.count("wells.csv: 1 of 1 corrected fractions have no interval") == 2


def test_a_calibration_of_other_classes_is_refused(plain: OpenModel, tmp_path: Path) -> None:
    model = calibrated(plain)
    other = dataclasses.replace(model.description, class_names=("nucleus", "vacuole"))
    fields = source_of(write_fields(tmp_path / "fields", ("A01",)))
    with pytest.raises(SchemaError, match="other classes than the model's"):
        predict(dataclasses.replace(model, description=other), fields, tmp_path / "out")


def test_cells_at_the_border_are_padded_as_told_and_centers_come_from_a_table(
    plain: OpenModel, tmp_path: Path
) -> None:
    folder = write_fields(tmp_path / "fields", ("A01",))
    cells = pd.DataFrame({"image": "A01_1-gfp.tif", "x": [2, 30], "y": [30, 30], "protein": "P"})
    cells.to_csv(tmp_path / "cells.csv", index=False)
    told = {"cells": CellTable(tmp_path / "cells.csv"), "label_image": None}
    done = predict(plain, source_of(folder, **told), tmp_path / "dropped")
    assert done.num_cells == 1
    assert done.passed_over["cell is at the border of its field"] == 1
    done = predict(plain, source_of(folder, border="pad", **told), tmp_path / "padded")
    assert (done.num_cells, done.num_proteins) == (2, 1)
    both = [pd.read_parquet(tmp_path / n / "cells.parquet") for n in ("dropped", "padded")]
    assert both[0]["x"].tolist() == [30]
    assert both[1]["x"].tolist() == [2, 30]
    np.testing.assert_allclose(both[0]["confidence"][0], both[1]["confidence"][1], atol=1e-6)


def test_the_command_takes_several_folders(golden: Path, tmp_path: Path) -> None:
    plates = [write_fields(tmp_path / name, ("A01",)) for name in ("plate_1", "plate_2")]
    out = tmp_path / "out"
    arguments = ["predict", str(golden), *map(str, plates), str(out), *OPTIONS, "--embedding"]
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.output
    assert f"{out}: 16 cells" in result.stdout
    assert "cell is at the border of its field" in result.stdout
    cells = pd.read_parquet(out / "cells.parquet")
    assert cells["folder"].tolist() == ["plate_1"] * 8 + ["plate_2"] * 8
    assert cells["key"].is_unique
    assert cells["key"].str.startswith("plate_").all()
    wells = pd.read_csv(out / "wells.csv")
    assert wells["folder"].tolist() == ["plate_1", "plate_2"]
    np.testing.assert_allclose(cells["confidence"][:8], cells["confidence"][8:], atol=1e-6)

    again = run_cli(*arguments)
    assert again.exit_code == 1
    assert "must not exist yet" in again.stderr
    no_cells = run_cli(*arguments[:3], tmp_path / "new", *OPTIONS[:2])
    assert no_cells.exit_code == 2
    assert "--label-image" in no_cells.stderr


def test_a_run_and_its_export_say_the_same(tmp_path: Path) -> None:
    schema = Schema((14, 14, 2), "uint16", ("gfp", "rfp"), False, tuple(CLASSES), pixel_size=0.1)
    run = tmp_path / "run"
    run.mkdir()
    config = {"schema": schema.to_json(), "records_digest": "0", "config": {}}
    (run / "config.json").write_text(json.dumps(config))
    DeepLoc((14, 14, 2), 2, window=12, width=0.03, dense_units=(4, 6)).save(run / "model.keras")
    export(run, tmp_path / "model", layer="conv_3:max", test_time="crops")
    source = source_of(write_fields(tmp_path / "fields", ("A01",)))
    for name, how in (("run", {"layer": "conv_3:max", "test_time": "crops"}), ("model", {})):
        opened = open_model(tmp_path / name, **how)
        predict(opened, source, tmp_path / f"by-{name}", embedding=True)
    vectors = [read_table(tmp_path / f"by-{n}" / "embeddings.parquet") for n in ("run", "model")]
    np.testing.assert_allclose(vectors[0].features, vectors[1].features, rtol=0, atol=1e-5)
    told = [{**table.provenance, "made_from": None} for table in vectors]
    assert told[0] == told[1]
    assert [table.provenance["made_from"][0]["what"] for table in vectors] == ["run", "SavedModel"]
    assert vectors[0].provenance["precision"] == "float32"
    assert vectors[0].feature_names[0] == "conv_3_max_0"  # as of `embed`
    cells = [pd.read_parquet(tmp_path / f"by-{n}" / "cells.parquet") for n in ("run", "model")]
    pd.testing.assert_frame_equal(cells[0], cells[1], atol=1e-5)
    with pytest.raises(ValueError, match="settled when it is exported"):
        open_model(tmp_path / "model", layer="fc_2")


def by_brightness(plain: OpenModel, **changes: Any) -> OpenModel:
    """A model that answers at once: two classes by the mean of the first channel."""

    def signature(image: Any) -> dict[str, Any]:
        bright = tf.reduce_mean(tf.cast(image[..., 0], tf.float32), axis=(1, 2)) / 250
        probabilities = tf.stack([bright, 1.2 * bright], axis=1)
        return {"probabilities": probabilities, "embedding": probabilities}

    return OpenModel(dataclasses.replace(plain.description, **changes), signature)


def test_several_calls_a_cell_where_classes_do_not_exclude_each_other(
    plain: OpenModel, tmp_path: Path
) -> None:
    several = by_brightness(plain, activation="sigmoid")
    predict(several, source_of(write_fields(tmp_path / "fields")), tmp_path / "out")
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    first, second = (cells[f"probability_{name}"] > 0.5 for name in CLASSES)
    expected = np.select([first & second, first, second], ["|".join(CLASSES), *CLASSES], "")
    assert len(set(expected)) == 3  # none, one, both
    assert cells["call"].tolist() == expected.tolist()
    wells = pd.read_csv(tmp_path / "out" / "wells.csv")
    for name, said in zip(CLASSES, (first, second), strict=True):
        shares = said.groupby(cells["well"]).mean()
        np.testing.assert_allclose(wells[f"fraction_{name}"], shares)


def test_memory_does_not_grow_with_the_fields(plain: OpenModel, tmp_path: Path) -> None:
    fast = by_brightness(plain)
    peaks = []
    for count in (2, 12):
        folder = write_fields(
            tmp_path / f"fields-{count}", [f"A{i:02}" for i in range(count)], size=(600, 600)
        )
        tracemalloc.start()
        predict(fast, source_of(folder), tmp_path / f"out-{count}", embedding=True, batch_size=16)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 600 * 600 * 2 * 2 / 2  # half of one of ten more fields


def test_pixels_that_are_not_finite_are_rejects(plain: OpenModel, tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "fields", ("A01",), dtype="float32")
    image = tifffile.imread(folder / "A01_1-gfp.tif")
    image[15, 20] = np.nan
    tifffile.imwrite(folder / "A01_1-gfp.tif", image)
    floats = by_brightness(plain, dtype="float32")
    with pytest.raises(SourceError, match="Pixels must be finite"):
        predict(floats, source_of(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = predict(floats, source_of(folder), tmp_path / "out", max_rejects=1)
    assert done.num_cells == 7
    assert done.rejects == {"pixels are not finite": 1}
    (line,) = (tmp_path / "out" / "rejects.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["key"] == "A01_1:2"
    (well,) = pd.read_csv(tmp_path / "out" / "wells.csv").to_dict("records")
    assert (well["well"], well["num_cells"], well["num_left_out"]) == ("A01", 7, 1)
    assert pd.read_parquet(tmp_path / "out" / "cells.parquet")["object"].tolist().count(2) == 1


def test_wells_whose_cells_were_all_left_out_are_listed() -> None:
    tally = Tally(["well"], CLASSES)
    assert not tally
    tally.leave_out(pd.DataFrame({"well": ["A01", "A01", ""]}))
    assert tally
    assert len(tally) == 0  # of cells that were classified
    (well,) = tally.table().to_dict("records")
    assert (well["well"], well["num_cells"], well["num_left_out"]) == ("A01", 0, 2)
    assert pd.isna(well["mean_confidence"])


REFUSED: dict[str, tuple[Callable[[Path], dict[str, Any]], type[Exception], str]] = {
    "channels in another order": (
        lambda folder: {"fields": FieldSource(folder, PATTERN, ("rfp", "gfp"), label_image=LABELS)},
        SchemaError,
        r"channels=\('rfp', 'gfp'\), the model has \('gfp', 'rfp'\)",
    ),
    "crops of another size": (
        lambda folder: {"fields": source_of(folder, crop_size=12)},
        SourceError,
        r"Received: \(12, 12, 2\) of uint16",
    ),
    "another dtype": (
        lambda folder: {"fields": source_of(folder, dtype="float32")},
        SourceError,
        r"Received: \(14, 14, 2\) of float32",
    ),
    "one folder twice": (
        lambda folder: {"fields": [("p", source_of(folder)), ("p", source_of(folder))]},
        SourceError,
        "'p' twice",
    ),
    "a column that is missing": (
        lambda folder: {"fields": source_of(folder), "columns": Columns(protein="gene")},
        TableError,
        "The column of the protein must be one of",
    ),
    "an output that is there": (
        lambda folder: {"fields": source_of(folder), "output": folder},
        OutputExistsError,
        "must not exist yet",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    what: str, plain: OpenModel, tmp_path: Path
) -> None:
    make, error, words = REFUSED[what]
    arguments = {"output": tmp_path / "out", **make(write_fields(tmp_path / "fields", ("A01",)))}
    with pytest.raises(error, match=words):
        predict(plain, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["fields"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row,protein\n1,SEC61\n", "must share a column with the cells"),
        ("well,protein\nA01,SEC61\nA01,ERG6\n", r"'A01' twice \(wells.csv, line 3\)"),
        ("well,protein\nH12,SEC61\n", "none of 1, such as 'A01'; the rows of wells.csv are 'H12'"),
        ("well,folder\nA01,1\n", "must not be called 'folder'"),
    ],
)
def test_plate_maps_that_do_not_fit_are_refused(
    text: str, words: str, plain: OpenModel, tmp_path: Path
) -> None:
    folder = write_fields(tmp_path / "fields", ("A01",))
    (tmp_path / "wells.csv").write_text(text)
    columns = Columns(plate_map=tmp_path / "wells.csv")
    with pytest.raises((SourceError, TableError), match=words):
        predict(plain, source_of(folder), tmp_path / "out", columns=columns)
    assert not (tmp_path / "out").exists()


def test_a_model_with_masks_needs_label_images(tmp_path: Path) -> None:
    shutil.unpack_archive(GOLDEN / "keras3_masked.zip", tmp_path)
    folder = write_fields(tmp_path / "fields", ("A01",))
    cells = pd.DataFrame({"image": ["A01_1-gfp.tif"], "x": [30], "y": [30]})
    cells.to_csv(tmp_path / "cells.csv", index=False)
    source = source_of(folder, cells=CellTable(tmp_path / "cells.csv"), label_image=None)
    with pytest.raises(SchemaError, match="needs the mask of each cell"):
        predict(open_model(tmp_path / "model"), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_odd_objects(folder: Path) -> Path:
    """The fields with objects of 20 to 25 pixels, and a seventh of 3 beside the fifth."""
    for path in folder.glob("*_labels.tif"):
        labels = tifffile.imread(path)
        for number in range(2, 7):
            rows, columns = np.nonzero(labels == number)
            labels[rows[: number - 1], columns[: number - 1]] = 0
        labels[40, 33:36] = 7
        tifffile.imwrite(path, labels)
    return folder


def test_odd_objects_are_flagged_and_the_rest_of_the_table_stays(
    plain: OpenModel, tmp_path: Path
) -> None:
    folder = with_odd_objects(write_fields(tmp_path / "fields", ("A01",)))
    table = pd.DataFrame(
        {
            "file": "A01_1-gfp.tif",
            "cx": [20.25, 30, 34, 40],
            "cy": [15, 40, 40, 68],
            "GENE": ["SEC61", "ERG6", "ERG6", "SEC61"],
            "confidence": ["high", "low", "", ""],
            "Dose": [1, 2, 3, 4],
        }
    )
    table.to_csv(tmp_path / "cells.csv", index=False)
    cells = CellTable(tmp_path / "cells.csv", field="file", center=("cx", "cy"))
    out = tmp_path / "out"
    done = predict(
        plain,
        source_of(folder, cells=cells, border="pad"),
        out,
        columns=Columns(protein="GENE"),
        embedding=True,
    )
    found = pd.read_parquet(out / "cells.parquet")
    assert found["image"].tolist() == ["A01_1-gfp.tif"] * 4
    assert found["object"].tolist() == [2, 5, 7, 6]
    assert found["area"].tolist() == [24, 21, 3, 20]
    assert found["flags"].tolist() == [
        *("", "touches another cell"),
        *("touches another cell|unusual area", "cut by the edge"),
    ]
    for name, given in table.items():
        stored = {"confidence": "meta_confidence"}.get(str(name), str(name))
        assert found[stored].astype(str).tolist() == given.astype(str).tolist()
    assert found["protein"].tolist() == table["GENE"].tolist()
    assert done.flagged == {
        **{"cut by the edge": 1, "touches another cell": 2, "unusual area": 1},
    }
    as_text = pd.read_csv(out / "cells.csv", keep_default_na=False)
    assert list(as_text) == list(found)
    assert as_text["flags"].tolist() == found["flags"].tolist()
    np.testing.assert_allclose(as_text["confidence"], found["confidence"], rtol=1e-6)
    assert read_table(out / "embeddings.parquet").metadata["Dose"].tolist() == list("1234")


def test_cells_are_chosen_by_fields_tables_and_plate_maps(plain: OpenModel, tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "fields")
    (folder / "B01_2_labels.tif").unlink()  # of a field that nobody asks for
    (tmp_path / "wells.csv").write_text("well,drug\nA01,DMSO\nA02,rapamycin\nB01,DMSO\n")

    def chosen(number: int, **where: tuple[str, ...]) -> pd.DataFrame:
        columns = Columns(plate_map=tmp_path / "wells.csv", where=where)
        out = tmp_path / f"out{number}"
        predict(plain, source_of(folder, where=where), out, columns=columns)
        return pd.read_parquet(out / "cells.parquet")

    found = chosen(1, well=("a1", "B01"), field=("01",))
    assert found["key"].str[:5].unique().tolist() == ["A01_1", "B01_1"]
    found = chosen(2, well=("A01", "A02"), field=("1", "2"), object=("3", "4"), drug=("DMSO",))
    assert found["well"].unique().tolist() == ["A01"]
    assert found["object"].tolist() == [3, 4] * 2
    with pytest.raises(SourceError, match="field='9'"):
        chosen(3, well=("A01",), field=("2", "9"))
    with pytest.raises(TableError, match=r"Received: 'drugs'.*drug"):
        chosen(4, well=("A01",), drugs=("DMSO",))


def test_the_command_chooses_filters_and_scales(golden: Path, tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "fields", ("A01",))
    blank = tifffile.imread(folder / "A01_2-rfp.tif")
    blank[8:23, 13:28] = 7  # around object 2
    tifffile.imwrite(folder / "A01_2-rfp.tif", blank)
    base = ("predict", golden, folder)
    done = run_cli(*base, tmp_path / "a", *OPTIONS, "--where", "field=2")
    assert done.exit_code == 0, done.output
    assert "flagged" in done.stdout
    assert "channel is constant" in done.stdout
    cells = pd.read_parquet(tmp_path / "a" / "cells.parquet")
    assert cells["flags"].tolist() == ["channel is constant", "", "", ""]
    done = run_cli(
        *(*base, tmp_path / "b", *OPTIONS, "--set-aside", "constant", "--where", "field=2")
    )
    assert done.exit_code == 0, done.output
    values = json.loads((tmp_path / "b" / "predict.json").read_text("utf-8"))
    assert values["set_aside"] == {"channel is constant": 1}
    assert values["num_cells"] == 3
    assert values["where"] == {"field": ["2"]}
    twice = tmp_path / "twice"  # the same fields at twice the magnification
    twice.mkdir()
    for path in folder.iterdir():
        pixels = tifffile.imread(path)
        tifffile.imwrite(twice / path.name, pixels.repeat(2, axis=0).repeat(2, axis=1))
    done = run_cli("predict", golden, twice, tmp_path / "c", *OPTIONS, "--crop-size", 28)
    assert done.exit_code == 0, done.output
    one = run_cli(*base, tmp_path / "d", *OPTIONS)
    assert one.exit_code == 0, one.output
    large, small = (pd.read_parquet(tmp_path / n / "cells.parquet") for n in "cd")
    assert large["area"].tolist() == [4 * area for area in small["area"]]


def test_crops_of_another_size_are_averaged_to_that_of_the_model() -> None:
    image = np.random.default_rng(0).integers(0, 60_000, (14, 14, 2), np.uint16)
    mask = (image[..., 0] > 30_000).astype(np.uint8)
    large = image.repeat(3, axis=0).repeat(3, axis=1), mask.repeat(3, axis=0).repeat(3, axis=1)
    for given in ((image, mask), large):
        found = _scaled(*given, 14)
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], mask)
    assert _scaled(image, None, 28)[0].shape == (28, 28, 2)


def test_whole_fields_of_our_own_simulation_need_no_options(tmp_path: Path) -> None:
    """But the size of the windows: the model has smaller crops than such cells need."""
    shutil.unpack_archive(GOLDEN / "keras3_image.zip", tmp_path)
    settings = Screen(num_proteins=34, num_fields=1, cells_per_field=2)
    simulate(tmp_path / "screen", settings, fields=True)
    shutil.copytree(tmp_path / "screen", tmp_path / "other")
    known = pd.read_csv(tmp_path / "screen" / "fields.csv")
    words = ("predict", tmp_path / "model", tmp_path / "screen", tmp_path / "other" / "fields")
    made = run_cli(*words, tmp_path / "out", "--crop-size", "64", "--quiet")
    assert made.exit_code == 0, made.output
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    one, other = (cells[cells["folder"] == name] for name in ("screen", "other"))
    assert 68 <= len(one) <= len(known)  # those at the edge are not cut
    assert {"plate", "field", "localization"} <= {*cells}
    assert set(cells["protein"]) <= set(known["protein"])
    np.testing.assert_allclose(one["confidence"], other["confidence"], atol=1e-6)
    plain = run_cli("predict", tmp_path / "model", tmp_path, tmp_path / "calls")
    assert plain.exit_code == 2
    assert "--label-image" in plain.output


def test_a_table_of_fields_is_predicted(golden: Path, tmp_path: Path) -> None:
    """As CellProfiler lists images: a folder and a name of each channel; wells without a zero."""
    fields = write_fields(tmp_path / "fields", ("A01", "B01"))
    names = [f"{well}_{field}" for well in ("A01", "B01") for field in (1, 2)]
    table = pd.DataFrame({"Metadata_Well": ["A1", "A1", "B1", "B1"], "Metadata_Site": [1, 2, 1, 2]})
    for channel in ("gfp", "rfp"):
        table[f"FileName_{channel}"] = [f"{name}-{channel}.tif" for name in names]
        table[f"PathName_{channel}"] = str(fields)
    table["mask"] = [f"{fields}/{name}_labels.tif" for name in names]
    table.to_csv(tmp_path / "images.csv", index=False)
    columns = [w for c in ("gfp", "rfp") for w in ("--image-column", f"{c}=FileName_{c}")]
    made = run_cli(
        *("predict", golden, tmp_path / "images.csv", tmp_path / "calls", *columns),
        *("--label-image", "mask", "--root", tmp_path),
    )
    assert made.exit_code == 0, made.output
    cells = pd.read_parquet(tmp_path / "calls" / "cells.parquet")
    wells = pd.read_csv(tmp_path / "calls" / "wells.csv")
    assert wells["well"].tolist() == ["A1", "B1"]
    assert len(cells) == 16
    folder = ["predict", golden, fields, tmp_path / "same", *OPTIONS, "--quiet"]
    assert run_cli(*folder).exit_code == 0
    same = pd.read_parquet(tmp_path / "same" / "cells.parquet")
    np.testing.assert_allclose(cells["confidence"], same["confidence"], atol=1e-6)
