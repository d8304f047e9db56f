"""What `evaluate` found, with the crops behind it: classes, confusions, calibration, proteins."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.provenance import check_unchanged
from deeploc_tf.report.calibration import reliability_diagram
from deeploc_tf.report.data_set import DataSet
from deeploc_tf.report.page import Section
from deeploc_tf.report.reading import read_confusion, read_json, read_names

_CROPS_SHOWN = 4  # best ones of a class, and as many worst ones
_CLASSES_SHOWN = 100
_BEHIND = 8  # crops behind a cell of the confusion matrix
_MOST_BEHIND = 3000  # behind all of them, some 2 MB
_PROTEINS_SHOWN = 20
_LARGEST_MATRIX = 150  # classes
_SHADES = 10


class _Shown(NamedTuple):
    """A crop on the page, as the template `crops.html` names its parts."""

    address: str
    alt: str
    caption: str


_Chosen = tuple[str, float]  # key, and the probability that is shown


class Evaluation:
    """What `evaluate` wrote, of the model of a run.

    Args:
        folder: that `evaluate` wrote.
        records_digest: of the records that the run was trained on.

    Raises:
        ValueError: it is of another model, or not what `evaluate` writes.
    """

    def __init__(self, folder: str | Path, records_digest: str) -> None:
        self.folder = Path(folder)
        self.metrics = read_json(self.folder / "metrics.json")
        trained_on = self.metrics.get("trained_on_records_digest")
        if trained_on != records_digest:
            msg = (
                "An evaluation must be of the run's model. Received: "
                f"{folder}, of a model trained on records {trained_on}, expected "
                f"{records_digest}. Evaluate the run again."
            )
            raise ValueError(msg)
        self._several = "exact_match" in self.metrics

    def sections(self, data: DataSet | None) -> list[Section]:
        """All there is to show; crops where the data set is given."""
        self._check_same_records(data)
        per_class = read_names(self.folder / "per_class.csv", "class")
        title = f"Evaluation on {' + '.join(self.metrics['splits'])}"
        views = self.metrics["num_views"]
        text = (
            f"{self.metrics['num_crops']:,} crops, {views} view{'s' if views != 1 else ''} of each."
        )
        if (refused := self.metrics.get("num_not_accepted")) is not None:
            text += f" {refused:,} are not accepted: novel, blurred, empty or saturated."
        largest = self._largest(per_class)
        note = "" if len(largest) == len(per_class) else f", the largest of {len(per_class):,}"
        sections = [Section(title, text, table=largest.round(4), caption=f"Classes{note}.")]
        behind = self._behind() if data is not None and self._has_confusion else {}
        extremes = [] if data is None else self._best_and_worst(largest["class"])
        chosen = [*behind.values(), *(part for _, *parts in extremes for part in parts)]
        show = self._pictures(data, {key for crops in chosen for key, _ in crops})
        if self._has_confusion:
            names, counts = read_confusion(self.folder / "confusion.csv")
            pictures = {cell: show(crops) for cell, crops in behind.items()}
            sections.append(confusion_section(names, counts, pictures))
        if (self.folder / "reliability.csv").exists():
            sections.append(
                Section(
                    "Calibration",
                    picture=reliability_diagram(self.folder),
                    alt="Accuracy against confidence",
                )
            )
        sections += self._proteins()
        if extremes:
            more = len(per_class) - len(extremes)
            note = f" {more} further classes have no crop, or fewer, and are not shown."
            sections.append(
                Section(
                    "Best and worst crops",
                    "Crops of each class to which the model gives the highest probability of "
                    "their class, and the lowest.",
                    template="class_crops.html",
                    values={
                        "classes": [(n, show(best), show(worst)) for n, best, worst in extremes]
                    },
                    caption=f"{_STRETCHED} The number is the probability of the class."
                    + (note if more else ""),
                )
            )
        return sections

    def labels_of_proteins(self) -> dict[str, str]:
        """Protein -> the class of its crops, where each has one."""
        path = self.folder / "per_protein.csv"
        table = read_names(path, "protein") if path.exists() else pd.DataFrame()
        return dict(zip(table["protein"], table["label"], strict=True)) if "label" in table else {}

    def calls(self) -> pd.DataFrame:
        """Columns `key`, `call` and `confidence` of the crops that were evaluated."""
        table = self._predictions
        found = table[["key"]].assign(call=table["predicted"])
        return found.assign(confidence=self._probabilities.max(axis=1))

    @property
    def _has_confusion(self) -> bool:
        return (self.folder / "confusion.csv").exists()

    @functools.cached_property
    def _predictions(self) -> pd.DataFrame:
        path = self.folder / "predictions.parquet"
        check_unchanged(path)
        try:
            table: pd.DataFrame = pd.read_parquet(path)
            missing = {"key", "protein", "label", "predicted"} - set(table)
        except ValueError as error:
            msg = f"{path.name} must be one that `evaluate` wrote. Received: {path} ({error})."
            raise ValueError(msg) from error
        if missing:
            msg = f"{path} must have the columns {', '.join(sorted(missing))}. Evaluate again."
            raise ValueError(msg)
        return table

    @property
    def _probabilities(self) -> pd.DataFrame:
        """Those of all classes; of a model that tells proteins the highest alone."""
        if "probability_of_label" in self._predictions:
            return self._predictions[["probability"]]
        return self._predictions.filter(regex="^probability_")

    def _probability_of(self, name: str) -> pd.Series[float]:
        """The probability of a class; right for its own crops alone where classes are proteins."""
        of_label = "probability_of_label" in self._predictions
        return self._predictions["probability_of_label" if of_label else f"probability_{name}"]

    def _check_same_records(self, data: DataSet | None) -> None:
        if data is not None and data.manifest.digest != self.metrics.get("records_digest"):
            msg = (
                "Records must be those of the evaluation. Received: "
                f"digest {data.manifest.digest} of {data.folder}, expected "
                f"{self.metrics.get('records_digest')}. Give the records that were evaluated."
            )
            raise ValueError(msg)

    def _behind(self) -> dict[tuple[str, str], list[_Chosen]]:
        """The surest crops behind each cell of the matrix, the largest cells first."""
        table = self._predictions.assign(sure=self._probabilities.max(axis=1))
        table = table.sort_values("sure", ascending=False, kind="stable")
        cells = {
            (str(label), str(said)): list(zip(rows["key"], rows["sure"], strict=True))
            for (label, said), rows in table.groupby(["label", "predicted"], sort=False)
        }
        each = int(np.clip(_MOST_BEHIND // max(len(cells), 1), 1, _BEHIND))
        largest = sorted(cells, key=lambda cell: -len(cells[cell]))[: _MOST_BEHIND // each]
        return {cell: cells[cell][:each] for cell in largest}

    @staticmethod
    def _largest(per_class: pd.DataFrame) -> pd.DataFrame:
        """The classes that are shown: all, or those with the most crops."""
        if len(per_class) <= _CLASSES_SHOWN:
            return per_class
        order = per_class.sort_values("support", ascending=False, kind="stable")
        return order.head(_CLASSES_SHOWN).reset_index(drop=True)

    def _best_and_worst(
        self, names: Iterable[str]
    ) -> list[tuple[str, list[_Chosen], list[_Chosen]]]:
        """Name, best and worst crops of the classes that have crops."""
        labels = self._predictions["label"].astype(str)
        sets = labels.str.split("|").map(frozenset) if self._several else None
        found = []
        for name in names:
            rows = labels == name if sets is None else sets.map(lambda s, n=name: n in s)
            of_class = self._probability_of(name)[rows.to_numpy(np.bool_)]
            order = of_class.sort_values(ascending=False, kind="stable")
            crops = list(zip(self._predictions["key"][order.index], order, strict=True))
            if crops:
                found.append(
                    (name, crops[:_CROPS_SHOWN], crops[_CROPS_SHOWN:][-_CROPS_SHOWN:][::-1])
                )
        return found

    def _pictures(
        self, data: DataSet | None, keys: set[str]
    ) -> Callable[[Sequence[_Chosen]], list[_Shown]]:
        """What gives crops their pictures, which are read together."""
        addresses = {} if data is None else data.pictures(self.metrics["splits"], keys)
        rows = self._predictions[self._predictions["key"].isin(addresses)].set_index("key")

        def show(crops: Sequence[_Chosen]) -> list[_Shown]:
            shown = []
            for key, probability in crops:
                protein, label, said = map(str, rows.loc[key, ["protein", "label", "predicted"]])
                alt = f"{key}: {protein or 'no protein'}, {label}, called {said or 'nothing'}"
                shown.append(_Shown(addresses[key], alt, f"{protein or key} {probability:.3f}"))
            return shown

        return show

    def _proteins(self) -> list[Section]:
        path = self.folder / "per_protein.csv"
        if not path.exists():
            return []
        table = read_names(path, "protein")
        by = "agreement" if "agreement" in table else "correct"  # of several labels a crop
        worst = table.sort_values(by, kind="stable").head(_PROTEINS_SHOWN)
        return [
            Section(
                "Proteins",
                table=worst.round(4).reset_index(drop=True),
                caption=f"The {len(worst)} of {len(table)} whose crops agree least.",
            )
        ]


_STRETCHED = "Each crop is stretched by itself, from the 1st to the 99.8th percentile."


def confusion_section(
    names: Sequence[str],
    counts: NDArray[np.int64],
    behind: Mapping[tuple[str, str], Sequence[_Shown]] | None = None,
) -> Section:
    """A confusion matrix whose cells open the crops behind them, where there are some.

    Args:
        names: of the classes.
        counts: of crops, `(num_classes, num_classes)`, true classes in rows.
        behind: true and called class -> some of these crops.
    """
    total, right = int(counts.sum()), int(np.trace(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    text = f"{total:,} crops, accuracy {right / max(total, 1):.3f}."
    if len(names) > _LARGEST_MATRIX:
        wrong = counts - np.diag(np.diag(counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:_CLASSES_SHOWN]
        cells = (divmod(int(place), len(names)) for place in order)
        found = [(names[i], names[j], int(wrong[i, j])) for i, j in cells if wrong[i, j]]
        table = pd.DataFrame(found, columns=["true", "called", "crops"])
        text += f" Of {len(names):,} classes the most frequent confusions are shown."
        return Section("Confusion matrix", text, table=table)
    behind = behind or {}
    rows = [
        {
            "name": name,
            "number": number,
            "cells": list(_cells(name, names, counts[number - 1], shares[number - 1], behind)),
        }
        for number, name in enumerate(names, start=1)
    ]
    text += " Colors are shares of a row."
    if behind:
        text += " A number opens the surest of its crops."
    return Section(
        "Confusion matrix",
        text,
        template="confusion.html",
        values={"names": list(names), "rows": rows},
        caption=_STRETCHED if behind else "",
    )


def _cells(
    true: str,
    names: Sequence[str],
    counts: Iterable[Any],
    shares: Iterable[Any],
    behind: Mapping[tuple[str, str], Sequence[_Shown]],
) -> Iterable[dict[str, Any]]:
    for number, (name, count, share) in enumerate(zip(names, counts, shares, strict=True), start=1):
        yield {
            "number": number,
            "count": f"{count:,}" if count else "",
            "shade": int(np.ceil(share * _SHADES)),
            "title": f"{true} called {name}: {count:,} crops, {share:.1%}",
            "crops": list(behind.get((true, name), ())),
        }
