"""Train DeepLoc on records: `fit` makes a run folder, or goes on with one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.pipeline.batches import running_on, steps_per_epoch, training_batches
from deeploc_tf.training.callbacks import EndOfEpoch, EpochReport, Progress, load_best_weights
from deeploc_tf.training.checkpoints import TrainingState, restore_state
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy, describe_strategy
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.optimization import averaged_weights, make_optimizer
from deeploc_tf.training.run_folder import Run, open_for_training
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest
from tfrecords.publishing import publish_bytes, publish_json, publishing
from tfrecords.schema import Schema
from tfrecords.verify import verify


def fit(
    records: str | Path,
    run: str | Path,
    config: FitConfig | None = None,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Callable[[int], None] | None = None,
    report: EpochReport | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train a model and measure it; started again after a stop, go on from the last finished epoch.

    The model that is evaluated and saved has the averaged weights (of the epoch with the lowest
    validation loss where `config.patience` is set, of the last one otherwise) and lives on one
    device.

    Args:
        records: folder that `build-records` made, with a split `train` and, if they are wanted,
            `validation` and `test`.
        run: folder to make, or that an earlier start with the same records and settings made.
        config: settings; None: the defaults.
        callbacks: further Keras callbacks.
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
    """
    config = config or FitConfig()
    note = note or (lambda _: None)
    manifest = verify(records)
    _check_records(manifest, config)
    steps = steps_per_epoch(manifest, "train", config.batch_size)
    keras.utils.set_random_seed(config.seed)
    strategy = choose_strategy(config.device, config.batch_size)
    inference_model = build_model(config, manifest.schema)
    folder = open_for_training(run, config, manifest)
    if folder.is_finished:
        note(f"{folder.path} is finished; its metrics follow.")
        metrics: dict[str, Any] = json.loads((folder.path / "metrics.json").read_text("utf-8"))
        return metrics
    note(f"Training on {describe_strategy(strategy)}.")

    with strategy.scope():
        model = build_model(config, manifest.schema)
        compile_model(model, config, steps)
        state, damages = restore_state(folder.path / "checkpoint", model)
    for sentence in damages:
        note(sentence)
    if state.epoch:
        note(f"Going on after epoch {state.epoch} of {config.epochs}.")

    evaluator = Evaluator(inference_model, records, manifest, mask=config.mask)
    validates = "validation" in manifest.splits
    end_of_epoch = EndOfEpoch(folder, state, evaluator if validates else None, report)
    if not _is_over(state, config):
        dataset = training_batches(
            records,
            batch_size=config.batch_size,
            epochs=config.epochs,
            first_epoch=state.epoch,
            seed=config.seed,
            mask=config.mask,
            manifest=manifest,
        )
        with running_on(records):
            model.fit(
                dataset,
                initial_epoch=state.epoch,
                epochs=config.epochs,
                steps_per_epoch=steps,
                callbacks=[
                    end_of_epoch,
                    *([Progress(progress, config.batch_size, steps)] if progress else []),
                    *_tensorboard(folder),
                    *callbacks,
                ],
                shuffle=False,
                verbose=0,
            )
    if config.patience and state.best_epoch:
        inference_model.set_weights(load_best_weights(folder, state.best_epoch))
    else:
        inference_model.set_weights(averaged_weights(model))
    return _finish(folder, evaluator, state)


def build_model(config: FitConfig, schema: Schema) -> keras.Model:
    """The untrained model that a configuration describes, for crops of a schema."""
    return DeepLoc(
        schema.image_shape,
        schema.num_classes,
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
    "mask",
)


def compile_model(model: keras.Model, config: FitConfig, steps: int) -> None:
    """Give a model its loss and its optimizer, whose variables exist from now on."""
    optimizer = make_optimizer(config, steps)
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,  # XLA was measured to be slower on CPUs, and fails on several
    )
    optimizer.build(model.trainable_variables)


def _check_records(manifest: Manifest, config: FitConfig) -> None:
    if config.mask and not manifest.schema.has_mask:
        msg = "`mask` needs records with masks. These have none: rebuild them with a mask channel."
        raise SplitError(msg)
    if config.patience and "validation" not in manifest.splits:
        msg = (
            f"`patience` needs a split `validation`. Received: patience={config.patience}, splits "
            f"{', '.join(manifest.splits)}. Rebuild the records with one, or leave it out."
        )
        raise SplitError(msg)
    if manifest.schema.multi_label:
        msg = (
            "`fit` trains on crops with one label each so far. Received: records with several "
            "labels a crop. Rebuild them with one label column."
        )
        raise SplitError(msg)
    manifest.shards("train")  # names the splits there are, if this one is not
    counts = manifest.counts["train"]["label"]
    empty = [name for name in manifest.schema.label_names if not counts.get(name)]
    if empty or not manifest.schema.label_names:
        msg = (
            "Every class must have crops in the train split. Received: "
            f"{'no labels at all' if not counts else 'none of ' + ', '.join(empty)}. "
            "Rebuild the records with other labels or another split."
        )
        raise SplitError(msg)


def _is_over(state: TrainingState, config: FitConfig) -> bool:
    stopped = bool(config.patience) and state.epoch - state.best_epoch >= (config.patience or 0)
    return state.epoch >= config.epochs or (stopped and state.best_epoch > 0)


def _tensorboard(folder: Run) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(folder.path / "logs")]


def _finish(folder: Run, evaluator: Evaluator, state: TrainingState) -> dict[str, Any]:
    """Measure the final model and publish everything; the model itself comes last."""
    names = evaluator.manifest.schema.label_names
    metrics: dict[str, Any] = {"epochs": state.epoch}
    splits = ["validation", "test"] if folder.config.evaluate_test else ["validation"]
    for split in splits:
        if split in evaluator.manifest.splits:
            metrics[split] = evaluator.metrics(split)
    if "test" in metrics:
        table = pd.DataFrame(metrics["test"]["confusion_matrix"], names, names)
        publish_bytes(folder.path / "confusion.csv", table.to_csv().encode())
    publish_json(folder.path / "metrics.json", metrics)
    with publishing(folder.model_path) as temporary:
        evaluator.model.save(temporary)
    return metrics
