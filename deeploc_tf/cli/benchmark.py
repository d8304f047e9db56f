"""`deeploc-tf benchmark`: profiles against gold standards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deeploc_tf.benchmark.benchmark import StandardScores

EPILOG = """\b
Examples:
  deeploc-tf benchmark cells.profiles.parquet go_cc.gmt complexes.gmt RESULTS
  deeploc-tf benchmark features.tsv compartments.tsv RESULTS --shuffles 100
"""

_SHOWN = {
    "proteins_scored": ("proteins", "d"),
    "terms_scored": ("terms", "d"),
    "prevalence": ("prevalence", ".4f"),
    "average_precision": ("AP", ".4f"),
    "shuffled_average_precision": ("shuffled", ".4f"),
    "lift": ("lift", ".2f"),
    "mean_average_precision": ("mAP", ".4f"),
    "precision_at_10": ("P@10", ".4f"),
    "recall_at_10": ("R@10", ".4f"),
}


@click.command(epilog=EPILOG)
@click.argument("profiles", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument(
    "standards",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--shuffles",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How often proteins are shuffled to show chance.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def benchmark(
    profiles: Path,
    standards: tuple[Path, ...],
    results: Path,
    shuffles: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score PROFILES, a row a protein, against STANDARDS (GMT, or protein-tab-term lines).

    Writes scores.json, scores.csv, precision_recall.csv and, with the extra report, a picture of
    the curves into the new folder RESULTS. The ranking is that of all pairs of proteins by cosine
    similarity; docs/metrics.md has the formulas.
    """
    from deeploc_tf.benchmark.benchmark import benchmark as score
    from deeploc_tf.benchmark.benchmark import write_results
    from deeploc_tf.benchmark.standards import read_standard
    from deeploc_tf.profiles.reading import read_profiles
    from tfrecords.publishing import publishing_folder

    with publishing_folder(results) as folder:
        table = read_profiles(profiles)
        scores = score(
            table.features,
            table.metadata["protein"].tolist(),
            [read_standard(path) for path in standards],
            num_shuffles=shuffles,
            seed=seed,
        )
        values = write_results(folder, scores, profiles, table.provenance, seed)
        _draw(folder)
    click.echo(json.dumps(values, indent=1) if as_json else _table(scores))


def _draw(folder: Path) -> None:
    """Add `precision_recall.png` and `.svg`, or say what they need."""
    from deeploc_tf.report.curves import precision_recall
    from deeploc_tf.report.drawing import MissingExtraError
    from tfrecords.publishing import publish_bytes

    try:
        publish_bytes(folder / "precision_recall.png", precision_recall(folder))
        publish_bytes(folder / "precision_recall.svg", precision_recall(folder, "svg"))
    except MissingExtraError as error:
        click.echo(f"No picture of the curves. {error}", err=True)


def _table(scores: list[StandardScores]) -> str:
    """The main numbers, a row a standard."""
    names = [result.standard for result in scores]
    width = max(len("standard"), *map(len, names))
    lines = ["standard".ljust(width) + "".join(title.rjust(11) for title, _ in _SHOWN.values())]
    for result in scores:
        cells = [
            format(result.numbers[name], form).rjust(11) if name in result.numbers else " " * 11
            for name, (_, form) in _SHOWN.items()
        ]
        lines.append(result.standard.ljust(width) + "".join(cells))
    return "\n".join(lines)
