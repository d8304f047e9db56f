"""Some crops of each protein from records, as small pictures for a page."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.names import same_form
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.report.crops import encoded, limits, reduced
from deeploc_tf.units import some
from tfrecords.manifest import read_manifest
from tfrecords.reader import read_crops
from tfrecords.schema import Crop

_FOR_CONTRAST = 500  # crops; records are permuted, so that the first are a sample


@dataclasses.dataclass(frozen=True)
class ProteinCrops:
    """Pictures of cells.

    Attributes:
        images: of each protein, in the order they were asked for: bytes of WebP pictures.
        labels: of each protein, the commonest label of these crops, "" where there is none.
        channels: names of the one or two that are shown, green and magenta.
        shape: height and width of each picture, in pixels.
    """

    images: list[list[bytes]]
    labels: list[str]
    channels: tuple[str, ...]
    shape: tuple[int, int]


def protein_crops(
    records: str | Path,
    proteins: Sequence[str],
    count: int,
    *,
    progress: ShowProgress = False,
) -> ProteinCrops:
    """The first crops of each protein in the records, which are permuted.

    Each channel has one contrast in all pictures, from the 1st to the 99.8th percentile of the
    first 500 crops, so that a bright protein is bright beside a faint one.

    Args:
        records: folder of the data set; read without TensorFlow, and no further than needed.
        proteins: their names; spaces and Unicode form are matched.
        count: of crops of each protein, at most.
        progress: True to show a bar; or a callable that gets `(done, total)`.

    Raises:
        ValueError: the records hold no crop of any of the proteins, or are damaged.
    """
    manifest = read_manifest(records)
    total = sum(map(manifest.num_crops, manifest.split_names))
    images: dict[str, list[bytes]] = {same_form(name, "protein"): [] for name in proteins}
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    contrast: NDArray[np.float64] | None = None
    shape = (0, 0)
    others: set[str] = set()
    with counting(progress, "Reading crops", total) as done:
        for batch in _batches(_wanted(records, images, count, others, done)):
            pixels = np.stack([reduced(crop.image) for _, crop in batch])
            contrast = limits(pixels) if contrast is None else contrast
            shape = pixels.shape[1:3]
            for (form, crop), picture in zip(batch, encoded(pixels, contrast), strict=True):
                images[form].append(picture)
                labels[form].update(manifest.schema.label_names[i] for i in crop.labels)
    if not shape[0]:
        msg = (
            f"Records must hold crops of proteins of the table. Received: {records} with crops of "
            f"{some(others) or 'no protein'}, and a table of {some(proteins)}. Take the records "
            "that the table was made of."
        )
        raise ValueError(msg)
    forms = [same_form(name, "protein") for name in proteins]
    commonest = [labels[form].most_common(1) for form in forms]
    return ProteinCrops(
        [images[form] for form in forms],
        [found[0][0] if found else "" for found in commonest],
        manifest.schema.channels[:2],
        shape,
    )


def _wanted(
    records: str | Path,
    images: dict[str, list[bytes]],
    count: int,
    others: set[str],
    done: Any,
) -> Iterator[tuple[str, Crop]]:
    """Form of the protein, and crop, until all proteins have enough; names of others are kept."""
    lacking = dict.fromkeys(images, count)
    for number, (_, crop) in enumerate(read_crops(records), start=1):
        done(number)
        form = same_form(crop.protein, "protein")
        if form not in images:
            others.add(crop.protein)
        elif form in lacking:
            yield form, crop
            lacking[form] -= 1
            if not lacking[form]:
                del lacking[form]
        if not lacking:
            return


def _batches(crops: Iterator[tuple[str, Crop]]) -> Iterator[list[tuple[str, Crop]]]:
    batch = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == _FOR_CONTRAST:
            yield batch
            batch = []
    if batch:
        yield batch
