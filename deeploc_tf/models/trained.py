"""A trained model in its run folder: what other stations need to know of a training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from deeploc_tf.models import deeploc, inpainting  # noqa: F401 - registers the layers
from deeploc_tf.models.archives import check_archive
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.novelty import Novelty, read_novelty
from deeploc_tf.names import respelled_channels, same_channels
from deeploc_tf.presets import RECOMMENDED
from deeploc_tf.provenance import (
    MODEL_NAME,
    PROTEIN_MODEL_NAME,
    SEAL_NAME,
    file_digest,
    listed_digest,
)
from deeploc_tf.registry import imported
from tfrecords.errors import RecordsError, SchemaError
from tfrecords.publishing import json_digest
from tfrecords.schema import Schema

CONFIG_NAME = "config.json"
# Registries of what a run is made of. Names alone are asked for: those of the training, which
# stands above this room, import no more than these.
_MADE_OF = (
    "deeploc_tf.presets:PRESETS",
    *(f"deeploc_tf.network_choices:{name}" for name in ("BACKBONES", "NORMALIZATIONS")),
    "deeploc_tf.network_choices:AUGMENTATIONS",
    *(f"deeploc_tf.training.choices:{name}" for name in ("LOSSES", "OPTIMIZERS", "SCHEDULES")),
    "deeploc_tf.training.tasks:TASKS",
)
_RESOLVED_SETTINGS = ("channels", "normalization", "augmentation", "initializer", "test_time")
# Of what a training computes. 1: presets were networks alone; 2: epochs were always one pass.
RECIPE_VERSION = 3
OtherPixelSize = Literal["warn", "refuse"]
_NEAR = 0.1  # of the pixel size, within which crops are comparable

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model and what it was trained on.

    Attributes:
        model: as `DeepLoc` or `PairedCellInpainting` made it, with trained weights.
        schema: of the records it was trained on.
        records_digest: identity of those records.
        model_sha256: digest of the model's file.
        class_names: of its logits, in their order: labels of the schema, or proteins; empty if it
            has none.
        multi_label: a crop may belong to several of them; probabilities are sigmoids of the logits.
        test_time: views over which vectors are averaged unless one says otherwise: the run's.
        novelty: what is known of good crops; None of a run from before that was noted.
        protein_names: what its second head tells, in the order of its logits; empty if it has none.
        protein_model: the same network up to that head, where it was asked for.
    """

    model: keras.Model
    schema: Schema
    records_digest: str
    model_sha256: str
    class_names: tuple[str, ...] = ()
    multi_label: bool = False
    test_time: str = "none"
    novelty: Novelty | None = None
    protein_names: tuple[str, ...] = ()
    protein_model: keras.Model | None = None

    @property
    def takes_mask(self) -> bool:
        """Whether the model has a second input `mask`."""
        return "mask" in {tensor.name for tensor in self.model.inputs}

    def views_to_average(self, test_time: str | None) -> str:
        """What was asked for, or, of everybody who asks for nothing, what the run says."""
        return self.test_time if test_time is None else test_time

    def check_tells_classes(self) -> None:
        """Refuse a model without logits.

        Raises:
            SchemaError: it is one.
        """
        if not self.class_names:
            msg = (
                "This needs a model that tells classes. Received: a run of inpainting, which tells "
                "no classes. Take its features by `deeploc-tf embed`."
            )
            raise SchemaError(msg)

    def check_schema(self, schema: Schema, other_pixel_size: OtherPixelSize = "warn") -> list[str]:
        """Refuse crops that the model was not made for; return sentences about lesser differences.

        Args:
            schema: of the crops.
            other_pixel_size: see `check_pixel_size`.

        Raises:
            SchemaError: shape, dtype, channels or masks differ; or the pixel size, which must not.
        """
        for name in ("image_shape", "dtype", "channels"):
            ours, theirs = getattr(self.schema, name), getattr(schema, name)
            if ours != theirs and not (name == "channels" and same_channels(ours, theirs)):
                msg = (
                    "Records must have the crops that the model was trained on. Received: "
                    f"{name}={theirs}, the model has {ours}. Rebuild the records to match."
                )
                raise SchemaError(msg)
        if self.takes_mask and not schema.has_mask:
            msg = "This model needs masks. Received: records without. Rebuild them with a mask."
            raise SchemaError(msg)
        sentences = []
        if schema.channels != self.schema.channels:
            sentences.append(respelled_channels(schema.channels, self.schema.channels))
        check_pixel_size(self.schema.pixel_size, schema.pixel_size, "records", other_pixel_size)
        return sentences


