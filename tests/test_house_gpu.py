"""What only a GPU can show; `make test-gpu` runs this, and nobody has run it on a GPU yet."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu() -> str:
    """Name of the first GPU."""
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU")
    if not found:
        pytest.skip("TensorFlow sees no GPU here; `deeploc-tf doctor` says why")
    return str(found[0].name)


def test_vectors_do_not_depend_on_the_device(gpu: str) -> None:
    import tensorflow as tf

    from deeploc_tf.models.deeploc import DeepLoc

    images = np.random.default_rng(0).integers(0, 9000, (8, 64, 64, 2)).astype("uint16")
    model = DeepLoc((64, 64, 2), 5, width=0.25)
    with tf.device("CPU:0"):
        on_cpu = model(images, training=False).numpy()
    with tf.device(gpu):
        on_gpu = model(images, training=False).numpy()
    # convolutions may run in TF32, which keeps 10 bits of the fraction
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)


def test_a_step_of_training_runs_on_the_gpu(gpu: str) -> None:
    import keras
    import tensorflow as tf

    from deeploc_tf.models.deeploc import DeepLoc

    images = np.random.default_rng(0).integers(0, 9000, (8, 64, 64, 2)).astype("uint16")
    labels = np.arange(8) % 5
    with tf.device(gpu):
        model = DeepLoc((64, 64, 2), 5, width=0.25)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss=loss, jit_compile=False)
        history = model.fit(images, labels, batch_size=8, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
