"""The report of a run: what was trained, on what, how well it does, and the cells behind that."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.report.calibration import reliability_diagram
from deeploc_tf.report.crops import crop_sheet
from deeploc_tf.report.curves import (
    AS_TEXT,
    confusion_matrix,
    precision_recall,
    read_csv,
    scores_of,
    training_curves,
)
from deeploc_tf.report.function_curves import function_curves
from deeploc_tf.report.map import protein_map
from deeploc_tf.report.methods import methods_compared
from deeploc_tf.report.page import Section, write_page
from tfrecords.inspect import summarize
from tfrecords.reader import read_crops

_CROPS_SHOWN = 4  # of a class
_CONFUSIONS_SHOWN = 12
_PROTEINS_SHOWN = 20
_SCORES = {
    "terms_scored": "terms",
    "prevalence": "prevalence",
    "average_precision": "AP",
    "average_precision_low": "AP, low",
    "average_precision_high": "AP, high",
    "lift": "lift",
    "shuffled_average_precision": "AP, shuffled",
    "mean_average_precision": "mAP",
}
_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "macro_ap": "macro AP",
}


def write_report(
    output: str | Path,
    run: str | Path,
    *,
    evaluation: str | Path | None = None,
    records: str | Path | None = None,
    benchmarks: Iterable[str | Path] = (),
    profiles: str | Path | None = None,
    function: str | Path | None = None,
) -> tuple[str, ...]:
    """Write a page about a run, in one file; what it lacks is named on it.

    Args:
        output: the page, by custom ending in .html; a file that is there is replaced.
        run: folder of a training, finished or not.
        evaluation: folder that `evaluate` wrote for this run.
        records: data set that was evaluated, whose cells to show.
        benchmarks: folders that `benchmark` wrote.
        profiles: table of profiles, for the map.
        function: CSV file of scores by epoch that `FunctionByEpoch` wrote.

    Returns:
        What the page does not show, and what would add it.

    Raises:
        ValueError: a file is not what this package writes, or is of another run or data set.
        OSError: a file cannot be read or written.
    """
    run, benchmarks = Path(run), tuple(benchmarks)
    config = _json(run / "config.json")
    if absent := {"config", "deeploc_tf", "records_digest", "schema"} - config.keys():
        msg = (
            "config.json must be one that `fit` wrote. Received: "
            f"{run / 'config.json'} without {', '.join(sorted(absent))}."
        )
        raise ValueError(msg)
    missing: list[str] = []
    sections = [*_what_was_run(run, config), *_training(run, missing)]
    tested = None if evaluation is None else _Evaluation(Path(evaluation), config)
    if records is not None:
        sections.append(_records(records))
    else:
        missing.append("The data set and its cells: add --records RECORDS.")
    if tested is None:
        missing.append(
            "Calibration, classes, proteins and cells: run `deeploc-tf evaluate RUN RECORDS "
            "EVALUATION`, and add --evaluation EVALUATION."
        )
    else:
        sections += tested.sections()
        if records is not None:
            sections += tested.crops(records, missing)
    for folder in benchmarks:
        sections += _benchmark(Path(folder))
    if not benchmarks:
        missing.append(
            "Function: run `deeploc-tf embed` and `deeploc-tf benchmark`, and add --benchmark "
            "RESULTS."
        )
    if function is not None:
        sections.append(_function(Path(function)))
    if profiles is None:
        missing.append("The map: add --profiles TABLE.")
    else:
        places = {} if tested is None else tested.places()
        sections.append(_map(Path(profiles), places))
    if missing:
        sections.append(Section("What this page does not show", "\n".join(missing)))
    write_page(output, f"Report of {run.name}", sections)
    return tuple(missing)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path.name} must be JSON that this package wrote. Received: {path} ({error})."
        raise ValueError(msg) from error
    if not isinstance(values, dict):
        msg = f"{path.name} must hold a JSON object. Received: {path}, {type(values).__name__}."
        raise ValueError(msg)
    return values


def _table(path: Path, *columns: str) -> pd.DataFrame:
    return read_csv(path, columns, converters=AS_TEXT)


def _what_was_run(run: Path, config: Mapping[str, Any]) -> list[Section]:
    settings: dict[str, Any] = {**config["config"], **config.get("resolved", {})}
    schema = config["schema"]
    rows = {
        "folder": str(run),
        "records, digest": config["records_digest"],
        "crops": " × ".join(map(str, schema["image_shape"])) + f" {schema['dtype']}",
        "channels": ", ".join(schema["channels"]),
        "classes": ", ".join(config.get("class_names") or schema["label_names"]),
        "deeploc-tf": config["deeploc_tf"],
    }
    if (run / "environment.json").exists():
        environment = _json(run / "environment.json")
        packages = environment.get("packages", {})
        rows |= {
            "Python": environment.get("python", ""),
            "packages": ", ".join(f"{n} {v}" for n, v in packages.items() if v),
            "machine": environment.get("platform", ""),
            "command": shlex.join(environment.get("command", [])),
        }
    table = pd.DataFrame([(name, str(value)) for name, value in rows.items()], columns=["", " "])
    chosen = pd.DataFrame(
        [(name, _text(value)) for name, value in settings.items() if value is not None],
        columns=["setting", "value"],
    )
    return [
        Section("What was run", table=table),
        Section("", table=chosen, caption="Settings, with what the preset made of them."),
    ]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _training(run: Path, missing: list[str]) -> list[Section]:
    sections = []
    if (run / "history.csv").exists():
        sections.append(
            Section(
                "The training",
                picture=training_curves(run),
                alt="Loss and accuracy against the epoch",
            )
        )
    else:
        missing.append("The training: no epoch has ended yet.")
    if not (run / "metrics.json").exists():
        missing.append("Metrics: the training has not ended.")
        return sections
    metrics = _json(run / "metrics.json")
    rows = [
        {"split": split, "crops": metrics[split]["num_crops"]}
        | {title: metrics[split].get(name) for name, title in _METRICS.items()}
        | {"accuracy, majority": metrics[split].get("majority_accuracy")}
        for split in ("validation", "test")
        if isinstance(metrics.get(split), dict)
    ]
    if rows:
        table = pd.DataFrame(rows).dropna(axis=1, how="all").round(4)
        sections.append(
            Section("How well it does", table=table, caption="Majority: always the largest class.")
        )
    if (run / "confusion.csv").exists():
        sections.append(
            Section("", picture=confusion_matrix(run), alt="Confusion matrix of the test crops")
        )
    return sections


def _records(records: str | Path) -> Section:
    found = summarize(records)
    rows = [
        {
            "split": split,
            "crops": size.num_crops,
            "proteins": len(found.counts.get(split, {}).get("protein", {})),
            **found.counts.get(split, {}).get("label", {}),
        }
        for split, size in found.splits.items()
    ]
    columns = ", ".join(found.schema.metadata) or "none"
    size = found.schema.pixel_size
    aside = ", ".join(f"{reason}: {count:,}" for reason, count in found.rejects.items())
    lines = [
        f"{found.num_crops:,} crops, {found.num_bytes / 1e6:,.1f} MB, digest {found.digest}.",
        f"Pixels are {'of unknown size' if size is None else f'{size} micrometers wide'}. "
        f"Metadata: {columns}.",
        *([f"Left out: {aside}."] if aside else []),
    ]
    table = pd.DataFrame(rows).set_index("split").T.rename_axis(None)
    return Section("The data set", "\n".join(lines), table=table)


class _Evaluation:
    """What `evaluate` wrote, of the model of a run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.metrics = _json(folder / "metrics.json")
        trained_on = self.metrics.get("trained_on_records_digest")
        if trained_on != config["records_digest"]:
            msg = (
                "An evaluation must be of the run's model. Received: "
                f"{folder}, of a model trained on records {trained_on}, expected "
                f"{config['records_digest']}. Evaluate the run again."
            )
            raise ValueError(msg)

    def sections(self) -> list[Section]:
        """Calibration, and tables of classes and proteins."""
        metrics = self.metrics
        title = f"Evaluation on {' + '.join(metrics['splits'])}"
        text = f"{metrics['num_crops']:,} crops, {metrics['num_views']} views of each."
        per_class = _table(self.folder / "per_class.csv", "class").round(4)
        sections = [Section(title, text, table=per_class, caption="Classes.")]
        if (self.folder / "reliability.csv").exists():
            sections.append(
                Section(
                    "Calibration",
                    picture=reliability_diagram(self.folder),
                    alt="Accuracy against confidence",
                )
            )
        if (self.folder / "per_protein.csv").exists():
            table = _table(self.folder / "per_protein.csv", "protein", "agreement")
            worst = table.sort_values("agreement", kind="stable").head(_PROTEINS_SHOWN).round(4)
            sections.append(
                Section(
                    "Proteins",
                    table=worst,
                    caption=f"The {len(worst)} of {len(table)} whose crops agree least.",
                )
            )
        return sections

    def places(self) -> dict[str, str]:
        """Protein -> the class of its crops."""
        path = self.folder / "per_protein.csv"
        if not path.exists():
            return {}
        table = _table(path, "protein")
        return dict(zip(table["protein"], table["label"], strict=True)) if "label" in table else {}

    def crops(self, records: str | Path, missing: list[str]) -> list[Section]:
        """The surest right and wrong crops of each class, and those behind the confusions."""
        digest = summarize(records).digest
        if digest != self.metrics.get("records_digest"):
            msg = (
                "Records must be those of the evaluation. Received: "
                f"digest {digest} of {records}, expected {self.metrics.get('records_digest')}. "
                "Give the records that were evaluated."
            )
            raise ValueError(msg)
        table = pd.read_parquet(self.folder / "predictions.parquet")
        probabilities = table.filter(regex="^probability_")
        if probabilities.empty or "micro_ap" in self.metrics:
            missing.append("Cells: they are shown where each has one label.")
            return []
        table["probability"] = probabilities.max(axis=1)
        table = table.sort_values("probability", ascending=False, kind="stable")
        is_right = table["label"] == table["predicted"]
        right = _first_of_each(table[is_right], table["label"][is_right])
        wrong = _first_of_each(table[~is_right], table["label"][~is_right])
        confused = table[~is_right]
        pairs = confused["label"] + " called " + confused["predicted"]
        largest = pairs.value_counts().head(_CONFUSIONS_SHOWN)
        behind = {
            f"{name} ({count:,})": confused["key"][pairs == name].head(_CROPS_SHOWN).tolist()
            for name, count in largest.items()
        }
        sheets = (
            ("Cells", right, "The crops of each class that are right and surest."),
            ("", wrong, "The crops of each class that are wrong and surest."),
            ("", behind, "The most frequent confusions."),
        )
        wanted = {key for _, groups, _ in sheets for keys in groups.values() for key in keys}
        images = _images(records, self.metrics["splits"], wanted)
        return [
            Section(
                title,
                picture=crop_sheet(
                    {name: _stacked(images, keys) for name, keys in groups.items()}, by_crop=True
                ),
                alt=caption,
                caption=caption,
            )
            for title, groups, caption in sheets
            if groups
        ]