def check_pixel_size(
    ours: float | None, theirs: float | None, what: str, other: OtherPixelSize
) -> None:
    """Warn of images whose pixels are more than a tenth larger or smaller than in training.

    Args:
        ours: micrometres a pixel in training, or None, with which anything agrees.
        theirs: of the images, or None where nobody knows.
        what: they are: "records".
        other: "refuse" to raise instead.

    Raises:
        SchemaError: sizes differ, or that of the images is not known, and that is refused.
    """
    if ours is None or (theirs is not None and abs(theirs - ours) <= _NEAR * ours):
        return
    found = "is not known" if theirs is None else f"({theirs:g}) is not that of the training"
    sentence = f"The pixel size of the {what} {found}"
    sentence += f", where the training had {ours:g}" if theirs is None else f" ({ours:g})"
    if other == "refuse":
        msg = (
            f"{sentence}, and other_pixel_size is 'refuse' (--other-pixel-size). Resample to it "
            f"(--resample-to {ours:g}), and say the size if the files do not (--pixel-size)."
        )
        raise SchemaError(msg)
    _log.warning(
        "%s; features may not be comparable. --resample-to %g would resample the images.",
        sentence,
        ours,
    )


def load_trained(run: str | Path, *, both_heads: bool = False) -> TrainedModel:
    """The finished model of a run folder.

    Args:
        run: folder that `fit` made.
        both_heads: load the head of proteins, too, of a run that has two.

    Raises:
        RecordsError: it is no run, or its training is not finished.
        ValueError: the model's file is damaged.

    Example:
        trained = load_trained("run")
        logits = trained.model(images, training=False)  # float32 (batch_size, num_classes)
    """
    run = Path(run)
    values = read_config(run)
    path = run / MODEL_NAME
    if not path.exists():
        msg = (
            f"`run` must be finished. Received: run={str(run)!r} without {MODEL_NAME}. Start the "
            "same `fit` again: it goes on after the last finished epoch."
        )
        raise RecordsError(msg)
    _check_installed(run, values["config"])
    model_sha256 = _unchanged_digest(path)
    schema = Schema.from_json(values["schema"])
    protein_names = tuple(values.get("protein_names", ()))
    protein_model = None
    if both_heads and protein_names:
        _unchanged_digest(run / PROTEIN_MODEL_NAME)
        protein_model = load_model(run / PROTEIN_MODEL_NAME)
    return TrainedModel(
        model=load_model(path),
        schema=schema,
        records_digest=str(values["records_digest"]),
        model_sha256=model_sha256,
        class_names=tuple(values.get("class_names", schema.label_names)),
        multi_label=schema.multi_label and values["config"].get("target", "label") == "label",
        # not in runs of the first version
        test_time=values.get("resolved", {}).get("test_time", "none"),
        novelty=read_novelty(run, model_sha256),
        protein_names=protein_names,
        protein_model=protein_model,
    )


def _unchanged_digest(path: Path) -> str:
    """The digest of a model's file in a run, which must be that in the list of the run."""
    found = file_digest(path)
    if listed_digest(path.parent, path.name) not in (None, found):
        msg = (
            f"{path.name} must be what fit wrote. Received: {str(path)!r}, which has changed "
            f"since: its digest is not that in {SEAL_NAME}. Restore it, or train in another folder."
        )
        raise RecordsError(msg)
    return found


def _check_installed(run: Path, config: dict[str, Any]) -> None:
    """Refuse a run that is made of something that is not here."""
    for registry in map(imported, _MADE_OF):
        name = config.get(registry.what)
        if name is not None and name not in registry:
            msg = (
                "What a run is made of must be installed or registered. Received: "
                f"{registry.what}={name!r} of run {str(run)!r}. Install the package that offers it."
            )
            raise RecordsError(msg)


