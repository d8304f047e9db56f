"""What was run, with its settings, versions and digests, and how the training went."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deeploc_tf.report.curves import training_curves
from deeploc_tf.report.data_set import two_columns
from deeploc_tf.report.evaluation import confusion_section
from deeploc_tf.report.page import Section
from deeploc_tf.report.reading import read_confusion, read_json
from tfrecords.publishing import json_digest

_KNOWN = {"config", "deeploc_tf", "records_digest", "schema"}
_CLASSES_NAMED = 60


def read_config(run: Path) -> dict[str, Any]:
    """Content of `config.json` of a run; raises `ValueError` where `fit` did not write it."""
    config = read_json(run / "config.json")
    wrong = f"without {', '.join(sorted(_KNOWN - config.keys())) or 'settings'}"
    if config.keys() >= _KNOWN and all(isinstance(config[n], dict) for n in ("config", "schema")):
        if config.get("digest") in (None, json_digest(config)):
            return config
        wrong = "which has changed since: its digest is another"
    msg = f"config.json must be one that `fit` wrote. Received: {run / 'config.json'} {wrong}."
    raise ValueError(msg)


def what_was_run(run: Path, config: Mapping[str, Any], missing: list[str]) -> list[Section]:
    """On what, with which versions, devices, command, digests and settings.

    Args:
        run: folder of a training.
        config: as `read_config` gives it.
        missing: gets a sentence about what is not known.
    """
    schema = config["schema"]
    classes = config.get("class_names") or schema["label_names"]
    more = len(classes) - _CLASSES_NAMED
    names = ", ".join(classes[:_CLASSES_NAMED]) + (f" and {more} more" if more > 0 else "")
    rows = {
        "folder": str(run),
        "model, SHA-256": _digest(run / "model.keras"),
        "records, digest": config["records_digest"],
        "crops": f"{' × '.join(map(str, schema['image_shape']))} {schema['dtype']}",
        "channels": ", ".join(schema["channels"]),
        "classes": f"{len(classes)}: {names}" if classes else "none",
        "deeploc-tf": config["deeploc_tf"],
    }
    if (run / "environment.json").exists():
        rows |= _environment(read_json(run / "environment.json"))
    else:
        missing.append("Versions, machine and command: the run has no environment.json.")
    settings: dict[str, Any] = {**config["config"], **config.get("resolved", {})}
    chosen = [(name, _text(value)) for name, value in settings.items() if value is not None]
    return [
        Section("What was run", table=two_columns(rows)),
        Section(
            "",
            table=pd.DataFrame(chosen, columns=["setting", "value"]),
            folded=f"{len(chosen)} settings, with what the preset made of them",
        ),
    ]


def environment_table(environment: Mapping[str, Any]) -> pd.DataFrame:
    """Versions, machine, devices and command, as a run notes them in `environment.json`."""
    return two_columns(_environment(environment))


def how_it_went(run: Path, missing: list[str], *, matrix: bool) -> list[Section]:
    """Curves, and the metrics of validation and test.

    Args:
        run: folder of a training.
        missing: gets a sentence about what is not there yet.
        matrix: show the confusion matrix of the test crops.
    """
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
        missing.append("Metrics: the training has not ended; the same `deeploc-tf fit` goes on.")
        return sections
    metrics = read_json(run / "metrics.json")
    columns = {
        split: pd.Series({name: v for name, v in values.items() if isinstance(v, int | float)})
        for split, values in metrics.items()
        if isinstance(values, dict)
    }
    table = pd.DataFrame({split: values for split, values in columns.items() if len(values)})
    if len(table):
        sections.append(
            Section(
                "How well it does",
                table=_tidy(table),
                caption="Majority: always the largest class. Views are averaged as the run says.",
            )
        )
    if matrix and (run / "confusion.csv").exists():
        sections.append(confusion_section(*read_confusion(run / "confusion.csv")))
    return sections


def _environment(environment: Mapping[str, Any]) -> dict[str, str]:
    packages = {"deeploc-tf": environment.get("deeploc_tf"), **environment.get("packages", {})}
    return {
        "Python": str(environment.get("python", "")),
        "packages": ", ".join(f"{n} {v}" for n, v in packages.items() if v),
        "machine": str(environment.get("platform", "")),
        "devices": ", ".join(environment.get("devices", ())),
        "settings of Keras": _pairs(environment.get("keras", {})),
        "variables": _pairs(environment.get("variables", {})),
        "command": shlex.join(map(str, environment.get("command", ()))),
    }


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with names in words; whole numbers as such."""
    shown = table.round(4).astype(object).map(lambda v: int(v) if v == v // 1 and v > 1 else v)
    return shown.rename(index=lambda name: name.replace("_", " ")).rename_axis("metric")


def _digest(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _pairs(values: Any) -> str:
    known = values.items() if isinstance(values, Mapping) else ()
    return ", ".join(f"{name}: {_text(value)}" for name, value in known if value not in (None, ""))
