"""`deeploc-tf fit`: records into a run folder with a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.group import RESUMABLE, noting_termination
from deeploc_tf.cli.messages import answer, quiet_option, tell
from deeploc_tf.cli.parameters import Records, cache_option, json_option, number_option
from deeploc_tf.cli.settings import SettingsCommand, given_settings
from deeploc_tf.cli.tensorflow_start import start_tensorflow
from deeploc_tf.names import EVALUATED_SPLITS

EPILOG = """\b
Examples:
  deeploc-tf fit RECORDS RUN
  A quarter of the filters, for a small screen or a machine without a GPU:
    deeploc-tf fit RECORDS RUN --width 0.25 --dense-units 128,128 --epochs 60
  As Razdaibiedina & Brechalov 2022 trained, on the first channel, but with early stopping:
    deeploc-tf fit RECORDS RUN --preset razdaibiedina2022 --patience 10
  Without labels, by Paired Cell Inpainting of Lu et al. 2019, with defaults of its own:
    deeploc-tf fit RECORDS RUN --method inpainting
  From a run on another screen, holding what it learnt of texture:
    deeploc-tf fit RECORDS NEW_RUN --from RUN --freeze 'conv_*' --dropout 0.5
  Stopped? The same command goes on from the last checkpoint.
"""

_COLUMNS = (
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "val_balanced_accuracy",
    "val_macro_ap",
    "val_explained_variance",
)
_OF_ONE: tuple[str, ...] = ("accuracy", "balanced_accuracy", "macro_f1")
_OF_SEVERAL: tuple[str, ...] = ("macro_ap", "micro_ap", "label_ranking_ap", "macro_f1", "micro_f1")
_MOST_NAMED = 30  # classes; metrics.json has them all


COMMON = (
    *("--preset", "--width", "--channels", "--target", "--class-weights", "--epochs"),
    *("--batch-size", "--learning-rate", "--patience", "--device", "--seed", "--from"),
)


@click.command(
    cls=SettingsCommand,
    settings="deeploc_tf.training.config:FitConfig",
    common=COMMON,
    epilog=EPILOG,
)
@click.argument("records", type=Records())
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "initial_run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Start from the weights of a finished run, except the head's.",
)
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Minutes between checkpoints within an epoch; there is one after each epoch anyway.",
)
@number_option("--checkpoint-steps", least=1, help="Steps between checkpoints within an epoch.")
@click.option(
    "--allow-changed",
    is_flag=True,
    help="Resume although settings, records or versions have changed.",
)
@cache_option
@json_option
@quiet_option
def fit(
    records: str | Path,
    run: Path,
    initial_run: Path | None,
    checkpoint_minutes: float,
    checkpoint_steps: int | None,
    allow_changed: bool,
    cache: Path | None,
    as_json: bool,
    quiet: bool,
    **_: Any,
) -> int:
    """Train a network on the data set RECORDS; save model, history and metrics in the folder RUN.

    If training is interrupted, run the same command to resume from the last checkpoint. On SIGTERM,
    as sent to preempted jobs, it saves a checkpoint and exits with 75.
    """
    from deeploc_tf.remote_records import check_local, local_manifest
    from deeploc_tf.training.config import FitConfig

    config = given_settings(click.get_current_context(), FitConfig)
    check_local(run)
    local_manifest(records)  # before TensorFlow starts

    start_tensorflow()
    from deeploc_tf.training.fit import fit as train
    from deeploc_tf.training.state import TrainingStoppedError

    try:
        with noting_termination() as terminated:
            metrics = train(
                records,
                run,
                config,
                initial_run=initial_run,
                checkpoint_steps=checkpoint_steps,
                checkpoint_minutes=checkpoint_minutes,
                allow_changed=allow_changed,
                cache=cache,
                should_stop=terminated,
                progress=not quiet,
                report=None if quiet else lambda row: tell(_line(row)),
            )
    except TrainingStoppedError as stop:
        tell(str(stop))
        return RESUMABLE
    answer(metrics, _lines(run, metrics), as_json=as_json)
    return 0


def _line(row: dict[str, float]) -> str:
    """One line about an epoch."""
    values = [
        f"{name.replace('val_', 'validation ').replace('_', ' ')} {row[name]:.4f}"
        for name in _COLUMNS
        if name in row
    ]
    of = f"{row['epoch']:.0f} of {row['epochs']}"
    return f"Epoch {of}: {', '.join(values)} ({row['seconds']:.1f} s)"


def _numbers(scores: dict[str, Any]) -> Iterator[str]:
    """Numbers of a method that predicts no classes, such as `12 pairs` and `loss 0.1234`."""
    for name, value in scores.items():
        words = name.replace("_", " ")
        if isinstance(value, float):
            yield f"{words} {value:.4f}"
        elif isinstance(value, int) and name != "num_views":
            yield f"{value} {words.removeprefix('num ')}"


def _lines(run: Path, metrics: dict[str, Any]) -> Iterator[str]:
    """The main scores of each split that was evaluated."""
    for split in EVALUATED_SPLITS:
        if split not in metrics:
            continue
        scores = metrics[split]
        if "per_class" not in scores:
            yield (f"{split}: {', '.join(_numbers(scores))}")
            continue
        several = "macro_ap" in scores  # labels a crop
        shown = _OF_SEVERAL if several else _OF_ONE
        values = ", ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in shown)
        views = scores.get("num_views", 1)
        of_each = f"{views} views of each ({scores['test_time']}), " if views > 1 else ""
        line = f"{split}: {scores['num_crops']} crops, {of_each}{values}"
        if not several:
            line += f"; always {scores['majority_class']!r}: {scores['majority_accuracy']:.4f}"
        yield (line)
        if len(scores["per_class"]) > _MOST_NAMED:
            continue
        for name, of_class in scores["per_class"].items():
            values = ", ".join(
                f"{score.replace('_', ' ')} "
                + ("none" if of_class[score] is None else f"{of_class[score]:.4f}")
                for score in (["average_precision"] if several else ["precision", "recall"])
            )
            yield (f"  {name}: {of_class['support']} crops, {values}")
    yield (f"{run}: model.keras, metrics.json, history.csv")
