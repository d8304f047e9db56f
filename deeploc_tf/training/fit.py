"""Train a network on records: `fit` makes a run folder, or goes on with one."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from deeploc_tf.models.extractors import blank_crops
from deeploc_tf.models.hardware import placed_on, rounding_to_tf32, share_gpus, within_memory
from deeploc_tf.models.heads import head
from deeploc_tf.models.keras_compat import make_variables, plain_variable
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.networks import register_network
from deeploc_tf.models.views import View, views
from deeploc_tf.names import EVALUATED_SPLITS
from deeploc_tf.pipeline.batches import running_on
from deeploc_tf.pipeline.splits import warn_of_unused_splits, with_usual_splits
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import file_digest, parent
from deeploc_tf.remote_records import check_local, local_records
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.training.averages import CROPS_OF_STATISTICS, BatchStatistics, averaged_weights
from deeploc_tf.training.callbacks import (
    Checkpoints,
    CountCrops,
    EndOfEpoch,
    EpochReport,
    FiniteLoss,
)
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy, describe_strategy, first_device
from deeploc_tf.training.duration import Duration
from deeploc_tf.training.evaluation import Evaluator
from deeploc_tf.training.field_calibration import calibrate_by_field
from deeploc_tf.training.learning import check_batch, check_outcome, check_plan, describe_network
from deeploc_tf.training.multi_worker import folder_of_this_worker, this_worker
from deeploc_tf.training.novelty import note_novelty
from deeploc_tf.training.optimization import make_optimizer
from deeploc_tf.training.precision import computing_in, resolve_precision
from deeploc_tf.training.run_folder import Run, open_for_training
from deeploc_tf.training.state import TrainingState, load_best_weights, restore_state
from deeploc_tf.training.tasks import TASKS, SplitEvaluator, Task
from deeploc_tf.training.tensorboard import watchers, write_projector
from deeploc_tf.training.transfer import begin_with, check_transfer, load_source
from tfrecords.publishing import publish_bytes, publish_json, publishing
from tfrecords.retrying import retrying
from tfrecords.verify import verify

_log = logging.getLogger(__name__)


@retrying
@our_settings()
def fit(
    records: str | Path,
    run: str | Path,
    config: FitConfig | None = None,
    *,
    network: Callable[..., keras.Model] | None = None,
    initial_run: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint_steps: int | None = None,
    checkpoint_minutes: float = 10.0,
    allow_changed: bool = False,
    cache: str | Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    progress: ShowProgress = False,
    report: EpochReport | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train a model and measure it; started again after a stop, go on from the last checkpoint.

    A training that was stopped or killed, wherever it was, and started again ends as if it had
    never stopped: on a CPU with the same weights and history, bit for bit.

    The model that is evaluated and saved has the averaged weights (of the epoch with the lowest
    validation loss where `config.patience` is set, of the last one otherwise) and lives on one
    device.

    Args:
        records: folder that `build-records` made, or an address as `s3://bucket/records`, with a
            split `train` and, if they are wanted, `validation` and `test`.
        run: folder to make, or that an earlier start with the same records and settings made.
        config: settings; None: the defaults.
        **settings: further ones by their names in `FitConfig`, such as `epochs=2`, in place of
            those of `config`.
        network: makes a functional model from raw crops to features in place of DeepLoc, see
            `deeploc_tf.models.networks.with_heads`; the run stores its name, and to go on, it is
            given again.
        initial_run: a finished run of the same network, to begin with its weights; the head's are
            new.
        callbacks: further Keras callbacks; a training that resumes in an epoch begins it for them.
        checkpoint_steps: steps from one checkpoint within an epoch to the next; None: by time only.
            There is one after each epoch anyway.
        checkpoint_minutes: minutes from one to the next.
        allow_changed: go on although records, settings or versions are not those the run began
            with.
        cache: folder of copies, of records at an address; see `local_records`.
        should_stop: asked after each step; if it says so, the state is saved and the training ends
            with `TrainingStoppedError`.
        progress: True to show the number of crops trained on, all epochs together; or a callable
            that gets `(done, total)`.
        report: called with each epoch's row of the history.

    Returns:
        The content of `metrics.json`: `validation` and `test` (see `classification_metrics`,
        each with `test_time` and `num_views`, the views of each crop that were averaged), and
        `epochs`.

    Raises:
        DamagedRecordsError: the shards are not those of the manifest.
        SplitError: a split is too small, or a class has no crop to train on.
        RecordsError: the run belongs to other records, settings or versions, or the one to begin
            with is not finished.
        LockedError: another process trains in this folder.
        SchemaError: the run to begin with is of other crops or another network.
        TypeError: there is no setting of that name.
        ValueError: a setting cannot be met.
        MemoryError: the device has too little memory for the batch.
        NotFiniteError: the loss or a weight became NaN or infinite; the checkpoints are finite.
        TrainingStoppedError: `should_stop` said so; the same call goes on.

    Example:
        metrics = fit("records", "run", epochs=2, batch_size=64)
        metrics["test"]["balanced_accuracy"]
    """
    check_local(run)
    records = local_records(records, cache)
    share_gpus()
    if config is not None and not isinstance(config, FitConfig):
        msg = f"`config` must be a FitConfig. Received: {config!r}. Give settings as keywords."
        raise TypeError(msg)
    config = (config or FitConfig()).changed(settings)
    if network is not None:
        given = {"network": register_network(network)}
        config = FitConfig(**config.model_dump(exclude_unset=True) | given)
    manifest = with_usual_splits(verify(records))
    warn_of_unused_splits(manifest)
    task = TASKS.get(config.method).load()(records, manifest, config)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = choose_strategy(config.device, config.batch_size, xla=config.xla)
    source = None if initial_run is None else load_source(initial_run, manifest.schema)
    if source is not None:
        config = config.model_copy(update={"initial_model": source.model_sha256})
    device = first_device(strategy)
    with placed_on(device):
        twin = task.build()  # on one device: it is evaluated and saved
    check_batch(twin, config)
    check_transfer(twin, config, source)
    averaged = views(twin, task.test_time)  # refused before it is trained
    precision = resolve_precision(config.precision, strategy)
    steps = task.steps_per_pass
    duration = Duration.of(config, steps)
    make_optimizer(config, steps, strategy.num_replicas_in_sync)  # refused before there is a folder
    with folder_of_this_worker(run) as path:
        folder = open_for_training(path, config, manifest, allow_changed=allow_changed)
        if folder.is_finished:
            _log.info("%s is finished: nothing is trained again.", folder.path)
            metrics: dict[str, Any] = json.loads((folder.path / "metrics.json").read_text("utf-8"))
            return metrics
        _log.info("Training on %s, in %s.", describe_strategy(strategy), precision)
        _log.info("%s", describe_network(twin, config.batch_size, manifest.schema.channels))
        if len(averaged) > 1:
            _log.info(
                "The finished model is measured over %d views of each crop (%s), as it is served; "
                "after each epoch over one.",
                len(averaged),
                task.test_time,
            )
        _log.info("%s", task.describe())
        if duration.steps:
            told = duration.describe(
                manifest.num_crops("train"), evaluated="validation" in manifest.splits
            )
            _log.info("%s", told)
        check_plan(twin, config, manifest, steps)
        total = duration.steps * config.batch_size
        with (
            folder.alone(),
            running_on(records, manifest),
            counting(progress, "Training on crops", total) as count,
            rounding_to_tf32(config.tf32),
        ):
            with strategy.scope(), computing_in(precision):
                model = task.build()
                begin_with(model, config, source)
                compile_model(model, config, steps, *task.objective())
            state, duration = _take_up(folder, model, duration)
            model.batch_statistics = BatchStatistics(
                model, twin, lambda: _first_inputs(task, config.batch_size), device
            )
            evaluator = task.evaluator(twin, EVALUATED_SPLITS, device)
            validated = evaluator if "validation" in evaluator.splits else None
            observers = [
                FiniteLoss(state, duration, task.keys_of_batch),
                Checkpoints(
                    folder,
                    state,
                    duration,
                    every_steps=checkpoint_steps,
                    every_minutes=checkpoint_minutes,
                    should_stop=should_stop,
                    together=this_worker().num_workers > 1,
                ),
                EndOfEpoch(folder, state, duration, validated, report),
                CountCrops(count, state, duration, config.batch_size),
                *watchers(
                    folder, twin, lambda: next(iter(_batches(task, state, duration)))[0], device
                ),
                *callbacks,
            ]
            replicas = strategy.num_replicas_in_sync
            with (
                within_memory(config.batch_size, lambda n: _try_gradients(model, n), replicas),
                placed_on(device if replicas == 1 else None),  # or XLA compiles for the first one
            ):
                _train(model, task, folder, state, duration, observers)
            if config.patience and state.best_epoch:
                twin.set_weights(load_best_weights(folder, state.best_epoch))
            else:
                twin.set_weights(averaged_weights(model))
            shown = next(
                split for split in (*EVALUATED_SPLITS, "train") if split in manifest.splits
            )
            with placed_on(device):
                write_projector(folder, evaluator, records, manifest, shown)
            metrics = _finish(folder, evaluator, state, task.test_time, averaged)
            made_from = [parent("records", records)]
            if initial_run is not None:
                made_from.append(parent("initial run", initial_run))
            with placed_on(device):
                _publish_model(folder, evaluator, averaged, made_from)
            best_epoch = state.best_epoch if config.patience else 0
            check_outcome(metrics, duration.steps_per_epoch, best_epoch)
            return metrics


