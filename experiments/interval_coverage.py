"""Do intervals of the benchmark cover, and do equally good methods differ as rarely as they should?

    python experiments/interval_coverage.py DATA OUT [--repeats N] [--only CASE ...]

DATA is a folder with `protein_features`, `localization` and `standards`. OUT receives a file a
case, of scores and their standard errors; what is there already is not measured again, so that a
run that was stopped goes on. Of each case, 1,000 samples of proteins (200 where a sample has 1,500)
are drawn and scored.

Real proteins (GO P, GO C and Huh, 200 and 500 at a time) are drawn without replacement, so that
samples resemble each other more than new ones would: intervals are shrunk about the score by
sqrt(1 - n / N) on the scale on which they are symmetric. What they must cover is the mean score of
the samples. Simulated proteins (1,500 at a time, 40 terms that overlap) are new in each sample.

Two methods that are equally good are the same profiles with noise of their own: their p-values
must be 0.05 or less in 5 of 100. For `chance`, names are permuted, and an interval of the lift must
exclude 1 in 5 of 100 (500 permutations).

Prints the table of docs/metrics.md: coverage / rejections, and a star unless coverage is within
three binomial standard errors of 0.95, rejections are between 0.03 and 0.06, and chance is excluded
in 3 to 7 of 100.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import scipy.special
from numpy.typing import NDArray

from deeploc_tf.benchmark.average_precision import DEFAULT_KS, shared_terms
from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.influence import (
    Estimate,
    Influence,
    combined,
    pair_influences,
    query_influences,
)
from deeploc_tf.benchmark.intervals import interval, tested
from deeploc_tf.benchmark.per_query import query_scores
from deeploc_tf.benchmark.pooled import pooled_curve
from deeploc_tf.benchmark.similarity import similarities_of
from deeploc_tf.benchmark.standards import Standard, annotate, read_standard

NOISE = 1.5  # of the two methods, against features of standard deviation 1
SCORES = (
    *("average_precision", "lift", "mean_average_precision", "mean_auroc"),
    *(f"{score}_at_{k}" for score in ("precision", "recall") for k in (1, 5, 10, 50)),
)

Features = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Case:
    """Samples of one size: `standard` is "GO P", "GO C", "Huh" or "simulated"."""

    standard: str
    size: int
    repeats: int
    chance: bool = False

    @property
    def name(self) -> str:
        """In file names and in the table."""
        return f"{self.standard} {self.size}{' chance' if self.chance else ''}"


CASES = (
    *(Case(standard, 200, 1000) for standard in ("GO P", "GO C", "Huh")),
    *(Case(standard, 200, 500, chance=True) for standard in ("GO P", "GO C", "Huh")),
    *(Case(standard, 500, 1000) for standard in ("GO P", "GO C", "Huh")),
    Case("simulated", 1500, 200),
)


class Population:
    """Proteins to draw samples of: profiles, their names, and a standard."""

    def __init__(self, data: Path, standard: str) -> None:
        self.simulated = standard == "simulated"
        if self.simulated:
            return
        folder = data / "standards"
        names = read_identifiers(folder / "SGD_features.tab.gz", folder / "swissprot_cut1-5.tsv")
        if standard == "Huh":
            path = data / "localization/allOrfData.txt"
            options: dict[str, Any] = {"exclude_terms": ["cytoplasm", "nucleus"]}
        else:
            path, options = folder / "go_slim_mapping_2015.tab.gz", {"aspect": standard[-1]}
        self.standard = read_standard(path, identifiers=names, **options)
        table = pd.read_csv(
            data / "protein_features/WT2_averaged_features.txt.gz", sep="\t", index_col=0
        )
        table.index = pd.Index(names.map(list(table.index))[0])
        table = table[~table.index.duplicated()]
        scaled = (table - table.mean()) / table.std(ddof=0)
        known = {protein for members in self.standard.terms.values() for protein in members}
        scaled = scaled[scaled.index.isin(known)]
        self.names = scaled.index.tolist()
        self.features = scaled.to_numpy(np.float32)

    def sample(
        self, size: int, generator: np.random.Generator
    ) -> tuple[Features, list[str], Standard]:
        """Profiles, names and the standard of some proteins."""
        if self.simulated:
            return simulated(size, generator)
        rows = generator.choice(len(self.names), size, replace=False)
        return self.features[rows], [self.names[row] for row in rows], self.standard

    def shrinkage(self, size: int) -> float:
        """Standard deviation of samples without replacement, over that of new ones."""
        return 1.0 if self.simulated else float(np.sqrt(1 - size / len(self.names)))


def simulated(size: int, generator: np.random.Generator) -> tuple[Features, list[str], Standard]:
    """New proteins of 40 terms of unlike size; two in three have one term, the others two."""
    centers = np.random.default_rng(0).normal(size=(40, 20))
    shares = 1 / np.arange(2, 42)
    order = generator.exponential(size=(size, 40)) / shares  # drawn without replacement
    terms = np.argsort(order, axis=1)[:, :2]
    second = generator.random(size) < 1 / 3
    means = centers[terms[:, 0]] + np.where(second[:, None], centers[terms[:, 1]], 0)
    features = means + generator.normal(scale=2.5, size=means.shape)
    names = [f"P{row}" for row in range(size)]
    members: dict[str, set[str]] = {}
    for row, name in enumerate(names):
        for term in terms[row, : 1 + int(second[row])]:
            members.setdefault(f"t{term}", set()).add(name)
    chosen = {term: frozenset(proteins) for term, proteins in members.items()}
    return features.astype(np.float32), names, Standard("simulated", chosen)


def measured(population: Population, case: Case, repeat: int) -> dict[str, Any]:
    """Estimates of each score of one sample; it is the same however often it is drawn.

    These are the score itself and, but for `chance`, that of a method and how much it is above one
    that is equally good.
    """
    generator = np.random.default_rng([repeat, case.size, *case.name.encode()])
    features, names, standard = population.sample(case.size, generator)
    if case.chance:
        features = generator.permutation(features)
    drawn = frozenset(names)
    terms = {term: members & drawn for term, members in standard.terms.items()}
    annotation = annotate(dataclasses.replace(standard, terms=terms), names)
    shared, rows = shared_terms(annotation), annotation.proteins
    methods = [influences(features[rows], shared, only_pairs=case.chance)]
    for _ in range(0 if case.chance else 2):
        noisy = features + generator.normal(scale=NOISE, size=features.shape)
        methods.append(influences(noisy.astype(np.float32)[rows], shared))
    found: dict[str, Any] = {"repeat": repeat}
    for score, influence in methods[0].items():
        estimates = [influence.estimate]
        if not case.chance:
            first, second = methods[1][score], methods[2][score]
            estimates += [first.estimate, combined([(1, first), (-1, second)]).estimate]
        found[score] = [dataclasses.astuple(estimate) for estimate in estimates]
    return found


def influences(
    features: Features, shared: scipy.sparse.csr_matrix, *, only_pairs: bool = False
) -> dict[str, Influence]:
    """Of proteins on all scores of profiles, as `benchmark` has them."""
    similarities = similarities_of(features)
    found = pair_influences(similarities, shared, pooled_curve(similarities, shared))
    if not only_pairs:
        queries = query_scores(similarities, shared, DEFAULT_KS)
        found |= query_influences(similarities, shared, queries, DEFAULT_KS)
    return found


def measure(data: Path, folder: Path, case: Case) -> str:
    """Add the repeats that a case's file lacks, and say what that took."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name.replace(' ', '_')}.jsonl"
    done = {row["repeat"] for row in rows_of(path)}
    missing = [repeat for repeat in range(case.repeats) if repeat not in done]
    started = time.process_time()
    if missing:
        population = Population(data, case.standard)
        with path.open("a", encoding="utf-8") as file:
            for repeat in missing:
                file.write(json.dumps(measured(population, case, repeat)) + "\n")
                file.flush()
    return f"{case.name}: {len(missing)} repeats, {time.process_time() - started:.0f} s"


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines of a file; one that was cut short is measured again."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.endswith("}"):
                yield json.loads(line)


