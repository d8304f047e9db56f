"""The exported model, loaded by processes that have never heard of this package."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from shared import run_cli, write_config
from tensorflow.core.framework import tensor_pb2

from deeploc_tf.models.calibration import read_calibration
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor, inference_function
from deeploc_tf.models.folding import fast_precision
from deeploc_tf.models.trained import load_trained
from deeploc_tf.models.views import views
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.serving.digests import check_digests
from deeploc_tf.serving.export import export
from deeploc_tf.serving.open_model import open_model
from deeploc_tf.serving.signatures import CALIBRATED
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError, RecordsError

PROGRAM = Path(__file__).parents[1] / "docs" / "serve_alone.py"
# `make test-serving` names interpreters of environments that hold TensorFlow and nothing else.
PYTHONS = os.environ.get("DEEPLOC_TF_ALONE", "").split() or [sys.executable]


# What masks make no difference to is fast with one of the models; the other one is long.
IMAGE_FIRST, MASKED_FIRST = (
    pytest.mark.parametrize(
        "run",
        [
            pytest.param(False, id="image", marks=[pytest.mark.long] * masked),
            pytest.param(True, id="masked", marks=[pytest.mark.long] * (not masked)),
        ],
        indirect=True,
    )
    for masked in (False, True)
)


@pytest.fixture(scope="module", params=[False, True], ids=["image", "masked"])
def run(request: Any, write_screen: Callable[..., Any], tmp_path_factory: Any) -> Path:
    """A training long enough that probabilities differ; beside it, crops that it has not seen."""
    folder = tmp_path_factory.mktemp("export")
    write_screen(folder / "records", size=14, has_mask=request.param)
    unseen = {"test": (102, 101, 101)}
    write_screen(folder / "unseen", unseen, size=14, has_mask=request.param, seed=1)
    config = FitConfig(
        width=0.06,
        dense_units=(8, 12),
        last_block=False,
        window=12,
        epochs=30,
        optimizer="sgd",
        batch_size=8,
        learning_rate=1e-2,
        ema_momentum=0,
        mask=request.param,
        test_time="none",
    )
    fit(folder / "records", folder / "run", config)
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    """The SavedModel itself, `model/1`."""
    return export(run, run.with_name("model"))


@pytest.fixture(scope="module")
def loaded(model: Path) -> Any:
    return tf.saved_model.load(str(model))


@pytest.fixture(scope="module")
def crops(run: Path) -> dict[str, Any]:
    """304 unseen crops by input name."""
    records = run.with_name("unseen")
    names = ["image", "mask"] if load_trained(run).takes_mask else ["image"]
    (batch,) = batches(records, "test", batch_size=304, features=names)
    return {name: batch[name].numpy() for name in names}


@functools.cache
def keras_models(run: Path) -> tuple[Any, Any]:
    """The run's own model, and its features, as functions of a batch."""
    model = load_trained(run).model
    return inference_function(model), inference_function(feature_extractor(model))


def as_keras_says(run: Path, crops: dict[str, Any]) -> dict[str, Any]:
    """The outputs of the signatures, from the run's own model."""
    inputs: Any = crops if "mask" in crops else crops["image"]
    logits, embedding = (model(inputs).numpy() for model in keras_models(run))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    calibration = read_calibration(run)
    assert calibration is not None
    outputs = {"logits": logits, "embedding": embedding, "probabilities": odds}
    return {**outputs, CALIBRATED: calibration.probabilities(logits)}


@pytest.mark.long
@pytest.mark.parametrize("python", PYTHONS)
def test_a_process_with_tensorflow_alone_gets_the_same_numbers(
    python: str, run: Path, model: Path, crops: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(PROGRAM, tmp_path)
    shutil.copytree(model, tmp_path / "model")
    places = {"one": slice(0, 1), "three": slice(1, 4), "many": slice(4, 304)}
    for name, place in places.items():
        np.savez(tmp_path / name, **{of: values[place] for of, values in crops.items()})
    command = [python, "-I", "-X", "importtime", PROGRAM.name, "model"]
    command += [f"{name}.npz" for name in places]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))
    assert "tensorflow" in imported
    assert not imported & {"deeploc_tf", "tfrecords"}
    assert len(done.stdout.splitlines()) == 304

    expected = as_keras_says(run, crops)
    assert np.ptp(expected["probabilities"], axis=0).min() > 0.02  # the crops differ
    for name, place in places.items():
        served = dict(np.load(tmp_path / f"{name}.served.npz"))
        assert served.pop("class_names").tolist() == ["cytoplasm", "mitochondrion", "nucleus"]
        assert served.pop("accepted").dtype == bool
        assert served.pop("novelty").shape == served["logits"].shape[:1]
        assert set(served) == set(expected)
        for output, values in served.items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(
                values, expected[output][place], rtol=0, atol=1e-5, err_msg=output
            )


