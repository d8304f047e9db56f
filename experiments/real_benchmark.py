"""A benchmark of real profiles: classic features of 3,952 yeast proteins against seven standards.

    python experiments/real_benchmark.py DATA OUT [--quick]

DATA is a folder with `protein_features` (Lu et al. 2018), `localization` (Huh et al. 2003) and
`standards` (GO slim, KEGG, Complex Portal, CYC2008, SGD's names). OUT receives the scaled profiles
and the results; results that are there already are only read. Prints the commands, the tables of
docs/real-benchmark.md in Markdown, and scikit-learn's scores of the same similarities; stops where
these differ by more than 1e-12. `--quick` leaves out clusters, intervals and p-values.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from deeploc_tf.benchmark.comparable import comparable
from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.similarity import cosine_similarities
from deeploc_tf.benchmark.standards import read_standard

LARGEST_DIFFERENCE = 1e-12
QUICK = ("--permutations", "0", "--no-intervals", "--shuffles", "2")
SHOWN = {
    "proteins_scored": ",d",
    "terms_scored": ",d",
    "positive_pairs": ",d",
    "prevalence": ".4f",
    "average_precision": ".4f",
    "average_precision_low": ".4f",
    "average_precision_high": ".4f",
    "lift": ".2f",
    "normalized_average_precision": ".4f",
    "maximal_f1": ".4f",
    "shuffled_average_precision": ".4f",
    "mean_average_precision": ".4f",
    "mean_query_prevalence": ".4f",
    "mean_auroc": ".4f",
    "significant_queries": ".4f",
    "precision_at_10": ".4f",
    "recall_at_10": ".4f",
    "adjusted_mutual_information": ".4f",
    "shuffled_adjusted_mutual_information": ".4f",
    "cluster_f1": ".4f",
    "shuffled_cluster_f1": ".4f",
}


def command(*words: object) -> None:
    """Run `deeploc-tf` in a process of its own, and say how."""
    print("$ deeploc-tf", *words, file=sys.stderr, flush=True)
    subprocess.run(
        [sys.executable, "-m", "deeploc_tf", *map(str, words)], check=True, stdout=sys.stderr
    )


def prepare(data: Path, out: Path) -> dict[str, Path]:
    """Scaled profiles, and the compartments without cytoplasm and nucleus."""
    raw = data / "protein_features" / "WT2_averaged_features.txt.gz"
    paths = {"scaled": out / "scaled.tsv", "raw": raw, "Huh20": out / "huh20.gmt"}
    frame = pd.read_csv(raw, sep="\t", index_col=0)
    values = StandardScaler().fit_transform(frame)
    pd.DataFrame(values, frame.index, frame.columns).to_csv(paths["scaled"], sep="\t")
    if not paths["Huh20"].exists():
        two = ("--exclude-term", "cytoplasm", "--exclude-term", "nucleus")
        command("standards", data / "localization/allOrfData.txt", *two, "--gmt", paths["Huh20"])
    return paths


def score(data: Path, out: Path, paths: dict[str, Path], extent: tuple[str, ...]) -> dict[str, Any]:
    """All standards, then complexes and pathways in the sizes of the independent count."""
    folder = data / "standards"
    complexes = [
        ("-s", f"KEGG={folder / 'kegg_cut1-6.tsv'}"),
        ("-s", f"Portal={folder / 'Yeast_complex_portal_2022.tsv'}"),
        ("-s", f"CYC2008={folder / 'cyc2008.txt'}"),
    ]
    all_of_them = [
        ("-s", f"GO={folder / 'go_slim_mapping_2015.tab.gz'}", "--aspect", "C", "--aspect", "P"),
        *complexes,
        ("-s", f"Huh22={data / 'localization/allOrfData.txt'}"),
        ("-s", f"Huh20={paths['Huh20']}"),
    ]
    names = []
    for table in ("SGD_features.tab.gz", "swissprot_cut1-5.tsv"):
        names += ["--identifiers", folder / table]
    profiles = [f"{name}={paths[name]}" for name in ("scaled", "raw")]
    runs = {"results": (all_of_them, extent), "sized": (complexes, QUICK)}
    found = {}
    for name, (standards, options) in runs.items():
        sizes = ("--min-size", 3, "--max-size", 150) if name == "sized" else ()
        words = [word for standard in standards for word in standard]
        if not (out / name).exists():
            command("benchmark", *profiles, out / name, *words, *names, *sizes, *options)
        found[name] = json.loads((out / name / "scores.json").read_text(encoding="utf-8"))
    return found


def print_table(method: dict[str, Any]) -> None:
    """A row a score, a column a standard."""
    standards = method["standards"]
    print(f"\n| {method['name']} | {' | '.join(standards)} |\n|---|{'---|' * len(standards)}")
    for name, form in SHOWN.items():
        if all(name in values for values in standards.values()):
            numbers = [values[name] for values in standards.values()]
            cells = " | ".join("-" if n is None else format(n, form) for n in numbers)
            print(f"| {name} | {cells} |")


def check(data: Path, paths: dict[str, Path], scores: dict[str, Any]) -> None:
    """Compare with scikit-learn's scores of the same similarities, positives counted anew."""
    folder = data / "standards"
    names = read_identifiers(folder / "SGD_features.tab.gz", folder / "swissprot_cut1-5.tsv")
    named = [(name, paths[name]) for name in ("scaled", "raw")]
    table = comparable(named, identifiers=names)[0].profiles
    proteins = table.metadata["protein"].tolist()
    whole = cosine_similarities(table.features, proteins)
    for standard, path in (
        ("KEGG", folder / "kegg_cut1-6.tsv"),
        ("Portal", folder / "Yeast_complex_portal_2022.tsv"),
        ("CYC2008", folder / "cyc2008.txt"),
        ("Huh20", paths["Huh20"]),
    ):
        terms = read_standard(path, identifiers=names).terms.values()
        kept = np.array([t for t in ([p in m for p in proteins] for m in terms) if sum(t) > 1])
        known = kept.any(axis=0)
        positive = (kept[:, known].T.astype(int) @ kept[:, known].astype(int)) > 0
        similarities = whole[np.ix_(known, known)]
        pairs = np.triu_indices(len(positive), 1)
        others = ~np.eye(len(positive), dtype=bool)
        queries = [
            average_precision_score(positive[i, others[i]], similarities[i, others[i]])
            for i in range(len(positive))
        ]
        theirs = {
            "average_precision": average_precision_score(positive[pairs], similarities[pairs]),
            "mean_average_precision": np.mean(queries),
        }
        for score_name, value in theirs.items():
            difference = abs(value - scores[standard][score_name])
            print(f"{standard} {score_name}: scikit-learn {value:.12f}, off by {difference:.1e}")
            if difference > LARGEST_DIFFERENCE:
                sys.exit(f"{score_name} of {standard} must be that of scikit-learn.")


def main() -> None:
    """Score raw and scaled profiles, print everything, compare with scikit-learn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = prepare(arguments.data, arguments.out)
    extent = QUICK if arguments.quick else ("--draws", "10")
    found = score(arguments.data, arguments.out, paths, extent)
    for values in found.values():
        for method in values["methods"]:
            print_table(method)
    check(arguments.data, paths, found["results"]["methods"][0]["standards"])


if __name__ == "__main__":
    main()
