"""Published presets are compared with their sources, constant by constant, and train.

The tables hold what was read in the published code, which docs/training.md cites in the same order.
`None` stands for what the source leaves to whoever runs it. What its authors' code does and ours
does not is listed there, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from shared import run_cli

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.trained import load_trained
from deeploc_tf.presets import PRESETS, RECOMMENDED, resolve_preset
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.fit import fit
from deeploc_tf.training.learning import describe_network
from deeploc_tf.training.optimization import make_optimizer
from tfrecords.manifest import Manifest

WriteScreen = Callable[..., Manifest]
ROOT = Path(__file__).resolve().parents[1]

# github.com/okraus/DeepLoc: DeepLoc_train.py, nn_layers.py, preprocess_images.py, and for the views
# DeepLoc_eval.py; Kraus et al. 2017, Mol Syst Biol 13:924.
KRAUS_2017: dict[str, Any] = {
    "num_channels": 2,  # numChan
    "window": 60,  # cropSize, of imSize 64
    "normalization": "kraus",  # stretchVector: 0.1 and 99.9, divided where the range exceeds 1
    "padding": "same",  # conv2d, max_pool
    "dense_batch_norm": True,  # nn_layer, final_layer included
    "dense_units": (512, 512),  # fc_1, fc_2
    "test_time": "crops",  # extractCrops: 5
    "augmentation": "orientations",  # jitterBatch, randTransformBatch
    "initializer": "truncated-normal",  # weight_variable, bias_variable
    "batch_norm_momentum": 0.5,  # ExponentialMovingAverage(decay=0.5)
    "dropout": 0.0,
    "target": "label",
    "epochs": None,
    "steps": 10_000,  # MAX_STEPS
    "min_steps": 0,
    "batch_size": 128,  # batchSize
    "optimizer": "adam",  # tf.train.AdamOptimizer
    "learning_rate": 0.1,  # starter_learning_rate
    "beta_1": 0.9,  # tf.train.AdamOptimizer's own, as is epsilon
    "epsilon": 1e-8,
    "weight_decay": 0.0,
    "schedule": "exponential",  # tf.train.exponential_decay(..., staircase=True)
    "warmup_epochs": 0.0,
    "decay_rate": 0.96,  # decay_rate
    "decay_steps": 25,  # decay_step
    "ema_momentum": 0.0,
}
# github.com/arazd/protein_representation_learning: models/train.py, models/dataset_utils.py, and
# keras_models.py with the defaults of Keras in TensorFlow 2.1; arXiv 2205.11676.
RAZDAIBIEDINA_2022: dict[str, Any] = {
    "num_channels": 1,  # use_rfp and use_nuc are False
    "window": None,  # the 64x64 crop
    "normalization": "standardize",  # decode_img_py_func, per_image_standardization
    "padding": "valid",
    "dense_batch_norm": False,
    "dense_units": (512, 512),  # dense1_size, num_features
    "test_time": "none",
    "augmentation": "flips",  # train_preprocess
    "initializer": "glorot",  # of Conv2D and Dense
    "batch_norm_momentum": 0.99,  # of BatchNormalization
    "dropout": 0.0,  # dropout_rate
    "target": "label",
    "epochs": 30,  # num_epoch must be given: ours, that of PIFiA
    "steps": None,
    "min_steps": 0,
    "batch_size": 128,  # batch_size
    "optimizer": "adam",  # tf.keras.optimizers.Adam
    "learning_rate": 1e-3,  # learning_rate
    "beta_1": 0.9,  # of tf.keras.optimizers.Adam, as is epsilon
    "epsilon": 1e-7,
    "weight_decay": 0.0,
    "schedule": "constant",  # cosine_decay is False
    "warmup_epochs": 0.0,
    "ema_momentum": 0.0,
}
# github.com/arazd/pifia: scripts/train_pifia.sh, model/train.py, model/models.py; Razdaibiedina et
# al. 2024, Mol Syst Biol 20:521.
PIFIA_2024: dict[str, Any] = {
    **RAZDAIBIEDINA_2022,
    "dense_units": (128, 64),  # dense1_size, num_features
    "dropout": 0.02,  # dropout_rate
    "target": "protein",  # labels_type
    "epochs": 30,  # num_epoch
    "learning_rate": 3e-4,  # learning_rate
    "schedule": "cosine",  # cosine_decay
}
# github.com/alexxijielu/paired_cell_inpainting: yeast_model/train.py, opts.py, pair_model.py; Lu
# et al. 2019, PLoS Comput Biol 15:e1007348.
LU_2019: dict[str, Any] = {
    "augmentation": "flips",  # load_image_gt
    "batch_norm_momentum": 0.99,  # of BatchNormalization
    "epochs": 30,  # epochs
    "steps": None,
    "min_steps": 0,
    "batch_size": 64,  # batch_size
    "optimizer": "adam",  # tf.train.AdamOptimizer
    "learning_rate": 1e-4,  # learning_rate
    "beta_1": 0.5,  # beta1
    "epsilon": 1e-8,  # of tf.train.AdamOptimizer
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "ema_momentum": 0.0,
}
SOURCES = {
    "kraus2017": KRAUS_2017,
    "razdaibiedina2022": RAZDAIBIEDINA_2022,
    "pifia2024": PIFIA_2024,
}


def test_every_preset_but_the_recommended_one_has_a_source() -> None:
    assert set(PRESETS) - {RECOMMENDED} == set(SOURCES)
    assert FitConfig().preset == RECOMMENDED


@pytest.mark.parametrize("name", SOURCES)
def test_published_presets_are_what_was_published(name: str) -> None:
    preset, config = PRESETS.get(name), FitConfig(preset=name)
    for constant, expected in SOURCES[name].items():
        assert getattr(preset, constant) == expected, constant
        if constant in preset.recipe:
            assert getattr(config, constant) == expected, constant
    assert config.model_fields_set == {"preset"}


def test_inpainting_is_what_was_published() -> None:
    config = FitConfig(method="inpainting")
    assert {constant: getattr(config, constant) for constant in LU_2019} == LU_2019


def test_the_documentation_has_the_same_values() -> None:
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    table = re.search(r"\n\| constant \|.*\n((?:\|.*\n)+)", text)
    assert table is not None
    rows = [
        [cell.strip().strip("`") for cell in row.split("|")[1:-1]] for row in table[1].split("\n")
    ]
    columns = (RECOMMENDED, *SOURCES)
    found = {row[0]: dict(zip(columns, row[1:], strict=False)) for row in rows[1:] if row}
    shared = {name: PRESETS.get(name) for name in columns}
    assert set(KRAUS_2017) <= set(found)
    for constant in KRAUS_2017:
        for name, preset in shared.items():
            value = getattr(preset, constant)
            assert found[constant][name].split(" ")[0] == _shown(constant, value), (constant, name)


def _shown(constant: str, value: Any) -> str:
    if value is None:
        return {"num_channels": "all", "window": "whole"}.get(constant, "-")
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_what_is_given_wins() -> None:
    config = FitConfig(preset="kraus2017", learning_rate=0.01, epochs=3)
    assert (config.learning_rate, config.epochs, config.steps) == (0.01, 3, None)
    assert config.batch_norm_momentum == 0.5
    assert FitConfig(steps=7).epochs is None
    assert FitConfig(channels=["gfp"]).channels == ("gfp",)  # as a study's file has it
    assert FitConfig(preset="kraus2017", dropout=None).dropout == 0.0
    again = FitConfig.model_validate_json(config.model_dump_json())
    assert again == config
    with pytest.raises(ValueError, match=r"epochs=3, steps=4\. Say one of them"):
        FitConfig(epochs=3, steps=4)


def test_the_rate_is_that_of_kraus() -> None:
    rate = make_optimizer(FitConfig(preset="kraus2017"), 170)
    for step in (0, 1, 24, 25, 60, 10_000):
        expected = 0.1 * 0.96 ** (step // 25)
        assert float(rate._learning_rate(step)) == pytest.approx(expected, rel=1e-4)
    assert float(rate.epsilon) == pytest.approx(1e-8)


def test_weights_begin_as_those_of_kraus() -> None:
    keras.utils.set_random_seed(3)
    model = DeepLoc((64, 64, 2), 19, preset="kraus2017", width=0.25)
    for name in ("conv_5_conv", "fc_1_dense", "logits_dense"):
        kernel, bias = model.get_layer(name).get_weights()
        assert np.abs(kernel).max() <= 0.2  # two standard deviations
        assert kernel.std() == pytest.approx(0.088, rel=0.1)  # 0.1 of a normal that is cut there
        assert (bias == np.float32(0.1)).all()
    momenta = {
        la.momentum for la in model.layers if isinstance(la, keras.layers.BatchNormalization)
    }
    assert momenta == {0.5}


# The recommended one is trained by test_preset_map.py, too.
ONE, *OTHERS = SOURCES


@pytest.mark.parametrize(
    "name", [ONE, *(pytest.param(n, marks=pytest.mark.long) for n in (RECOMMENDED, *OTHERS))]
)
def test_each_preset_trains_on_a_tiny_screen(
    name: str, write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records", size=36)
    small = {"width": 0.05, "last_block": False, "batch_size": 9}
    config = FitConfig(preset=name, steps=4, **small)
    metrics = fit(tmp_path / "records", tmp_path / "run", config)
    assert metrics["epochs"] == 2  # of three steps, and one
    trained = load_trained(tmp_path / "run")
    seen = trained.model.get_layer("conv_1_conv").get_weights()[0].shape[2]
    assert seen == min(PRESETS.get(name).num_channels or 2, 2)
    assert trained.test_time == ("orientations" if name == RECOMMENDED else "none")


@pytest.mark.parametrize(
    ("shape", "window", "views"),
    [
        ((64, 64), None, "crops"),
        ((64, 64), 0, "none"),
        ((40, 40), None, "none"),
        ((40, 40), 32, "crops"),
    ],
)
def test_windows_are_averaged_where_there_are_some(
    shape: tuple[int, int], window: int | None, views: str
) -> None:
    assert resolve_preset("kraus2017", (*shape, 2), window=window).test_time == views
    assert resolve_preset(RECOMMENDED, (*shape, 2), window=window).test_time == "orientations"
    assert resolve_preset(RECOMMENDED, (30, 40, 2), window=window).test_time == "none"


def test_a_step_costs_what_its_layers_do() -> None:
    model = DeepLoc((8, 8, 2), 3, preset="kraus2017", width=1 / 64, dense_units=(5, 4))
    places = {1: 64, 2: 64, 3: 16, 4: 16, 5: 4, 6: 4, 7: 4, 8: 4}
    filters = [2, 1, 1, 2, 2, 4, 4, 4, 4]
    kernels = {n: 9 * filters[n - 1] * filters[n] for n in places}
    products = sum(places[n] * kernels[n] for n in places) + 4 * 5 + 5 * 4 + 4 * 3
    sentence = describe_network(model, 10**9, ("gfp", "rfp"))
    assert "the whole crop of 8x8 pixels, 2 channels (gfp, rfp)" in sentence
    assert f"about {3 * 2 * products:,} billion operations" in sentence


def test_channels_are_those_that_are_named(write_screen: WriteScreen, tmp_path: Path) -> None:
    write_screen(tmp_path / "records", size=16)
    options = ("--width", 0.05, "--dense-units", "4,4", "--no-last-block", "--batch-size", 9)
    command = ("fit", tmp_path / "records", tmp_path / "run", *options, "--steps", 2)
    refused = run_cli(*command, "--channels", "gpf")
    assert refused.exit_code == 1
    assert "which have gfp, rfp. Received: 'gpf'. Did you mean" in refused.stderr
    refused = run_cli(*command, "--channels", "gfp,GFP")
    assert refused.exit_code == 1
    assert "must be different ones. Received: gfp, GFP." in refused.stderr
    result = run_cli(*command, "--channels", "RFP")
    assert result.exit_code == 0, result.output
    assert "1 channel (rfp)" in result.stderr
    model = load_trained(tmp_path / "run").model
    crops = np.random.default_rng(0).integers(0, 999, (2, 16, 16, 2)).astype(np.uint16)
    changed = crops.copy()
    changed[..., 0] = 7
    np.testing.assert_array_equal(model(crops), model(changed))
    changed[..., 1] = crops[::-1, ..., 1]
    assert not np.array_equal(model(crops), model(changed))
