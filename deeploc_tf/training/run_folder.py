"""The run folder: what a training leaves behind, and what a resumed one finds.

    RUN/config.json        settings, what the preset made of them, digest of the records, classes
    RUN/environment.json   versions, machine, devices and settings of Keras at the first start
    RUN/history.csv        one row an epoch
    RUN/checkpoint/        the last two epochs' states, for resuming
    RUN/logs/              TensorBoard, if it is installed
    RUN/proteins.keras     the same network with its second head, if it was trained with two
    RUN/novelty.npz        what good crops are like for that model: limits, quantiles
    RUN/model.keras        the trained model; its presence means that the training is finished
    RUN/calibration.json   temperature, sets of labels and confusion, by held-out fields
    RUN/metrics.json       validation and test metrics of that model
    RUN/run.json           digests of these files, made once, before the model has its name
    RUN/confusion.csv      test confusion matrix, true classes in rows

Every file is old or new, never a mixture; the model comes last.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic
import tensorflow as tf

from deeploc_tf.backend import environment_variables
from deeploc_tf.models.keras_settings import keras_settings
from deeploc_tf.models.trained import CONFIG_NAME, RECIPE_VERSION, read_config
from deeploc_tf.provenance import (
    MODEL_NAME,
    PROTEIN_MODEL_NAME,
    SEAL_NAME,
    file_digest,
    sealed,
)
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.tasks import TASKS
from deeploc_tf.version import __version__
from tfrecords.errors import OutputExistsError, RecordsError
from tfrecords.locking import locked
from tfrecords.manifest import Manifest
from tfrecords.publishing import HALF_WRITTEN, json_digest, keeping, publish_bytes, publish_json
from tfrecords.schema import Schema

ENVIRONMENT_NAME = "environment.json"
_PACKAGES = ("tensorflow", "keras", "tensorflow-addons", "numpy", "pandas", "scikit-learn", "h5py")
_COMPUTING = ("tensorflow", "keras")  # another version of these, or of ours, may give other bits


class Run:
    """A run folder that is open for training or reading.

    Attributes:
        path: the folder.
        config: settings of the training.
        schema: of the records it was trained on: channels, dtype, classes and their order.
        records_digest: identity of those records, wherever they lie.
        class_names: what the model tells, in the order of its logits; empty if it has none.
        protein_names: what its second head tells, if it has one.
        changes: what is no more as it was at the start, in words; empty if nothing.
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
        self.changes = ""

    @property
    def model_path(self) -> Path:
        """The trained model, as a Keras file."""
        return self.path / MODEL_NAME

    @property
    def protein_model_path(self) -> Path:
        """The trained network with its second head, as a Keras file."""
        return self.path / PROTEIN_MODEL_NAME

    @property
    def is_finished(self) -> bool:
        """Whether the training reached its end."""
        return self.model_path.exists()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from training here; what killed ones left half written is removed.

        Raises:
            LockedError: another process trains here.
        """
        with locked(self.path / ".lock", "a run folder"):
            for path in self.path.rglob(".*.partial-*"):
                if HALF_WRITTEN.fullmatch(path.name) and path.is_file():
                    path.unlink()
            with keeping("Checkpoints", self.path, "checkpoint/*.npz"):
                yield

    def write_config(self) -> None:
        """Publish `environment.json` and `config.json`, in this order."""
        publish_json(self.path / ENVIRONMENT_NAME, environment())
        _write_config(self)

    def seal(self, model: Path, made_from: Sequence[Mapping[str, Any]]) -> None:
        """Publish `run.json` with the digest of each file; `model` gets its name after that."""
        files = [p for p in sorted(self.path.iterdir()) if p.is_file() and p.name[0] != "."]
        kept = [path for path in files if path.name not in (MODEL_NAME, SEAL_NAME)]
        values = sealed({}, made_from, kept)
        values["files"][MODEL_NAME] = file_digest(model)
        publish_json(self.path / SEAL_NAME, values | {"digest": json_digest(values)})

    def write_history(self, history: list[dict[str, float]]) -> None:
        """Publish `history.csv`, one row an epoch."""
        publish_bytes(self.path / "history.csv", csv_bytes(pd.DataFrame(history)))


def open_for_training(
    path: str | Path, config: FitConfig, manifest: Manifest, *, allow_changed: bool = False
) -> Run:
    """Make a run folder, or find the one that an earlier start made.

    With `allow_changed`, a run may go on with other records of the same schema, other settings or
    another version of the code. Its files stay as they are until `write_config` is called.

    Raises:
        OutputExistsError: the folder holds something else.
        RecordsError: the folder belongs to other records, other settings or another version.
    """
    path = Path(path)
    names = TASKS.get(config.method).load().class_names(config, manifest)
    run = Run(path, config, manifest.schema, manifest.digest, *names)
    if (path / CONFIG_NAME).exists():
        existing = open_run(path)
        _check_unchanged(existing, run, allow_changed=allow_changed)
        return existing if existing.is_finished else run
    if path.exists() and (not path.is_dir() or any(map(_is_foreign, path.iterdir()))):
        msg = (
            f"`run` must be a new or empty folder, or a run. Received: run={str(path)!r}. "
            "Name another folder."
        )
        raise OutputExistsError(msg)
    path.mkdir(parents=True, exist_ok=True)
    run.write_config()
    return run


def _check_unchanged(existing: Run, run: Run, *, allow_changed: bool) -> None:
    """Refuse to go on otherwise than a run began; with `allow_changed`, say so in `run.changes`."""
    changes = []
    if existing.records_digest != run.records_digest:
        digests = run.records_digest[:12], existing.records_digest[:12]
        changes.append(("records", "records of digest {} (was {})".format(*digests)))
    if existing.config != run.config:
        changes.append(("settings", _differences(existing.config, run.config)))
    versions = "" if existing.is_finished else _other_versions(existing.path)
    if versions:
        changes.append(("versions", versions))
    if not changes:
        return
    what, found = (", ".join(parts) for parts in zip(*changes, strict=True))
    same = all(
        getattr(existing, name) == getattr(run, name)
        for name in ("schema", "class_names", "protein_names")
    )
    if not same or existing.is_finished:
        mend = "Name another run folder."
    elif allow_changed:
        run.changes = found
        return
    else:
        mend = "Name another run folder, or go on with --allow-changed."
    msg = (
        f"A run must go on with the {what} it began with. Received: {found} in run "
        f"{str(run.path)!r}. {mend}"
    )
    raise RecordsError(msg)


def _other_versions(path: Path) -> str:
    """Versions that are no more those of the start, in words."""
    config = read_config(path)
    before = {
        "deeploc-tf": config.get("deeploc_tf"),
        # Of one version of deeploc-tf, but of other numbers: see "Numbers changed" in CHANGELOG.md.
        "recipe": config.get("recipe_version", 1),
    }
    now = {
        "deeploc-tf": __version__,
        "recipe": RECIPE_VERSION,
        **{name: _version(name) for name in _COMPUTING},
    }
    with contextlib.suppress(OSError, ValueError):  # it is for people to read, and may be gone
        packages = json.loads((path / ENVIRONMENT_NAME).read_text("utf-8")).get("packages", {})
        before |= {name: packages.get(name) for name in _COMPUTING}
    return ", ".join(
        f"{name} {now[name]} (was {version})"
        for name, version in before.items()
        if version is not None and version != now[name]
    )


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
        problem = error.errors()[0]
        where = "".join(f"{name}: " for name in problem["loc"])
        msg = (
            f"{CONFIG_NAME} must hold settings of this version, and name what is installed. "
            f"Received: {str(path)!r} with {where}{problem['msg'].removeprefix('Value error, ')}"
            f"{'' if problem['msg'][-1] in '.?' else '.'} Install or register what it names, or "
            "train in another folder."
        )
        raise RecordsError(msg) from error
    schema = Schema.from_json(values["schema"])
    names = tuple(values.get("class_names", schema.label_names))
    proteins = tuple(values.get("protein_names", ()))
    return Run(path, config, schema, str(values["records_digest"]), names, proteins)


def _write_config(run: Run) -> None:
    values = {
        "deeploc_tf": __version__,
        "recipe_version": RECIPE_VERSION,
        "config": run.config.model_dump(mode="json"),
        "resolved": _resolved(run.config, run.schema),
        "class_names": list(run.class_names),
        **({"protein_names": list(run.protein_names)} if run.protein_names else {}),
        "records_digest": run.records_digest,
        "schema": run.schema.to_json(),
    }
    publish_json(run.path / CONFIG_NAME, values | {"digest": json_digest(values)})


def _resolved(config: FitConfig, schema: Schema) -> dict[str, Any]:
    """What became of the settings that are None."""
    return TASKS.get(config.method).load().resolved(config, schema)


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


def environment() -> dict[str, Any]:
    """Versions, machine, devices, settings of Keras and the command, as JSON values."""
    return {
        "deeploc_tf": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "devices": [_name(device) for device in tf.config.list_physical_devices()],
        "keras": keras_settings(),
        "variables": environment_variables(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _name(device: Any) -> str:
    """What kind of device it is and, of a GPU, which."""
    details = tf.config.experimental.get_device_details(device)
    return " ".join(filter(None, [device.device_type, details.get("device_name")]))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
