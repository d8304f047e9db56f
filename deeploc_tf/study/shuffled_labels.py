"""Records in which labels say nothing: what a network learns from pictures alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from tfrecords.manifest import Manifest, read_manifest
from tfrecords.reader import read_crops
from tfrecords.writer import Entry, write_records


def shuffle_labels(records: str | Path, output: str | Path, seed: int = 0) -> Manifest:
    """Copy a data set, with the labels of each split dealt to its crops anew, at random.

    Each class keeps its number of crops, and crops of one protein get different labels: there is
    nothing to learn that would hold for other crops.

    Args:
        records: folder of the data set.
        output: folder to make.
        seed: of the dealing.

    Raises:
        OutputExistsError: `output` is there already.
        RecordsError: the records are damaged.
    """
    manifest = read_manifest(records)
    generator = np.random.default_rng(seed)
    labels: dict[str, tuple[int, ...]] = {}
    entries = []
    for split in manifest.split_names:
        found = [
            (crop.key, crop.labels, crop.protein)
            for _, crop in read_crops(records, [split], manifest=manifest)
        ]
        order = generator.permutation(len(found))
        for (key, _, protein), other in zip(found, order, strict=True):
            labels[key] = found[other][1]
            entries.append(Entry(key, split, labels[key], protein))
    crops = (
        dataclasses.replace(crop, labels=labels[crop.key])
        for _, crop in read_crops(records, manifest=manifest)
    )
    source = {"kind": "shuffled labels", "records_digest": manifest.digest, "seed": seed}
    return write_records(
        output,
        manifest.schema,
        entries,
        crops,
        seed=seed,
        sources=[source],
        # As it was in the records, of which those of format 1 do not say.
        allow_duplicates=manifest.duplicates is None or manifest.duplicates.allowed,
    )