def _take_up(folder: Run, model: keras.Model, duration: Duration) -> tuple[TrainingState, Duration]:
    """Bring a compiled model to where an earlier start stopped, if there was one.

    Its epochs stay as they began, also where other settings would make them longer or shorter.
    """
    with model.distribute_strategy.scope():
        state, damages = restore_state(folder.path / "checkpoint", model)
    for sentence in damages:
        _log.warning("%s", sentence)
    if folder.changes:
        _log.warning("Going on although the run began otherwise: %s.", folder.changes)
        folder.write_config()  # not before: a state that does not fit leaves the folder as it was
    if state.epoch or state.step:
        duration = dataclasses.replace(duration, passes_per_epoch=state.passes_per_epoch)
    if folder.changes:
        steps = duration.steps_of(state.epoch)
        if state.step and state.step >= steps > 0:
            _log.warning("Epoch %d has %d steps now, and begins again.", state.epoch + 1, steps)
            state.step, state.running_metrics = 0, []
    if state.epoch or state.step:
        steps = duration.steps_of(state.epoch)
        after = f", step {state.step} of {steps}" if state.step else ""
        _log.info("Going on after epoch %d of %d%s.", state.epoch, duration.epochs, after)
    state.passes_per_epoch = duration.passes_per_epoch
    return state, duration


