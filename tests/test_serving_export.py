"""The exported model, loaded by a process that has never heard of this package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeploc_tf.models.extractors import feature_extractor
from deeploc_tf.models.trained import load_trained
from deeploc_tf.serving.export import export
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from tfrecords.errors import OutputExistsError, RecordsError

# Fifteen lines of plain TensorFlow.
CONSUMER = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
crops = dict(np.load(sys.argv[2]))
names = model.signatures["describe"]()["class_names"].numpy().tolist()
results = {"class_names": names}
for start, stop in ((0, 1), (1, 4), (4, 304)):
    inputs = {name: tf.constant(values[start:stop]) for name, values in crops.items()}
    for signature in ("serving_default", "classify", "embed"):
        for name, value in model.signatures[signature](**inputs).items():
            assert value.dtype == tf.float32
            results[f"{signature}/{name}/{start}"] = value.numpy()
assert not [name for name in sys.modules if name.startswith(("deeploc_tf", "tfrecords"))]
np.savez(sys.argv[3], **results)
"""


@pytest.fixture(scope="module", params=[False, True], ids=["image", "masked"])
def run(request: Any, write_screen: Callable[..., Any], tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_screen(folder / "records", size=14, has_mask=request.param)
    config = FitConfig(
        width=0.06, dense_units=(8, 12), crop_size=12, epochs=1, batch_size=8, mask=request.param
    )
    fit(folder / "records", folder / "run", config)
    return folder / "run"


@pytest.mark.slow
def test_a_process_with_tensorflow_alone_gets_the_same_numbers(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model")
    trained = load_trained(run)
    random = np.random.default_rng(1)  # crops that the export has never seen
    crops = {"image": random.integers(0, 5000, (304, 14, 14, 2), np.uint16)}
    if trained.takes_mask:
        crops["mask"] = random.integers(0, 2, (304, 14, 14), np.uint8)
    np.savez(tmp_path / "crops.npz", **crops)
    (tmp_path / "consumer.py").write_text(CONSUMER)
    files = [tmp_path / name for name in ("consumer.py", "model", "crops.npz", "results.npz")]
    subprocess.run([sys.executable, "-I", *map(str, files)], check=True, cwd=tmp_path)

    inputs: Any = crops if trained.takes_mask else crops["image"]
    logits = trained.model.predict(inputs, verbose=0)
    embedding = feature_extractor(trained.model).predict(inputs, verbose=0)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = {
        "logits": logits,
        "embedding": embedding,
        "probabilities": odds / odds.sum(axis=1, keepdims=True),
    }
    results = dict(np.load(tmp_path / "results.npz"))
    names = [name.decode() for name in results.pop("class_names").tolist()]
    assert names == list(trained.schema.label_names)
    assert len(results) == 3 * (3 + 2 + 1)
    for address, values in results.items():
        _, name, start = address.split("/")
        np.testing.assert_allclose(
            values, expected[name][int(start) : int(start) + len(values)], atol=1e-5
        )
    assert np.ptp(embedding, axis=0).max() > 1e-3  # the crops differ


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputExistsError, match="must not exist yet"):
        export(run, tmp_path / "mine")
    with pytest.raises(ValueError, match="fc_9"):
        export(run, tmp_path / "model", layer="fc_9")
    with pytest.raises(RecordsError, match="must be a folder that fit made"):
        export(tmp_path / "mine", tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="must exist"):
        export(run, tmp_path / "nowhere" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
