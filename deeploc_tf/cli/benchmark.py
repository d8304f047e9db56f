"""`deeploc-tf benchmark`: profiles against gold standards."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from deeploc_tf.benchmark.benchmark import Extent
    from deeploc_tf.benchmark.results import Method
    from deeploc_tf.benchmark.standards import Standard
    from deeploc_tf.profiles.tables import VectorTable

EPILOG = """\b
Examples:
  deeploc-tf benchmark cells.profiles.parquet go_cc.gmt complexes.gmt RESULTS
  deeploc-tf benchmark features.tsv compartments.tsv RESULTS --shuffles 100
  deeploc-tf benchmark deeploc.parquet go_cc.gmt RESULTS --against cellprofiler=cp.tsv \\
      --against deeploc=seed2.parquet --random 64
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
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


class Bytes(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of bytes, such as 1GB."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a number with a unit."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", str(value), re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is not a number of bytes, such as 500MB or 1GB.", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])


class NamedFile(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """NAME=FILE, or FILE, which is then named as it is without its suffix."""

    name = "name=file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        """Divide, and check that the file is there."""
        name, sign, rest = str(value).partition("=")
        path = _FILE.convert(rest if sign else value, param, ctx)
        return (name if sign else Path(path).name.split(".")[0]), Path(path)


@click.command(epilog=EPILOG)
@click.argument("profiles", type=_FILE)
@click.argument("standards", nargs=-1, required=True, type=_FILE)
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--name", help="Of the method of PROFILES; else the file's.")
@click.option(
    "--against",
    multiple=True,
    type=NamedFile(),
    help="Profiles of another method, or under a name that is there, of another seed. Repeatable.",
)
@click.option("--random", type=click.IntRange(min=1), help="Add random vectors of so many numbers.")
@click.option(
    "--similarity",
    type=click.Choice(["cosine", "pearson", "spearman", "euclidean"]),
    default="cosine",
    show_default=True,
    help="Of two profiles.",
)
@click.option(
    "--min-size",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    help="Leave out terms with fewer members that have a profile.",
)
@click.option("--max-size", type=click.IntRange(min=2), help="Leave out terms with more.")
@click.option(
    "--shuffles",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How often proteins are shuffled to show chance.",
)
@click.option(
    "--permutations",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Random rankings behind the p-values of queries; 0: none.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Draws of proteins behind intervals and differences; 0: none.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draws of terms for AMI and cluster F1, 10 are usual; 0: none.",
)
@click.option("--memory", type=Bytes(), help="Bound of the ranking of all pairs, such as 1GB.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def benchmark(
    profiles: Path,
    standards: tuple[Path, ...],
    results: Path,
    name: str | None,
    against: tuple[tuple[str, Path], ...],
    random: int | None,
    similarity: Any,
    min_size: int,
    max_size: int | None,
    shuffles: int,
    permutations: int,
    resamples: int,
    draws: int,
    memory: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score PROFILES, a row a protein, against STANDARDS, also beside other methods.

    Standards are of any form that `standards` reads. Writes scores.json, scores.csv, terms.csv,
    precision_recall.csv and, with the extra report, pictures into the new folder RESULTS. Several
    methods are scored on the proteins that all of them have; docs/metrics.md has the formulas.
    """
    from deeploc_tf.benchmark.benchmark import Extent
    from deeploc_tf.benchmark.results import write_results
    from deeploc_tf.benchmark.standards import read_standard
    from tfrecords.publishing import publishing_folder

    extent = Extent(shuffles, permutations, draws, resamples, memory, seed)
    options = {"similarity": similarity, "min_size": min_size, "max_size": max_size}
    with publishing_folder(results) as folder:
        named = [(name or profiles.name.split(".")[0], profiles), *against]
        methods = _score(
            _tables(named, random, similarity, seed),
            [read_standard(path) for path in standards],
            options,
            extent,
        )
        settings = {**options, "seed": seed, "extent": vars(extent)}
        values = write_results(folder, methods, settings)
        _draw(folder, several=len(methods) > 1)
    click.echo(json.dumps(values, indent=1) if as_json else _table(methods))


def _tables(
    named: Sequence[tuple[str, Path]], random: int | None, similarity: Any, seed: int
) -> list[tuple[str, Path | None, VectorTable]]:
    """Profiles of each method; of several, those of the proteins that all have usable ones of."""
    import numpy as np

    from deeploc_tf.benchmark.similarity import usable_profiles
    from deeploc_tf.profiles.reading import read_profiles
    from deeploc_tf.profiles.tables import VectorTable

    tables: list[tuple[str, Path | None, VectorTable]] = [
        (name, path, read_profiles(path)) for name, path in named
    ]
    if random is not None:
        metadata = tables[0][2].metadata[["protein"]]
        vectors = np.random.default_rng(seed).normal(size=(len(metadata), random))
        made = VectorTable(vectors.astype(np.float32), metadata, {"kind": "random", "seed": seed})
        tables.append(("random", None, made))
    if len(tables) == 1:
        return tables
    common: set[str] | None = None
    for _, _, table in tables:
        proteins = table.metadata["protein"].tolist()
        usable = usable_profiles(table.features, proteins, similarity)
        here = {protein for protein, good in zip(proteins, usable, strict=True) if good}
        common = here if common is None else common & here
    chosen = []
    for name, path, table in tables:
        order = table.metadata.reset_index(drop=True).sort_values("protein")
        rows = order.index[order["protein"].isin(common or set())]
        kept = VectorTable(
            table.features[rows], table.metadata.iloc[rows].reset_index(drop=True), table.provenance
        )
        chosen.append((name, path, kept))
    return chosen


def _score(
    tables: Sequence[tuple[str, Path | None, VectorTable]],
    standards: list[Standard],
    options: dict[str, Any],
    extent: Extent,
) -> list[Method]:
    from deeploc_tf.benchmark.benchmark import benchmark as score
    from deeploc_tf.benchmark.results import Method

    methods = []
    for name, path, table in tables:
        proteins = table.metadata["protein"].tolist()
        results = score(table.features, proteins, standards, extent=extent, **options)
        methods.append(Method(name, results, path, table.provenance))
    return methods


def _draw(folder: Path, *, several: bool) -> None:
    """Add pictures as PNG and SVG, or say what they need."""
    from deeploc_tf.report.curves import methods_compared, precision_recall
    from deeploc_tf.report.drawing import MissingExtraError
    from tfrecords.publishing import publish_bytes

    pictures = {"precision_recall": precision_recall}
    if several:
        pictures["average_precision"] = methods_compared
    try:
        for name, draw in pictures.items():
            publish_bytes(folder / f"{name}.png", draw(folder))
            publish_bytes(folder / f"{name}.svg", draw(folder, "svg"))
    except MissingExtraError as error:
        click.echo(f"No picture of the curves. {error}", err=True)


def _table(methods: Sequence[Method]) -> str:
    """The main numbers, a row a standard of a method."""
    rows = [(method.name, result) for method in methods for result in method.results]
    several = len(methods) > 1
    heads = [f"{name}: {r.standard}" if several else r.standard for name, r in rows]
    width = max(len("standard"), *map(len, heads))
    lines = ["standard".ljust(width) + "".join(title.rjust(11) for title, _ in _SHOWN.values())]
    for head, (_, result) in zip(heads, rows, strict=True):
        cells = [
            format(result.numbers[name], form).rjust(11) if name in result.numbers else " " * 11
            for name, (_, form) in _SHOWN.items()
        ]
        lines.append(head.ljust(width) + "".join(cells))
    return "\n".join(lines)
