"""The exported model, loaded by processes that have never heard of this package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from deeploc_tf.cli import main
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.serving.export import export
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError, RecordsError

PROGRAM = Path(__file__).parents[1] / "docs" / "serve_alone.py"
# `make test-serving` names interpreters of environments that hold TensorFlow and nothing else.
PYTHONS = os.environ.get("DEEPLOC_TF_ALONE", "").split() or [sys.executable]


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
        crop_size=12,
        epochs=30,
        batch_size=8,
        learning_rate=1e-2,
        ema_momentum=0,
        mask=request.param,
    )
    fit(folder / "records", folder / "run", config)
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    return export(run, run.with_name("model"))


@pytest.fixture(scope="module")
def crops(run: Path) -> dict[str, Any]:
    """304 unseen crops by input name."""
    records = run.with_name("unseen")
    names = ["image", "mask"] if load_trained(run).takes_mask else ["image"]
    (batch,) = batches(records, "test", batch_size=304, features=names)
    return {name: batch[name].numpy() for name in names}


def as_keras_says(run: Path, crops: dict[str, Any]) -> dict[str, Any]:
    """The outputs of the signatures, from the run's own model."""
    trained = load_trained(run)
    inputs: Any = crops if trained.takes_mask else crops["image"]
    logits = trained.model.predict(inputs, verbose=0)
    embedding = feature_extractor(trained.model).predict(inputs, verbose=0)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    return {"logits": logits, "embedding": embedding, "probabilities": odds}


@pytest.mark.slow
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
        assert set(served) == set(expected)
        for output, values in served.items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(
                values, expected[output][place], rtol=0, atol=1e-5, err_msg=output
            )


def test_every_signature_gives_what_it_names(run: Path, model: Path, crops: dict[str, Any]) -> None:
    signatures = tf.saved_model.load(str(model)).signatures
    inputs = {name: tf.constant(values[:3]) for name, values in crops.items()}
    whole = signatures["serving_default"](**inputs)
    shapes = {name: tuple(value.shape) for name, value in whole.items()}
    assert shapes == {"probabilities": (3, 3), "logits": (3, 3), "embedding": (3, 12)}
    for signature, names in (("classify", {"probabilities", "logits"}), ("embed", {"embedding"})):
        outputs = signatures[signature](**inputs)
        assert set(outputs) == names
        for name in names:
            np.testing.assert_allclose(outputs[name], whole[name], rtol=0, atol=1e-6)
    description = {n: v.numpy().tolist() for n, v in signatures["describe"]().items()}
    assert description == {
        "class_names": [b"cytoplasm", b"mitochondrion", b"nucleus"],
        "channels": [b"gfp", b"rfp"],
        "pixel_size": [pytest.approx(0.1)],
        "normalization": [b"percentile"],
        "layer": [b"fc_2"],
        "model_sha256": [load_trained(run).model_sha256.encode()],
        "deeploc_tf": [__version__.encode()],
    }


def test_crops_that_the_model_was_not_made_for_are_refused_by_name(
    model: Path, crops: dict[str, Any]
) -> None:
    serve = tf.saved_model.load(str(model)).signatures["serving_default"]
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
        wrong.append(({"mask": right["mask"][:1]}, "Dimension 0 in both shapes must be equal"))
    for change, words in wrong:
        inputs = {name: tf.constant(value) for name, value in {**right, **change}.items()}
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            serve(**inputs)


def test_numpy_crops_are_cast_without_a_word_as_the_page_warns(
    model: Path, crops: dict[str, Any]
) -> None:
    classify = tf.saved_model.load(str(model)).signatures["classify"]
    scaled = {**crops, "image": crops["image"] / 65535}  # every pixel becomes 0
    probabilities = classify(**scaled)["probabilities"].numpy()
    assert np.ptp(probabilities, axis=0).max() < 1e-6
    assert np.ptp(classify(**crops)["probabilities"], axis=0).min() > 0.02


def test_pixels_that_are_not_finite_are_refused(tmp_path: Path, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["schema"] |= {"dtype": "float32", "pixel_size": None}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    network = DeepLoc(
        (14, 14, 2), 3, image_dtype="float32", crop_size=12, width=0.02, dense_units=(4, 4)
    )
    network.save(folder / "model.keras")
    signatures = tf.saved_model.load(str(export(folder, tmp_path / "model"))).signatures
    image = np.random.default_rng(0).random((4, 14, 14, 2), np.float32)
    assert signatures["embed"](image=tf.constant(image))["embedding"].shape == (4, 4)
    for bad in (np.nan, np.inf):
        image[2, 7, 7, 1] = bad
        with pytest.raises(tf.errors.InvalidArgumentError, match="`image` must be finite"):
            signatures["embed"](image=tf.constant(image))
    pixel_size = signatures["describe"]()["pixel_size"]
    assert (pixel_size.dtype, pixel_size.shape) == (tf.float32, (0,))


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
        result = CliRunner().invoke(main, ["export", str(of), str(to), "--layer", layer])
        assert result.exit_code == 1
        assert re.fullmatch(f"Error: .*{words}.*\n", result.stderr), result.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody may write")
def test_an_output_that_cannot_be_written_is_a_sentence_that_names_it(run: Path) -> None:
    # for root as well: folders cannot be made in sysfs
    result = CliRunner().invoke(main, ["export", str(run), "/sys/kernel/model"])
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: .+: /sys/kernel/model\.partial-\d+\n", result.stderr)


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    result = CliRunner().invoke(main, ["export", str(run), str(model), "--layer", "conv_5"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{model}: serving_default, classify, embed, describe\n"
    signatures = tf.saved_model.load(str(model)).signatures
    assert signatures["describe"]()["layer"].numpy().tolist() == [b"conv_5"]
    assert signatures["embed"].structured_outputs["embedding"].shape == (None, 15 * 3 * 3)
