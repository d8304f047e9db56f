"""`deeploc-tf fit`: records into a run folder with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.group import RESUMABLE, noting_termination
from deeploc_tf.cli.parameters import Names
from deeploc_tf.cli.progress import Progress
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf fit RECORDS RUN
  A quarter of the filters, for a small screen or a machine without a GPU:
    deeploc-tf fit RECORDS RUN --width 0.25 --dense-units 128,128 --epochs 60
  The network of Razdaibiedina & Brechalov 2022 with flips as there, by our recipe otherwise:
    deeploc-tf fit RECORDS RUN --preset razdaibiedina2022 --augmentation flips --patience 10
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
_OF_PAIRS = ("loss", "explained_variance")
_OF_ONE: tuple[str, ...] = ("accuracy", "balanced_accuracy", "macro_f1")
_OF_SEVERAL: tuple[str, ...] = ("macro_ap", "micro_ap", "label_ranking_ap", "macro_f1", "micro_f1")
_BACKBONES = (
    *("deeploc", "densenet121", "densenet201", "vgg16", "vgg19", "resnet50", "resnet152"),
    "xception",
)
_DEFAULT = click.core.ParameterSource.DEFAULT
_MOST_NAMED = 30  # classes; metrics.json has them all


class Sizes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Two positive whole numbers with a comma between them."""

    name = "n,n"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Both numbers."""
        try:
            first, second = value.split(",") if isinstance(value, str) else value
            return int(first), int(second)
        except ValueError:
            self.fail(f"{value!r} must be two numbers, as in 512,512.", param, ctx)


@click.command(epilog=EPILOG)
@click.argument("records", type=click.Path(path_type=Path))
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=click.Choice(["classification", "inpainting"]),
    default="classification",
    show_default=True,
    help="To tell labels or proteins, or to paint a protein into another cell. Inpainting's "
    "defaults: augmentation flips, 30 epochs, Adam, learning rate 1e-4, beta-1 0.5, constant, no "
    "averages.",
)
@click.option(
    "--preset",
    type=click.Choice(["kraus2017", "razdaibiedina2022", "pifia2024", "map2026"]),
    default="kraus2017",
    show_default=True,
    help="Network, not recipe: how it is trained is said by the other options, whose defaults are "
    "ours and not those of the papers. map2026 is kraus2017 averaged over eight turned views, for "
    "the best map at eight times the cost of embedding.",
)
@click.option(
    "--backbone",
    type=click.Choice(_BACKBONES),
    default="deeploc",
    show_default=True,
    help="Another network between preprocessing and fc_1, untrained.",
)
@click.option("--width", type=float, default=1.0, show_default=True, help="Factor on the filters.")
@click.option(
    "--dense-units",
    type=Sizes(),
    metavar="N,N",
    help="Sizes of fc_1 and fc_2.  [default: preset]",
)
@click.option("--last-block/--no-last-block", default=True, show_default=True, help="conv 6 to 8.")
@click.option(
    "--crop-size",
    type=int,
    help="Side of the window that the network sees, in pixels, 0: the whole crop.  [default: the "
    "preset's of crops of 64 pixels, the whole crop of others]",
)
@click.option(
    "--normalization",
    type=click.Choice(["percentile", "kraus", "min-max", "standardize"]),
    help="Of each crop.  [default: preset]",
)
@click.option(
    "--augmentation",
    type=click.Choice(["none", "flips", "orientations", "rotations"]),
    default="rotations",
    show_default=True,
    help="4 flips, all 8 orientations, or those at any angle.",
)
@click.option(
    "--from",
    "initial_run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Begin with the weights of a finished run, all but the head's.",
)
@click.option(
    "--freeze",
    type=Names(),
    default=(),
    help="Layers but the head that keep those weights: names, or patterns as 'conv_*'.",
)
@click.option("--dropout", type=float, default=0.3, show_default=True, help="Before the head.")
@click.option(
    "--batch-norm-momentum",
    type=float,
    default=0.9,
    show_default=True,
    help="Of the averages that inference uses; the nearer 1, the longer they remember.",
)
@click.option(
    "--mask",
    is_flag=True,
    help="Set the background to 0 and scale each cell by its own pixels, by the records' masks.",
)
@click.option(
    "--target",
    type=click.Choice(["label", "protein", "label+protein"]),
    default="label",
    show_default=True,
    help="What the network learns to tell; by protein it needs no labels.",
)
@click.option(
    "--protein-weight",
    type=float,
    default=1.0,
    show_default=True,
    help="label+protein only: how much the proteins' loss counts.",
)
@click.option(
    "--loss",
    type=click.Choice(["cross-entropy", "focal", "triplet"]),
    default="cross-entropy",
    show_default=True,
    help="Softmax, or sigmoid where crops have several labels; triplet: of the features.",
)
@click.option(
    "--triplet-margin", type=float, default=0.2, show_default=True, help="Triplet loss only."
)
@click.option("--focal-gamma", type=float, default=2.0, show_default=True, help="Focal loss only.")
@click.option("--class-weights", type=click.Choice(["balanced"]), help="Rare classes count more.")
@click.option(
    "--sampling",
    type=click.Choice(["label", "protein"]),
    help="Equally many crops of each an epoch.  [default: each crop once]",
)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True)
@click.option(
    "--min-cells",
    type=int,
    default=30,
    show_default=True,
    help="Inpainting only: leave out proteins of a field with fewer.",
)
@click.option(
    "--pair-by",
    type=Names(),
    default=(),
    help="Inpainting only: columns in which both cells of a pair are equal.  "
    "[default: protein, and plate, well and field as far as there are]",
)
@click.option(
    "--epochs",
    type=int,
    default=40,
    show_default=True,
    help="0: the network as it begins, to compare others with.",
)
@click.option("--batch-size", type=int, default=64, show_default=True, help="Over all devices.")
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "adam", "sgd", "lamb"]),
    default="adamw",
    show_default=True,
    help="sgd has momentum 0.9, Nesterov's.",
)
@click.option("--learning-rate", type=float, default=2e-3, show_default=True, help="The highest.")
@click.option("--beta-1", type=float, default=0.9, show_default=True, help="Not of SGD.")
@click.option("--weight-decay", type=float, default=1e-2, show_default=True, help="AdamW only.")
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "constant", "step"]),
    default="cosine",
    show_default=True,
    help="Of the learning rate; step: times 0.96 every 25 steps.",
)
@click.option(
    "--warmup-epochs",
    type=float,
    default=3.0,
    show_default=True,
    help="Cosine only; half of the training at most.",
)
@click.option(
    "--ema-momentum",
    type=float,
    default=0.99,
    show_default=True,
    help="Of the averaged weights that are evaluated and kept; 0: off.",
)
@click.option(
    "--ema-warmup/--no-ema-warmup",
    default=True,
    show_default=True,
    help="Averages that forget quickly at first, or a short training keeps untrained weights.",
)
@click.option("--clip-norm", type=float, help="Longest gradient, all weights together.")
@click.option("--patience", type=int, help="Epochs without a lower validation loss, then stop.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Of the arithmetic in training; auto: bfloat16 where the device has it.",
)
@click.option("--xla", is_flag=True, help="Compile the whole step; on one device only.")
@click.option(
    "--deterministic", is_flag=True, help="Equal bits on a GPU as well; slower. A CPU has them."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, gpu (all), or a list such as gpu:0,gpu:1.",
)
@click.option(
    "--test/--no-test",
    "evaluate_test",
    default=True,
    help="Measure on the test split at the end, or leave it alone while you choose settings.",
)
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Save the state that often, besides after each epoch.",
)
@click.option("--checkpoint-steps", type=click.IntRange(min=1), help="The same, in steps.")
@click.option(
    "--allow-changed",
    is_flag=True,
    help="Go on although settings, records or versions have changed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
def fit(
    records: Path,
    run: Path,
    initial_run: Path | None,
    checkpoint_minutes: float,
    checkpoint_steps: int | None,
    allow_changed: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Train a network on the data set RECORDS; leave model, history and metrics in the folder RUN.

    Stopped or killed, the same command goes on from the last checkpoint. SIGTERM, as preempted jobs
    get it, saves the state first and exits with 75.
    """
    import pydantic

    from deeploc_tf.training.config import FitConfig
    from tfrecords.manifest import read_manifest

    source = click.get_current_context().get_parameter_source
    given = {name: options[name] for name in options if source(name) is not _DEFAULT}
    try:
        config = FitConfig(**given)  # what was not given depends on the method
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        msg = f"{problem['msg'].removeprefix('Value error, ')}."
        if problem["loc"]:  # else the sentence is about several options, and names them
            flag = f"--{problem['loc'][0]}".replace("_", "-")
            msg += f" Received: {flag} {problem['input']}."
        raise click.UsageError(msg) from error
    manifest = read_manifest(records)

    start_tensorflow()
    from deeploc_tf.names import known_split
    from deeploc_tf.pipeline.batches import steps_per_epoch
    from deeploc_tf.training.fit import fit as train
    from deeploc_tf.training.interruptions import TrainingStoppedError

    total = None  # how many pairs there are is known after a look at all crops
    if config.method == "classification":
        train_split = known_split("train", manifest.splits)
        steps = steps_per_epoch(manifest, train_split, config.batch_size, config.sampling)
        total = config.epochs * steps * config.batch_size
    try:
        with Progress("Training on crops", total) as progress, noting_termination() as terminated:
            metrics = train(
                records,
                run,
                config,
                initial_run=initial_run,
                checkpoint_steps=checkpoint_steps,
                checkpoint_minutes=checkpoint_minutes,
                allow_changed=allow_changed,
                should_stop=terminated,
                progress=None if quiet else progress,
                report=None
                if quiet
                else lambda row: click.echo(_line(row, config.epochs), err=True),
                note=lambda sentence: click.echo(sentence, err=True),
            )
    except TrainingStoppedError as stop:
        click.echo(str(stop), err=True)
        return RESUMABLE
    if as_json:
        import json

        click.echo(json.dumps(metrics, indent=1))
    else:
        _print_metrics(run, metrics)
    return 0


