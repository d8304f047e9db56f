"""The data set of a report: what is in it, pictures of its crops, and what is measured in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from deeploc_tf.report.crops import encoded, limits, reduced
from deeploc_tf.report.page import Section, data_address
from deeploc_tf.sources.quality import sharpness
from tfrecords.manifest import Manifest, described, read_manifest
from tfrecords.reader import read_crops

_MOST_MEASURED = 200_000  # crops; a split is permuted, so that its first ones are a sample


class DataSet:
    """Records, whose manifest is read once; crops are read without TensorFlow.

    Args:
        folder: of the data set.

    Attributes:
        folder: the same.
        manifest: what it holds.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)

    def pictures(self, splits: Sequence[str], keys: Collection[str]) -> dict[str, str]:
        """Key -> address of a picture of the crop, green and magenta, stretched by itself."""
        found: dict[str, str] = {}
        if keys:
            for _, crop in read_crops(self.folder, splits, manifest=self.manifest):
                if crop.key in keys:
                    pixels = reduced(crop.image)[np.newaxis]
                    (picture,) = encoded(pixels, limits(pixels))
                    found[crop.key] = data_address(picture)
                    if len(found) == len(keys):
                        break
        return found

    def measured(self) -> pd.DataFrame:
        """A row per crop of the first 200,000: `key`, `protein`, label, metadata, and measures.

        `intensity of CHANNEL` is the mean of the pixels (of the cell, where there are masks),
        `focus` the sharpness of the sharper channel, as of `build-records --set-aside blurred`.
        """
        schema = self.manifest.schema
        rows = []
        for number, (_, crop) in enumerate(read_crops(self.folder, manifest=self.manifest)):
            if number == _MOST_MEASURED:
                break
            pixels = crop.image.astype(np.float64)
            inside = pixels if crop.mask is None else pixels[crop.mask > 0]
            means = inside.reshape(-1, pixels.shape[-1]).mean(axis=0)
            rows.append(
                {
                    **crop.metadata,
                    "key": crop.key,
                    "protein": crop.protein,
                    "label": "|".join(schema.label_names[i] for i in crop.labels),
                    **{
                        f"intensity of {name}": value
                        for name, value in zip(schema.channels, means, strict=True)
                    },
                    "focus": max(sharpness(plane) for plane in np.moveaxis(pixels, -1, 0)),
                }
            )
        return pd.DataFrame(rows)


def data_sheet(manifest: Manifest) -> list[Section]:
    """What a data set holds: its identity, its crops, and how many there are of each class."""
    schema, duplicates = manifest.schema, described(manifest.duplicates)
    num_bytes = sum(shard.num_bytes for shards in manifest.splits.values() for shard in shards)
    pixel = "of unknown size" if schema.pixel_size is None else f"{schema.pixel_size} micrometers"
    resampled = f", averaged from {schema.resampled_from}" if schema.resampled_from else ""
    rows = {
        "digest": manifest.digest,
        "format": str(manifest.format_version),
        "size": f"{sum(map(manifest.num_crops, manifest.splits)):,} crops, {num_bytes / 1e6:,.1f} "
        "MB",
        "crops": f"{' × '.join(map(str, schema.image_shape))} {schema.dtype}"
        f"{', with masks' if schema.has_mask else ''}",
        "channels": ", ".join(schema.channels),
        "pixels": pixel + resampled,
        "labels": "several per crop" if schema.multi_label else "",
        "metadata": ", ".join(f"{name} ({kind})" for name, kind in schema.metadata.items()),
        "kept together by the splits": ", ".join(manifest.group_by),
        "a cell's place": " > ".join(manifest.units),
        "seed of the order": str(manifest.seed),
        "sources": ", ".join(str(source.get("kind", "")) for source in manifest.sources),
        "left out": _counts(manifest.rejects),
        "kept, but odd": _counts(manifest.flagged),
        "there twice": _counts(duplicates) if manifest.duplicates else "unknown: format 1",
    }
    sizes = [
        {
            "split": split,
            "crops": manifest.num_crops(split),
            "shards": len(shards),
            "proteins": len(manifest.counts.get(split, {}).get("protein", {})),
        }
        for split, shards in manifest.splits.items()
    ]
    by_class = {
        split: pd.Series(
            [manifest.counts.get(split, {}).get("label", {}).get(n, 0) for n in schema.label_names],
            dtype="int64",
        )
        for split in manifest.splits
    }
    sections = [
        Section("The data set", table=two_columns(rows)),
        Section("", table=pd.DataFrame(sizes), caption="Splits."),
    ]
    if schema.label_names:
        table = pd.DataFrame({"class": schema.label_names, **by_class})
        sections.append(Section("", table=table, caption="Crops of each class."))
    return sections


def two_columns(rows: dict[str, str]) -> pd.DataFrame:
    """Names and what is known of them, those that are not empty."""
    known = [(name, value) for name, value in rows.items() if value]
    return pd.DataFrame(known, columns=["", " "])


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {n:,}" for what, n in counts.items())
