"""Whether a training can learn, and whether it did: said before the first step and at the end.

Nothing here changes a training. A network that is at chance looks like one that has learnt, so the
user is warned of what leads to it before the first step, and of the outcome at the end.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import keras

from deeploc_tf.models.channels import SelectChannels
from deeploc_tf.models.views import window_size
from deeploc_tf.presets import PRESETS
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.duration import Duration
from deeploc_tf.training.optimization import warmup_steps
from tfrecords.manifest import Manifest

FEWEST_STEPS = 100  # docs/training.md has what was measured
_MANY_PARAMETERS = 100_000_000
_BYTES_OF_A_PARAMETER = 24  # two models, gradient, two moments and averages, each float32
_LEFT_OF_THE_START = 0.1
_FEW_CROPS = 100
_FEW_IN_A_BATCH = 8

_logger = logging.getLogger(__name__)


def describe_network(model: keras.Model, batch_size: int, channels: Sequence[str]) -> str:
    """A sentence about what a network sees, how large it is and what a step of its training costs.

    Args:
        model: the network.
        batch_size: crops per step.
        channels: names of the channels of the crops.
    """
    height, width = model.inputs[0].shape[1:3]
    window = window_size(model)
    seen = f"the whole crop of {height}x{width} pixels"
    if window != (height, width):
        seen = f"{window[0]}x{window[1]} of the {height}x{width} pixels of a crop"
    chosen = next(
        (
            layer.channels
            for layer in model.layers
            if isinstance(layer, SelectChannels) and layer.name.endswith("channels")
        ),
        None,
    )
    names = channels if chosen is None else [channels[channel] for channel in chosen]
    of = f"{len(names)} channel{'s' * (len(names) > 1)} ({', '.join(names)})"
    billions = _operations(model) * batch_size / 1e9
    return (
        f"The network sees {seen}, {of}, and has {num_parameters(model):,} parameters. A step over "
        f"{batch_size} crops takes about {billions:,.{0 if billions >= 100 else 2}f} billion "
        "operations."
    )


def _operations(model: keras.Model) -> int:
    """Multiplications and additions of layers with kernels, for one crop, there and back.

    Each weight is multiplied and added at each place of the output; the gradients of inputs and of
    weights take as many again, each.
    """
    forward = 0
    for layer in model.layers:
        shapes = [tuple(weight.shape) for weight in layer.trainable_weights]
        places = math.prod(layer.output.shape[1:-1]) if any(len(s) > 1 for s in shapes) else 0
        forward += 2 * places * sum(math.prod(shape) for shape in shapes if len(shape) > 1)
    return 3 * forward


def num_parameters(model: keras.Model) -> int:
    """Number of trainable numbers of a model."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def check_plan(
    model: keras.Model, config: FitConfig, manifest: Manifest, steps_per_pass: int
) -> None:
    """Warn of all that lets a training end at chance, before it begins.

    Args:
        model: that is to be trained.
        config: settings.
        manifest: of the records.
        steps_per_pass: number of batches in a pass over the crops.
    """
    _check_size(model)
    _check_channels(config, manifest.schema.channels)
    if not Duration.of(config, steps_per_pass).steps:
        return
    if _normalizes_vectors(model) and config.batch_size < _FEW_IN_A_BATCH:
        _logger.warning(
            "Batch normalization over %d crops is little more than noise. Use a --batch-size of %d "
            "or more.",
            config.batch_size,
            _FEW_IN_A_BATCH,
        )
    _check_steps(model, config, steps_per_pass)
    if config.patience and manifest.num_crops("validation") < _FEW_CROPS:
        _logger.warning(
            "--patience chooses the epoch by %d crops of the validation split, which is a matter "
            "of chance. Put %d or more there, or leave it out.",
            manifest.num_crops("validation"),
            _FEW_CROPS,
        )


def check_batch(model: keras.Model, config: FitConfig) -> None:
    """Refuse batches from which nothing can be learnt.

    Raises:
        ValueError: batch normalization of single crops, whose outputs tell nothing of them.
    """
    if config.batch_size == 1 and _normalizes_vectors(model):
        msg = (
            "Batch normalization of dense layers needs several crops per batch: of one crop it "
            "makes the same numbers always. Received: batch_size=1. Use a batch size of 8 or more."
        )
        raise ValueError(msg)