def judged(rows: Sequence[dict[str, Any]], score: str, shrinkage: float) -> dict[str, float]:
    """How often the intervals of a score cover the mean score, and equal methods differ."""
    scale = np.log if score == "lift" else scipy.special.logit
    estimates = [[Estimate(*estimate) for estimate in row[score]] for row in rows]
    values = np.array([one[0].value for one in estimates])
    ends = np.array([interval(score, one[0])[:2] for one in estimates], np.float64)
    value, low, high = scale(np.column_stack([values, ends])).T
    target = scale(values.mean())
    inside = (target >= value - (value - low) * shrinkage) & (
        target <= value + (high - value) * shrinkage
    )
    found = {"covers": float(inside.mean()), "repeats": len(rows)}
    if score == "lift":
        found["excludes chance"] = float(((ends[:, 0] > 1) | (ends[:, 1] < 1)).mean())
    if len(estimates[0]) > 1:
        p_values = [tested(*one[1:])["p_value"] for one in estimates]
        found["differs"] = float((np.array(p_values) <= 0.05).mean())
    return found


def table(data: Path, folder: Path, cases: Sequence[Case] = CASES) -> Iterator[str]:
    """Lines of Markdown: a row a score, a column a case, and a star at what does not hold."""
    columns: dict[str, list[str]] = {}
    for case in cases:
        found = list(rows_of(folder / f"{case.name.replace(' ', '_')}.jsonl"))
        if not found:
            continue
        cells = columns[f"{case.name} ({len(found)})"] = []
        shrinkage = Population(data, case.standard).shrinkage(case.size)
        for score in SCORES:
            if case.chance and score != "lift":
                cells.append("")
                continue
            one = judged(found, score, shrinkage)
            if not case.chance:
                reach = 3 * np.sqrt(0.95 * 0.05 / len(found))
                holds = abs(one["covers"] - 0.95) <= reach and 0.03 <= one["differs"] <= 0.06
                cells.append(f"{one['covers']:.3f} / {one['differs']:.3f}{'' if holds else ' *'}")
            else:
                share = one["excludes chance"]
                cells.append(f"{share:.3f}{'' if 0.03 <= share <= 0.07 else ' *'}")
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for score, *cells in zip(SCORES, *columns.values(), strict=True):
        yield f"| {score} | {' | '.join(cells)} |"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, help="of each case at most")
    parser.add_argument("--only", nargs="*", metavar="CASE", help='such as "GO P 200"')
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    cases = [
        dataclasses.replace(case, repeats=min(case.repeats, arguments.repeats or case.repeats))
        for case in CASES
        if not arguments.only or case.name in arguments.only
    ]
    with ProcessPoolExecutor(arguments.workers) as pool:
        running = [pool.submit(measure, arguments.data, arguments.out, case) for case in cases]
        for one in running:
            sys.stdout.write(one.result() + "\n")
            sys.stdout.flush()
    sys.stdout.write("\n".join(table(arguments.data, arguments.out)) + "\n")


if __name__ == "__main__":
    main()
