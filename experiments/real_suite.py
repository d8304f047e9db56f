"""Real profiles on the suite yeast: classic features, labels, and both, as tables of Markdown.

    python experiments/real_suite.py DATA OUT

DATA has `protein_features`, `localization` and `standards`, see docs/real-benchmark.md.
OUT receives tables and scores; those that are there already are only read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler, normalize

from deeploc_tf.benchmark.comparable import comparable
from deeploc_tf.benchmark.labels import label_profiles
from deeploc_tf.benchmark.suite import Suite, open_suite
from deeploc_tf.benchmark.suite_scores import score_suite


def tables(data: Path, out: Path, suite: Suite) -> None:
    """Scaled features; and beside them, of the same length, the compartments of Huh 2003."""
    frame = pd.read_csv(
        data / "protein_features" / "WT2_averaged_features.txt.gz", sep="\t", index_col=0
    )
    values = StandardScaler().fit_transform(frame)
    scaled = pd.DataFrame(values, frame.index, frame.columns)
    scaled.rename_axis("protein").to_csv(out / "features.csv")
    labels = label_profiles(suite.labels["Huh 2003"])
    named = [("features", out / "features.csv"), ("labels", labels)]
    parts = comparable(named, identifiers=suite.identifiers)
    both = np.hstack([normalize(part.profiles.features) for part in parts])
    names = parts[0].profiles.metadata["protein"]
    pd.DataFrame(both, names).add_prefix("x").to_csv(out / "both.csv")


def scored(out: Path, name: str, suite: Suite) -> dict[str, Any]:
    """Scores of a table, computed where they are not there yet."""
    path = out / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(score_suite(out / f"{name}.csv", suite), indent=1), "utf-8")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def ranged(numbers: dict[str, Any], score: str, form: str = ".3f") -> str:
    """A score with its interval."""
    if numbers.get(score) is None:
        return "-"
    low, high = numbers.get(f"{score}_low"), numbers.get(f"{score}_high")
    ends = "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
    return f"{numbers[score]:{form}}{ends}"


def row(*cells: object) -> None:
    """A row of Markdown."""
    print("|", " | ".join(map(str, cells)), "|")


def main() -> None:
    """Print the tables of the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    suite = open_suite("yeast", arguments.data)
    tables(arguments.data, arguments.out, suite)
    features = scored(arguments.out, "features", suite)
    both = scored(arguments.out, "both", dataclasses.replace(suite, labels={}, abundance=None))
    print("coverage:", features["coverage"]["share"], features["coverage"]["proteins"])
    row(
        "standard", "proteins", "prevalence", "AP", "lift", "random", "mAP", "prevalence of queries"
    )
    for name, one in features["scores"].items():
        random = features["baselines"]["random"]["scores"][name]["average_precision"]
        row(
            name,
            f"{one['proteins_scored']:,}",
            f"{one['prevalence']:.4f}",
            ranged(one, "average_precision", ".4f"),
            ranged(one, "lift", ".2f"),
            f"{random:.4f}",
            ranged(one, "mean_average_precision", ".4f"),
            f"{one['mean_query_prevalence']:.4f}",
        )
    for name, beside in features["baselines"].items():
        ours = beside.get("table", features)
        p_values = {
            (r["standard"], r["score"]): r.get("adjusted_p_value")
            for r in beside["table_less_this"]
        }
        print(f"\n{name}: {beside['proteins']} proteins")
        for standard, theirs in beside["scores"].items():
            own = ours["scores"][standard]
            is_huh = name == "labels: Huh 2003"
            row(
                standard,
                f"{own['prevalence']:.4f}",
                f"{own['average_precision']:.4f}",
                f"{theirs['average_precision']:.4f}",
                f"p {p_values.get((standard, 'average_precision'))}",
                f"{both['scores'][standard]['average_precision']:.4f}" if is_huh else "",
                f"{own['mean_average_precision']:.4f}",
                f"{theirs['mean_average_precision']:.4f}",
                f"p {p_values.get((standard, 'mean_average_precision'))}",
                f"{both['scores'][standard]['mean_average_precision']:.4f}" if is_huh else "",
                own.get("conditional_pairs", ""),
                own.get("conditional_positive_pairs", ""),
                ranged(own, "conditional_lift", ".2f") if "conditional_lift" in own else "",
                ranged(own, "conditional_mean_average_precision")
                if "conditional_lift" in own
                else "",
                own.get("conditional_mean_query_prevalence", ""),
            )
        for test, theirs in beside["prospective"].items():
            own = ours["prospective"][test]
            mixed = ranged(both["prospective"][test], "auroc") if name.endswith("Huh 2003") else ""
            p_value = p_values.get((test, "auroc"))
            row(
                test,
                own["annotations"],
                ranged(own, "auroc"),
                ranged(theirs, "auroc"),
                p_value,
                mixed,
            )


if __name__ == "__main__":
    main()