def check_outcome(metrics: dict[str, Any], steps_per_epoch: int, best_epoch: int) -> None:
    """Warn if the kept epoch is an early one, or the model no better than chance.

    Args:
        metrics: content of `metrics.json`.
        steps_per_epoch: number of batches per epoch.
        best_epoch: whose weights were kept; 0: those of the last one.
    """
    if not metrics["epochs"]:
        return  # that is what was wanted
    steps = best_epoch * steps_per_epoch
    if best_epoch and best_epoch < metrics["epochs"] and steps < FEWEST_STEPS:
        _logger.warning(
            "The lowest validation loss was that of epoch %d, after %d steps, whose weights are "
            "kept: hardly trained. Train with a higher --patience, or without.",
            best_epoch,
            steps,
        )
    for split in ("test", "validation"):
        if split in metrics:
            _check_better_than_chance(split, metrics[split])
            return


def _normalizes_vectors(model: keras.Model) -> bool:
    return any(
        isinstance(layer, keras.layers.BatchNormalization) and len(layer.output.shape) == 2
        for layer in model.layers
    )


def _check_size(model: keras.Model) -> None:
    height, width = model.inputs[0].shape[1:3]
    window = window_size(model)
    if 2 * window[0] * window[1] < height * width:
        _logger.warning(
            "The network sees %dx%d of %dx%d pixels, less than half of each crop; what is around "
            "them is not used. --window 0 takes the whole crop.",
            *window,
            height,
            width,
        )
    if (parameters := num_parameters(model)) > _MANY_PARAMETERS:
        _logger.warning(
            "%s parameters take about %.1f GB in training. A smaller --window, --width or "
            "--dense-units has fewer, as has a --backbone, which averages over the image.",
            f"{parameters:,}",
            parameters * _BYTES_OF_A_PARAMETER / 1e9,
        )


def _check_channels(config: FitConfig, channels: Sequence[str]) -> None:
    supervised = config.method == "classification" and config.network is None
    wanted = PRESETS.get(config.preset).num_channels if supervised else None
    if wanted and len(channels) < wanted and not config.channels:
        _logger.warning(
            "The preset %s was published with %d channels; the records have %d (%s).",
            config.preset,
            wanted,
            len(channels),
            ", ".join(channels),
        )


def _check_steps(model: keras.Model, config: FitConfig, steps_per_pass: int) -> None:
    duration = Duration.of(config, steps_per_pass)
    steps = duration.steps
    if steps < FEWEST_STEPS:
        _logger.warning(
            "A training of %d steps is too short to learn: expect answers near chance. Take more "
            "--epochs or a smaller --batch-size, for %d steps or more.",
            steps,
            FEWEST_STEPS,
        )
    moving = not config.ema_momentum and any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers
    )
    if moving and config.batch_norm_momentum**steps > _LEFT_OF_THE_START:
        _logger.warning(
            "After %d steps with --batch-norm-momentum %g, the averages of batch normalization are "
            "still to %.0f %% what they began with. Take a lower one, or more steps.",
            steps,
            config.batch_norm_momentum,
            100 * config.batch_norm_momentum**steps,
        )
    if not config.ema_warmup and config.ema_momentum**steps > _LEFT_OF_THE_START:
        _logger.warning(
            "After %d steps with --ema-momentum %g, the averaged weights, which are evaluated and "
            "kept, are still to %.0f %% untrained. Use --ema-warmup, or a lower one.",
            steps,
            config.ema_momentum,
            100 * config.ema_momentum**steps,
        )
    wanted = round(config.warmup_epochs * duration.steps_per_epoch)
    if config.schedule == "cosine" and (taken := warmup_steps(config, steps_per_pass)) < wanted:
        _logger.warning(
            "The learning rate may rise for half of the training at most: it does for %d steps "
            "instead of %d (--warmup-epochs %g).",
            taken,
            wanted,
            config.warmup_epochs,
        )


def _check_better_than_chance(split: str, found: dict[str, Any]) -> None:
    if "explained_variance" in found:
        name, chance, clearly = "explained variance", 0.0, 0.0
        score = found["explained_variance"]
    elif "per_class" not in found:
        return
    else:
        several = "macro_ap" in found
        present = [of for of in found["per_class"].values() if of["support"]]
        name = "macro-AP" if several else "balanced accuracy"
        score = found["macro_ap" if several else "balanced_accuracy"]
        chance = 1 / len(present)
        if several:
            chance = sum(of["prevalence"] for of in present) / len(present)
        clearly = chance + 2 * math.sqrt(chance * (1 - chance) / found["num_crops"])
    if score is not None and chance < 1 and score <= clearly:
        _logger.warning(
            "On the %s split the model is not clearly better than chance: %s %.3f, chance %.3f. "
            "Do not use its vectors; train longer, on more crops, or look at the labels.",
            split,
            name,
            score,
            chance,
        )