@pytest.mark.addons
def test_every_signature_gives_what_it_names(run: Path, loaded: Any, crops: dict[str, Any]) -> None:
    signatures = loaded.signatures
    inputs = {name: tf.constant(values[:3]) for name, values in crops.items()}
    whole = signatures["serving_default"](**inputs)
    shapes = {name: tuple(value.shape) for name, value in whole.items()}
    of_classes = dict.fromkeys(("probabilities", "logits", CALIBRATED), (3, 3))
    judged = {"novelty": (3,), "accepted": (3,)}
    assert shapes == {**of_classes, "embedding": (3, 12), **judged}
    told = {*of_classes, *judged}
    for signature, names in (("classify", told), ("embed", {"embedding"})):
        outputs = signatures[signature](**inputs)
        assert set(outputs) == names
        for name in names - {"accepted"}:
            np.testing.assert_allclose(outputs[name], whole[name], rtol=0, atol=1e-6)


def test_the_model_describes_itself(run: Path, model: Path, loaded: Any) -> None:
    told = {n: v.numpy().tolist() for n, v in loaded.signatures["describe"]().items()}
    training = json.loads(told.pop("training")[0])
    assert json.loads(told.pop("acceptance")[0])["limits"]
    trained = load_trained(run)
    assert told == {
        "class_names": [b"cytoplasm", b"mitochondrion", b"nucleus"],
        "channels": [b"gfp", b"rfp"],
        "image_shape": [14, 14, 2],
        "dtype": [b"uint16"],
        "inputs": [b"image", b"mask"] if trained.takes_mask else [b"image"],
        "crop_size": [12, 12],
        "pixel_size": [pytest.approx(0.1)],
        "normalization": [b"percentile"],
        "activation": [b"softmax"],
        "layer": [b"fc_2"],
        "test_time": [b"none"],
        "precision": [b"float32"],
        "model_sha256": [trained.model_sha256.encode()],
        "records_digest": [trained.records_digest.encode()],
        "deeploc_tf": [__version__.encode()],
        "protein_names": [],
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert training["scores"]["test"]["accuracy"] == metrics["test"]["accuracy"]
    assert training["config"]["width"] == 0.06
    assert training["packages"]["tensorflow"] == tf.__version__
    beside = json.loads((model / "assets.extra" / "description.json").read_text("utf-8"))
    assert beside["training"] == training
    assert beside["class_names"] == ["cytoplasm", "mitochondrion", "nucleus"]
    everything = b"".join(path.read_bytes() for path in model.parent.rglob("*") if path.is_file())
    assert str(run.parent).encode() not in everything  # nothing about this machine


def test_the_card_says_what_the_model_is(model: Path) -> None:
    _, front_matter, page = (model.parent / "README.md").read_text("utf-8").split("---\n", 2)
    head = yaml.safe_load(front_matter)
    assert head["library_name"] == "tensorflow"
    assert head["class_names"] == ["cytoplasm", "mitochondrion", "nucleus"]
    assert head["channels"] == ["gfp", "rfp"]
    assert check_digests(model) in page
    assert "uint16 `(batch_size, 14, 14, 2)`" in page
    assert "0.1 micrometres" in page
    assert "majority_accuracy" in page


@pytest.mark.addons
def test_serialized_takes_records_as_they_are(
    run: Path, loaded: Any, crops: dict[str, Any]
) -> None:
    records = serialized_records(run.with_name("unseen"), "test")
    serve = loaded.signatures["serialized"]
    outputs = serve(examples=tf.constant(next(iter(records.batch(5)))))
    expected = loaded.signatures["serving_default"](
        **{name: tf.constant(values[:5]) for name, values in crops.items()}
    )
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, rtol=0, atol=1e-6)
    for bad in ([b"no example"], [tf.train.Example().SerializeToString()], [cut(records)]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(examples=tf.constant(bad))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one crop"):
        serve(examples=tf.constant([], tf.string))


def serialized_records(records: Path, split: str) -> Any:
    """The bytes of each record, in manifest order."""
    files = sorted(map(str, records.glob(f"*-{split}.tfrecord-*")))
    return tf.data.TFRecordDataset(files)


def cut(records: Any) -> bytes:
    """A record whose image lacks a pixel."""
    example = tf.train.Example.FromString(next(iter(records)).numpy())
    image = example.features.feature["image"].bytes_list
    image.value[0] = image.value[0][:-2]
    return bytes(example.SerializeToString())


def test_json_requests_give_the_numbers_of_crops(
    loaded: Any, crops: dict[str, Any], run: Path
) -> None:
    """What TensorFlow Serving makes of a body, by the types of the signature, without a server."""
    few = {name: values[:3] for name, values in crops.items()}
    body = json.dumps({"signature_name": "rest", "inputs": {n: v.tolist() for n, v in few.items()}})
    outputs = answer(loaded, body)
    expected = loaded.signatures["serving_default"](**{n: tf.constant(v) for n, v in few.items()})
    assert sorted(outputs) == sorted(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)
    examples = [
        {"b64": base64.b64encode(record.numpy()).decode()}
        for record in serialized_records(run.with_name("unseen"), "test").take(3)
    ]
    body = json.dumps({"signature_name": "serialized", "inputs": {"examples": examples}})
    np.testing.assert_allclose(answer(loaded, body)["logits"], expected["logits"], atol=1e-6)
    body = json.dumps({"signature_name": "rest_describe", "inputs": {"request": ""}})
    described = loaded.signatures["describe"]()
    for name, values in answer(loaded, body).items():
        assert values.tolist() == described[name].numpy().tolist()
    assert len(described) == len(answer(loaded, body))


@pytest.mark.parametrize("pixel", [-1, 65536, 300.5])
def test_a_pixel_that_does_not_fit_is_refused(
    loaded: Any, crops: dict[str, Any], pixel: float
) -> None:
    few = {name: values[:1].tolist() for name, values in crops.items()}
    few["image"][0][3][4][1] = pixel
    body = json.dumps({"signature_name": "rest", "inputs": few})
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError)):
        answer(loaded, body)


