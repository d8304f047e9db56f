"""The addons stack: everything is imported there, and tensorflow-addons works with our models."""

from __future__ import annotations

import importlib
import pkgutil

import keras
import numpy as np
import pytest

import deeploc_tf
import tfrecords
from deeploc_tf.models.deeploc import DeepLoc


@pytest.mark.addons
def test_an_optimizer_of_tensorflow_addons_trains_deeploc() -> None:
    addons = pytest.importorskip(
        "tensorflow_addons", reason="tensorflow-addons is on the addons stack only"
    )
    model = DeepLoc((16, 16, 1), 2, width=0.05, dense_units=(4, 4), window=0)
    before = [weight.copy() for weight in model.get_weights()]
    model.compile(
        addons.optimizers.LAMB(1e-2), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    images = np.random.default_rng(0).integers(0, 4000, (4, 16, 16, 1), np.uint16)
    model.train_on_batch(images, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.addons
def test_everything_public_is_imported() -> None:
    assert {name for name in deeploc_tf.__all__ if not hasattr(deeploc_tf, name)} == set()


@pytest.mark.addons
def test_every_module_is_imported_unless_an_extra_is_lacking() -> None:
    extras = {"anndata", "apache_beam", "matplotlib", "usearch"}
    for package in (deeploc_tf, tfrecords):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                try:
                    importlib.import_module(module.name)
                except ModuleNotFoundError as error:
                    if error.name not in extras:
                        raise
