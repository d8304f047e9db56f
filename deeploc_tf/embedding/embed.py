"""Cells to vectors: `embed` runs every crop of some splits through the model up to named layers."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from deeploc_tf.embedding.columns import column_values, record_features
from deeploc_tf.models.extractors import (
    blank_crops,
    feature_extractor,
    feature_layer,
    feature_names,
    inference_function,
)
from deeploc_tf.models.folding import fast_model, fast_precision
from deeploc_tf.models.hardware import (
    computed_in_turn,
    computing_devices,
    placed_on,
    within_memory,
)
from deeploc_tf.models.keras_settings import our_settings
from deeploc_tf.models.trained import OtherPixelSize, TrainedModel, load_trained
from deeploc_tf.models.views import mean_of_vectors, outputs_of_views, views
from deeploc_tf.pipeline.batches import running_on
from deeploc_tf.pipeline.shards import shard_batches
from deeploc_tf.pipeline.splits import find_splits, with_usual_splits
from deeploc_tf.profiles.aggregate import UNIT_SIGN, MeanProfiles
from deeploc_tf.profiles.tables import check_table, read_table, write_table, writing_table
from deeploc_tf.profiles.tables.columns import column_types
from deeploc_tf.profiles.tables.spill import Spill, remove_unfinished
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import parent, written_by
from deeploc_tf.remote_records import check_local, local_records
from deeploc_tf.units import told_path
from deeploc_tf.version import __version__
from tfrecords.errors import did_you_mean
from tfrecords.file_set import publishing_set
from tfrecords.manifest import Manifest, ShardInfo
from tfrecords.parts import Part
from tfrecords.publishing import check_absent
from tfrecords.retrying import retrying
from tfrecords.verify import verify

_log = logging.getLogger(__name__)

Vectors = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What `embed` wrote.

    Attributes:
        embeddings: path of the table with a row per cell.
        profiles: path of the table with a row per protein.
        num_crops: number of rows of the first.
        num_proteins: number of rows of the second; 0 of a part, which writes no tables.
        num_features: length of the vectors.
        layer: where they were taken; of several layers their addresses, joined by `+`.
    """

    embeddings: Path
    profiles: Path
    num_crops: int
    num_proteins: int
    num_features: int
    layer: str

    def to_frame(self) -> pd.DataFrame:
        """The vectors of the cells, a row each: what describes them, then their features."""
        return read_table(self.embeddings).to_frame()


