"""What an exported model says about itself: by its signature `describe`, in a file, on its card."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from deeploc_tf.models.calibration import Calibration, read_calibration
from deeploc_tf.models.extractors import feature_layer
from deeploc_tf.models.folding import fast_precision
from deeploc_tf.models.normalization import Normalization
from deeploc_tf.models.trained import TrainedModel, read_config
from deeploc_tf.models.views import window_size
from deeploc_tf.names import EVALUATED_SPLITS
from deeploc_tf.provenance import check_unchanged
from deeploc_tf.version import __version__
from tfrecords.errors import SchemaError
from tfrecords.schema import Schema

_log = logging.getLogger(__name__)

# SavedModels keep what their owner adds in this folder; nothing in the graph reads it.
DESCRIPTION_NAME = "assets.extra/description.json"
_AS_JSON = ("training", "acceptance")
# What models that were exported before there was such a thing do not say.
_LATER: Mapping[str, Any] = {"acceptance": "{}", "protein_names": ()}


@dataclasses.dataclass(frozen=True)
class Description:
    """What a consumer must know of the crops, and may ask about the model.

    Attributes:
        class_names: in the order of the probabilities.
        channels: in the order of the last axis of the crops.
        image_shape: `(height, width, channels)` of the crops.
        dtype: of their pixels.
        inputs: "image", and "mask" where the model takes one.
        crop_size: height and width of the window that the network sees.
        pixel_size: micrometres a pixel, or None.
        normalization: see `Normalization`; it happens in the graph.
        activation: "softmax", of classes of which a crop has one, or "sigmoid", of which it may
            have several.
        layer: of the embedding; None: see `feature_layer`.
        test_time: the views that are averaged; see `views`.
        precision: what convolutions compute in, "float32" or "bfloat16"; all else is float32.
        model_sha256: digest of the Keras file that was exported.
        records_digest: identity of the records it was trained on.
        deeploc_tf: version that exported.
        training: settings, versions of packages, number of epochs and scores, as JSON values; and
            `resampled_from`, where crops were averaged from pixels of another size; and
            `calibration`, see `Calibration`, of a run with held-out cells.
        acceptance: limits of accepted crops, and quantiles of the intensity, confidence and novelty
            of good ones, as JSON values; see docs/trust.md. Empty of models that tell no novelty.
        protein_names: in the order of the `protein_probabilities` of a run with two heads; else
            empty.
    """

    class_names: tuple[str, ...]
    channels: tuple[str, ...]
    image_shape: tuple[int, ...]
    dtype: str
    inputs: tuple[str, ...]
    crop_size: tuple[int, ...]
    pixel_size: float | None
    normalization: str
    activation: str
    layer: str
    test_time: str
    precision: str
    model_sha256: str
    records_digest: str
    deeploc_tf: str
    training: Mapping[str, Any]
    acceptance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    protein_names: tuple[str, ...] = ()

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """What held-out fields say of the model; None of a model without.

        Raises:
            SchemaError: what the model says is no calibration of these classes.
        """
        values = self.training.get("calibration")
        if values is None:
            return None
        try:
            found = Calibration.from_json(values)
            if found.class_names != self.class_names:
                msg = "other classes than the model's"
                raise ValueError(msg)
        except (KeyError, TypeError, ValueError) as error:
            msg = (
                "The calibration of a model must be what fit wrote. Received: one with "
                f"{error}. Export the run anew."
            )
            raise SchemaError(msg) from error
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def to_tensors(self) -> dict[str, Any]:
        """One-dimensional tensors by name: strings, int32 and (pixel size) float32."""
        return {field.name: self._tensor(field.name) for field in dataclasses.fields(self)}

    def _tensor(self, name: str) -> Any:
        value = getattr(self, name)
        if name == "pixel_size":
            return tf.constant([] if value is None else [value], tf.float32)
        if name in _AS_JSON:
            value = json.dumps(value, ensure_ascii=False, sort_keys=True)
        values = list(value) if isinstance(value, tuple) else [value]
        whole = name in ("image_shape", "crop_size")
        return tf.constant(values, tf.int32 if whole else tf.string)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any]) -> Description:
        """What `to_tensors` was made of.

        Raises:
            SchemaError: something is missing.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name not in tensors and field.name in _LATER:
                values[field.name] = _LATER[field.name]
                continue
            if field.name not in tensors:
                msg = (
                    "An exported model must describe its crops and classes. Received: one that "
                    f"does not tell its {field.name}. Export it with deeploc-tf {__version__}."
                )
                raise SchemaError(msg)
            found = [
                value.decode() if isinstance(value, bytes) else value
                for value in tensors[field.name].numpy().tolist()
            ]
            several = str(field.type).startswith("tuple")
            values[field.name] = tuple(found) if several else (found[0] if found else None)
        return cls(**{**values, **{name: json.loads(values[name]) for name in _AS_JSON}})


