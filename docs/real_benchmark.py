"""A benchmark of real profiles: classic features of 3,952 yeast proteins against 22 compartments.

    python docs/real_benchmark.py DATA OUT

DATA is a folder with `protein_features/WT2_averaged_features.txt.gz` (Lu et al. 2018) and
`localization/allOrfData.txt` (Huh et al. 2003); OUT receives the standards, the scaled profiles and
the results. Scores that are there already are only checked. Prints the tables of
docs/real-benchmark.md in Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from deeploc_tf.benchmark.similarity import cosine_similarities
from deeploc_tf.benchmark.standards import read_standard
from deeploc_tf.profiles.reading import read_profiles

PROFILES = Path("protein_features") / "WT2_averaged_features.txt.gz"
COMPARTMENTS = Path("localization") / "allOrfData.txt"
LARGEST_DIFFERENCE = 1e-12
SHOWN = {
    "proteins_scored": ",d",
    "pairs": ",d",
    "positive_pairs": ",d",
    "prevalence": ".4f",
    "average_precision": ".4f",
    "lift": ".3f",
    "normalized_average_precision": ".4f",
    "shuffled_average_precision": ".4f",
    "shuffled_average_precision_sd": ".4f",
    "mean_average_precision": ".4f",
    "mean_query_prevalence": ".4f",
    "precision_at_1": ".4f",
    "precision_at_10": ".4f",
    "precision_at_50": ".4f",
}


def write_standards(table: Path, out: Path) -> list[Path]:
    """The compartments of Huh et al. as GMT: all 22, and 20 without cytoplasm and nucleus.

    Members go by gene name, or by ORF where there is none. The columns of T and F between
    `ambiguous` and the end are the terms.
    """
    # rows end in a tab more than the header
    frame = pd.read_csv(table, sep="\t", index_col=False, usecols=range(32), keep_default_na=False)
    names = frame["gene name"].where(frame["gene name"] != "", frame["yORF"])
    names = names.replace("AAP1'", "AAP1")  # MSF1' and IMP2' are genes of their own
    terms = frame.columns[frame.columns.get_loc("ambiguous") + 1 :]
    lines = [
        "\t".join([term, "Huh et al. 2003", *sorted(set(names[frame[term] == "T"]))])
        for term in terms
    ]
    small = [line for line in lines if not line.startswith(("cytoplasm\t", "nucleus\t"))]
    paths = [out / "all22.gmt", out / "small20.gmt"]
    for path, chosen in zip(paths, (lines, small), strict=True):
        path.write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return paths


def write_scaled(profiles: Path, scaled: Path) -> None:
    """The profiles with every feature at mean 0 and standard deviation 1 over the proteins."""
    frame = pd.read_csv(profiles, sep="\t", index_col=0)
    values = StandardScaler().fit_transform(frame)
    pd.DataFrame(values, frame.index, frame.columns).to_csv(scaled, sep="\t")


def scores_of(profiles: Path, standards: list[Path], results: Path) -> dict[str, Any]:
    """What the command `benchmark` says, run in a process of its own unless it was before."""
    if not results.exists():
        words = ["benchmark", *map(str, [profiles, *standards, results])]
        print("$ deeploc-tf", *words, file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "deeploc_tf", *words], check=True, stdout=sys.stderr)
    scores: dict[str, Any] = json.loads((results / "scores.json").read_text())["standards"]
    return scores


def scores_of_sklearn(profiles: Path, standard: Path) -> dict[str, float]:
    """AP and mAP of the same similarities by scikit-learn, with positives counted anew."""
    table = read_profiles(profiles)
    proteins = table.metadata["protein"].tolist()
    terms = [[p in members for p in proteins] for members in read_standard(standard).terms.values()]
    kept = np.array([term for term in terms if sum(term) > 1])
    known = kept.any(axis=0)
    positive = (kept[:, known].T.astype(int) @ kept[:, known].astype(int)) > 0
    similarities = cosine_similarities(table.features, proteins)[np.ix_(known, known)]
    pairs = np.triu_indices(len(positive), 1)
    others = ~np.eye(len(positive), dtype=bool)
    queries = [
        average_precision_score(positive[i, others[i]], similarities[i, others[i]])
        for i in range(len(positive))
    ]
    return {
        "average_precision": float(average_precision_score(positive[pairs], similarities[pairs])),
        "mean_average_precision": float(np.mean(queries)),
    }


def print_table(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """A row a score, a column a standard with a table of profiles."""
    print(f"| | {' | '.join(scores)} |\n|---|{'---|' * len(scores)}")
    for name, form in SHOWN.items():
        cells = " | ".join(format(values[name], form) for values in scores.values())
        print(f"| {name} | {cells} |")


def check(name: str, ours: Mapping[str, Any], theirs: Mapping[str, float]) -> None:
    """Print scikit-learn's scores, and stop where ours are others."""
    for score, value in theirs.items():
        difference = abs(value - ours[score])
        print(f"{name} {score}: scikit-learn {value:.12f}, difference {difference:.1e}")
        if difference > LARGEST_DIFFERENCE:
            sys.exit(f"{score} must be that of scikit-learn. Received: {ours[score]} for {name}.")


def main() -> None:
    """Score raw and scaled profiles, print everything, compare with scikit-learn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    standards = write_standards(data / COMPARTMENTS, out)
    profiles = {"raw": data / PROFILES, "scaled": out / "scaled.tsv"}
    write_scaled(profiles["raw"], profiles["scaled"])
    scores = {name: scores_of(path, standards, out / name) for name, path in profiles.items()}
    pairs = [(standard, name) for standard in standards for name in profiles]
    print_table({f"{gmt.stem}, {name}": scores[name][gmt.stem] for gmt, name in pairs})
    for gmt, name in pairs:
        theirs = scores_of_sklearn(profiles[name], gmt)
        check(f"{gmt.stem}, {name}", scores[name][gmt.stem], theirs)


if __name__ == "__main__":
    main()