@retrying
@our_settings()
def embed(
    run: str | Path,
    records: str | Path,
    output: str | Path,
    *,
    splits: Sequence[str] = ("test",),
    layer: str | Sequence[str] | None = None,
    test_time: str | None = None,
    fast: bool = False,
    summarize_by: Sequence[str] = ("protein",),
    batch_size: int = 256,
    device: str = "auto",
    other_pixel_size: OtherPixelSize = "warn",
    part: str | None = None,
    cache: str | Path | None = None,
    progress: ShowProgress = False,
) -> Embedded:
    """Write the vectors of all crops of some splits, in manifest order, and profiles by protein.

    Batches are streamed to disk, so that memory does not grow with the number of crops. Stopped and
    called again in the same way, it goes on after the last finished shard and ends in the same
    bytes. The profile of a protein is the mean over its cells; it goes to `NAME.profiles.SUFFIX`
    beside `NAME.SUFFIX`.

    Args:
        run: folder of a finished training.
        records: data set to embed, a folder or an address as `s3://bucket/records`: the one of the
            training, or another one with equal crops.
        output: file to write: .h5 or .parquet, or for a table that fits into memory .npz or .h5ad
            (see `deeploc_tf.profiles.tables`).
        splits: names of splits, embedded one after the other; `val` is `validation`.
        layer: address of the layer to take, or of several, whose vectors stand side by side: see
            `feature_extractor`. None: the penultimate one, "fc_2", and of inpainting
            "source_conv_3:max".
        test_time: views of each crop over which vectors are averaged: "none", "crops",
            "orientations" or "both"; see `views`. None: as the run says, which
            has it from its preset.
        fast: with batch norm folded away, and in bfloat16 where the device multiplies it in
            hardware; see `fast_model`.
        summarize_by: columns of the records, such as `well` or `compound`, whose groups the
            profiles are of; columns above, such as the plate of a well, are taken along.
        batch_size: crops a step; it changes no value beyond float32 rounding.
        device: "auto" (every visible GPU, else the CPU), "cpu", "gpu", or a list such as
            "gpu:0,gpu:1". Several take whole batches in turn: they change neither order nor bytes.
        other_pixel_size: "warn" of pixels of another size than in training, or "refuse" them; see
            `check_pixel_size`.
        part: "K/N" to do share K of N of the shards, as a job of an array, and write no table. The
            call without it joins the parts once all are done.
        cache: folder of copies, of records at an address; see `local_records`.
        progress: True to show the number of crops embedded; or a callable that gets
            `(done, total)`.

    Returns:
        Paths and sizes.

    Raises:
        OutputExistsError: a file of either name is there already.
        LockedError: another process writes the same output.
        PartsError: a part is missing, or parts are of other settings or another number of parts.
        RecordsError: the run is not finished, or the records are damaged.
        SchemaError: the model was made for other crops, or has no such views.
        SplitError: there is no such split, or one is named twice.
        ValueError: there is no such layer, device or column, or the table does not fit into memory.
        MissingAnnDataError: .h5ad without the extra `anndata`.

    Example:
        cells = embed("run", "records", "cells.parquet").to_frame()
    """
    check_local(output)
    output = Path(output)
    check_table(output)
    share = None if part is None else Part.of(part)
    records = local_records(records, cache)
    manifest = with_usual_splits(verify(records))
    splits = find_splits(manifest, splits)
    shards = [(split, shard) for split in splits for shard in manifest.shards(split)]
    total = sum(shard.num_crops for _, shard in shards)
    devices = computing_devices(device)
    with placed_on(devices[0]):
        trained = load_trained(run)
    for sentence in trained.check_schema(manifest.schema, other_pixel_size):
        _log.info("%s", sentence)
    averaged = trained.views_to_average(test_time)
    network = _Network(trained, layer, averaged, fast, devices[0])
    if test_time is None and trained.test_time != "none":
        _log.info("Vectors are averaged over views, as the run says: %s.", trained.test_time)
    if network.precision:
        _log.info("Batch norm is folded into the layers before it, in %s.", network.precision)
    check_table(output, total, network.num_features)
    provenance = _provenance(trained, manifest, splits, network)
    columns = column_types(manifest.schema)
    by = _group_columns(summarize_by, columns)
    table: dict[str, Any] = {
        "feature_names": network.names,
        "columns": columns,
        "provenance": provenance,
    }
    made_from = [parent("run", run), parent("records", records)]
    parts = Spill(output, _identity(table, batch_size))
    profiles_path = output.with_name(f"{output.stem}.profiles{output.suffix}")
    paths = [profiles_path, output]

    def compute(numbers: range) -> int:
        """Make the parts of some shards; returns how many crops they have."""
        networks = [network]
        for name in devices[1:]:
            with placed_on(name):
                networks.append(_Network(load_trained(run), layer, averaged, fast, name))
        num_crops = sum(shards[number][1].num_crops for number in numbers)
        with (
            running_on(records, manifest),
            within_memory(batch_size, lambda n: network(blank_crops(trained.model, n))),
            counting(progress, "Embedding crops", num_crops) as count,
        ):
            _compute(
                networks, records, manifest, shards, numbers, parts, batch_size, columns, count
            )
        return num_crops

    if share is not None:
        for path in paths:
            check_absent(path)
        with share.opened(output, parts.folder):
            done = compute(share.share(len(shards)))
        return Embedded(output, profiles_path, done, 0, network.num_features, network.layer)
    remove_unfinished(parts, paths, provenance)
    with parts.opened(), publishing_set(paths) as (profiles_place, cells_place):
        compute(range(len(shards)))
        profiles = MeanProfiles(network.num_features)
        table["provenance"] = provenance | {"made_from": made_from}
        with writing_table(cells_place, **table) as writer:
            for number in range(len(shards)):
                for vectors, described in parts.read(number):
                    writer.append(vectors, described)
                    profiles.add(vectors, _names_of_groups(described, by))
        cells = parent("cells", cells_place, {"made_from": made_from, **written_by()})
        found = profiles.table(provenance | {"made_from": [cells]}, by)
        write_table(profiles_place, found, network.names)
    return Embedded(
        output, profiles_path, total, len(found.features), network.num_features, network.layer
    )