@our_settings()
def load_model(path: Path) -> keras.Model:
    """A `.keras` file, of ours or of others, in safe mode: no code is read from it.

    Raises:
        ValueError: the file is damaged, or one that `check_archive` refuses; or its layers were
            made when Keras was set to images with channels first.
    """
    numbers = check_archive(path)
    try:
        with _no_more_weights(numbers):
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # Keras has no error of its own for a model of another version
        first: BaseException = error
        while first.__cause__ or first.__context__:  # what it makes of it names no key
            first = first.__cause__ or first.__context__ or first
        said = next(iter(str(first).strip().splitlines()), "").rstrip(".")
        msg = (
            f"A model must be one that this version of Keras ({keras.__version__}) can build. "
            f"Received: {str(path)!r}, saved by Keras {_keras_of(path)}: {said[:300]} "
            f"({type(first).__name__}). Use that version, or train again."
        )
        raise ValueError(msg) from error
    for layer in model.layers:
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            msg = (
                "The layers of a model must take channels last, as crops have them. Received: "
                f"{layer.name} with data_format={layer.data_format!r} in {str(path)!r}, which was "
                "trained where Keras was set to that. Train it again."
            )
            raise ValueError(msg)
    return model


def _keras_of(path: Path) -> str:
    """The version of Keras that saved a model, as it says."""
    with zipfile.ZipFile(path) as archive:
        try:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])[:20]
        except (KeyError, TypeError, ValueError):
            return "unknown"


@contextlib.contextmanager
def _no_more_weights(numbers: int) -> Iterator[None]:
    """Let layers have this many weights in all; Keras makes them before it reads any."""
    layer: Any = keras.layers.Layer
    original, left = layer.add_weight, numbers

    def add_weight(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        # the first argument that is no text, in both versions of Keras
        shape = named.get("shape", next((a for a in arguments if not isinstance(a, str)), None))
        left -= math.prod(shape if isinstance(shape, Sequence) else [shape or 1])
        if left < 0:
            msg = f"its layers have more weights than it holds: {tuple(shape or ())} in {self.name}"
            raise ValueError(msg)
        return original(self, *arguments, **named)

    layer.add_weight = add_weight
    try:
        yield
    finally:
        layer.add_weight = original


def read_config(run: Path) -> dict[str, Any]:
    """Content of a run's `config.json`, in today's words.

    Raises:
        RecordsError: there is none, or it is not what `fit` wrote.
    """
    path = run / CONFIG_NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        Schema.from_json(values["schema"])
        str(values["records_digest"])
        dict(values["config"])
    except FileNotFoundError as error:
        msg = (
            f"`run` must be a folder that fit made. Received: run={str(run)!r} without "
            f"{CONFIG_NAME}."
        )
        raise RecordsError(msg) from error
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"{CONFIG_NAME} must be what fit wrote. Received: {type(error).__name__} in "
            f"{str(path)!r}. Restore it, or train in another folder."
        )
        raise RecordsError(msg) from error
    if "digest" in values and values["digest"] != json_digest(values):
        msg = (
            f"{CONFIG_NAME} must be what fit wrote. Received: {str(path)!r}, which has changed "
            "since: its digest is another. Restore it, or train in another folder."
        )
        raise RecordsError(msg)
    return values if "recipe_version" in values else _in_todays_words(values)


def _in_todays_words(values: dict[str, Any]) -> dict[str, Any]:
    """What a run of recipe version 1 stored, with today's names of settings and presets.

    Presets were networks alone then: what they say beyond that now is said otherwise.
    """
    config, resolved = dict(values["config"]), dict(values.get("resolved", {}))
    config["window"] = config.pop("crop_size", None)
    if config.get("schedule") == "step":
        config["schedule"] = "exponential"
    if "padding" in resolved:  # it is DeepLoc
        resolved["window"] = resolved.pop("crop_size", None)
        resolved["channels"] = list(values["schema"]["channels"])
        resolved["initializer"] = "glorot"
        resolved.setdefault("test_time", "none")
        if config.get("preset") == "map2026":
            config["preset"] = RECOMMENDED
        config |= {name: resolved[name] for name in resolved if name in _RESOLVED_SETTINGS}
        config["window"] = resolved["window"] or 0
    return {**values, "config": config, "resolved": resolved}
