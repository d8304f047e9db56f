"""The run folder: what a training leaves behind, and what a resumed one finds.

    RUN/config.json        settings, what the preset made of them, digest of the records, classes
    RUN/environment.json   versions and machine of the first start
    RUN/history.csv        one row an epoch
    RUN/checkpoint/        the last two epochs' states, for resuming
    RUN/logs/              TensorBoard, if it is installed
    RUN/proteins.keras     the same network with its second head, if it was trained with two
    RUN/model.keras        the trained model; its presence means that the training is finished
    RUN/metrics.json       validation and test metrics of that model
    RUN/confusion.csv      test confusion matrix, true classes in rows

Every file is old or new, never a mixture; the model comes last.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic

from deeploc_tf.models.deeploc import resolve_preset
from deeploc_tf.models.inpainting import INPAINTING_NORMALIZATIONS
from deeploc_tf.models.trained import CONFIG_NAME, MODEL_NAME, read_config
from deeploc_tf.pipeline.classes import count_classes, kinds
from deeploc_tf.training.config import FitConfig
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError, RecordsError
from tfrecords.manifest import Manifest
from tfrecords.publishing import publish_bytes, publish_json
from tfrecords.schema import Schema

ENVIRONMENT_NAME = "environment.json"
_PACKAGES = ("tensorflow", "keras", "tensorflow-addons", "numpy", "pandas", "scikit-learn", "h5py")


class Run:
    """A run folder that is open for training or reading.

    Attributes:
        path: the folder.
        config: settings of the training.
        schema: of the records it was trained on: channels, dtype, classes and their order.
        records_digest: identity of those records, wherever they lie.
        class_names: what the model tells, in the order of its logits; empty if it has none.
        protein_names: what its second head tells, if it has one.
    """

    def __init__(
        self,
        path: Path,
        config: FitConfig,
        schema: Schema,
        records_digest: str,
        class_names: tuple[str, ...] = (),
        protein_names: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.config = config
        self.schema = schema
        self.records_digest = records_digest
        self.class_names = class_names
        self.protein_names = protein_names

    @property
    def model_path(self) -> Path:
        """The trained model, as a Keras file."""
        return self.path / MODEL_NAME

    @property
    def protein_model_path(self) -> Path:
        """The trained network with its second head, as a Keras file."""
        return self.path / "proteins.keras"

    @property
    def is_finished(self) -> bool:
        """Whether the training reached its end."""
        return self.model_path.exists()

    def write_history(self, history: list[dict[str, float]]) -> None:
        """Publish `history.csv`, one row an epoch."""
        publish_bytes(self.path / "history.csv", pd.DataFrame(history).to_csv(index=False).encode())


def open_for_training(
    path: str | Path, config: FitConfig, manifest: Manifest, *, allow_changed: bool = False
) -> Run:
    """Make a run folder, or find the one that an earlier start made.

    With `allow_changed`, a run may go on with other records of the same schema or other settings;
    `config.json` then has the new ones.

    Raises:
        OutputExistsError: the folder holds something else.
        RecordsError: the folder belongs to other records or other settings.
    """
    path = Path(path)
    told = () if config.method == "inpainting" else kinds(config.target)
    names = [count_classes(manifest, kind).names for kind in told]
    run = Run(path, config, manifest.schema, manifest.digest, *names)
    if (path / CONFIG_NAME).exists():
        existing = open_run(path)
        same = all(
            getattr(existing, name) == getattr(run, name)
            for name in ("schema", "class_names", "protein_names")
        )
        if allow_changed and same and not existing.is_finished:
            _write_config(run)
            return run
        if existing.records_digest != manifest.digest:
            msg = (
                "A run must go on with the records it began with. Received: records of digest "
                f"{manifest.digest[:12]}, run {str(path)!r} of {existing.records_digest[:12]}. "
                "Name another run folder, or go on with --allow-changed."
            )
            raise RecordsError(msg)
        if existing.config != config:
            changed = _differences(existing.config, config)
            msg = (
                f"A run must go on with the settings it began with. Received: {changed} in run "
                f"{str(path)!r}. Name another run folder, or repeat the first settings."
            )
            raise RecordsError(msg)
        return existing
    if path.exists() and (not path.is_dir() or any(map(_is_foreign, path.iterdir()))):
        msg = (
            f"`run` must be a new or empty folder, or a run. Received: run={str(path)!r}. "
            "Name another folder."
        )
        raise OutputExistsError(msg)
    path.mkdir(parents=True, exist_ok=True)
    publish_json(path / ENVIRONMENT_NAME, _environment())
    _write_config(run)
    return run


def open_run(path: str | Path) -> Run:
    """The run in a folder that `fit` made, finished or not.

    Raises:
        RecordsError: there is none, or its `config.json` is not what `fit` wrote.
    """
    path = Path(path)
    values = read_config(path)
    try:
        config = FitConfig.model_validate(values["config"])
    except pydantic.ValidationError as error:
        msg = (
            f"{CONFIG_NAME} must hold settings of this version. Received: {str(path)!r} with "
            f"{error.error_count()} that it does not know. Train in another folder."
        )
        raise RecordsError(msg) from error
    schema = Schema.from_json(values["schema"])
    names = tuple(values.get("class_names", schema.label_names))
    proteins = tuple(values.get("protein_names", ()))
    return Run(path, config, schema, str(values["records_digest"]), names, proteins)


def _write_config(run: Run) -> None:
    publish_json(
        run.path / CONFIG_NAME,
        {
            "deeploc_tf": __version__,
            "config": run.config.model_dump(mode="json"),
            "resolved": _resolved(run.config),
            "class_names": list(run.class_names),
            **({"protein_names": list(run.protein_names)} if run.protein_names else {}),
            "records_digest": run.records_digest,
            "schema": run.schema.to_json(),
        },
    )


def _resolved(config: FitConfig) -> dict[str, Any]:
    """What became of the settings that are None."""
    if config.method == "inpainting":
        return {"normalization": config.normalization or INPAINTING_NORMALIZATIONS[0]}
    preset = resolve_preset(
        config.preset,
        mask=config.mask,
        crop_size=config.crop_size,
        normalization=config.normalization,
        augmentation=config.augmentation,
        dense_units=config.dense_units,
    )
    return dataclasses.asdict(preset)


def _is_foreign(path: Path) -> bool:
    """Whether a first start that was killed before it wrote `config.json` cannot have left this."""
    ours = path.name == ENVIRONMENT_NAME or (path.name[0] == "." and ".partial-" in path.name)
    return not (ours and path.is_file())


def _differences(old: FitConfig, new: FitConfig) -> str:
    return ", ".join(
        f"{name}={getattr(new, name)!r} (was {getattr(old, name)!r})"
        for name in FitConfig.model_fields
        if getattr(old, name) != getattr(new, name)
    )


def _environment() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "deeploc_tf": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