class _Network:
    """From a batch of records to vectors, on one device, where the model lies already."""

    def __init__(
        self,
        trained: TrainedModel,
        layer: str | Sequence[str] | None,
        test_time: str,
        fast: bool,
        device: str | None,
    ) -> None:
        self._device = device
        with placed_on(device):
            self._cut(trained, layer, test_time, fast)

    def _cut(
        self, trained: TrainedModel, layer: str | Sequence[str] | None, test_time: str, fast: bool
    ) -> None:
        wanted = layer or feature_layer(trained.model)
        self.addresses = [wanted] if isinstance(wanted, str) else list(wanted)
        self.layer = "+".join(self.addresses)
        self.test_time = test_time
        self.precision = fast_precision() if fast else ""
        self.inputs = ["image", "mask"] if trained.takes_mask else ["image"]
        self._views = views(trained.model, test_time)
        extractor = feature_extractor(trained.model, self.addresses)
        self.names = [
            name
            for address in self.addresses
            for name in feature_names(address, int(extractor.output[address].shape[-1]))
        ]
        self.num_features = len(self.names)
        joined = [extractor.output[address] for address in self.addresses]
        if len(joined) > 1:
            joined = [keras.layers.Concatenate(dtype="float32", name="joined")(joined)]
        network = keras.Model(extractor.input, joined[0])
        self._vectors_of = inference_function(fast_model(network) if fast else network)

    def __call__(self, batch: dict[str, Any]) -> Any:
        """Float32 tensor `(batch_size, num_features)`: the mean over the views."""
        with placed_on(self._device):
            crops = {name: batch[name] for name in self.inputs}
            return mean_of_vectors(outputs_of_views(self._vectors_of, crops, self._views))


def _compute(
    networks: Sequence[_Network],
    records: str | Path,
    manifest: Manifest,
    shards: Sequence[tuple[str, ShardInfo]],
    numbers: range,
    parts: Spill,
    batch_size: int,
    columns: Mapping[str, str],
    count: Callable[[int], None],
) -> None:
    """Make those parts of `numbers` that are not there yet, one a shard."""
    kept = {n for n in numbers if parts.num_rows(n) == shards[n][1].num_crops}
    left = [number for number in numbers if number not in kept]
    done = sum(shards[number][1].num_crops for number in kept)
    batches = shard_batches(
        records,
        manifest,
        [shards[number][1] for number in left],
        batch_size=batch_size,
        features=[*networks[0].inputs, *record_features(manifest.schema)],
    )
    for index, of_shard in itertools.groupby(_computed(networks, batches), lambda item: item[0]):
        number = left[index]
        with parts.writing(number, columns, networks[0].num_features) as append:
            for _, batch, vectors in of_shard:
                append(vectors, column_values(batch, manifest.schema, shards[number][0]))
                done += len(vectors)
                count(done)


def _computed(
    networks: Sequence[_Network], batches: Iterable[tuple[Any, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, Any], Vectors]]:
    """Each batch with its vectors: those of the next are computed while these are written."""
    functions = [lambda item, network=network: network(item[1]) for network in networks]
    for (index, batch), vectors in computed_in_turn(functions, batches):
        yield int(index), batch, vectors.numpy()


def _group_columns(wanted: Sequence[str], columns: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of `summarize_by`, with those above them."""
    for name in wanted:
        if name not in columns:
            msg = (
                f"`summarize_by` must be columns of the records: {', '.join(columns)}. Received: "
                f"{name!r}.{did_you_mean(name, columns)}"
            )
            raise ValueError(msg)
    return told_path(wanted, columns, "`summarize_by`")


def _names_of_groups(described: Mapping[str, Sequence[Any]], by: Sequence[str]) -> Sequence[str]:
    """The name of the group of each row; "" where a part of it has none."""
    if len(by) == 1 and isinstance(next(iter(described[by[0]]), ""), str):
        return described[by[0]]
    parts = zip(*([str(value) for value in described[name]] for name in by), strict=True)
    return [UNIT_SIGN.join(part) if all(part) else "" for part in parts]


def _identity(table: Mapping[str, Any], batch_size: int) -> str:
    """Name of what is computed, to the last bit: the size of a batch may change that."""
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return hashlib.sha256(json.dumps([table, batch_size, versions]).encode()).hexdigest()


def _provenance(
    trained: TrainedModel, manifest: Manifest, splits: Sequence[str], network: _Network
) -> dict[str, Any]:
    return {
        "kind": "embeddings",
        "layer": network.layer,
        **({"test_time": network.test_time} if network.test_time != "none" else {}),
        **({"fast": network.precision} if network.precision else {}),
        "splits": list(splits),
        "channels": list(manifest.schema.channels),
        "records_digest": manifest.digest,
        "trained_on_records_digest": trained.records_digest,
        "model_sha256": trained.model_sha256,
        "deeploc_tf": __version__,
    }