def _train(
    model: keras.Model,
    task: Task,
    folder: Run,
    state: TrainingState,
    duration: Duration,
    observers: Sequence[keras.callbacks.Callback],
) -> None:
    """Train to the end, or to where an observer stops it."""
    begun = False
    while not _is_over(state, folder.config, duration):
        if begun:  # Keras ends by putting the averages in the weights' place: take those up again
            restore_state(folder.path / "checkpoint", model)
        # By itself: the rest of an epoch in which the training stopped, and one that is cut.
        alone = state.step or state.epoch >= duration.whole_epochs
        until = state.epoch + 1 if alone else duration.whole_epochs
        steps = duration.steps_of(state.epoch) - state.step
        model.fit(
            _batches(task, state, duration, until),
            initial_epoch=state.epoch,
            epochs=until,
            steps_per_epoch=steps,
            callbacks=list(observers),
            shuffle=False,
            verbose=0,
        )
        begun = True
        if model.stop_training:  # a caller's callback may say so, too
            return


def _try_gradients(model: keras.Model, batch_size: int) -> None:
    """Compute what takes the memory of a training step, and change nothing that is saved."""
    strategy = model.distribute_strategy
    share = batch_size // strategy.num_replicas_in_sync

    def gradients() -> Any:
        crops = blank_crops(model, share)
        with tf.GradientTape() as tape:
            outputs = model(crops if len(crops) > 1 else next(iter(crops.values())), training=True)
            sums = [tf.reduce_sum(tf.cast(out, tf.float32)) for out in tf.nest.flatten(outputs)]
            total = tf.add_n(sums)
        return [
            tf.reduce_sum(tf.cast(g, tf.float32))
            for g in tape.gradient(
                total,
                [plain_variable(weight) for weight in model.trainable_variables],
                unconnected_gradients="zero",
            )
        ]

    tf.function(lambda: strategy.run(gradients))()


