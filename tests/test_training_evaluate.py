"""`evaluate`: every crop once, exact views, and each number against a second, naive one."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from shared import tiny_fit

from deeploc_tf.models.calibration import read_calibration
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.trained import TrainedModel
from deeploc_tf.models.views import views
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.training.calibration import expected_calibration_error, reliability
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from deeploc_tf.training.predictions import Predictions, Question, predict
from deeploc_tf.training.protein_metrics import protein_metrics, protein_table
from deeploc_tf.training.summary import summarize
from tfrecords.errors import (
    DamagedRecordsError,
    OutputExistsError,
    RecordsError,
    SchemaError,
    SplitError,
)
from tfrecords.manifest import Manifest, manifest_files, read_manifest

WriteScreen = Callable[..., Manifest]
NAMES = ("cytoplasm", "mitochondrion", "nucleus")
TINY: dict[str, Any] = {"width": 0.06, "dense_units": (8, 6)}


@pytest.fixture(scope="module")
def screen(write_screen: WriteScreen, tmp_path_factory: Any) -> tuple[Path, Path]:
    """Records and a run on them."""
    folder: Path = tmp_path_factory.mktemp("evaluate")
    write_screen(folder / "records")
    config = tiny_fit(window=16, epochs=8, augmentation="none", learning_rate=0.01, dropout=0)
    fit(folder / "records", folder / "run", config)
    return folder / "records", folder / "run"


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


# Views


def in_words(test_time: str, height: int, width: int, side: int) -> list[Callable[..., np.ndarray]]:
    """What each view must let the network see of a normalized crop, cut and turned by hand."""
    down, right = height - side, width - side
    corners = [(0, 0), (0, right), (down, 0), (down, right)]
    windows = [(down // 2, right // 2), *(corners if test_time in ("crops", "both") else [])]
    turns = range(4) if test_time in ("orientations", "both") else [0]
    mirrors = (False, True) if test_time in ("orientations", "both") else (False,)

    def see(window: tuple[int, int], turn: int, mirror: bool) -> Callable[..., np.ndarray]:
        def cut(x: np.ndarray) -> np.ndarray:
            x = x[:, window[0] : window[0] + side, window[1] : window[1] + side]
            return np.rot90(x[:, :, ::-1] if mirror else x, turn, axes=(1, 2))

        return cut

    return [see(w, t, m) for w, t, m in itertools.product(windows, turns, mirrors)]


@pytest.mark.parametrize(
    ("test_time", "shape", "side", "normalization", "mask"),
    [
        ("none", (20, 20), 16, "percentile", False),
        ("crops", (20, 20), 16, "percentile", False),
        ("crops", (19, 22), 16, "kraus", True),
        ("orientations", (20, 20), 16, "min-max", False),
        ("orientations", (20, 20), 15, "percentile", True),  # no pixel is the middle
        ("both", (20, 20), 15, "standardize", False),
        ("both", (20, 20), 16, "percentile", True),
    ],
)
def test_a_view_shows_the_network_its_window_of_the_normalized_crop(
    test_time: str, shape: tuple[int, int], side: int, normalization: str, mask: bool
) -> None:
    model = DeepLoc(
        (*shape, 2), 3, **TINY, window=side, normalization=normalization, mask=mask,
        augmentation="rotations",
    )  # fmt: skip
    random = np.random.default_rng(0)
    image = random.integers(0, 2**16, (4, *shape, 2), "uint16")
    cell = random.integers(0, 2, (4, *shape), "uint8")
    cut = model.get_layer("random_crop")
    before = keras.Model(model.inputs, cut.input)
    after = keras.Model(cut.output, model.output)
    normalized = before.predict([image, cell] if mask else image, verbose=0)
    seen = [see(normalized) for see in in_words(test_time, *shape, side)]
    expected = np.split(after(np.concatenate(seen), training=False).numpy(), len(seen))
    chosen = views(model, test_time)
    images, cells = (np.concatenate([view(x) for view in chosen]) for x in (image, cell))
    inputs = {"image": images, "mask": cells} if mask else images
    found = np.split(model(inputs, training=False).numpy(), len(chosen))
    assert len(found) == {"none": 1, "crops": 5, "orientations": 8, "both": 40}[test_time]
    np.testing.assert_array_equal(chosen[0](image), image)
    for logits in expected:  # the orders differ: each is there once
        distances = [np.abs(logits - other).max() for other in found]
        assert sum(distance < 1e-5 for distance in distances) == 1
        assert min(distances) < 1e-6 < np.abs(logits).max()


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("test_time", ["none", "crops", "both"])
def test_predictions_are_the_mean_softmax_of_the_views(
    write_screen: WriteScreen, tmp_path: Path, test_time: str, mask: bool
) -> None:
    manifest = write_screen(tmp_path / "records", {"test": (3, 2, 2)}, has_mask=mask)
    model = DeepLoc((20, 20, 2), 3, **TINY, window=16, mask=mask)
    trained = TrainedModel(model, manifest.schema, manifest.digest, "", NAMES, multi_label=False)
    found = predict(
        trained, tmp_path / "records", manifest, ["test"], views(model, test_time),
        question=Question("label", NAMES, False, lambda batch: batch["label"].numpy()),
        batch_size=3,
    )  # fmt: skip
    (batch,) = batches(tmp_path / "records", "test")
    image, cell = batch["image"].numpy(), batch["mask"].numpy() if mask else None
    chosen = views(model, test_time)
    images = np.concatenate([view(image) for view in chosen])
    inputs = (
        {"image": images, "mask": np.concatenate([v(cell) for v in chosen])} if mask else images
    )
    said = softmax(model(inputs, training=False).numpy()).reshape(len(chosen), 7, 3)
    np.testing.assert_allclose(np.exp(found.scores), said.mean(axis=0), atol=1e-6)
    assert [key.decode() for key in batch["key"].numpy()] == found.crops["key"].tolist()


def test_averaging_that_has_no_meaning_is_refused() -> None:
    whole = DeepLoc((20, 20, 2), 3, **TINY, window=0)
    with pytest.raises(ValueError, match="test_time='crops' for a model that sees all of it"):
        views(whole, "crops")
    assert len(views(whole, "orientations")) == 8
    oblong = DeepLoc((20, 24, 2), 3, **TINY, window=16)
    with pytest.raises(ValueError, match="'both' for crops of 20x24 pixels"):
        views(oblong, "both")
    with pytest.raises(ValueError, match="must be one of none, crops, orientations, both"):
        views(whole, "ten-crop")


# Numbers


def naive_calibration_error(confidence: np.ndarray, correct: np.ndarray, num_bins: int) -> float:
    """Guo et al. 2017, equations 3 to 5, one bin after the other."""
    error = 0.0
    for m in range(1, num_bins + 1):
        members = [i for i, p in enumerate(confidence) if (m - 1) / num_bins < p <= m / num_bins]
        if members:
            accuracy = sum(bool(correct[i]) for i in members) / len(members)
            sureness = sum(float(confidence[i]) for i in members) / len(members)
            error += len(members) / len(confidence) * abs(accuracy - sureness)
    return error


@pytest.mark.parametrize("num_bins", [1, 7, 15])
@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_that_of_naive_loops(seed: int, num_bins: int) -> None:
    random = np.random.default_rng(seed)
    # Borders of bins among them, which belong to the bin below.
    confidence = np.concatenate([random.uniform(1e-9, 1, 200), np.arange(1, 16) / 15, [0.5, 1.0]])
    correct = random.uniform(size=len(confidence)) < confidence**2
    table = reliability(confidence, correct, num_bins)
    assert table["num_crops"].sum() == len(confidence)
    assert expected_calibration_error(table) == pytest.approx(
        naive_calibration_error(confidence, correct, num_bins)
    )


def test_calibration_at_its_ends() -> None:
    sure = reliability(np.ones(4), np.ones(4, bool))
    assert expected_calibration_error(sure) == 0
    assert sure["num_crops"].tolist() == [0] * 14 + [4]
    assert sure["accuracy"].isna().sum() == 14
    wrong = reliability(np.full(4, 1 + 1e-7, np.float32), np.zeros(4, bool))
    assert expected_calibration_error(wrong) == pytest.approx(1)
    # the majority with its share as confidence: calibrated, and worth nothing
    assert expected_calibration_error(reliability(np.full(10, 0.3), np.arange(10) < 3)) < 1e-12


def naive_average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Sum over distinct scores, from the highest, of precision times the gain in recall."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        recall = (positive & taken).sum() / positive.sum()
        total += (recall - before) * (positive & taken).sum() / taken.sum()
        before = recall
    return total


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_classes_and_ranks_are_those_of_naive_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = tuple("ABCDEFG")
    labels = random.choice(6, 80, p=[0.1, 0.1, 0.1, 0.4, 0.2, 0.1])  # G does not occur
    probabilities = softmax(np.round(random.normal(size=(80, 7)) + 1.5 * np.eye(7)[labels], 1))
    logs = np.log(probabilities).astype(np.float32)
    crops = pd.DataFrame({"key": map(str, range(80)), "protein": "", "split": "test"})
    metrics = summarize(Predictions(crops, labels, logs), names).metrics
    found = []
    for i, name in enumerate(names[:-1]):
        of_class = metrics["per_class"][name]
        found.append(naive_average_precision(labels == i, logs[:, i]))
        assert of_class["average_precision"] == pytest.approx(found[-1])
        assert of_class["prevalence"] == pytest.approx((labels == i).mean())
    assert metrics["per_class"]["G"]["average_precision"] is None
    assert metrics["macro_average_precision"] == pytest.approx(np.mean(found))
    for k in (2, 3, 5):
        hits = sum(
            label in sorted(range(7), key=lambda i: (-row[i], i))[:k]
            for label, row in zip(labels, logs, strict=True)
        )
        assert metrics["top_k_accuracy"][str(k)] == pytest.approx(hits / 80)
    constant = np.full(80, np.bincount(labels).argmax())
    scores = sklearn.metrics
    assert metrics["majority_balanced_accuracy"] == pytest.approx(
        scores.balanced_accuracy_score(labels, constant)
    )
    assert metrics["majority_macro_f1"] == pytest.approx(
        scores.f1_score(labels, constant, average="macro", labels=range(6), zero_division=0)
    )
    best = max(np.isin(labels, pair).mean() for pair in itertools.combinations(range(7), 2))
    assert metrics["majority_top_k_accuracy"]["2"] == pytest.approx(best)
    assert metrics["calibration"]["expected_calibration_error"] == pytest.approx(
        naive_calibration_error(probabilities.max(axis=1), logs.argmax(axis=1) == labels, 15),
        abs=1e-6,
    )
    assert metrics["proteins"]["accuracy"] is None
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_proteins_are_told_by_the_mean_of_their_cells() -> None:
    probabilities = np.array(
        [
            *([0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.0, 1.0, 0.0]),  # outvoted by one that is sure
            *([0.2, 0.3, 0.5], [0.1, 0.2, 0.7]),
            [1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0],  # no protein
        ]
    )
    proteins = ["B", "B", "B", "A", "A", "C", ""]
    labels = np.array([1, 1, 0, 2, 0, 1, 1])
    table = protein_table(proteins, labels, probabilities, NAMES)
    cyto, mito, nuc = NAMES
    assert table["protein"].tolist() == ["A", "B", "C"]
    assert table["label"].tolist() == [cyto, mito, mito]  # A: a tie, the first class
    assert table["predicted"].tolist() == [nuc, mito, cyto]
    assert table["probability"].tolist() == pytest.approx([0.6, 0.6, 1.0])
    assert table["num_crops"].tolist() == [2, 3, 1]
    assert table["num_crops_of_label"].tolist() == [1, 2, 1]
    assert table["correct"].tolist() == [False, True, False]
    assert table["agreement"].tolist() == pytest.approx([1, 1 / 3, 1])
    assert protein_metrics(table) == {
        "num_proteins": 3,
        "with_several_labels": 2,
        "accuracy": pytest.approx(1 / 3),
        "majority_accuracy": pytest.approx(2 / 3),
        "mean_agreement": pytest.approx(7 / 9),
    }
    nobody = protein_table([""] * 7, labels, probabilities, NAMES)
    assert len(nobody) == 0
    assert list(nobody) == list(table)
    assert protein_metrics(nobody)["accuracy"] is None


# The whole


def test_a_run_measures_as_fit_measured_it(screen: tuple[Path, Path], tmp_path: Path) -> None:
    records, run = screen
    metrics = evaluate(run, records, tmp_path / "results")
    of_fit = json.loads((run / "metrics.json").read_text())["test"]
    for name in ("num_crops", "accuracy", "balanced_accuracy", "macro_f1", "majority_class"):
        assert metrics[name] == of_fit[name], name
    assert metrics["confusion_matrix"] == of_fit["confusion_matrix"]
    assert metrics["loss"] == pytest.approx(of_fit["loss"], rel=1e-5)
    said = np.array(metrics["confusion_matrix"]).sum(axis=0)
    assert (said > 0).sum() > 1, "a constant answer would make this test and others easy"
    assert json.loads((tmp_path / "results" / "metrics.json").read_text()) == metrics
    assert (tmp_path / "results" / "confusion.csv").read_bytes() == (
        run / "confusion.csv"
    ).read_bytes()
    assert metrics["trained_on_records_digest"] == metrics["records_digest"]


def test_the_files_hold_every_crop_and_fit_the_numbers(
    screen: tuple[Path, Path], tmp_path: Path
) -> None:
    records, run = screen
    splits = ("validation", "test")
    metrics = evaluate(run, records, tmp_path / "r", splits=splits, test_time="crops")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        *("confusion.csv", "metrics.json", "per_class.csv", "per_protein.csv"),
        *("predictions.parquet", "reliability.csv"),
    ]
    table = pd.read_parquet(tmp_path / "r" / "predictions.parquet")
    stored = [batch for split in splits for batch in batches(records, split)]
    keys = [key.decode() for batch in stored for key in batch["key"].numpy()]
    assert table["key"].tolist() == keys
    assert len(set(keys)) == metrics["num_crops"] == 20
    labels = [NAMES[i] for batch in stored for i in batch["label"].numpy()]
    assert table["label"].tolist() == labels
    assert table["split"].tolist() == ["validation"] * 9 + ["test"] * 11
    probabilities = table[[f"probability_{name}" for name in NAMES]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert table["predicted"].tolist() == [NAMES[i] for i in probabilities.argmax(axis=1)]
    assert (table["predicted"] == table["label"]).mean() == pytest.approx(metrics["accuracy"])
    per_class = pd.read_csv(tmp_path / "r" / "per_class.csv", index_col="class")
    for name in NAMES:
        assert per_class["recall"][name] == pytest.approx(metrics["per_class"][name]["recall"])
    per_protein = pd.read_csv(tmp_path / "r" / "per_protein.csv", index_col="protein")
    means = table.groupby("protein")[[f"probability_{name}" for name in NAMES]].mean()
    assert per_protein["predicted"].tolist() == [NAMES[i] for i in means.to_numpy().argmax(axis=1)]
    bins = pd.read_csv(tmp_path / "r" / "reliability.csv")
    assert expected_calibration_error(bins) == pytest.approx(
        metrics["calibration"]["expected_calibration_error"]
    )
    assert bins["num_crops"].sum() == 20


def test_sets_of_labels_are_measured_by_field(screen: tuple[Path, Path], tmp_path: Path) -> None:
    records, run = screen
    calibration = read_calibration(run)
    assert calibration is not None
    assert calibration.units == ("plate", "field", "protein")  # there is no well
    assert calibration.num_crops == 9
    metrics = evaluate(run, records, tmp_path / "r", splits=("validation", "test"))
    table = pd.read_parquet(tmp_path / "r" / "predictions.parquet")
    logs = np.log(table[[f"probability_{name}" for name in NAMES]].to_numpy())
    expected = calibration.in_words(calibration.label_sets(logs))
    assert table["label_set"].tolist() == expected
    stored = [batch for split in ("validation", "test") for batch in batches(records, split)]
    places = [
        f"{plate}/{field.decode()}/{protein.decode()}"
        for batch in stored
        for plate, field, protein in zip(
            *(batch[name].numpy() for name in ("meta/plate", "meta/field", "protein")), strict=True
        )
    ]
    held = [
        label in names.split("|") for label, names in zip(table["label"], expected, strict=True)
    ]
    by_field = pd.Series(held).groupby(places).mean()
    found = pd.read_csv(tmp_path / "r" / "per_field.csv")
    assert found["num_crops"].sum() == 20
    assert sorted(found["coverage"]) == pytest.approx(sorted(by_field))
    sets = metrics["label_sets"]
    assert sets["coverage"] == pytest.approx(np.mean(held))
    assert sets["num_fields"] == len(by_field) == len(found)
    assert sets["lowest_coverage_of_a_field"] == pytest.approx(min(by_field))
    assert sets["mean_size"] == pytest.approx(np.mean([len(n.split("|")) for n in expected]))
    # Other views than those of the calibration have other probabilities.
    assert "label_sets" not in evaluate(run, records, test_time="crops")


def test_no_number_depends_on_the_batch(screen: tuple[Path, Path]) -> None:
    records, run = screen
    one, some, many = (
        evaluate(run, records, batch_size=size, test_time="crops") for size in (1, 4, 256)
    )
    for other in (some, many):
        assert other["confusion_matrix"] == one["confusion_matrix"]
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["num_crops"] == one["num_crops"] == 11


def test_classes_in_another_order_are_matched_by_name(
    notes: list[str], screen: tuple[Path, Path], write_screen: WriteScreen, tmp_path: Path
) -> None:
    records, run = screen
    theirs = ("nucleus", "cytoplasm", "mitochondrion")
    write_screen(tmp_path / "records", label_names=theirs)  # the same pictures
    metrics = evaluate(run, tmp_path / "records", tmp_path / "r")
    assert notes == [
        "The records have the model's classes in another order; they are matched by name."
    ]
    evaluate(run, records, tmp_path / "before")
    found, before = (
        pd.read_parquet(tmp_path / name / "predictions.parquet").set_index("key").sort_index()
        for name in ("r", "before")
    )
    assert found["predicted"].tolist() == before["predicted"].tolist()
    renamed = dict(zip(NAMES, theirs, strict=True))
    assert found["label"].tolist() == [renamed[label] for label in before["label"]]
    assert list(metrics["per_class"]) == list(NAMES)
    assert metrics["confusion_matrix"] == [
        [int(((found["label"] == t) & (found["predicted"] == p)).sum()) for p in NAMES]
        for t in NAMES
    ]
    assert metrics["per_class"]["nucleus"]["support"] == 5


def test_records_that_lack_a_class_are_measured_on_the_others(
    notes: list[str], screen: tuple[Path, Path], write_screen: WriteScreen, tmp_path: Path
) -> None:
    names = ("nucleus", "cytoplasm")
    write_screen(tmp_path / "records", {"all_of_it": (3, 2)}, label_names=names, pixel_size=0.2)
    metrics = evaluate(screen[1], tmp_path / "records", splits=["all_of_it"])
    assert metrics["per_class"]["mitochondrion"]["recall"] is None
    assert metrics["majority_balanced_accuracy"] == 1 / 2
    assert "The records lack 1 of the model's classes: mitochondrion." in notes
    assert any(
        "pixel size of the records (0.2) is not that of the training (0.1)" in n for n in notes
    )


def test_measuring_on_the_training_split_is_told(
    notes: list[str], screen: tuple[Path, Path]
) -> None:
    assert evaluate(screen[1], screen[0], splits=["train"])["num_crops"] == 27
    assert notes == ["The model was trained on the split train: it tells nothing about new cells."]


# What cannot be measured


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ("gfp",)}, r"image_shape=\(20, 20, 1\), the model has \(20, 20, 2\)"),
        (
            {"channels": ("rfp", "gfp")},
            r"channels=\('rfp', 'gfp'\), the model has \('gfp', 'rfp'\)",
        ),
        ({"size": 22}, r"image_shape=\(22, 22, 2\), the model has \(20, 20, 2\)"),
        ({"dtype": "uint8"}, "dtype=uint8, the model has uint16"),
        (
            {"label_names": ("cytoplasm", "mitochondrion", "nucleolus")},
            "Received: nucleolus; the model has cytoplasm, mitochondrion, nucleus. Did you mean "
            "'nucleus'",
        ),
        ({"label_names": ()}, "The records have none: rebuild them with --label"),
        ({"multi_label": True}, "records with several. Rebuild"),
    ],
)
def test_other_records_are_refused(
    screen: tuple[Path, Path],
    write_screen: WriteScreen,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    write_screen(tmp_path / "records", {"test": (2, 2, 2)}, **changes)
    with pytest.raises(RecordsError, match=message):
        evaluate(screen[1], tmp_path / "records", tmp_path / "results")
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_runs_that_cannot_be_measured_are_refused(
    screen: tuple[Path, Path], tmp_path: Path
) -> None:
    records, run = screen
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "model.keras").unlink()
    with pytest.raises(RecordsError, match="must be finished"):
        evaluate(unfinished, records, tmp_path / "results")
    with pytest.raises(RecordsError, match="must be a folder that fit made"):
        evaluate(records, records, tmp_path / "results")
    with pytest.raises(SchemaError, match="it tells labels"):
        evaluate(run, records, tmp_path / "results", head="protein")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["tset"], "one of test, train, validation. Received: split='tset'. Did you mean 'test'?"),
        (["test", "holdout"], "Received: split='holdout'. Name one of these."),
        (["test", "test"], "each named once"),
        ([], r"Received: splits=\[\]"),
    ],
)
def test_splits_are_those_of_the_records(
    screen: tuple[Path, Path], splits: list[str], message: str
) -> None:
    with pytest.raises(SplitError, match=message.replace("?", r"\?")):
        evaluate(screen[1], screen[0], splits=splits)


def test_an_empty_split_is_refused(screen: tuple[Path, Path], tmp_path: Path) -> None:
    records = tmp_path / "records"
    shutil.copytree(screen[0], records)
    manifest = read_manifest(records)
    hollow = dataclasses.replace(manifest, splits={**manifest.splits, "test": ()})
    for name, content in manifest_files(hollow).items():
        (records / name).write_bytes(content)
    with pytest.raises(DamagedRecordsError, match="at least one"):
        evaluate(screen[1], records)


def test_records_cut_short_are_refused(screen: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(screen[0], tmp_path / "records")
    shard = sorted((tmp_path / "records").glob("deeploc-test*"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    place = rf"checksum.*Place: shard {shard.name}, record \d+, byte \d+\..*rebuild"
    with pytest.raises(DamagedRecordsError, match=place):
        evaluate(screen[1], tmp_path / "records", tmp_path / "results")
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_results_that_are_there_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for name, error in (("results", OutputExistsError), ("no/results", FileNotFoundError)):
        with pytest.raises(error, match="exist"):
            evaluate(tmp_path / "no run", tmp_path / "no records", tmp_path / name)


def test_a_failure_leaves_nothing_behind(screen: tuple[Path, Path], tmp_path: Path) -> None:
    records, run = screen

    def fail(folder: Path) -> None:
        assert (folder / "metrics.json").exists()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        evaluate(run, records, tmp_path / "results", draw=fail)
    assert list(tmp_path.iterdir()) == []
