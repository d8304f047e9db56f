"""The page beside an exported model, for the people who will use it."""

from __future__ import annotations

from typing import Any

import yaml

from deeploc_tf.serving.description import Description

CARD_NAME = "README.md"
_SCORES = (
    "num_crops",
    "accuracy",
    "majority_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_ap",
)

_PAGE = """\
---
{front_matter}---

# {name}

A network that tells where a protein is in a cell, from a raw single-cell crop, and gives each
crop a vector of features. It is a TensorFlow SavedModel that carries its own preprocessing:
TensorFlow runs it, nothing else is needed.

## What it takes

{inputs}

Channels, in this order: {channels}. Pixel size: {pixel_size}. Normalization (`{normalization}`)
and the cut of {crop_size} pixels happen inside: give raw pixels, not scaled ones. The order of the
channels and the size of the pixels cannot be checked from pixels: check them yourself.

## What it gives

| signature | takes | gives |
|---|---|---|
| `serving_default` | crops | `probabilities`, `logits`, `embedding`{judged} |
| `classify` | crops | `probabilities`, `logits`{judged} |
| `embed` | crops | `embedding` |
| `serialized` | `examples`, serialized `tf.train.Example`s as in its records | all of them |
| `rest` | crops as numbers of JSON | all of them |
| `describe`, `rest_describe` | nothing; any string | all of this page, as tensors |

{acceptance}`embedding` is the layer `{layer}`. {views}{precision}

Classes, in the order of the probabilities ({activation}):

{classes}

```python
import tensorflow as tf

model = tf.saved_model.load("{name}/1")
outputs = model.signatures["serving_default"]({call})
```

## How it was trained

Records of digest `{records_digest}`, with deeploc-tf {trained_with}. All settings stand in
`1/assets.extra/description.json`.

{scores}

These are numbers of its own records: on other microscopes, strains or stainings they are not known.
A softmax always names one of its classes, also for cells of none of them.

## Digest

The digest of the files in `1`; a digest that stands beside the files tells damage, not who made
them:

```sh
deeploc-tf verify {name} --digest {digest}
```
"""


_ACCEPTANCE = """\
`accepted` is false of crops that are unlike those of the training (`novelty` above 1), out of
focus, empty or saturated: their probabilities say nothing. Of the good crops that set its limits
less than 5 % are not accepted; on other microscopes or specimens it may be many more. All outputs
are float32, `accepted` is bool.

"""


def model_card(name: str, description: Description, digest: str) -> str:
    """Markdown with front matter: what the model takes and gives, and how it was trained.

    Args:
        name: of its folder.
        description: what it says about itself.
        digest: of its files.
    """
    d = description
    masked = "mask" in d.inputs
    shape = ", ".join(map(str, d.image_shape))
    inputs = [f"- `image`: {d.dtype} `(batch_size, {shape})`, any batch size from 1"]
    if masked:
        mask_shape = ", ".join(map(str, d.image_shape[:2]))
        inputs.append(f"- `mask`: uint8 `(batch_size, {mask_shape})`, not 0 inside the cell")
    own_size = d.training.get("resampled_from")
    resampled = f" (averaged over areas, from {own_size:g})" if own_size else ""
    several = d.activation == "sigmoid"
    judged = ", `novelty`, `accepted`" if d.acceptance else ""
    return _PAGE.format(
        judged=judged,
        acceptance=_ACCEPTANCE if judged else "",
        front_matter=yaml.safe_dump(_front_matter(name, d), allow_unicode=True, sort_keys=False),
        name=name,
        inputs="\n".join(inputs),
        channels=", ".join(f"`{channel}`" for channel in d.channels),
        pixel_size="not known"
        if d.pixel_size is None
        else f"{d.pixel_size:g} micrometres{resampled}",
        normalization=d.normalization,
        crop_size=" x ".join(map(str, d.crop_size)),
        layer=d.layer,
        views=""
        if d.test_time == "none"
        else f"Outputs are means over several views of each crop (`{d.test_time}`). ",
        precision=""
        if d.precision == "float32"
        else f"Convolutions compute in {d.precision}, which changes results a little.",
        activation="sigmoid: a crop may have several" if several else "softmax: a crop has one",
        classes="\n".join(f"{i}. {name}" for i, name in enumerate(d.class_names)),
        call="image=crops, mask=masks" if masked else "image=crops",
        records_digest=d.records_digest,
        trained_with=d.training.get("deeploc_tf") or "of unknown version",
        scores=_scores(d.training.get("scores", {})),
        digest=digest,
    )


def _front_matter(name: str, description: Description) -> dict[str, Any]:
    versions = description.training.get("packages", {})
    return {
        "model_name": name,
        "library_name": "tensorflow",
        "pipeline_tag": "image-classification",
        "tags": ["microscopy", "protein-localization", "deeploc"],
        "deeploc_tf": description.deeploc_tf,
        "tensorflow": versions.get("tensorflow"),
        "model_sha256": description.model_sha256,
        "records_digest": description.records_digest,
        "channels": list(description.channels),
        "class_names": list(description.class_names),
    }


def _scores(of_split: dict[str, dict[str, Any]]) -> str:
    """A table of the scores at the end of the training, the majority's beside them."""
    names = [name for name in _SCORES if any(name in scores for scores in of_split.values())]
    if not names:
        return "Its scores are not recorded."
    lines = [f"| split | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for split, scores in of_split.items():
        cells = (scores.get(name, "") for name in names)
        texts = (f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells)
        lines.append(f"| {split} | {' | '.join(texts)} |")
    return "\n".join(lines)
