"""Train DeepLoc on records: `fit` makes a run folder, or goes on with one."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.pipeline.batches import (
    keys_of_training_batch,
    running_on,
    steps_per_epoch,
    training_batches,
)
from deeploc_tf.pipeline.classes import Classes, count_classes
from deeploc_tf.training.callbacks import EndOfEpoch, EpochReport, Progress, load_best_weights
from deeploc_tf.training.checkpoints import TrainingState, restore_state
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy, describe_strategy
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.interruptions import Checkpoints, FiniteLoss
from deeploc_tf.training.objectives import (
    check_records,
    describe_classes,
    has_known_classes,
    make_accuracy,
    make_loss,
)
from deeploc_tf.training.optimization import averaged_weights, make_optimizer, make_variables
from deeploc_tf.training.precision import computing_in, resolve_precision
from deeploc_tf.training.run_folder import Run, open_for_training
from tfrecords.manifest import Manifest
from tfrecords.publishing import publish_bytes, publish_json, publishing
from tfrecords.schema import Schema
from tfrecords.verify import verify

_EVALUATED = ("validation", "test")


def fit(
    records: str | Path,
    run: str | Path,
    config: FitConfig | None = None,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint_steps: int | None = None,
    checkpoint_minutes: float = 10.0,
    allow_changed: bool = False,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[int], None] | None = None,
    report: EpochReport | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train a model and measure it; started again after a stop, go on from the last checkpoint.

    A training that was stopped or killed, wherever it was, and started again ends as if it had
    never stopped: on a CPU with the same weights and history, bit for bit.

    The model that is evaluated and saved has the averaged weights (of the epoch with the lowest
    validation loss where `config.patience` is set, of the last one otherwise) and lives on one
    device.

    Args:
        records: folder that `build-records` made, with a split `train` and, if they are wanted,
            `validation` and `test`.
        run: folder to make, or that an earlier start with the same records and settings made.
        config: settings; None: the defaults.
        callbacks: further Keras callbacks; a training that resumes in an epoch begins it for them.
        checkpoint_steps: steps from one checkpoint within an epoch to the next; None: by time only.
            There is one after each epoch anyway.
        checkpoint_minutes: minutes from one to the next.
        allow_changed: go on although records or settings are not those the run began with.
        should_stop: asked after each step; if it says so, the state is saved and the training ends
            with `TrainingStoppedError`.
        progress: called with the number of crops trained on, all epochs together.
        report: called with each epoch's row of the history.
        note: called with sentences worth telling: device, resumption, fallbacks.

    Returns:
        The content of `metrics.json`: `validation` and `test` (see `classification_metrics`),
        `epochs`.

    Raises:
        DamagedRecordsError: the shards are not those of the manifest.
        SplitError: a split is too small, or a class has no crop to train on.
        RecordsError: the run belongs to other records or settings.
        ValueError: a setting cannot be met.
        NotFiniteError: the loss or a weight became NaN or infinite; the checkpoints are finite.
        TrainingStoppedError: `should_stop` said so; the same call goes on.
    """
    config = config or FitConfig()
    note = note or (lambda _: None)
    manifest = verify(records)
    classes = check_records(manifest, config)
    steps = steps_per_epoch(manifest, "train", config.batch_size, config.sampling)
    keras.utils.set_random_seed(config.seed)
    strategy = choose_strategy(config.device, config.batch_size)
    inference_model = build_model(config, manifest.schema, len(classes.names))
    precision = resolve_precision(config.precision, strategy)
    make_optimizer(config, steps, strategy.num_replicas_in_sync)  # refused before there is a folder
    folder = open_for_training(run, config, manifest, allow_changed=allow_changed)
    if folder.is_finished:
        note(f"{folder.path} is finished; its metrics follow.")
        metrics: dict[str, Any] = json.loads((folder.path / "metrics.json").read_text("utf-8"))
        return metrics
    note(f"Training on {describe_strategy(strategy)}, in {precision}.")
    strata = count_classes(manifest, config.sampling) if config.sampling else None
    note(describe_classes(classes, strata))

    with strategy.scope(), computing_in(precision):
        model = build_model(config, manifest.schema, len(classes.names))
        compile_model(model, config, steps, classes)
        state, damages = restore_state(folder.path / "checkpoint", model)
    for sentence in damages:
        note(sentence)
    if state.epoch or state.step:
        after = f", step {state.step} of {steps}" if state.step else ""
        note(f"Going on after epoch {state.epoch} of {config.epochs}{after}.")

    evaluator = Evaluator(
        inference_model,
        records,
        manifest,
        mask=config.mask,
        target=config.target,
        class_names=classes.names,
    )
    splits = [split for split in _EVALUATED if has_known_classes(manifest, classes, split)]
    for split in set(_EVALUATED).intersection(manifest.splits).difference(splits):
        note(f"The {split} split is not evaluated: none of its crops is of a class trained on.")
    batches = functools.partial(
        training_batches,
        records,
        mask=config.mask,
        target=config.target,
        **_order(config, manifest),
    )
    keys_of_batch = functools.partial(keys_of_training_batch, records, **_order(config, manifest))
    observers = [
        FiniteLoss(state, keys_of_batch),
        Checkpoints(
            folder,
            state,
            steps,
            every_steps=checkpoint_steps,
            every_minutes=checkpoint_minutes,
            should_stop=should_stop,
        ),
        EndOfEpoch(folder, state, evaluator if "validation" in splits else None, report),
        *([Progress(progress, state, config.batch_size, steps)] if progress else []),
        *_tensorboard(folder),
        *callbacks,
    ]
    with running_on(records):
        if state.step:  # the rest of the epoch in which the training stopped
            _run_epochs(model, batches, steps, state, state.epoch + 1, observers)
            # Keras ends by putting the averages in the weights' place: take those up again.
            restore_state(folder.path / "checkpoint", model)
        if not _is_over(state, config):
            _run_epochs(model, batches, steps, state, config.epochs, observers)
    if config.patience and state.best_epoch:
        inference_model.set_weights(load_best_weights(folder, state.best_epoch))
    else:
        inference_model.set_weights(averaged_weights(model))
    return _finish(folder, evaluator, state, splits)


