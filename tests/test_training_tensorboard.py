"""What TensorBoard gets to see, and that watching changes nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from shared import tiny_fit

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.trained import load_trained
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.training import tensorboard
from deeploc_tf.training.fit import fit
from tfrecords.manifest import Manifest

CONFIG = tiny_fit(augmentation="orientations", dropout=0.3, warmup_epochs=0, mask=True)


class Looks(keras.callbacks.Callback):
    """A user's callback: looks at the model after each epoch, and runs it."""

    def __init__(self, images: Any) -> None:
        super().__init__()
        self.images = images
        self.seen: list[tuple[int, tuple[int, ...]]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert {"loss", "val_loss"} <= set(logs)  # so that ReduceLROnPlateau and the like work
        outputs = self.model(self.images, training=False)
        self.seen.append((epoch, tuple(outputs.shape)))


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("watching") / "records"
    write_screen(folder, size=16, has_mask=True)
    return folder


@pytest.fixture(scope="module")
def watched(records: Path, tmp_path_factory: Any) -> tuple[Path, Looks]:
    (batch,) = batches(records, "test")
    looks = Looks({"image": batch["image"], "mask": batch["mask"]})
    run: Path = tmp_path_factory.mktemp("watched") / "run"
    fit(records, run, CONFIG, callbacks=[looks])
    return run, looks


@pytest.fixture(scope="module")
def unwatched(
    records: Path, tmp_path_factory: Any, logged: Callable[..., Any]
) -> tuple[Path, list[str]]:
    """The same training where there is no TensorBoard."""
    found = importlib.util.find_spec
    run: Path = tmp_path_factory.mktemp("unwatched") / "run"
    with pytest.MonkeyPatch.context() as patch, logged() as notes:
        patch.setattr(
            tensorboard.importlib.util,
            "find_spec",
            lambda name: None if name == "tensorboard" else found(name),
        )
        fit(records, run, CONFIG)
    return run, notes


@pytest.mark.slow
def test_watching_changes_no_bit(watched: Any, unwatched: Any) -> None:
    models = [load_trained(run).model for run, _ in (watched, unwatched)]
    for first, second in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert watched[1].seen == [(0, (11, 3)), (1, (11, 3))]


@pytest.mark.slow
def test_without_tensorboard_there_is_one_note_and_no_file(unwatched: Any) -> None:
    run, notes = unwatched
    assert sum("pip install 'tensorboard>=" in note for note in notes) == 1
    assert not (run / "logs").exists()


def event_values(folder: Path) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                values.setdefault(value.tag, []).append((event.step, value.tensor))
    return values


@pytest.mark.slow
def test_scalars_and_the_crops_that_the_network_saw_are_written(
    watched: Any, records: Path
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is in an extra")
    values = event_values(watched[0] / "logs" / "train")
    assert [step for step, _ in values["epoch_loss"]] == [0, 1]
    ((step, tensor),) = values["training_batch"]
    width, height, *pictures = tensor.string_val
    assert (step, int(width), int(height), len(pictures)) == (0, 12, 12, 9)
    images = np.stack([tf.io.decode_png(picture).numpy() for picture in pictures])
    assert images.shape == (9, 12, 12, 3)
    np.testing.assert_array_equal(images[..., 0], images[..., 2])  # magenta
    # Each is a window of a crop of the train split, in some orientation, masked as it is.
    stored = list(batches(records, "train", features=["image", "mask"]))
    crops = np.concatenate([batch["image"].numpy() for batch in stored]).astype(float)
    masks = np.concatenate([batch["mask"].numpy() for batch in stored])
    inside = np.where(masks[..., None] > 0, crops, np.nan)
    low, high = (np.nanpercentile(inside, p, axis=(1, 2), keepdims=True) for p in (0.1, 99.9))
    whole = np.clip((crops - low) / (high - low), 0, 1) * masks[..., None]
    green = images[..., 1] / 255
    views = {}
    for number, crop in enumerate(whole[..., 0]):
        for row in range(5):
            for column in range(5):
                window = crop[row : row + 12, column : column + 12]
                window = (window - window.min()) / (window.max() - window.min())
                for turns in range(4):
                    turned = np.rot90(window, turns)
                    views[number, row, column, turns, 0] = turned
                    views[number, row, column, turns, 1] = turned[::-1]
    found = [min(views, key=lambda view: np.abs(views[view] - g).max()) for g in green]
    for view, image in zip(found, green, strict=True):
        assert np.abs(views[view] - image).max() < 0.01
    assert len({view[0] for view in found}) == 9
    assert len({view[1:] for view in found}) > 4


@pytest.mark.slow
def test_the_projector_of_tensorboard_reads_our_files(watched: Any, records: Path) -> None:
    projector = pytest.importorskip("tensorboard.plugins.projector.projector_plugin")
    from tensorboard.plugins import base_plugin

    logs = watched[0] / "logs" / "train"
    context = base_plugin.TBContext(logdir=str(logs), data_provider=None)
    plugin = projector.ProjectorPlugin(context)
    plugin._update_configs()
    (embedding,) = plugin._configs["."].embeddings
    assert embedding.tensor_name == "fc_2 of validation"
    assert list(embedding.tensor_shape) == [9, 6]
    (batch,) = batches(records, "validation")
    model = feature_extractor(load_trained(watched[0]).model)
    expected = model({"image": batch["image"], "mask": batch["mask"]}).numpy()
    shown = np.array(plugin.tensor_cache.get((".", embedding.tensor_name)))
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-5)
    lines = (logs / embedding.metadata_path).read_text().splitlines()
    assert lines[0] == "key\tprotein\tlabel"
    names = ("cytoplasm", "mitochondrion", "nucleus")
    assert lines[1:] == [
        f"{key.decode()}\t{protein.decode()}\t{names[label]}"
        for key, protein, label in zip(
            *(batch[name].numpy() for name in ("key", "protein", "label")), strict=True
        )
    ]


def test_crops_of_one_channel_are_gray_and_constant_ones_black() -> None:
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    images[1] = 3
    shown = tensorboard.colored(images)
    assert shown.shape == (2, 4, 4, 3)
    assert (shown[0].min(), shown[0].max(), np.abs(shown[1]).max()) == (0, 1, 0)
    np.testing.assert_array_equal(shown[..., 0], shown[..., 1])


@pytest.mark.parametrize("augmentation", ["none", "flips", "rotations"])
@pytest.mark.parametrize("mask", [False, True])
def test_what_the_network_sees_is_the_input_of_its_first_convolution(
    augmentation: str, mask: bool
) -> None:
    model = DeepLoc(
        (16, 16, 2), 3, width=0.06, dense_units=(8, 6), window=12, mask=mask,
        augmentation=augmentation,
    )  # fmt: skip
    random = np.random.default_rng(0)
    inputs: Any = random.integers(0, 4000, (3, 16, 16, 2), np.uint16)
    if mask:
        inputs = {"image": inputs, "mask": random.integers(0, 2, (3, 16, 16), np.uint8)}
    seen = tensorboard.preprocessing(model)(inputs)
    first = keras.Model(model.input, model.get_layer("conv_1_conv").output)(inputs)
    np.testing.assert_allclose(model.get_layer("conv_1_conv")(seen), first, atol=1e-5)