def _line(row: dict[str, float], epochs: int) -> str:
    """One line about an epoch."""
    values = [
        f"{name.replace('val_', 'validation ').replace('_', ' ')} {row[name]:.4f}"
        for name in _COLUMNS
        if name in row
    ]
    return f"Epoch {row['epoch']:.0f} of {epochs}: {', '.join(values)} ({row['seconds']:.1f} s)"


def _print_metrics(run: Path, metrics: dict[str, Any]) -> None:
    for split in ("validation", "test"):
        if split not in metrics:
            continue
        scores = metrics[split]
        if "num_pairs" in scores:
            numbers = {name: scores[name] for name in _OF_PAIRS if scores[name] is not None}
            values = ", ".join(f"{n.replace('_', ' ')} {v:.4f}" for n, v in numbers.items())
            click.echo(f"{split}: {scores['num_pairs']} pairs, {values}")
            continue
        several = "macro_ap" in scores  # labels a crop
        shown = _OF_SEVERAL if several else _OF_ONE
        values = ", ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in shown)
        views = scores.get("num_views", 1)
        of_each = f"{views} views of each ({scores['test_time']}), " if views > 1 else ""
        line = f"{split}: {scores['num_crops']} crops, {of_each}{values}"
        if not several:
            line += f"; always {scores['majority_class']!r}: {scores['majority_accuracy']:.4f}"
        click.echo(line)
        if len(scores["per_class"]) > _MOST_NAMED:
            continue
        for name, of_class in scores["per_class"].items():
            values = ", ".join(
                f"{score.replace('_', ' ')} "
                + ("none" if of_class[score] is None else f"{of_class[score]:.4f}")
                for score in (["average_precision"] if several else ["precision", "recall"])
            )
            click.echo(f"  {name}: {of_class['support']} crops, {values}")
    click.echo(f"{run}: model.keras, metrics.json, history.csv")
