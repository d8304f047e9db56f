"""What profiles know of function: standards with intervals, baselines and chance, and curves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deeploc_tf.report.benchmark_results import BenchmarkResults
from deeploc_tf.report.curves import average_precisions, precision_recall
from deeploc_tf.report.function_curves import function_curves
from deeploc_tf.report.methods import methods_compared
from deeploc_tf.report.page import Section
from deeploc_tf.report.reading import read_names

_SCORES = {
    "terms_scored": "terms",
    "prevalence": "prevalence",
    "average_precision": "AP",
    "average_precision_low": "AP, low",
    "average_precision_high": "AP, high",
    "lift": "lift",
    "shuffled_average_precision": "AP, shuffled",
    "shuffled_average_precision_sd": "its sd",
    "mean_average_precision": "mAP",
    "precision_at_10": "P@10",
}
_DIFFERENCES = {
    "score": "score",
    "standard": "standard",
    "other": "less",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "p_value": "p",
    "adjusted_p_value": "p, Holm",
}


def function_sections(folder: str | Path) -> list[Section]:
    """Scores of the standards in a folder that `benchmark` wrote.

    Raises:
        ValueError: the folder holds something else.
        OSError: a file cannot be read.
    """
    found = BenchmarkResults.of(folder)
    methods = found.methods
    several = len(methods) > 1
    rows = [
        ({"method": method} if several else {})
        | {"standard": name}
        | {title: numbers.get(score) for score, title in _SCORES.items()}
        for method, standards in (methods or {"": found.standards}).items()
        for name, numbers in standards.items()
    ]
    table = pd.DataFrame(rows).dropna(axis=1, how="all").round(4)
    sections = [
        Section(
            f"Function: {found.folder.name}",
            "Pairs of proteins are ranked by the similarity of their profiles; a pair is right if "
            "the two share a term.",
            table=table,
            caption="Low, high: 95% interval over samples of proteins. Prevalence: the share of "
            "right pairs, which is the AP of chance; lift: AP over prevalence. Shuffled: the same "
            "profiles, given to the proteins at random.",
        ),
        Section("", picture=average_precisions(found), alt="Average precision of each standard"),
        Section("", picture=precision_recall(found), alt="Precision against recall"),
    ]
    if several:
        sections.append(Section("", picture=methods_compared(found), alt="Scores of each method"))
    if differences := found.scores.get("differences"):
        less = pd.DataFrame(differences)
        first = less["method"].iloc[0]
        shown = less[[name for name in _DIFFERENCES if name in less]].rename(columns=_DIFFERENCES)
        caption = f"{first} less the others, on the same proteins, with 95% intervals."
        sections.append(Section("", table=shown.round(4), caption=caption))
    return sections


def function_by_epoch(path: str | Path) -> Section:
    """Scores after each epoch, as `FunctionByEpoch` wrote them to a CSV file.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    return Section(
        "Function against the epoch",
        picture=function_curves(read_names(Path(path), "epoch")),
        alt="Average precision against the epoch, by standard",
        caption="Profiles of validation cells. Epoch 0 is the untrained network.",
    )
