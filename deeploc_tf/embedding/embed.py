"""Cells to vectors: `embed` runs every crop of a split through the model up to a named layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeploc_tf.models.extractors import feature_extractor, feature_layer, inference_function
from deeploc_tf.models.trained import TrainedModel, load_trained
from deeploc_tf.pipeline.batches import batches, running_on
from deeploc_tf.profiles.aggregate import MeanProfiles
from deeploc_tf.profiles.tables import (
    TableWriter,
    check_suffix,
    read_table,
    write_table,
    writing_table,
)
from deeploc_tf.version import __version__
from tfrecords.errors import DamagedRecordsError, SplitError
from tfrecords.manifest import Manifest
from tfrecords.publishing import check_absent
from tfrecords.schema import Schema
from tfrecords.verify import verify


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What `embed` wrote.

    Attributes:
        embeddings: path of the table with a row a cell.
        profiles: path of the table with a row a protein.
        num_crops: number of rows of the first.
        num_proteins: number of rows of the second.
        num_features: length of the vectors.
        layer: where they were taken.
    """

    embeddings: Path
    profiles: Path
    num_crops: int
    num_proteins: int
    num_features: int
    layer: str


def embed(
    run: str | Path,
    records: str | Path,
    output: str | Path,
    *,
    splits: Sequence[str] = ("test",),
    layer: str | None = None,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Embedded:
    """Write the vectors of all crops of some splits, in manifest order, and profiles by protein.

    Batches are streamed to the file, so that memory does not grow with the number of crops. The
    profile of a protein is the mean over its cells; it goes to `NAME.profiles.SUFFIX` beside
    `NAME.SUFFIX`.

    Args:
        run: folder of a finished training.
        records: data set to embed: the one of the training, or another one with equal crops.
        output: file to write, .h5 or .parquet (see `deeploc_tf.profiles.tables`).
        splits: names of splits, embedded one after the other.
        layer: address of the layer to take, see `feature_extractor`; None: the penultimate one,
            "fc_2", and of inpainting "source_conv_3:max".
        batch_size: crops a step; it changes no value beyond float32 rounding.
        progress: called with the number of crops embedded so far.
        note: called with sentences worth telling.

    Returns:
        Paths and sizes.

    Raises:
        OutputExistsError: a file of either name is there already.
        RecordsError: the run is not finished, or the records are damaged.
        SchemaError: the model was made for other crops.
        SplitError: there is no such split.
    """
    output = Path(output)
    check_suffix(output)
    check_absent(output)
    if len(set(splits)) != len(splits):
        msg = f"Each split must be named once. Received: splits={list(splits)}."
        raise SplitError(msg)
    manifest = verify(records)
    total = sum(manifest.num_crops(split) for split in splits)
    trained = load_trained(run)
    for sentence in trained.check_schema(manifest.schema):
        (note or (lambda _: None))(sentence)
    layer = layer or feature_layer(trained.model)
    extractor = feature_extractor(trained.model, layer)
    num_features = int(extractor.output.shape[-1])
    names = [f"{layer}_{i:0{len(str(num_features - 1))}d}" for i in range(num_features)]
    provenance = _provenance(trained, manifest, splits, layer)
    profiles_path = output.with_name(f"{output.stem}.profiles{output.suffix}")
    if not _is_leftover(profiles_path, provenance):
        check_absent(profiles_path)
    profiles = MeanProfiles(num_features)
    extract = inference_function(extractor)
    with (
        running_on(records),
        writing_table(output, names, _columns(manifest.schema), provenance) as writer,
    ):
        for split, batch in _batches_of(records, manifest, splits, batch_size, trained.takes_mask):
            vectors = extract(_inputs(batch, trained.takes_mask)).numpy()
            columns = _describe(batch, manifest.schema, split)
            writer.append(vectors, columns)
            profiles.add(vectors, columns["protein"])
            if progress is not None:
                progress(writer.num_rows)
        _check_rows(writer, total)
        table = profiles.table(provenance)
        # Before the embeddings get their name, which says that both are done.
        write_table(profiles_path, table, names)
    return Embedded(output, profiles_path, total, len(table.features), num_features, layer)


def _batches_of(
    records: str | Path,
    manifest: Manifest,
    splits: Sequence[str],
    batch_size: int,
    takes_mask: bool,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Batches of the splits, one after the other, with the split's name."""
    schema = manifest.schema
    names = ["image", *(["mask"] if takes_mask else []), "key", "protein"]
    names += ["label"] if schema.label_names else []
    names += [f"meta/{name}" for name in schema.metadata]
    for split in splits:
        for batch in batches(
            records, split, batch_size=batch_size, features=names, manifest=manifest
        ):
            yield split, batch


def _inputs(batch: dict[str, Any], takes_mask: bool) -> Any:
    return {name: batch[name] for name in ("image", "mask")} if takes_mask else batch["image"]


def _is_leftover(profiles: Path, provenance: Mapping[str, Any]) -> bool:
    """Whether the same `embed`, killed before its end, left these profiles: it makes them again."""
    if not profiles.exists():
        return False
    try:
        found = read_table(profiles).provenance
    except ValueError:
        return False
    return all(found.get(name) == provenance[name] for name in provenance if name != "kind")


def _check_rows(writer: TableWriter, total: int) -> None:
    if writer.num_rows != total:
        msg = (
            f"Every crop of the manifest must become one row. Received: {writer.num_rows} rows, "
            f"expected {total}. Run `deeploc-tf verify --deep` on the records."
        )
        raise DamagedRecordsError(msg)


def _provenance(
    trained: TrainedModel, manifest: Manifest, splits: Sequence[str], layer: str
) -> dict[str, Any]:
    return {
        "kind": "embeddings",
        "layer": layer,
        "splits": list(splits),
        "channels": list(manifest.schema.channels),
        "records_digest": manifest.digest,
        "trained_on_records_digest": trained.records_digest,
        "model_sha256": trained.model_sha256,
        "deeploc_tf": __version__,
    }


def _columns(schema: Schema) -> dict[str, str]:
    label = {"label": "text"} if schema.label_names else {}
    columns = {"key": "text", "protein": "text", **label, "split": "text"}
    return columns | {_column(name): kind for name, kind in schema.metadata.items()}


def _column(name: str) -> str:
    """The table's name of a metadata column: four names are taken."""
    return f"meta_{name}" if name in ("key", "protein", "label", "split") else name


def _describe(batch: dict[str, Any], schema: Schema, split: str) -> dict[str, list[Any]]:
    """The metadata columns of a batch as plain values."""
    columns: dict[str, list[Any]] = {
        "key": _texts(batch["key"]),
        "protein": _texts(batch["protein"]),
        "split": [split] * len(batch["key"]),
    }
    if schema.label_names:
        columns["label"] = _label_texts(batch["label"].numpy(), schema)
    for name, kind in schema.metadata.items():
        values = batch[f"meta/{name}"]
        columns[_column(name)] = _texts(values) if kind == "text" else values.numpy().tolist()
    return columns


def _texts(values: Any) -> list[str]:
    return [value.decode() for value in values.numpy().tolist()]


def _label_texts(labels: np.ndarray[Any, Any], schema: Schema) -> list[str]:
    names = schema.label_names
    if not schema.multi_label:
        return [names[label] for label in labels]
    return ["|".join(names[i] for i in np.flatnonzero(row)) for row in labels]
