"""`deeploc-tf fit`: records into a run folder with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.progress import Progress
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf fit RECORDS RUN
  A quarter of the filters, for a small screen or a machine without a GPU:
    deeploc-tf fit RECORDS RUN --width 0.25 --dense-units 128,128 --epochs 60
  As published in 2022, choosing the epoch on the validation split:
    deeploc-tf fit RECORDS RUN --preset razdaibiedina2022 --augmentation flips --patience 10
  Stopped? The same command goes on after the last finished epoch.
"""


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
    "--preset",
    type=click.Choice(["kraus2017", "razdaibiedina2022"]),
    default="kraus2017",
    show_default=True,
    help="Network; the next options change parts of it.",
)
@click.option("--width", type=float, default=1.0, show_default=True, help="Factor on the filters.")
@click.option(
    "--dense-units",
    type=Sizes(),
    default="512,512",
    show_default=True,
    metavar="N,N",
    help="Sizes of fc_1 and fc_2.",
)
@click.option("--last-block/--no-last-block", default=True, show_default=True, help="conv 6 to 8.")
@click.option(
    "--crop-size", type=int, help="Side of the window in pixels, 0: all.  [default: preset]"
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
@click.option("--dropout", type=float, default=0.3, show_default=True, help="Before the head.")
@click.option("--mask", is_flag=True, help="Set the background to 0, by the records' masks.")
@click.option("--epochs", type=int, default=40, show_default=True)
@click.option("--batch-size", type=int, default=64, show_default=True, help="Over all devices.")
@click.option(
    "--optimizer", type=click.Choice(["adamw", "adam"]), default="adamw", show_default=True
)
@click.option("--learning-rate", type=float, default=2e-3, show_default=True, help="The highest.")
@click.option("--weight-decay", type=float, default=1e-2, show_default=True, help="AdamW only.")
@click.option(
    "--schedule", type=click.Choice(["cosine", "constant"]), default="cosine", show_default=True
)
@click.option("--warmup-epochs", type=float, default=3.0, show_default=True, help="Cosine only.")
@click.option(
    "--ema-momentum",
    type=float,
    default=0.99,
    show_default=True,
    help="Of the averaged weights that are evaluated and kept; 0: off.",
)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True)
@click.option("--patience", type=int, help="Epochs without a lower validation loss, then stop.")
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
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
@click.option("--quiet", is_flag=True, help="No progress.")
def fit(records: Path, run: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train DeepLoc on the data set RECORDS and leave model, history and metrics in the folder RUN.

    Stopped or killed, the same command goes on after the last finished epoch.
    """
    import pydantic

    from deeploc_tf.training.config import FitConfig
    from tfrecords.manifest import read_manifest

    try:
        config = FitConfig(**options)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        flag = "--" + "-".join(str(part) for part in problem["loc"][:1]).replace("_", "-")
        msg = f"{problem['msg']}. Received: {flag} {problem['input']}."
        raise click.UsageError(msg) from error
    manifest = read_manifest(records)

    start_tensorflow()
    from deeploc_tf.training.fit import fit as train

    steps = manifest.num_crops("train") // config.batch_size if "train" in manifest.splits else 0
    total = config.epochs * steps * config.batch_size
    with Progress("Training on crops", total) as progress:
        metrics = train(
            records,
            run,
            config,
            progress=None if quiet else progress,
            report=None if quiet else lambda row: click.echo(_line(row, config.epochs), err=True),
            note=lambda sentence: click.echo(sentence, err=True),
        )
    if as_json:
        import json

        click.echo(json.dumps(metrics, indent=1))
    else:
        _print_metrics(run, metrics)


def _line(row: dict[str, float], epochs: int) -> str:
    """One line about an epoch."""
    values = [
        f"{name.replace('val_', 'validation ').replace('_', ' ')} {row[name]:.4f}"
        for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy")
        if name in row
    ]
    return f"Epoch {row['epoch']:.0f} of {epochs}: {', '.join(values)} ({row['seconds']:.1f} s)"


def _print_metrics(run: Path, metrics: dict[str, Any]) -> None:
    for split in ("validation", "test"):
        if split not in metrics:
            continue
        scores = metrics[split]
        click.echo(
            f"{split}: {scores['num_crops']} crops, accuracy {scores['accuracy']:.4f}, "
            f"balanced accuracy {scores['balanced_accuracy']:.4f}, "
            f"macro-F1 {scores['macro_f1']:.4f}; "
            f"always {scores['majority_class']!r}: {scores['majority_accuracy']:.4f}"
        )
        for name, of_class in scores["per_class"].items():
            recall = "  none" if of_class["recall"] is None else f"{of_class['recall']:.4f}"
            click.echo(
                f"  {name}: {of_class['support']} crops, precision {of_class['precision']:.4f}, "
                f"recall {recall}"
            )
    click.echo(f"{run}: model.keras, metrics.json, history.csv")
