"""Triplets, two heads at once, and the evaluation of runs that tell several labels or proteins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest
import tensorflow as tf
from shared import run_cli, tiny_fit

import tfrecords
from deeploc_tf.models import addons
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import inference_function
from deeploc_tf.models.heads import head
from deeploc_tf.models.trained import load_model, load_trained
from deeploc_tf.models.triplets import triplet_semihard_loss
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.pipeline.classes import Classes
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from deeploc_tf.training.objectives import make_accuracies, make_loss
from deeploc_tf.training.run_folder import open_run
from tfrecords.errors import SplitError
from tfrecords.schema import Crop, Schema

CONFIG = tiny_fit(width=0.1, augmentation="none", dropout=0.1, epochs=10, batch_size=8, seed=4)
LABELS = ("lying", "upright")
PROTEINS = ("P0", "P1", "P2")
IMAGES = {"P0": ((0,), 1), "P1": ((0, 1), 1), "P2": ((1,), 1)}  # what a protein's cells look like


def write(folder: Path, proteins: tuple[str, ...] = PROTEINS, multi_label: bool = True) -> Path:
    """Cells with a lying bar, an upright one, or both, by their protein."""
    schema = Schema((14, 14, 1), "uint16", ("gfp",), False, LABELS, multi_label)
    random = np.random.default_rng(0)
    crops, entries = [], []
    for number in range(96):
        protein = proteins[number % len(proteins)]
        labels = IMAGES.get(protein, ((0,), 1))[0]
        image = random.integers(20, 100, (14, 14, 1))
        image[5:9] += 150 * (0 in labels)
        image[:, 5:9] += 150 * (1 in labels)
        split = "train" if number < 60 else "validation" if number < 75 else "test"
        labels = labels if multi_label else labels[:1]
        crop = Crop(f"{number:03}", image.astype("uint16"), labels=labels, protein=protein)
        crops.append(crop)
        entries.append(tfrecords.Entry(crop.key, split, crop.labels, crop.protein))
    tfrecords.write_records(folder, schema, entries, crops, shard_bytes=20_000)
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory: Any) -> Path:
    return write(tmp_path_factory.mktemp("heads") / "records")


# Triplets


def unit_vectors(seed: int, number: int = 24, classes: int = 5) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(number, 7)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return random.integers(0, classes, number), vectors


def naive_triplets(labels: Any, vectors: Any, margin: float) -> float:
    terms = []
    for a, anchor in enumerate(vectors):
        others = [((anchor - v) ** 2).sum() for v, of in zip(vectors, labels, strict=True)
                  if of != labels[a]]  # fmt: skip
        for p, positive in enumerate(vectors):
            if p == a or labels[p] != labels[a] or not others:
                continue
            distance = ((anchor - positive) ** 2).sum()
            farther = [other for other in others if other > distance]
            terms.append(max(0, margin + distance - (min(farther) if farther else max(others))))
    return float(np.mean(terms)) if terms else 0.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [0.2, 1.5])
def test_semi_hard_triplets_are_those_of_naive_loops(seed: int, margin: float) -> None:
    labels, vectors = unit_vectors(seed)
    expected = naive_triplets(labels, vectors, margin)
    assert expected > 0.05
    found = triplet_semihard_loss(tf.constant(labels), tf.constant(vectors), margin)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    # The door of both stacks gives the same, whoever stands behind it.
    found = addons.semihard_triplets(tf.constant(labels), tf.constant(vectors), margin)
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.addons
@pytest.mark.parametrize("seed", range(3))
def test_ours_and_tensorflow_addons_agree_in_loss_and_gradient(seed: int) -> None:
    tensorflow_addons = pytest.importorskip("tensorflow_addons")
    labels, vectors = unit_vectors(seed, 40)
    vectors = tf.Variable(vectors)
    with tf.GradientTape(persistent=True) as tape:
        ours = triplet_semihard_loss(tf.constant(labels), vectors, 0.3)
        theirs = tensorflow_addons.losses.triplet_semihard_loss(
            tf.constant(labels), vectors, margin=0.3, distance_metric="squared-L2"
        )
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    # Of unit vectors: along the sphere, that is; the distances differ in how they leave it.
    gradients = [tape.gradient(loss, vectors).numpy() for loss in (ours, theirs)]
    tangents = [
        g - (g * vectors.numpy()).sum(1, keepdims=True) * vectors.numpy() for g in gradients
    ]
    np.testing.assert_allclose(*tangents, atol=1e-5)
    assert np.abs(tangents[0]).max() > 0.01


@pytest.mark.addons
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [1, 1, 1, 1]], ids=["no positive", "no negative"])
def test_batches_without_a_triplet_cost_nothing(labels: list[int]) -> None:
    vectors = tf.Variable(unit_vectors(0, 4)[1])
    for function in (triplet_semihard_loss, addons.semihard_triplets):
        with tf.GradientTape() as tape:
            loss = function(tf.constant(labels), vectors, 0.2)
        gradient = tape.gradient(loss, vectors)
        assert float(loss) == 0.0
        assert gradient is None or np.abs(tf.convert_to_tensor(gradient)).max() == 0


@pytest.mark.addons
def test_the_features_learn_from_triplets_alone_and_the_head_from_the_features() -> None:
    model = DeepLoc((14, 14, 1), 3, width=0.1, dense_units=(8, 6), window=12, triplets=True)
    random = np.random.default_rng(0)
    images = random.integers(0, 4000, (12, 14, 14, 1), np.uint16)
    targets = tf.one_hot(np.arange(12) % 3, 3)
    loss = make_loss(
        FitConfig(target="protein", loss="triplet"), Classes("protein", PROTEINS, (4, 4, 4), 12)
    )
    for part, learn, rest in (
        (loss.parts[0], "logits_dense", "fc_2_dense"),
        (loss.parts[1], "fc_2_dense", "logits_dense"),
    ):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            value = part.loss(targets, outputs[:, part.outputs])
        names = (learn, rest)
        gradients = tape.gradient(value, [model.get_layer(name).kernel for name in names])
        assert np.abs(gradients[0]).max() > 0
        assert gradients[1] is None or not np.abs(gradients[1]).any()
    lengths = np.linalg.norm(outputs[:, 3:], axis=1)
    alive = np.any(outputs[:, 3:], axis=1)  # no unit of so small a network answers to some crops
    assert alive.sum() > 6
    np.testing.assert_allclose(lengths[alive], 1, atol=1e-5)
    assert head(model).output.shape == (None, 3)


@pytest.mark.slow
def test_triplets_bring_the_cells_of_a_protein_together(records: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"target": "protein", "loss": "triplet", "batch_size": 12})
    metrics = fit(records, tmp_path / "run", config)
    assert metrics["test"]["accuracy"] > 0.8 > 2 * metrics["test"]["majority_accuracy"]
    trained = load_trained(tmp_path / "run")
    assert trained.class_names == PROTEINS
    assert trained.model.output.shape == (None, 3)
    found = evaluate(tmp_path / "run", records, tmp_path / "results")
    assert found["accuracy"] == metrics["test"]["accuracy"]


# Two heads


def test_two_heads_add_up_and_each_has_its_accuracy() -> None:
    heads = (
        Classes("label", LABELS, (4, 4), 6, multi_label=True),
        Classes("protein", PROTEINS, (2, 2, 2), 6),
    )
    config = FitConfig(target="label+protein", protein_weight=0.25)
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 5)).astype(np.float32)
    several = random.integers(0, 2, (6, 2)).astype(np.float32)
    one = np.eye(3, dtype=np.float32)[random.integers(0, 3, 6)]
    sigmoid = np.log1p(np.exp(-np.where(several > 0, logits[:, :2], -logits[:, :2]))).mean(axis=1)
    softmax = np.log(np.exp(logits[:, 2:]).sum(axis=1)) - (logits[:, 2:] * one).sum(axis=1)
    loss = make_loss(config, *heads)(np.concatenate([several, one], axis=1), logits)
    assert float(loss) == pytest.approx((sigmoid + 0.25 * softmax).mean(), rel=1e-5)
    metrics = make_accuracies(*heads)
    for metric in metrics:
        metric.update_state(tf.concat([several, one], axis=1), tf.constant(logits))
    assert [metric.name for metric in metrics] == ["accuracy", "protein_accuracy"]
    assert float(metrics[0].result()) == pytest.approx(((logits[:, :2] > 0) == several).mean())
    right = logits[:, 2:].argmax(axis=1) == one.argmax(axis=1)
    assert float(metrics[1].result()) == pytest.approx(right.mean())


@pytest.fixture(scope="module")
def both(records: Path, tmp_path_factory: Any) -> Path:
    run: Path = tmp_path_factory.mktemp("both") / "run"
    fit(records, run, CONFIG.model_copy(update={"target": "label+protein"}))
    return run


@pytest.mark.slow
def test_a_run_with_two_heads_tells_both(records: Path, both: Path, tmp_path: Path) -> None:
    metrics = json.loads((both / "metrics.json").read_text())["test"]
    assert metrics["macro_ap"] > 0.9
    assert metrics["protein"]["accuracy"] > 0.8
    history = pd.read_csv(both / "history.csv")
    assert history["val_protein_accuracy"].iloc[-1] > 0.5
    assert {"accuracy", "protein_accuracy", "val_macro_ap"} < set(history.columns)
    assert open_run(both).protein_names == PROTEINS
    trained = load_trained(both)  # as any other: its second head is in a file of its own
    assert trained.class_names == LABELS
    assert trained.model.output.shape == (None, 2)
    proteins = load_model(both / "proteins.keras")
    assert proteins.output.shape == (None, 3)
    (batch,) = batches(records, "test")
    names = [PROTEINS[i] for i in proteins(batch["image"]).numpy().argmax(axis=1)]
    found = evaluate(both, records, tmp_path / "results", head="protein")
    assert found["head"] == "protein"
    assert found["accuracy"] == pytest.approx(metrics["protein"]["accuracy"])
    table = pd.read_parquet(tmp_path / "results" / "predictions.parquet")
    assert table["predicted"].tolist() == names
    assert list(table) == [
        *("key", "protein", "split", "novelty", "accepted"),
        *("label", "predicted", "probability", "probability_of_label"),
    ]
    assert not (tmp_path / "results" / "confusion.csv").exists()
    assert found["proteins"]["num_proteins"] == 3
    served = open_model(export(both, tmp_path / "model"))
    assert served.description.protein_names == PROTEINS
    outputs = served(batch["image"])
    expected = tf.nn.softmax(proteins(batch["image"]))
    np.testing.assert_allclose(outputs["protein_probabilities"], expected, atol=1e-6)
    assert served.description.class_names == LABELS
    assert outputs["probabilities"].shape == (len(names), 2)


@pytest.mark.slow
def test_a_run_towards_several_labels_is_measured(
    records: Path, both: Path, tmp_path: Path
) -> None:
    metrics = evaluate(both, records, tmp_path / "results", test_time="orientations")
    of_fit = json.loads((both / "metrics.json").read_text())["test"]
    plain = evaluate(both, records)
    for name in ("macro_ap", "micro_ap", "label_ranking_ap", "accuracy", "loss"):
        assert plain[name] == pytest.approx(of_fit[name], rel=1e-5)
    table = pd.read_parquet(tmp_path / "results" / "predictions.parquet")
    (batch,) = batches(records, "test")
    logits = inference_function(load_trained(both).model)
    image = batch["image"].numpy()
    seen = [np.rot90(image, turns, (1, 2)) for turns in range(4)]
    seen += [view[:, ::-1] for view in seen]
    expected = np.mean([1 / (1 + np.exp(-logits(view).numpy())) for view in seen], axis=0)
    said = table[[f"probability_{name}" for name in LABELS]].to_numpy()
    np.testing.assert_allclose(said, expected, atol=1e-5)
    truth = batch["label"].numpy() > 0
    assert table["label"].tolist() == [
        "|".join(name for name, has in zip(LABELS, row, strict=True) if has) for row in truth
    ]
    assert metrics["exact_match"] == pytest.approx(((expected > 0.5) == truth).all(axis=1).mean())
    sets = table["label"].value_counts()
    assert metrics["majority_exact_match"] == sets.max() / len(table)
    proteins = pd.read_csv(tmp_path / "results" / "per_protein.csv", index_col="protein")
    assert proteins["labels"].to_dict() == {"P0": "lying", "P1": "lying|upright", "P2": "upright"}
    means = table.groupby("protein")[[f"probability_{name}" for name in LABELS]].mean()
    right = (means.to_numpy() > 0.5) == np.array([[1, 0], [1, 1], [0, 1]])
    assert metrics["proteins"]["exact_match"] == pytest.approx(right.all(axis=1).mean())
    error = 0.0
    for low in range(15):
        inside = (expected > low / 15) & (expected <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(expected[inside].mean() - truth[inside].mean())
    assert metrics["calibration"]["expected_calibration_error"] == pytest.approx(error, abs=1e-5)


def test_records_with_one_label_are_measured_by_a_model_of_several(
    both: Path, tmp_path: Path
) -> None:
    write(tmp_path / "records", ("P0", "P2"), multi_label=False)
    metrics = evaluate(both, tmp_path / "records")
    assert metrics["majority_exact_match"] == pytest.approx(0.5, abs=0.05)
    assert metrics["macro_ap"] > 0.9


def test_crops_of_other_proteins_are_left_out_and_told(
    notes: list[str], both: Path, tmp_path: Path
) -> None:
    write(tmp_path / "records", ("P0", "P1", "P9"))
    metrics = evaluate(both, tmp_path / "records", head="protein")
    assert metrics["num_crops"] == 14
    assert notes == ["7 crops of proteins that the model does not know are left out."]
    write(tmp_path / "others", ("P7", "P8", "P9"))
    with pytest.raises(SplitError, match="crops of proteins that the model knows"):
        evaluate(both, tmp_path / "others", head="protein")


def test_the_command_line_shows_heads(records: Path, both: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(both), str(records), "--quiet"]
    several = run_cli(*arguments)
    assert several.exit_code == 0, several.output
    lines = [line.split() for line in several.stdout.splitlines()]
    assert [line[0] for line in lines if line][1:4] == ["model", "macro-AP", "all"]
    proteins = run_cli(*arguments, tmp_path / "r", "--head", "protein")
    assert proteins.exit_code == 0, proteins.output
    assert "always 'P0'" in proteins.stdout
    assert not (tmp_path / "r" / "confusion.png").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "triplet", "target": "label+protein"}, "needs one class per crop"),
        ({"target": "label+protein", "class_weights": "balanced", "sampling": "protein"}, "once"),
        ({"protein_weight": 0}, "protein_weight"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(values: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        FitConfig(**values)


def test_what_cannot_be_told_is_refused(records: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="needs one class per crop"):
        fit(records, tmp_path / "run", CONFIG.model_copy(update={"loss": "triplet"}))
    assert not (tmp_path / "run").exists()
