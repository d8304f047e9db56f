"""A trained model as a SavedModel that takes raw crops and needs nothing but TensorFlow."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from deeploc_tf.models.hardware import computing_on
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.trained import load_trained
from deeploc_tf.provenance import parent, with_seal
from deeploc_tf.serving.description import DESCRIPTION_NAME, describe
from deeploc_tf.serving.digests import write_digests
from deeploc_tf.serving.model_card import CARD_NAME, model_card
from deeploc_tf.serving.signatures import Signatures
from deeploc_tf.serving.warmup import WARMUP_NAME, warmup_requests
from tfrecords.publishing import publish_bytes, publish_json, publishing_folder, sync

VERSION = "1"


@our_settings()
def export(
    run: str | Path,
    output: str | Path,
    *,
    layer: str | None = None,
    test_time: str | None = None,
    fast: bool = False,
    device: str = "auto",
) -> Path:
    """Write the model of a run as a SavedModel that carries its own preprocessing.

    `output` is what TensorFlow Serving takes as a model: the SavedModel is its version `1`, and a
    card for people, `README.md`, stands beside that. `digests.json` lists the files of the version.

    Signatures take `image`, raw crops `(batch_size, height, width, channels)` in the records'
    dtype (and `mask`, uint8 `(batch_size, height, width)`, where the model has masks), of any batch
    size, and return float32 tensors by name:

    - ``classify``: `probabilities` and `logits` `(batch_size, num_classes)`, `novelty`
      `(batch_size,)` and `accepted`, bool `(batch_size,)`, see docs/trust.md
    - ``embed``: `embedding` `(batch_size, num_features)`
    - ``serving_default``: all of them, in one pass, and with `classify` of a run that is
      calibrated also `calibrated_probabilities`, see `Calibration`, and of a run with two heads
      `protein_probabilities` `(batch_size, num_proteins)`
    - ``serialized``: all of them of `examples`, strings `(batch_size,)`: serialized
      `tf.train.Example` as in the records
    - ``rest``: all of them of `image` and `mask` as numbers of JSON, int32 for whole numbers
    - ``describe`` takes nothing and returns the attributes of `Description`; ``rest_describe``
      takes any string, `request`, and returns the same.

    `assets.extra/tf_serving_warmup_requests` has a request to each of those that take crops:
    TensorFlow Serving answers them while it loads the model, and the first user does not wait.

    When a signature runs, it refuses crops of another shape, batches of none and pixels that are
    not finite.

    Args:
        run: folder of a finished training.
        output: folder to make.
        layer: of the embedding; None: the penultimate one, "fc_2", or of a network of one's own
            "features".
        test_time: views of each crop whose probabilities and embeddings are averaged: "none",
            "crops" (five windows), "orientations" or "both"; see `views`. The cost is a pass each.
            None: as the run says, which has it from its preset.
        fast: fold batch normalizations away, and compute convolutions in bfloat16 if this machine
            does that in hardware; `describe` tells the precision. See `fast_model`.
        device: where it is made, which `fast` asks for its hardware: "auto", "cpu", "gpu" or one
            such as "gpu:1". The SavedModel runs on any.

    Returns:
        The SavedModel, `output/1`.

    Raises:
        OutputExistsError: `output` is there already.
        RecordsError: the run is not finished.
        SchemaError: its model tells no classes, or sees the whole crop where `test_time` moves its
            window.
        ValueError: the model has no layer of that name, `test_time` is no such word, or there is
            no such device.

    Example:
        export("run", "model")  # the SavedModel is model/1
    """
    output = Path(output)
    with publishing_folder(output) as folder, computing_on(device):
        trained = load_trained(run, both_heads=True)
        trained.check_tells_classes()
        description = describe(
            trained, run, layer=layer, test_time=trained.views_to_average(test_time), fast=fast
        )
        module = Signatures(trained, description, fast=fast)
        version = folder / VERSION
        tf.saved_model.save(module, str(version), signatures=module.endpoints)
        (version / DESCRIPTION_NAME).parent.mkdir()
        publish_bytes(version / WARMUP_NAME, warmup_requests(output.name, trained))
        publish_json(version / DESCRIPTION_NAME, description.to_json())
        digest = write_digests(version)
        card = model_card(output.name, description, digest)
        publish_bytes(folder / CARD_NAME, with_seal(card.encode(), [parent("run", run)]))
        for path in folder.rglob("*"):
            sync(path)
    return output / VERSION
