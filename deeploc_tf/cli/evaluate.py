"""`deeploc-tf evaluate`: how good a run is on records."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import (
    LazyChoice,
    Output,
    Records,
    batch_size_option,
    cache_option,
    device_option,
    json_option,
    other_pixel_size_option,
    overwrite_option,
    split_option,
    test_time_option,
)
from deeploc_tf.cli.tensorflow_start import start_tensorflow

_log = logging.getLogger(__name__)

EPILOG = """\b
Examples:
  deeploc-tf evaluate RUN RECORDS
  deeploc-tf evaluate RUN RECORDS RESULTS --test-time crops
  deeploc-tf evaluate RUN OTHER_RECORDS RESULTS --split train --split test
"""


_MOST_NAMED = 30  # classes; per_class.csv has them all
_CHANCE = "chance"


@click.command(cls=Command, epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("records", type=Records())
@click.argument("results", required=False, type=Output())
@split_option
@click.option(
    "--head",
    type=LazyChoice("deeploc_tf.pipeline.targets:Kind"),
    help="Output head to evaluate, for runs with two.  [default: the first]",
)
@test_time_option
@batch_size_option
@device_option
@other_pixel_size_option
@overwrite_option
@cache_option
@json_option
@quiet_option
def evaluate(
    run: Path,
    records: str | Path,
    results: Path | None,
    splits: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Evaluate the finished RUN on RECORDS, its own or others with the same classes.

    Reports accuracy, scores per class, calibration and accuracy per protein, next to what the
    majority class would score. The new folder RESULTS, if given, gets them together with the
    prediction for every crop and, with the extra report, pictures. The page
    "Evaluation of a run" of the documentation defines every score.
    """
    from deeploc_tf.pipeline.splits import find_splits
    from deeploc_tf.remote_records import local_manifest
    from tfrecords.publishing import check_absent

    if results is not None:
        check_absent(results)  # before TensorFlow takes its seconds
    find_splits(local_manifest(records), splits)

    start_tensorflow()
    from deeploc_tf.training.evaluate import evaluate as measure

    metrics = measure(
        run, records, results, splits=splits, draw=_draw, progress=not quiet, **options
    )
    lines = _lines(metrics)
    if results is not None:
        lines.append(
            f"{results}: metrics.json, per_class.csv, per_protein.csv, predictions.parquet"
        )
    answer(metrics, lines, as_json=as_json)


def _draw(folder: Path) -> None:
    """Add the pictures, or say what they need."""
    from deeploc_tf.provenance import parent
    from deeploc_tf.report.calibration import reliability_diagram
    from deeploc_tf.report.curves import confusion_matrix
    from deeploc_tf.report.drawing import MissingExtraError, publish_picture

    try:
        made_from = [parent("evaluation", folder / "metrics.json")]
        publish_picture(reliability_diagram(folder), folder / "reliability", made_from)
        if (folder / "confusion.csv").exists():
            publish_picture(confusion_matrix(folder), folder / "confusion", made_from)
    except MissingExtraError as error:
        _log.warning("No pictures. %s", error)


def _lines(metrics: dict[str, Any]) -> list[str]:
    """The numbers in lines, chance beside them."""
    views, per_class = metrics["num_views"], metrics["per_class"]
    calibration = metrics["calibration"]
    lines = [
        f"{' + '.join(metrics['splits'])}: {metrics['num_crops']} crops, "
        f"{views} view{'s' if views > 1 else ''} of each ({metrics['test_time']})",
        *(_of_several(metrics) if "macro_ap" in metrics else _of_one(metrics)),
        f"{'mean confidence':25}{calibration['mean_confidence']:8.4f}",
        f"{'calibration error':25}{calibration['expected_calibration_error']:8.4f}",
        *_of_sets(metrics.get("label_sets")),
    ]
    if "num_not_accepted" in metrics:
        lines.append(f"{'not accepted':25}{metrics['num_not_accepted']:8}")
    if len(per_class) <= _MOST_NAMED:
        lines += ["", *_classes(per_class)]
    return lines


def _of_sets(found: dict[str, Any] | None) -> list[str]:
    """Rows about the sets of labels of a run that is calibrated."""
    if found is None:
        return []
    lowest, number = found["lowest_coverage_of_a_field"], found["num_fields"]
    of_fields = "" if lowest is None else f", worst of {number} fields {lowest:.4f}"
    return [
        f"{'label in its set':25}{found['coverage']:8.4f}  of {found['nominal']:.2f}{of_fields}",
        f"{'labels of a set':25}{found['mean_size']:8.4f}",
    ]


def _of_one(metrics: dict[str, Any]) -> list[str]:
    """Rows about one class a crop, the majority's numbers beside them."""
    majority = metrics["majority_class"]
    lines = [f"{'':25}{'model':>8}{f'always {majority!r}':>{_width(majority)}}"]
    for title, name in (
        ("accuracy", "accuracy"),
        ("balanced accuracy", "balanced_accuracy"),
        ("macro-F1", "macro_f1"),
    ):
        lines.append(_row(title, metrics[name], metrics[f"majority_{name}"], majority))
    for k, value in metrics["top_k_accuracy"].items():
        lines.append(_row(f"top-{k}", value, metrics["majority_top_k_accuracy"][k], majority))
    proteins = metrics["proteins"]
    if proteins["num_proteins"]:
        title = f"of {proteins['num_proteins']} proteins"
        lines.append(_row(title, proteins["accuracy"], proteins["majority_accuracy"], majority))
    return lines


def _of_several(metrics: dict[str, Any]) -> list[str]:
    """Rows about several labels a crop."""
    of_class = metrics["per_class"].values()
    prevalence = [of["prevalence"] for of in of_class if of["average_precision"] is not None]
    lines = [
        f"{'':25}{'model':>8}{_CHANCE:>{_width('')}}",
        _row("macro-AP", metrics["macro_ap"], sum(prevalence) / len(prevalence)),
        _row("all labels right", metrics["exact_match"], metrics["majority_exact_match"]),
    ]
    proteins = metrics["proteins"]
    if proteins["num_proteins"]:
        title = f"of {proteins['num_proteins']} proteins"
        lines.append(_row(title, proteins["exact_match"], proteins["majority_exact_match"]))
    for title, name in (("micro-AP", "micro_ap"), ("label ranking AP", "label_ranking_ap")):
        lines.append(f"{title:25}{metrics[name]:8.4f}")
    return lines


def _row(title: str, value: float, of_majority: float, majority: str = "") -> str:
    return f"{title:25}{value:8.4f}{of_majority:{_width(majority)}.4f}"


def _width(majority: str) -> int:
    return len(f"  always {majority!r}")


def _classes(per_class: dict[str, dict[str, Any]]) -> list[str]:
    """A row a class; a score that does not exist is a dash."""
    shown = {"precision": "precision", "recall": "recall", "f1": "F1", "average_precision": "AP"}
    width = max(len("class"), *map(len, per_class))
    head = "".join(f"{title:>11}" for title in shown.values())
    lines = [f"{'class':{width}}{'crops':>8}{head}"]
    for name, scores in per_class.items():
        cells = ("-" if scores[key] is None else f"{scores[key]:.4f}" for key in shown)
        lines.append(f"{name:{width}}{scores['support']:8}" + "".join(f"{c:>11}" for c in cells))
    return lines