def _first_of_each(table: pd.DataFrame, classes: pd.Series[Any]) -> dict[str, list[str]]:
    return {
        str(name): rows["key"].head(_CROPS_SHOWN).tolist()
        for name, rows in table.groupby(classes, sort=True)
    }


def _images(
    records: str | Path, splits: Sequence[str], wanted: set[str]
) -> dict[str, NDArray[Any]]:
    """Key -> image `(height, width, channels)`."""
    found = {}
    for _, crop in read_crops(records, splits):
        if crop.key in wanted:
            found[crop.key] = crop.image
            if len(found) == len(wanted):
                break
    return found


def _stacked(images: Mapping[str, NDArray[Any]], keys: Sequence[str]) -> NDArray[Any]:
    return np.stack([images[key] for key in keys])


def _benchmark(results: Path) -> list[Section]:
    scores = scores_of(results)
    table = pd.DataFrame(
        [
            {"standard": name} | {title: n.get(score) for score, title in _SCORES.items()}
            for name, n in scores.items()
        ]
    )
    table = table.dropna(axis=1, how="all").round(4)
    values = _json(results / "scores.json")
    sections = [
        Section(
            f"Function: {results.name}",
            "Pairs of proteins are ranked by the similarity of their profiles; a pair is right if "
            "the two share a term.",
            table=table,
            caption="Prevalence: the share of right pairs, which is the AP of chance.",
        ),
        Section("", picture=precision_recall(results), alt="Precision against recall"),
    ]
    if len(values.get("methods", ())) > 1:
        sections.append(Section("", picture=methods_compared(results), alt="Scores of each method"))
    return sections


def _function(path: Path) -> Section:
    return Section(
        "Function against the epoch",
        picture=function_curves(_table(path, "epoch")),
        alt="Average precision against the epoch, by standard",
    )


def _map(path: Path, places: Mapping[str, str]) -> Section:
    return Section(
        "The map",
        picture=protein_map(read_profiles(path), places),
        alt="Proteins in the plane, colored by class",
        caption="t-SNE of the profiles by cosine distance. `deeploc-tf map` makes one to explore.",
    )
