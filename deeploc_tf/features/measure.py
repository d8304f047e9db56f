"""Cells to vectors without a network: `measure` takes classic features of every crop of a split."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.features.cellprofiler import cellprofiler_features
from deeploc_tf.features.choices import FeatureKind
from deeploc_tf.features.crops import CropBatch, crop_batches
from deeploc_tf.features.intensity import Intensity
from deeploc_tf.features.masks import otsu_mask
from deeploc_tf.features.means import MAX_UNDEFINED, DefinedMeans
from deeploc_tf.features.pixels import fit_components
from deeploc_tf.features.white_levels import white_levels
from deeploc_tf.names import same_channels
from deeploc_tf.pipeline.splits import find_splits, with_usual_splits
from deeploc_tf.processes import computed
from deeploc_tf.profiles.tables import check_table, read_table, write_table, writing_table
from deeploc_tf.profiles.tables.columns import column_types
from deeploc_tf.profiles.tables.spill import Spill, remove_unfinished
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import parent, written_by
from deeploc_tf.remote_records import check_local, local_records
from deeploc_tf.version import __version__
from tfrecords.errors import SchemaError, did_you_mean
from tfrecords.file_set import publishing_set
from tfrecords.manifest import Manifest
from tfrecords.parts import Part
from tfrecords.publishing import check_absent
from tfrecords.schema import Schema
from tfrecords.verify import verify

_log = logging.getLogger(__name__)

KINDS: tuple[FeatureKind, ...] = get_args(FeatureKind)
WHOLE_CROP = "none"
_FIT_SPLIT = "train"


Vectors = NDArray[np.float32]
VectorsOf = Callable[[NDArray[Any], NDArray[np.uint8] | None], Vectors]
"""Features of images and their masks; it is pickled where several processes compute."""


class Features(Protocol):
    """What makes vectors of crops; it can be pickled."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the features."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What the features depend on, as JSON values."""

    def __call__(self, images: NDArray[Any], masks: Any) -> NDArray[np.float32]:
        """Float32 `(num_crops, num_features)`, NaN for what is not defined."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What `measure` wrote.

    Attributes:
        embeddings: path of the table with a row per cell.
        profiles: path of the table with a row per protein.
        num_crops: number of rows of the first.
        num_proteins: number of rows of the second; 0 of a part, which writes no tables.
        num_features: length of the vectors of cells.
        num_profile_features: length of the vectors of proteins: without features that are often
            undefined.
        num_left_out: how many cells no profile counts, since nothing is inside their masks.
    """

    embeddings: Path
    profiles: Path
    num_crops: int
    num_proteins: int
    num_features: int
    num_profile_features: int
    num_left_out: int

    def to_frame(self) -> pd.DataFrame:
        """The vectors of the cells, a row each: what describes them, then their features."""
        return read_table(self.embeddings).to_frame()


def measure(
    records: str | Path,
    output: str | Path,
    kind: str = "cellprofiler",
    *,
    splits: Sequence[str] = ("test",),
    mask_channel: str | None = None,
    num_components: int = 64,
    batch_size: int = 64,
    workers: int = 1,
    part: str | None = None,
    cache: str | Path | None = None,
    progress: ShowProgress = False,
) -> Measured:
    """Write features of all crops of some splits, in manifest order, and profiles by protein.

    The tables are those of `embed`. Stopped and called again in the same way, it goes on where it
    was and ends in the same bytes, whatever the number of workers. In the table of cells a feature
    that is not defined is NaN; see `DefinedMeans` for what becomes of it in the profiles.

    What has to be learnt (the level of white, the components of pixels) is learnt from the split
    `train`, or where there is none from the splits that are measured.

    Args:
        records: data set to measure, a folder or an address as `s3://bucket/records`.
        output: file to write: .h5 or .parquet, or for a table that fits into memory .npz or .h5ad.
        kind: "cellprofiler" (needs the extra of this name), "intensity" or "pixels".
        splits: names of splits, measured one after the other; `val` is `validation`.
        mask_channel: name of the channel whose bright part is the cell, by Otsu's threshold, or
            "none": the whole crop is. By default the stored mask is taken, and where none is
            stored the second channel.
        num_components: length of the vectors of "pixels".
        batch_size: crops that are measured at once, and lost when a measurement is stopped.
        workers: how many processes compute. With more than one, a script that calls this must guard
            its main code by `if __name__ == "__main__":`.
        part: "K/N" to do share K of N of the batches, as a job of an array, and write no table. The
            call without it joins the parts once all are done.
        cache: folder of copies, of records at an address; see `local_records`.
        progress: True to show the number of crops measured; or a callable that gets
            `(done, total)`.

    Returns:
        Paths and sizes.

    Raises:
        OutputExistsError: a file of either name is there already.
        LockedError: another process writes the same output.
        PartsError: a part is missing, or parts are of other settings or another number of parts.
        MissingCpMeasureError: the extra `cellprofiler` is not installed.
        SchemaError: there is no mask and no channel to make it from.
        SplitError: there is no such split, or one is named twice.
        DamagedRecordsError: the records are damaged.
        ChildProcessError: a worker died.
        ValueError: no crop has anything inside its mask, crops are too few for the components, or
            the table does not fit into memory.
        MissingAnnDataError: .h5ad without the extra `anndata`.

    Example:
        cells = measure("records", "features.parquet", "intensity").to_frame()
    """
    check_local(output)
    output = Path(output)
    check_table(output)
    share = None if part is None else Part.of(part)
    if not any(output.parent.glob(f"{glob.escape(output.name)}.partial-*")):
        check_absent(output)  # before anything is computed
    if kind not in KINDS:
        msg = (
            f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}."
            f"{did_you_mean(kind, KINDS)}"
        )
        raise ValueError(msg)
    records = local_records(records, cache)
    manifest = with_usual_splits(verify(records))
    splits = find_splits(manifest, splits)
    total = sum(manifest.num_crops(split) for split in splits)
    masked = kind != "pixels"
    mask = _mask_rule(manifest.schema, mask_channel) if masked else None
    features = _features(records, manifest, kind, splits, num_components, mask, batch_size)
    check_table(output, total, len(features.names))
    provenance = {
        "kind": "embeddings",
        "features": kind,
        **({"mask": mask} if masked else {}),
        "splits": list(splits),
        "channels": list(manifest.schema.channels),
        "records_digest": manifest.digest,
        **features.provenance,
        "batch_size": batch_size,  # components are learnt, and sums rounded, batch by batch
        "deeploc_tf": __version__,
    }
    parts = Spill(output, hashlib.sha256(json.dumps(provenance).encode()).hexdigest())
    profiles_path = output.with_name(f"{output.stem}.profiles{output.suffix}")
    paths = [profiles_path, output]
    vectors_of = partial(_vectors, features, _channel_of(manifest.schema, mask), mask == WHOLE_CROP)
    if share is not None:
        for path in paths:
            check_absent(path)
        numbers = share.share(-(-total // batch_size))
        batches = crop_batches(records, manifest, splits, batch_size, numbers)
        done, most = 0, min(total, numbers.stop * batch_size) - numbers.start * batch_size
        with (
            share.opened(output, parts.folder),
            counting(progress, "Measuring crops", most) as count,
        ):
            for _, vectors in measured(batches, vectors_of, parts, workers):
                done += len(vectors)
                count(done)
        return Measured(output, profiles_path, done, 0, len(features.names), 0, 0)
    remove_unfinished(parts, paths, provenance)
    profiles = DefinedMeans(features.names)
    columns = column_types(manifest.schema)
    made_from = [parent("records", records)]
    with (
        parts.opened(),
        publishing_set(paths) as (profiles_place, cells_place),
    ):
        whole = provenance | {"made_from": made_from}
        with (
            writing_table(cells_place, features.names, columns, whole) as writer,
            counting(progress, "Measuring crops", total) as count,
        ):
            batches = crop_batches(records, manifest, splits, batch_size)
            for batch, vectors in measured(batches, vectors_of, parts, workers):
                writer.append(vectors, batch.columns)
                profiles.add(vectors, batch.columns["protein"])
                count(writer.num_rows)
        if profiles.num_left_out == total:
            msg = f"A crop must have a cell. Received: {total} empty masks ({mask})."
            raise ValueError(msg)
        cells = parent("cells", cells_place, {"made_from": made_from, **written_by()})
        table, kept = profiles.table(provenance | {"made_from": [cells]})
        write_table(profiles_place, table, kept)
    written = Measured(
        embeddings=output,
        profiles=profiles_path,
        num_crops=total,
        num_proteins=len(table.features),
        num_features=len(features.names),
        num_profile_features=len(kept),
        num_left_out=profiles.num_left_out,
    )
    for sentence in _notes(written, table.provenance["num_filled"]):
        _log.warning("%s", sentence)
    return written


def measured(
    batches: Iterable[CropBatch], vectors_of: VectorsOf, parts: Spill, workers: int
) -> Iterator[tuple[CropBatch, Vectors]]:
    """Each batch with its features, in order; those of finished parts are not computed again.

    Raises:
        ChildProcessError: a process died; the crops are named.
        Exception: what `vectors_of` raised; the crops are named.
    """
    return computed(partial(_vectors_of_part, vectors_of, parts), batches, workers, _named)


def _vectors_of_part(vectors_of: VectorsOf, parts: Spill, batch: CropBatch) -> Vectors:
    vectors = parts.load(batch.number)
    if vectors is None:
        try:
            vectors = vectors_of(batch.images, batch.masks)
        except Exception as error:
            error.add_note(f"Place: {_named(batch)}.")
            raise
        parts.save(batch.number, vectors)
    return vectors


def _named(batch: CropBatch) -> str:
    keys = batch.columns["key"]
    return f"crops {keys[0]!r} to {keys[-1]!r}"


def _mask_rule(schema: Schema, channel: str | None) -> str:
    """Where masks come from: "stored", "none" (the whole crop), or "otsu of CHANNEL"."""
    if channel == WHOLE_CROP:
        return WHOLE_CROP
    if channel is None and schema.has_mask:
        return "stored"
    if channel is None and len(schema.channels) < 2:
        msg = (
            "A cell must have a mask, or a channel that shows all of it. Received: records without "
            f"masks, channels={list(schema.channels)}. Name a channel by `mask_channel` "
            f"(--threshold-channel {schema.channels[0]}), or {WHOLE_CROP!r} to take the whole crop."
        )
        raise SchemaError(msg)
    channel = channel or schema.channels[1]
    channel = next((c for c in schema.channels if same_channels([c], [channel])), channel)
    if channel not in schema.channels:
        msg = (
            f"`mask_channel` must be one of {', '.join(schema.channels)}, or {WHOLE_CROP!r}. "
            f"Received: mask_channel={channel!r}.{did_you_mean(channel, schema.channels)}"
        )
        raise SchemaError(msg)
    why = "instead of the stored ones" if schema.has_mask else "since none are stored"
    _log.info("Masks are made from the channel %r by Otsu's threshold, %s.", channel, why)
    return f"otsu of {channel}"


def _channel_of(schema: Schema, mask: str | None) -> int | None:
    """Index of the channel that masks are made from."""
    name = (mask or "").removeprefix("otsu of ")
    return None if name == mask or not mask else schema.channels.index(name)


def _vectors(
    features: Features,
    mask_channel: int | None,
    whole_crop: bool,
    images: NDArray[Any],
    masks: NDArray[np.uint8] | None,
) -> Vectors:
    """The features of crops; runs in the workers."""
    from threadpoolctl import threadpool_limits

    masks = _masks(mask_channel, whole_crop, images, masks)
    with threadpool_limits(1):  # sums of several threads would depend on their number
        return features(images, None if masks is None else masks.astype(bool))


def _masks(
    mask_channel: int | None,
    whole_crop: bool,
    images: NDArray[Any],
    masks: NDArray[np.uint8] | None,
) -> NDArray[Any] | None:
    """Where the cells are, by the rule; None where no masks are stored and none are made."""
    if whole_crop:
        return np.ones(images.shape[:3], np.uint8)
    if mask_channel is not None:
        return np.stack([otsu_mask(image[..., mask_channel]) for image in images])
    return masks


def _features(
    records: str | Path,
    manifest: Manifest,
    kind: str,
    splits: Sequence[str],
    num_components: int,
    mask: str | None,
    batch_size: int,
) -> Features:
    """What makes the vectors, with what it has to learn learnt."""
    schema = manifest.schema
    if kind == "intensity":
        return Intensity.of(schema)
    height, width, _ = schema.image_shape
    fit_splits = [_FIT_SPLIT] if _FIT_SPLIT in manifest.split_names else splits

    def fit_batches() -> Iterator[CropBatch]:
        return crop_batches(records, manifest, fit_splits, batch_size)

    if kind == "cellprofiler":
        cellprofiler_features(schema.channels, [1.0] * len(schema.channels), (height, width))
        channel, whole = _channel_of(schema, mask), mask == WHOLE_CROP
        levels = white_levels(
            fit_batches(), lambda batch: _masks(channel, whole, batch.images, batch.masks)
        )
        return cellprofiler_features(schema.channels, levels, (height, width))
    return fit_components(fit_batches(), white_levels(fit_batches()), num_components=num_components)


def _notes(written: Measured, num_filled: int) -> Iterator[str]:
    if written.num_left_out:
        yield (
            f"{written.num_left_out} of {written.num_crops} cells have an empty mask: their rows "
            "are NaN, and no profile counts them."
        )
    dropped = written.num_features - written.num_profile_features
    if dropped:
        yield (
            f"{dropped} features are undefined in more than {MAX_UNDEFINED:.0%} of the cells: the "
            "profiles do without them."
        )
    if num_filled:
        yield f"{num_filled} numbers of profiles are undefined: they got the others' mean."