def answer(loaded: Any, body: str) -> dict[str, Any]:
    """What a model says to a request in columns, its values read as tensorflow/serving does."""
    request = json.loads(body)
    signature = loaded.signatures[request["signature_name"]]
    _, specs = signature.structured_input_signature
    assert {spec.dtype for spec in specs.values()} <= {tf.int32, tf.float32, tf.string}

    def leaf(value: Any) -> Any:
        return base64.b64decode(value["b64"]) if isinstance(value, dict) else value

    inputs = {}
    for name, spec in specs.items():
        values = request["inputs"][name]
        values = [leaf(value) for value in values] if isinstance(values, list) else values
        inputs[name] = tf.constant(values, spec.dtype)
    return {name: values.numpy() for name, values in signature(**inputs).items()}


def test_a_server_finds_requests_to_warm_up_with(
    model: Path, loaded: Any, crops: dict[str, Any]
) -> None:
    path = model / "assets.extra" / "tf_serving_warmup_requests"
    asked = [predict_request(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    takes_crops = set(loaded.signatures) - {"describe", "rest_describe"}
    assert {request.model_spec.signature_name for request in asked} == takes_crops
    for request in asked:
        assert request.model_spec.name == "model"
        inputs = {
            entry.key: tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry.value))
            for entry in request.inputs
        }
        signature = loaded.signatures[request.model_spec.signature_name]
        _, specs = signature.structured_input_signature
        assert {n: v.dtype for n, v in inputs.items()} == {
            name: np.dtype(spec.dtype.as_numpy_dtype) for name, spec in specs.items()
        }
        outputs = signature(**{name: tf.constant(values) for name, values in inputs.items()})
        assert {len(values) for values in outputs.values()} == {1}


