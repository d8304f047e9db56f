"""Writes the golden SavedModels of the stack that runs it: python tests/golden/make_savedmodels.py

Each is a zip in `savedmodel_v2`: `model`, as `export` wrote it; `crops.npz`, inputs by name, and
`crops.tfrecord`, the same as records; `expected.npz`, what Keras made of them. Every later version
must serve them and those of `savedmodel_v1` (no versions, digests, card or signature `serialized`):
make new ones beside them when the signatures change, never these again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeploc_tf import FitConfig, feature_extractor, fit, load_trained
from deeploc_tf.serving.export import export
from tfrecords import Crop, Entry, Schema, encode, write_records

GOLDEN = Path(__file__).parent / "savedmodel_v2"
NUM_CROPS = 24


def make_crops(seed: int, *, masked: bool) -> list[Crop]:
    """Noise in two channels; a bar lies in the first class and stands in the second."""
    random = np.random.default_rng(seed)
    crops = []
    for number in range(NUM_CROPS):
        image = random.integers(20, 100, (14, 14, 2), np.uint16)
        bar = image[:, 5:9, 0] if number % 2 else image[5:9, :, 0]
        bar += 150
        mask = np.ones((14, 14), np.uint8)
        mask[: number % 5] = 0
        crops.append(Crop(str(number), image, mask if masked else None, (number % 2,)))
    return crops


def schema_of(*, masked: bool) -> Schema:
    """Of the crops."""
    return Schema(
        (14, 14, 2), "uint16", ("gfp", "rfp"), masked, ("cytoplasm", "µ-body"), pixel_size=0.108
    )


def train(folder: Path, *, masked: bool) -> Path:
    """A small network, trained until its outputs differ from crop to crop."""
    schema = schema_of(masked=masked)
    crops = make_crops(0, masked=masked)
    entries = [Entry(crop.key, "train", crop.labels) for crop in crops]
    write_records(folder / "records", schema, entries, crops)
    settings = FitConfig(
        width=0.02,
        dense_units=(4, 6),
        window=12,
        augmentation="none",
        epochs=60,
        batch_size=8,
        learning_rate=1e-2,
        ema_momentum=0,
        mask=masked,
    )
    fit(folder / "records", folder / "run", settings)
    return folder / "run"


def main() -> None:
    """One with masks and one without."""
    GOLDEN.mkdir(exist_ok=True)
    for masked in (False, True):
        name = f"keras{keras.__version__[0]}_{'masked' if masked else 'image'}"
        with tempfile.TemporaryDirectory() as scratch:
            run = train(Path(scratch), masked=masked)
            golden = Path(scratch) / name
            golden.mkdir()
            export(run, golden / "model")
            unseen = make_crops(1, masked=masked)[:10]
            crops: dict[str, Any] = {"image": np.stack([crop.image for crop in unseen])}
            if masked:
                crops["mask"] = np.stack([crop.mask for crop in unseen if crop.mask is not None])
            with tf.io.TFRecordWriter(str(golden / "crops.tfrecord")) as writer:
                for crop in unseen:
                    writer.write(encode(crop, schema_of(masked=masked)))
            model = load_trained(run).model
            inputs = crops if masked else crops["image"]
            logits = model.predict(inputs, verbose=0)
            embedding = feature_extractor(model).predict(inputs, verbose=0)
            np.savez_compressed(golden / "crops.npz", **crops)
            np.savez_compressed(golden / "expected.npz", logits=logits, embedding=embedding)
            archive = shutil.make_archive(str(GOLDEN / name), "zip", golden)
        print(archive, Path(archive).stat().st_size, np.ptp(logits, axis=0), file=sys.stderr)


if __name__ == "__main__":
    main()
