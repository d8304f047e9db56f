"""A run and its evaluation as `fit` and `evaluate` write them, made up in no time, for reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfrecords.manifest import Manifest, read_manifest
from tfrecords.reader import read_crops


def make_run(run: Path, manifest: Manifest, **history: Any) -> None:
    """A finished training on some records; `history` takes the place of loss and accuracy."""
    run.mkdir(parents=True)
    schema = manifest.schema
    config = {
        "deeploc_tf": "0.1.0",
        "config": {"preset": "functional-map", "seed": 0},
        "resolved": {"window": 8},
        "class_names": list(schema.label_names),
        "records_digest": manifest.digest,
        "schema": schema.to_json(),
    }
    (run / "config.json").write_text(json.dumps(config))
    environment = {
        "python": "3.11.7",
        "platform": "Linux",
        "packages": {"tensorflow": "2.21.0", "tensorflow-addons": None},
        "devices": ["CPU", "GPU NVIDIA H200"],
        "keras": {"backend": "tensorflow"},
        "variables": {},
        "command": ["deeploc-tf", "fit", "my records", "run"],
    }
    (run / "environment.json").write_text(json.dumps(environment))
    columns = history or {"loss": [2.0, 1.0], "accuracy": [0.4, 0.6]}
    pd.DataFrame({"epoch": [1, 2], **columns}).to_csv(run / "history.csv", index=False)
    metrics = {"test": {"num_crops": 9, "accuracy": 0.625, "per_class": {}, "top": None}}
    (run / "metrics.json").write_text(json.dumps(metrics if not history else {"test": history}))


def make_evaluation(folder: Path, records: Path, splits: Sequence[str] = ("test",)) -> pd.DataFrame:
    """An evaluation by a model that is right two times in three; gives its predictions."""
    folder.mkdir(parents=True)
    manifest = read_manifest(records)
    names, several = manifest.schema.label_names, manifest.schema.multi_label
    crops = [crop for _, crop in read_crops(records, splits)]
    random = np.random.default_rng(0)
    truth = np.zeros((len(crops), len(names)))
    for row, crop in enumerate(crops):
        truth[row, list(crop.labels)] = 1
    scores = random.random(truth.shape) + 0.5 * truth
    probabilities = scores / 2 if several else scores / scores.sum(axis=1, keepdims=True)
    said = probabilities > 0.5 if several else probabilities == probabilities.max(axis=1)[:, None]

    def joined(has: Any) -> list[str]:
        return ["|".join(n for n, is_so in zip(names, row, strict=True) if is_so) for row in has]

    table = pd.DataFrame(
        {
            "key": [crop.key for crop in crops],
            "protein": [crop.protein for crop in crops],
            "split": splits[0],
            "label": joined(truth),
            "predicted": joined(said),
            **{f"probability_{n}": probabilities[:, i] for i, n in enumerate(names)},
        }
    )
    table.to_parquet(folder / "predictions.parquet", index=False)
    per_class = pd.DataFrame({"class": names, "support": truth.sum(axis=0), "f1": 0.5})
    per_class.to_csv(folder / "per_class.csv", index=False)
    rows = {"protein": ["NA", "0001"], "num_crops": [2, 3], "correct": [True, False]}
    kind = {"labels": ["", names[0]]} if several else {"label": names[0], "agreement": [1, 0.5]}
    pd.DataFrame(rows | kind).to_csv(folder / "per_protein.csv", index=False)
    bins = {"above": [0, 0.5], "up_to": [0.5, 1], "num_crops": [0, len(crops)]}
    bins |= {"confidence": [np.nan, 0.75], "accuracy": [np.nan, 0.5]}
    pd.DataFrame(bins).to_csv(folder / "reliability.csv", index=False)
    if not several:
        counts = truth.astype(int).T @ said.astype(int)
        pd.DataFrame(counts, names, names).to_csv(folder / "confusion.csv")
    metrics = {
        "trained_on_records_digest": manifest.digest,
        "records_digest": manifest.digest,
        "splits": list(splits),
        "num_crops": len(crops),
        "num_views": 1,
        **({"exact_match": 0.5} if several else {}),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return table