def predict_request(prediction_log: bytes) -> Any:
    """The request in a `tensorflow.serving.PredictionLog`, by its published field numbers."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="log", package="log", syntax="proto3")
    messages = {
        "ModelSpec": [("name", 1, ""), ("signature_name", 3, "")],
        "Entry": [("key", 1, ""), ("value", 2, "bytes")],  # a TensorProto
        "Request": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Entry")],
        "PredictLog": [("request", 1, "Request")],
        "PredictionLog": [("predict_log", 6, "PredictLog")],
    }
    for message, fields in messages.items():
        added = file.message_type.add(name=message)
        for name, number, of in fields:
            label = kind.LABEL_REPEATED if name == "inputs" else kind.LABEL_OPTIONAL
            field = added.field.add(name=name, number=number, label=label)
            field.type = kind.TYPE_BYTES if of == "bytes" else kind.TYPE_STRING
            if of in messages:
                field.type, field.type_name = kind.TYPE_MESSAGE, f".log.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    log = message_factory.GetMessageClass(pool.FindMessageTypeByName("log.PredictionLog"))
    return log.FromString(prediction_log).predict_log.request


def test_batches_of_any_size_are_one_graph(loaded: Any, crops: dict[str, Any]) -> None:
    serve = loaded.signatures["classify"]
    graph = serve.graph.as_graph_def().SerializeToString(deterministic=True)
    for size in (1, 2, 64, 304, 1024):
        batch = {name: tf.constant(np.resize(v, (size, *v.shape[1:]))) for name, v in crops.items()}
        assert serve(**batch)["logits"].shape == (size, 3)
    assert serve.graph.as_graph_def().SerializeToString(deterministic=True) == graph


@MASKED_FIRST
def test_averaged_views_are_those_of_evaluate(
    run: Path, crops: dict[str, Any], tmp_path: Path
) -> None:
    test_time = "orientations" if "mask" in crops else "crops"
    few = {name: values[:7] for name, values in crops.items()}
    loaded = tf.saved_model.load(str(export(run, tmp_path / "model", test_time=test_time)))
    outputs = loaded.signatures["serving_default"](**{n: tf.constant(v) for n, v in few.items()})
    chosen = views(load_trained(run).model, test_time)
    seen = [as_keras_says(run, {n: view(v) for n, v in few.items()}) for view in chosen]
    assert len(seen) == (5 if test_time == "crops" else 8)
    for name in ("probabilities", "embedding"):
        each = np.stack([values[name] for values in seen])
        assert np.ptp(each, axis=0).max() > 1e-3  # the views differ
        np.testing.assert_allclose(outputs[name], each.mean(axis=0), rtol=0, atol=1e-5)
    odds = np.exp(outputs["logits"])
    np.testing.assert_allclose(odds.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(odds, outputs["probabilities"], atol=1e-5)
    assert loaded.signatures["describe"]()["test_time"].numpy().tolist() == [test_time.encode()]


@MASKED_FIRST
def test_a_fast_model_says_nearly_the_same(
    run: Path, crops: dict[str, Any], tmp_path: Path
) -> None:
    loaded = tf.saved_model.load(str(export(run, tmp_path / "model", fast=True)))
    precision = fast_precision()
    assert loaded.signatures["describe"]()["precision"].numpy().tolist() == [precision.encode()]
    serve = loaded.signatures["serving_default"]
    weights = load_trained(run).model.weights
    assert len(serve.variables) < len(weights)  # batch normalizations are gone
    outputs = serve(**{name: tf.constant(values) for name, values in crops.items()})
    tolerance = 1e-4 if precision == "float32" else 0.1
    for name, values in as_keras_says(run, crops).items():
        assert outputs[name].dtype == tf.float32
        difference = np.abs(outputs[name] - values).max() / np.ptp(values)
        assert difference < tolerance, (name, difference)


@IMAGE_FIRST
def test_it_runs_in_a_data_set_and_under_a_gradient_tape(
    run: Path, loaded: Any, crops: dict[str, Any]
) -> None:
    serve = loaded.signatures["serving_default"]
    many = tf.data.Dataset.from_tensor_slices(crops).batch(100)
    mapped = [batch["embedding"] for batch in many.map(lambda batch: serve(**batch))]
    expected = as_keras_says(run, crops)["embedding"]
    np.testing.assert_allclose(np.concatenate(mapped), expected, rtol=0, atol=1e-5)

    records = serialized_records(run.with_name("unseen"), "test").batch(100)
    classify = loaded.signatures["serialized"]
    mapped = [b["embedding"] for b in records.map(lambda examples: classify(examples=examples))]
    np.testing.assert_allclose(np.concatenate(mapped), expected, rtol=0, atol=1e-5)

    trainable = [variable for variable in serve.variables if variable.trainable]
    assert len(trainable) == len(load_trained(run).model.trainable_weights)
    with tf.GradientTape() as tape:
        few = {name: tf.constant(values[:8]) for name, values in crops.items()}
        loss = tf.reduce_mean(serve(**few)["probabilities"][:, 0])
    gradients = tape.gradient(loss, trainable)
    assert all(gradient is not None for gradient in gradients)
    assert sum(float(tf.reduce_sum(tf.abs(gradient))) for gradient in gradients) > 1e-3


@pytest.mark.skipif(keras.__version__.startswith("2."), reason="Keras 2 has no TFSMLayer")
@IMAGE_FIRST
def test_another_keras_model_takes_it_as_a_layer(
    run: Path, model: Path, crops: dict[str, Any]
) -> None:
    if "mask" in crops:
        pytest.skip("a TFSMLayer passes one tensor")
    image = keras.Input((14, 14, 2), dtype="uint16")
    expected = as_keras_says(run, crops)["embedding"]
    for trainable in (False, True):
        layer = keras.layers.TFSMLayer(str(model), call_endpoint="embed", trainable=trainable)
        vectors = layer(image)["embedding"]
        classifier = keras.Model(image, keras.layers.Dense(2, name="mine")(vectors))
        classifier.compile("sgd", "mse")
        before = classifier.get_layer("mine").kernel.numpy()
        classifier.fit(crops["image"][:16], np.zeros((16, 2)), verbose=0)
        assert np.abs(classifier.get_layer("mine").kernel.numpy() - before).max() > 0
        found = keras.Model(image, vectors).predict(crops["image"], verbose=0)
        # as the page says: only with trainable=False it stays as it was
        assert bool(np.abs(found - expected).max() < 1e-5) is not trainable


def test_crops_that_the_model_was_not_made_for_are_refused_by_name(
    loaded: Any, crops: dict[str, Any]
) -> None:
    serve = loaded.signatures["serving_default"]
    right = {name: values[:4] for name, values in crops.items()}
    image = right["image"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"image": image[..., :1]}, r"tensor image \[4,14,14,1\].* expected shape \[\?,14,14,2\]"),
        ({"image": np.tile(image, (1, 2, 1, 1))}, r"tensor image \[4,28,14,2\]"),
        ({"image": image[0]}, r"tensor image \[14,14,2\]"),
        ({"image": image.astype(np.int32)}, "expected to be a uint16 tensor but is a int32"),
        ({"image": image[:0]}, "`image` must hold at least one crop"),
    ]
    if "mask" in right:
        wrong.append(({"mask": right["mask"][..., np.newaxis]}, r"tensor mask \[4,14,14,1\]"))
        wrong.append(({"mask": right["mask"][:1]}, "`mask` must hold one mask per crop"))
    for change, words in wrong:
        inputs = {name: tf.constant(value) for name, value in {**right, **change}.items()}
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            serve(**inputs)


def test_numpy_crops_are_cast_without_a_word_as_the_page_warns(
    loaded: Any, crops: dict[str, Any]
) -> None:
    classify = loaded.signatures["classify"]
    scaled = {**crops, "image": crops["image"] / 65535}  # every pixel becomes 0
    probabilities = classify(**scaled)["probabilities"].numpy()
    assert np.ptp(probabilities, axis=0).max() < 1e-6
    assert np.ptp(classify(**crops)["probabilities"], axis=0).min() > 0.02


@pytest.mark.parametrize("run", [False], ids=["image"], indirect=True)
def test_pixels_that_are_not_finite_are_refused(tmp_path: Path, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["schema"] |= {"dtype": "float32", "pixel_size": None, "resampled_from": 0.1}
    folder = tmp_path / "run"
    folder.mkdir()
    write_config(folder, config)
    network = DeepLoc(
        (14, 14, 2), 3, image_dtype="float32", window=12, width=0.02, dense_units=(4, 4)
    )
    network.save(folder / "model.keras")
    loaded = tf.saved_model.load(str(export(folder, tmp_path / "model")))
    signatures = loaded.signatures
    image = np.random.default_rng(0).random((4, 14, 14, 2), np.float32)
    assert signatures["embed"](image=tf.constant(image))["embedding"].shape == (4, 4)
    for bad in (np.nan, np.inf):
        image[2, 7, 7, 1] = bad
        with pytest.raises(tf.errors.InvalidArgumentError, match="`image` must be finite"):
            signatures["embed"](image=tf.constant(image))
    with tf.GradientTape() as tape:  # pixels of float32 have a gradient
        image[2, 7, 7, 1] = 0.5
        pixels = tf.Variable(image)
        sum_of_vectors = tf.reduce_sum(signatures["embed"](image=pixels)["embedding"])
    saliency = tape.gradient(sum_of_vectors, pixels)
    assert saliency.shape == image.shape
    assert np.isfinite(saliency).all()
    pixel_size = signatures["describe"]()["pixel_size"]
    assert (pixel_size.dtype, pixel_size.shape) == (tf.float32, (0,))
    (training,) = signatures["describe"]()["training"].numpy().tolist()
    assert json.loads(training)["resampled_from"] == 0.1


def test_what_cannot_be_exported_is_refused_with_a_sentence_and_leaves_nothing(
    run: Path, tmp_path: Path
) -> None:
    mine, link, nowhere = (tmp_path / name for name in ("mine", "link", "nowhere"))
    mine.mkdir()
    link.symlink_to("nowhere")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "model.keras").unlink()
    there = sorted(path.name for path in tmp_path.iterdir())
    model = tmp_path / "model"
    file = run / "config.json"
    refusals: list[tuple[Path, Path, str, type[Exception], str]] = [
        (mine, model, "fc_2", RecordsError, "mine' without config.json"),
        (nowhere, model, "fc_2", RecordsError, "nowhere' without config.json"),
        (unfinished, model, "fc_2", RecordsError, "must be finished.*Start the same `fit` again"),
        (run, model, "FC-2", ValueError, r"layer='FC-2'; the model has .*\. Did you mean 'fc_2'\?"),
        (run, model, "?", ValueError, r"layer='\?'; the model has .*logits\.$"),
        (run, mine, "fc_2", OutputExistsError, "must not exist yet.*mine'"),
        (run, link, "fc_2", OutputExistsError, "must not exist yet.*link'"),
        (run, nowhere / "model", "fc_2", FileNotFoundError, "must exist.*nowhere'. Make it first"),
        (run, file / "model", "fc_2", FileNotFoundError, "must exist.*config.json'. Make it first"),
    ]
    for of, to, layer, error, words in refusals:
        with pytest.raises(error, match=words):
            export(of, to, layer=layer)
        result = run_cli("export", of, to, "--layer", layer)
        assert result.exit_code == 1
        assert re.fullmatch(f"Error: .*{words}.*\n", result.stderr), result.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody may write")
def test_an_output_that_cannot_be_written_is_a_sentence_that_names_it(run: Path) -> None:
    # for root as well: folders cannot be made in sysfs
    result = run_cli("export", run, "/sys/kernel/model")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: .+: /sys/kernel/\.model\.lock\n", result.stderr)


@IMAGE_FIRST
def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    options = ["--layer", "conv_5", "--test-time", "crops"]
    result = run_cli("export", run, model, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{model}/1: serving_default, classify, embed, serialized, describe\n"
    assert sorted(path.name for path in model.iterdir()) == ["1", "README.md"]
    signatures = tf.saved_model.load(str(model / "1")).signatures
    assert signatures["describe"]()["layer"].numpy().tolist() == [b"conv_5"]
    assert signatures["embed"].structured_outputs["embedding"].shape == (None, 15 * 3 * 3)


@IMAGE_FIRST
def test_two_versions_stand_side_by_side_and_the_old_one_comes_back(
    run: Path, model: Path, tmp_path: Path
) -> None:
    """The steps of docs/compatibility.md."""
    both = tmp_path / "model"
    shutil.copytree(model.parent, both)
    export(run, tmp_path / "next", layer="fc_1").rename(both / "2")
    newest, oldest = open_model(both), open_model(both / "1")
    assert (newest.description.layer, oldest.description.layer) == ("fc_1", "fc_2")
    digests = [answering.made_from[0]["digest"] for answering in (newest, oldest)]
    assert digests == [check_digests(both / "2"), check_digests(model)]
    (both / "2").rename(tmp_path / "withdrawn")
    assert open_model(both).made_from[0]["digest"] == digests[1]


@pytest.mark.skipif(keras.__version__.startswith("2."), reason="Keras 2 writes no ONNX")
def test_keras_writes_it_as_onnx(run: Path, crops: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="ONNX needs tf2onnx and onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX is run by onnxruntime")
    model = load_trained(run).model
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert {given.name for given in session.get_inputs()} == set(crops)
    (logits,) = session.run(None, crops)
    np.testing.assert_allclose(logits, as_keras_says(run, crops)["logits"], rtol=0, atol=1e-5)