def _batches(
    task: Task, state: TrainingState, duration: Duration, until: int | None = None
) -> tf.data.Dataset:
    """From where `state` stands to the end of epoch `until`, or of its own."""
    first_pass, first_step = duration.place(state.epoch, state.step)
    passes, _ = duration.place(until or state.epoch + 1)
    dataset = task.batches(epochs=passes, first_epoch=first_pass, first_step=first_step)
    options = tf.data.Options()  # several workers share each batch, not the files
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return dataset.with_options(options)


def _first_inputs(task: Task, batch_size: int) -> Iterator[Any]:
    """Inputs of the first batches of the first epoch, enough for the statistics of a network."""
    batches = task.batches(epochs=1, first_epoch=0, first_step=0)
    for inputs, *_ in batches.take(-(-CROPS_OF_STATISTICS // batch_size)):
        yield inputs


def compile_model(
    model: keras.Model,
    config: FitConfig,
    steps: int,
    loss: keras.losses.Loss,
    metrics: Sequence[keras.metrics.Metric] = (),
) -> None:
    """Give a model its loss and its optimizer, whose variables exist from now on."""
    optimizer = make_optimizer(config, steps)
    model.compile(
        optimizer,
        loss,
        metrics=list(metrics),
        jit_compile=config.xla,  # never Keras' "auto": XLA is slower on CPUs, and fails on several
    )
    make_variables(model.optimizer, model.trainable_variables)


def _is_over(state: TrainingState, config: FitConfig, duration: Duration) -> bool:
    stopped = bool(config.patience) and state.epoch - state.best_epoch >= (config.patience or 0)
    return state.epoch >= duration.epochs or (stopped and state.best_epoch > 0)


def _finish(
    folder: Run,
    evaluator: SplitEvaluator,
    state: TrainingState,
    test_time: str,
    averaged: Sequence[View],
) -> dict[str, Any]:
    """Measure the final model, and publish what is measured."""
    metrics: dict[str, Any] = {"epochs": state.epoch}
    for split in evaluator.splits:
        if split != "test" or folder.config.evaluate_test:
            metrics[split] = {
                **evaluator.metrics(split, averaged),
                "test_time": test_time,
                "num_views": len(averaged),
            }
    if "confusion_matrix" in metrics.get("test", {}):
        names = folder.class_names
        table = pd.DataFrame(metrics["test"]["confusion_matrix"], names, names)
        publish_bytes(folder.path / "confusion.csv", csv_bytes(table, index=True))
    if (calibration := calibrate_by_field(evaluator, test_time)) is not None:
        calibration.write(folder.path)
    publish_json(folder.path / "metrics.json", metrics)
    return metrics


def _publish_model(
    folder: Run,
    evaluator: SplitEvaluator,
    averaged: Sequence[View],
    made_from: Sequence[Mapping[str, Any]],
) -> None:
    """Publish the model, cut at each of its heads, and what good crops are like; itself last."""
    model = evaluator.model
    if folder.protein_names:
        with publishing(folder.protein_model_path) as temporary:
            head(model, "protein_logits").save(temporary)
    with publishing(folder.model_path) as temporary:
        if folder.class_names:
            head(model).save(temporary)
            if isinstance(evaluator, Evaluator):
                novelty = note_novelty(evaluator, averaged)
                novelty.write(folder.path, file_digest(temporary))
        else:
            model.save(temporary)
        folder.seal(temporary, made_from)