def describe(
    trained: TrainedModel, run: str | Path, *, layer: str | None, test_time: str, fast: bool
) -> Description:
    """The description of a finished run, exported in a certain way.

    Args:
        trained: its model.
        run: its folder.
        layer: of the embedding; None: see `feature_layer`.
        test_time: the views that are averaged.
        fast: whether its graph is made cheaper; see `fast_model`.
    """
    schema = trained.schema
    normalizations = [la.method for la in trained.model.layers if isinstance(la, Normalization)]
    return Description(
        class_names=trained.class_names,
        channels=schema.channels,
        image_shape=tuple(schema.image_shape),
        dtype=schema.dtype,
        inputs=("image", "mask") if trained.takes_mask else ("image",),
        crop_size=window_size(trained.model),
        pixel_size=schema.pixel_size,
        normalization=normalizations[0] if normalizations else "the network's own",
        activation="sigmoid" if trained.multi_label else "softmax",
        layer=layer or feature_layer(trained.model),
        test_time=test_time,
        precision=fast_precision() if fast else "float32",
        model_sha256=trained.model_sha256,
        records_digest=trained.records_digest,
        deeploc_tf=__version__,
        training=_training(Path(run)) | _resampling(schema) | _calibration(run, test_time),
        acceptance={} if trained.novelty is None else trained.novelty.to_json(),
        protein_names=trained.protein_names,
    )


def _calibration(run: str | Path, test_time: str) -> dict[str, Any]:
    """What held-out fields say of the model, as long as it averages the views that they had."""
    found = read_calibration(run)
    if found is None:
        return {}
    if found.test_time != test_time:
        _log.warning(
            "No calibrated probabilities, sets of labels or corrected fractions: the run is "
            "calibrated over the views %r, and these are %r.",
            found.test_time,
            test_time,
        )
        return {}
    return {"calibration": found.to_json()}


def _resampling(schema: Schema) -> dict[str, Any]:
    """From which pixel size the crops were averaged, if they were; crops to serve must be, too."""
    return {} if schema.resampled_from is None else {"resampled_from": schema.resampled_from}


def _training(run: Path) -> dict[str, Any]:
    """How the model came about, without anything about the machine or its folders."""
    config = read_config(run)
    environment = _read(run / "environment.json")
    metrics = _read(run / "metrics.json")
    return {
        "deeploc_tf": config.get("deeploc_tf"),
        "config": config["config"],
        "resolved": config.get("resolved", {}),
        "packages": environment.get("packages", {}),
        "epochs": metrics.get("epochs"),
        "scores": {
            split: {
                name: value
                for name, value in metrics[split].items()
                if isinstance(value, int | float | str)
            }
            for split in EVALUATED_SPLITS
            if isinstance(metrics.get(split), dict)
        },
    }


def _read(path: Path) -> dict[str, Any]:
    """The values of a JSON file of the run; {} where it has none."""
    if not path.exists():
        return {}
    check_unchanged(path)
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
