"""A model that answers: a run of ours, or a SavedModel that somebody exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.models.hardware import (
    computed_in_turn,
    computing_devices,
    placed_on,
    within_memory,
)
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.trained import load_trained
from deeploc_tf.provenance import parent
from deeploc_tf.serving.description import Description, describe
from deeploc_tf.serving.digests import (
    UntrustedModelError,
    check_digests,
    savedmodel_folder,
    savedmodel_identity,
)
from deeploc_tf.serving.signatures import Signatures

SIGNATURE = "serving_default"

_Signature = Callable[..., dict[str, Any]]


class Crops(Protocol):
    """A batch of crops.

    Attributes:
        images: `(batch_size, height, width, channels)` of the described dtype.
        masks: `(batch_size, height, width)`, for a model that takes them, or None.
    """

    images: NDArray[Any]
    masks: NDArray[np.uint8] | None


_Batch = TypeVar("_Batch", bound=Crops)


@dataclasses.dataclass(frozen=True)
class OpenModel:
    """The signature `serving_default` of a model, and what that says about itself.

    Attributes:
        description: its crops and classes.
        signature: from tensors by name to tensors by name.
        made_from: the model, see `deeploc_tf.provenance.parent`.
        others: the same signature on further devices.
    """

    description: Description
    signature: _Signature
    made_from: tuple[Mapping[str, Any], ...] = ()
    others: tuple[_Signature, ...] = ()

    def __call__(
        self, images: NDArray[Any], masks: NDArray[np.uint8] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The outputs of a batch, a row per crop, as `export` lists them.

        Args:
            images: `(batch_size, height, width, channels)` of the described dtype.
            masks: `(batch_size, height, width)`, for a model that takes them.

        Raises:
            tf.errors.InvalidArgumentError: the crops are of another shape or type, or not finite.
            MemoryError: the device has too little memory.
        """
        return _as_arrays(self._outputs(self.signature, images, masks))

    def in_turn(
        self, batches: Iterable[_Batch]
    ) -> Iterator[tuple[_Batch, dict[str, NDArray[Any]]]]:
        """Each batch with its outputs, in order; devices compute whole batches in turn.

        Args:
            batches: their attributes `images` and `masks` are what a call takes.

        Raises:
            tf.errors.InvalidArgumentError: the crops are of another shape or type, or not finite.
            MemoryError: a device has too little memory.
        """

        def outputs_of(signature: _Signature) -> Callable[[_Batch], dict[str, Any]]:
            return lambda batch: self._outputs(signature, batch.images, batch.masks)

        functions = [outputs_of(signature) for signature in (self.signature, *self.others)]
        for batch, outputs in computed_in_turn(functions, batches):
            yield batch, _as_arrays(outputs)

    def _outputs(
        self, signature: _Signature, images: NDArray[Any], masks: NDArray[np.uint8] | None
    ) -> dict[str, Any]:
        # tf.constant keeps dtypes: an array would be cast without a word
        crops = {"image": tf.constant(images)}
        if "mask" in self.description.inputs:
            crops["mask"] = tf.constant(masks)
        with within_memory(
            len(images), lambda size: signature(**{n: crop[:size] for n, crop in crops.items()})
        ):
            return signature(**crops)


def _as_arrays(outputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: values.numpy() for name, values in outputs.items()}


@our_settings()
def open_model(
    path: str | Path,
    *,
    layer: str | None = None,
    test_time: str | None = None,
    fast: bool = False,
    trust: bool = False,
    device: str = "auto",
) -> OpenModel:
    """The model of a finished run, or a SavedModel, which may lie in versions below its folder.

    A run is made into the same graph that `export` would write, so both give the same numbers.

    Args:
        path: folder of a run, a SavedModel, or a folder of its numbered versions.
        layer: of the embedding of a run; None: the penultimate one, "fc_2".
        test_time: views of each crop that are averaged, of a run; None: its preset's. See
            `views`.
        fast: make the graph of a run cheaper; see `fast_model`.
        trust: load a SavedModel although its files are not those of its list of digests.
        device: where it computes: "auto" (every visible GPU, else the CPU), "cpu", "gpu", or a
            list such as "gpu:0,gpu:1". Of several the first one answers calls, and all of them
            `predict`, whose results do not depend on that.

    Raises:
        RecordsError: the run is not finished, or there is no model.
        SchemaError: the model tells no classes, or does not describe itself.
        UntrustedModelError: the files are not those of the list, or there is none.
        ValueError: `layer` or `test_time` is not of the model, or was settled at export, or there
            is no such device.

    Example:
        model = open_model("model")
    """
    models = []
    for name in computing_devices(device):
        with placed_on(name):
            model = _open(path, layer, test_time, fast, trust)
        models.append(dataclasses.replace(model, signature=_placed(model.signature, name)))
    others = tuple(model.signature for model in models[1:])
    return dataclasses.replace(models[0], made_from=(_parent(Path(path)),), others=others)


def _placed(signature: _Signature, device: str | None) -> _Signature:
    def placed(**crops: Any) -> dict[str, Any]:
        with placed_on(device):
            return signature(**crops)

    return placed


def _parent(path: Path) -> dict[str, Any]:
    """A run; or a SavedModel, which goes by the digest of its files, and was made from a run."""
    folder = savedmodel_folder(path)
    if folder is None:
        return parent("run", path)
    return {"what": "SavedModel", "name": path.absolute().name, **savedmodel_identity(folder)}


def _open(
    path: str | Path, layer: str | None, test_time: str | None, fast: bool, trust: bool
) -> OpenModel:
    folder = savedmodel_folder(path)
    if folder is None:
        trained = load_trained(path, both_heads=True)
        trained.check_tells_classes()
        description = describe(
            trained,
            path,
            layer=layer,
            test_time=trained.views_to_average(test_time),
            fast=fast,
        )
        signature = Signatures(trained, description, fast=fast).endpoints[SIGNATURE]
        return OpenModel(description, signature)
    if layer is not None or test_time is not None or fast:
        msg = (
            "Layer, views and precision of a SavedModel are settled when it is exported. Received: "
            f"layer={layer!r}, test_time={test_time!r}, fast={fast} for {str(path)!r}. Leave them "
            "out, or name the run."
        )
        raise ValueError(msg)
    return _load(folder, trust=trust)


def _load(folder: Path, *, trust: bool) -> OpenModel:
    if not trust:
        check_digests(folder)
    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
    except (AttributeError, KeyError, OSError, ValueError, tf.errors.OpError) as error:
        msg = (
            f"A SavedModel must be whole. Received: {str(folder)!r}, which TensorFlow cannot load "
            f"({type(error).__name__}). Get it anew."
        )
        raise UntrustedModelError(msg) from error
    described = signatures["describe"]() if "describe" in signatures else {}

    def signature(**crops: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = loaded.signatures[SIGNATURE](**crops)  # `loaded` has the weights
        return outputs

    return OpenModel(Description.from_tensors(described), signature)