def _order(config: FitConfig, manifest: Manifest) -> dict[str, Any]:
    """What decides which crops come in which batch."""
    return {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "sampling": config.sampling,
        "manifest": manifest,
    }


def _run_epochs(
    model: keras.Model,
    batches: Callable[..., tf.data.Dataset],
    steps: int,
    state: TrainingState,
    until: int,
    observers: Sequence[keras.callbacks.Callback],
) -> None:
    """Train from where `state` stands to the end of epoch `until`."""
    model.fit(
        batches(epochs=until, first_epoch=state.epoch, first_step=state.step),
        initial_epoch=state.epoch,
        epochs=until,
        steps_per_epoch=steps - state.step,
        callbacks=list(observers),
        shuffle=False,
        verbose=0,
    )


def build_model(config: FitConfig, schema: Schema, num_classes: int | None = None) -> keras.Model:
    """The untrained model that a configuration describes; as many classes as labels if None."""
    return DeepLoc(
        schema.image_shape,
        schema.num_classes if num_classes is None else num_classes,
        image_dtype=schema.dtype,
        seed=config.seed,
        **{name: getattr(config, name) for name in _ARCHITECTURE},
    )


_ARCHITECTURE = (
    "preset",
    "width",
    "dense_units",
    "last_block",
    "crop_size",
    "normalization",
    "augmentation",
    "dropout",
    "batch_norm_momentum",
    "mask",
)


def compile_model(
    model: keras.Model, config: FitConfig, steps: int, classes: Classes | None = None
) -> None:
    """Give a model its loss and its optimizer, whose variables exist from now on."""
    optimizer = make_optimizer(config, steps)
    model.compile(
        optimizer,
        make_loss(config, classes),
        metrics=[make_accuracy(classes)],
        jit_compile=False,  # XLA was measured to be slower on CPUs, and fails on several
    )
    make_variables(model.optimizer, model.trainable_variables)


def _is_over(state: TrainingState, config: FitConfig) -> bool:
    stopped = bool(config.patience) and state.epoch - state.best_epoch >= (config.patience or 0)
    return state.epoch >= config.epochs or (stopped and state.best_epoch > 0)


def _tensorboard(folder: Run) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(folder.path / "logs")]


def _finish(
    folder: Run, evaluator: Evaluator, state: TrainingState, splits: Sequence[str]
) -> dict[str, Any]:
    """Measure the final model and publish everything; the model itself comes last."""
    names = folder.class_names
    metrics: dict[str, Any] = {"epochs": state.epoch}
    for split in splits:
        if split != "test" or folder.config.evaluate_test:
            metrics[split] = evaluator.metrics(split)
    if "confusion_matrix" in metrics.get("test", {}):
        table = pd.DataFrame(metrics["test"]["confusion_matrix"], names, names)
        publish_bytes(folder.path / "confusion.csv", table.to_csv().encode())
    publish_json(folder.path / "metrics.json", metrics)
    with publishing(folder.model_path) as temporary:
        evaluator.model.save(temporary)
    return metrics
