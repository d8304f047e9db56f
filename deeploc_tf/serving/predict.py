"""Whole fields into tables: what the model says of every cell, well and protein."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.input_files import list_of_inputs
from deeploc_tf.models.extractors import feature_names
from deeploc_tf.models.trained import OtherPixelSize
from deeploc_tf.profiles.tables import TableWriter, writing_table
from deeploc_tf.profiles.tables.table_format import kind_of, values_of
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import sealed
from deeploc_tf.serving.cell_writer import CellWriter
from deeploc_tf.serving.description import Description
from deeploc_tf.serving.drift import Drift
from deeploc_tf.serving.fractions import Units
from deeploc_tf.serving.inputs import Columns, check_source, read_crops
from deeploc_tf.serving.localization_table import MIN_FRACTION, Tally
from deeploc_tf.serving.open_model import OpenModel, open_model
from deeploc_tf.sources import Source, SourceError
from deeploc_tf.sources.plate_map import PlateMap
from deeploc_tf.sources.quality import Quality
from deeploc_tf.sources.rejects import as_lines, check_rejects, counted
from deeploc_tf.sources.source import Reject, files_behind
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.units import places_of, same_in_column
from deeploc_tf.version import __version__
from tfrecords.manifest import INPUTS_NAME
from tfrecords.publishing import publish_bytes, publish_json, publishing_folder

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
CELLS_NAME, EMBEDDINGS_NAME = "cells.parquet", "embeddings.parquet"


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What `predict` wrote.

    Attributes:
        num_cells: rows of `cells.parquet`.
        num_wells: rows of `wells.csv`.
        num_proteins: rows of `proteins.csv`.
        num_without_protein: cells that count for no protein, since none is known of them.
        num_without_well: cells that count for no well.
        rejects: reason -> how many cells or fields could not be used.
        passed_over: reason -> how many files or cells count for nothing, such as cells at the
            border that are dropped.
        set_aside: reason -> how many cells the quality filter leaves out.
        flagged: reason -> how many rows of `cells.parquet` say so.
        num_not_accepted: rows of `cells.parquet` that are not accepted; None of a model that does
            not tell.
        warnings: sentences about what differs much from the training.
        folder: of the tables.
    """

    num_cells: int
    num_wells: int
    num_proteins: int
    num_without_protein: int
    num_without_well: int
    rejects: dict[str, int]
    passed_over: dict[str, int]
    set_aside: dict[str, int]
    flagged: dict[str, int]
    num_not_accepted: int | None
    warnings: list[str]
    folder: Path

    def to_frame(self) -> pd.DataFrame:
        """The table of the cells, a row each."""
        return pd.read_parquet(self.folder / CELLS_NAME)


def predict(
    model: OpenModel | str | Path,
    fields: Source | Iterable[tuple[str, Source]],
    output: str | Path,
    *,
    columns: Columns | None = None,
    quality: Quality | None = None,
    scale_crops: bool = False,
    embedding: bool = False,
    min_fraction: float = MIN_FRACTION,
    max_rejects: int = 0,
    batch_size: int = 256,
    other_pixel_size: OtherPixelSize = "warn",
    progress: ShowProgress = False,
) -> Predicted:
    """Write what a model says of the cells of whole fields, and how wells and proteins spread.

    Crops are cut as in `build_records`, and the preprocessing is that of the model's own graph.
    One field and one batch are in memory at a time. The folder appears when all is written:

    - `cells.parquet`, and `cells.csv` with the same rows, a row per cell: key, protein, well, what
      the source and the user's table know (x, y, plate, ...), `image`, with label images `object`
      and `area`, `flags` (what is odd, such as "touches another cell", divided by ``|``), `call`
      (the most probable class; with sigmoids all above one half, divided by ``|``), `confidence`
      (the highest probability), `novelty` and `accepted` (of a model that tells them) and
      `probability_<class>`; of a calibrated model `label_set` and `calibrated_confidence`, see
      `Calibration`
    - `embeddings.parquet`, if asked: the vectors of the same rows, as `embed` writes them
    - `wells.csv`, `proteins.csv`: see `Tally.table`, and of a calibrated model `Units.table`
    - `inputs.sha256`: digests of the images that were read
    - `rejects.jsonl`: cells and fields that could not be used, if any
    - `predict.json`: model, settings and counts; `drift`, see `Drift.report`

    Cells that are not accepted are classified and counted like others; tables say how many they
    are.

    Args:
        model: a run, or an exported model; or what `open_model` gives of one.
        fields: the cells; of several folders a name and a source each, taken one after the other,
            whose keys then begin with the name.
        output: folder to make.
        columns: where protein and well stand, and which cells are wanted.
        quality: what is looked for in the pixels, and which of it leaves a cell out; by default the
            dead and the saturated are flagged, and none is left out.
        scale_crops: make crops of other sizes those of the model, by averages over areas.
        embedding: write the vectors too.
        min_fraction: of the cells of a protein, for a compartment to count among its
            `localizations`.
        max_rejects: how many cells or fields may be unusable.
        batch_size: crops at a time; results do not depend on it beyond rounding.
        other_pixel_size: "warn" of pixels of another size than in training, or "refuse" them; see
            `check_pixel_size`.
        progress: True to show the number of cells classified; or a callable that gets
            `(done, total)`.

    Raises:
        OutputExistsError: `output` is there already.
        SchemaError: the fields have other channels than the model, or no masks where it needs them.
        SourceError: no cells, no cell that a condition asks for, a table that does not fit, or more
            than `max_rejects` rejects.

    Example:
        images, cells = "{plate}/{well}_{channel}.tif", "{plate}/{well}_cells.tif"
        fields = FieldSource("screen", images, ("gfp", "rfp"), label_image=cells)
        predict("model", fields, "predictions").to_frame()
    """
    if not isinstance(model, OpenModel):
        model = open_model(model)
    total = None if isinstance(fields, Iterable) else len(fields.index())
    with (
        publishing_folder(Path(output)) as folder,
        contextlib.ExitStack() as stack,
        counting(progress, "Classifying cells", total) as count,
    ):
        screen = _Screen(model, folder, columns or Columns(), max_rejects, embedding, stack)
        screen.other_pixel_size = other_pixel_size
        screen.quality, screen.scale_crops = quality or Quality(), scale_crops
        for name, source in _named(fields):
            for sentence in screen.begin(name, source):
                _log.info("%s", sentence)
            for batch, outputs in model.in_turn(screen.batches(source, batch_size)):
                screen.add(batch, outputs)
                count(screen.num_cells)
            screen.note_files(source)
        stack.close()
        done = screen.finish(min_fraction)
    return dataclasses.replace(done, folder=Path(output))


def _named(fields: Source | Iterable[tuple[str, Source]]) -> Iterable[tuple[str, Source]]:
    return fields if isinstance(fields, Iterable) else [("", fields)]


@dataclasses.dataclass
class _Batch:
    """Cells that the model is asked about, with their crops."""

    cells: pd.DataFrame
    images: NDArray[Any]
    masks: NDArray[np.uint8] | None


class _Screen:
    """A screen on its way through the model, a batch at a time."""

    def __init__(
        self,
        model: OpenModel,
        folder: Path,
        columns: Columns,
        max_rejects: int,
        embedding: bool,
        stack: contextlib.ExitStack,
    ) -> None:
        self._model, self._folder, self._stack = model, folder, stack
        self._columns, self._max_rejects = columns, max_rejects
        self._plate_map = (
            None
            if columns.plate_map is None
            else PlateMap(columns.plate_map, columns.allow_unmatched, columns.delimiter)
        )
        self._embedding = embedding
        self._names = model.description.class_names
        self._calibration = model.description.calibration
        self._units: dict[str, Units] = {}
        self._wells: Tally | None = None
        self._proteins = Tally(["protein"], self._names)
        self._rejects: list[Reject] = []
        self._passed_over: Counter[str] = Counter()
        self._sources: dict[str, Any] = {}
        self._inputs: set[str | Path] = set()
        self._kinds: dict[str, str] = {}
        self._set_aside: Counter[str] = Counter()
        self._flagged: Counter[str] = Counter()
        self._unmet = {(n, same_in_column(n, v)): v for n, of in columns.where.items() for v in of}
        self.quality = Quality()
        self.scale_crops = False
        self._writer: CellWriter | None = None
        self._vectors: TableWriter | None = None
        self.cells = pd.DataFrame()
        self.num_cells = 0
        self.other_pixel_size: OtherPixelSize = "warn"
        acceptance = model.description.acceptance
        self._drift = Drift(acceptance) if acceptance else None
        self._num_not_accepted = 0

    def begin(self, name: str, source: Source) -> list[str]:
        """List the cells of a source; return sentences worth telling."""
        if name in self._sources:
            msg = f"Folders must differ in their names. Received: {name!r} twice. Rename one."
            raise SourceError(msg)
        self.cells = source.index()
        self._meet(getattr(source, "values_of", lambda _: ()))
        self._add_rejects(source.rejects)
        self._passed_over.update(source.passed_over)
        self._sources[name] = dict(source.description)
        if self._columns.where and self.cells.empty:
            return []  # another folder may have the cells that are wanted
        self.cells, path = self._columns.table(source, name, self._plate_map)
        self._meet(lambda column: self.cells[column].unique() if column in self.cells else ())
        self.cells = self._columns.wanted(self.cells)
        if not self._kinds:
            self._kinds = {str(n): kind_of(self.cells[n]) for n in self.cells}
        elif list(self.cells) != list(self._kinds):
            msg = (
                "All folders must have the same columns of cells. Received: "
                f"{', '.join(map(str, self.cells))} in {name!r}, {', '.join(self._kinds)} before."
            )
            raise SourceError(msg)
        if self._wells is None:
            self._wells = Tally(path, self._names)
            fields = places_of(map(str, self.cells))
            self._units = {
                "wells.csv": Units(path, fields),
                "proteins.csv": Units(["protein"], fields, wells=path),
            }
        return check_source(source, self._model.description, self.other_pixel_size)

    def note_files(self, source: Source) -> None:
        """Remember the files behind the cells of a source, for their digests."""
        self._inputs.update(files_behind(source, self.cells.index.tolist()))

    def _meet(self, values_of: Callable[[str], Iterable[Any]]) -> None:
        """Note which values of conditions there are in a source, whatever the other conditions."""
        for column in {column for column, _ in self._unmet}:
            for value in values_of(column):
                self._unmet.pop((column, same_in_column(column, str(value))), None)

    def batches(self, source: Source, batch_size: int) -> Iterator[_Batch]:
        """Crops of the source that has begun, without those that are left out."""
        for start in range(0, len(self.cells), batch_size):
            batch = self._read(source, self.cells.iloc[start : start + batch_size])
            if batch is not None:
                yield batch

    def _read(self, source: Source, cells: pd.DataFrame) -> _Batch | None:
        kept, images, masks, rejects = [], [], [], []
        left_out = []
        flags: list[str] = []
        crops = read_crops(
            source, cells.index.tolist(), self._model.description, scale=self.scale_crops
        )
        for row, found in enumerate(crops):
            if isinstance(found, Reject):
                key = str(cells["key"].iloc[row])
                rejects.append(dataclasses.replace(found, key=key))
                left_out.append(row)
                continue
            odd = [reason for reason, _ in self.quality.oddities(found[0])]
            if dropped := [reason for reason in odd if reason in self.quality.drop]:
                self._set_aside[dropped[0]] += 1
                left_out.append(row)
                continue
            kept.append(row)
            images.append(found[0])
            masks.append(found[1])
            flags.append("|".join(filter(None, [cells["flags"].iloc[row], *odd])))
        self._add_rejects(rejects)
        if self._wells is not None:
            self._wells.leave_out(cells.iloc[left_out])
        self._proteins.leave_out(cells.iloc[left_out])
        if not kept:
            return None
        self._flagged.update(flag for text in flags for flag in text.split("|") if flag)
        takes_mask = "mask" in self._model.description.inputs
        return _Batch(
            cells.iloc[kept].assign(flags=flags),
            np.stack(images),
            np.stack(masks) if takes_mask else None,  # type: ignore[arg-type]
        )

    def add(self, batch: _Batch, outputs: dict[str, NDArray[Any]]) -> None:
        """Append what the model says of a batch."""
        if self._drift is not None:
            confidence = outputs["probabilities"].max(axis=1)
            self._drift.add(batch.images, confidence, outputs["novelty"])
            self._num_not_accepted += int((~outputs["accepted"]).sum())
        self._append(batch.cells, outputs)

    def finish(self, min_fraction: float) -> Predicted:
        """Write what sums up all cells."""
        if self._unmet:
            (column, _), value = next(iter(self._unmet.items()))
            msg = (
                "Every value that is asked for must be there. Received: "
                f"{column}={value!r}, which no cell and no field has (--where)."
            )
            raise SourceError(msg)
        if not self.num_cells:
            msg = "There must be a cell. Received: none in any field."
            raise SourceError(msg)
        wells = self._wells or Tally(["well"], self._names)
        alone: dict[str, int] = {}
        for tally, name in ((wells, "wells.csv"), (self._proteins, "proteins.csv")):
            table = tally.table(min_fraction)
            if self._calibration is not None and name in self._units:
                corrected = self._units[name].table(self._calibration)
                table = table.merge(corrected, how="left", on=tally.columns, validate="1:1")
                alone[name] = int((corrected["interval_over"] == "").sum())
                if alone[name]:
                    _log.info(
                        "%s: %d of %d corrected fractions have no interval, which needs two fields "
                        "of cells, and two of the calibration.",
                        *(name, alone[name], len(corrected)),
                    )
            publish_bytes(self._folder / name, csv_bytes(table))
        if self._rejects:
            publish_bytes(self._folder / "rejects.jsonl", as_lines(self._rejects))
        done = Predicted(
            self.num_cells,
            len(wells),
            len(self._proteins),
            self._proteins.num_without,
            wells.num_without,
            counted(self._rejects),
            dict(sorted(self._passed_over.items())),
            dict(sorted(self._set_aside.items())),
            dict(sorted(self._flagged.items())),
            None if self._drift is None else self._num_not_accepted,
            self._warnings(),
            self._folder,
        )
        told = dataclasses.asdict(done)
        del told["folder"]
        values = {
            "schema_version": SCHEMA_VERSION,
            **self._provenance(),
            "min_fraction": min_fraction,
            "calibration": None if self._calibration is None else self._calibration.describe(),
            "without_interval": alone,
            "sources": self._sources,
            "wells_by": wells.columns,
            "where": {name: sorted(values) for name, values in self._columns.where.items()},
            "scale_crops": self.scale_crops,
            "plate_map": None if self._plate_map is None else self._plate_map.report(),
            **told,
            "drift": None if self._drift is None else self._drift.report(),
        }
        if (inputs := list_of_inputs(self._inputs)) is not None:
            publish_bytes(self._folder / INPUTS_NAME, inputs)
        files = [path for path in sorted(self._folder.iterdir()) if path.name[0] != "."]
        publish_json(self._folder / "predict.json", sealed(values, self._model.made_from, files))
        return done

    def _warnings(self) -> list[str]:
        """What there is to say of novelty and drift; it is logged, too."""
        if self._drift is None:
            _log.info("The model tells no novelty: it was made by a version before.")
            return []
        sentences = self._drift.sentences()
        for sentence in sentences:
            _log.warning("%s", sentence)
        return sentences

    def _append(self, cells: pd.DataFrame, outputs: dict[str, NDArray[Any]]) -> None:
        probabilities = outputs["probabilities"]
        called = _called(probabilities, self._model.description)
        said = {
            "call": ["|".join(np.asarray(self._names, object)[row]) for row in called],
            "confidence": probabilities.max(axis=1),
        }
        rows: dict[str, Any] = {n: values_of(cells[n], kind) for n, kind in self._kinds.items()}
        rows |= said
        kinds = {**self._kinds, "call": "text", "confidence": "float32"}
        if self._calibration is not None:
            sets = self._calibration.label_sets(outputs["logits"])
            rows["label_set"] = self._calibration.in_words(sets)
            calibrated = self._calibration.probabilities(outputs["logits"])
            rows["calibrated_confidence"] = calibrated.max(axis=1).astype(np.float32)
            kinds |= {"label_set": "text", "calibrated_confidence": "float32"}
            for units in self._units.values():
                units.add(cells, probabilities)
        accepted = outputs.get("accepted")
        if accepted is not None:
            rows |= {"novelty": outputs["novelty"], "accepted": accepted}
            kinds |= {"novelty": "float32", "accepted": "bool"}
        if self._writer is None:
            of_class = {f"probability_{name}": "float32" for name in self._names}
            writer = CellWriter(self._folder / CELLS_NAME, {**kinds, **of_class})
            self._writer = self._stack.enter_context(writer)
        each = zip(self._names, probabilities.T, strict=True)
        self._writer.append({**rows, **{f"probability_{name}": p for name, p in each}})
        if self._embedding:
            if accepted is not None:  # tables of vectors have no truth values
                rows["accepted"], kinds["accepted"] = accepted.astype(str).tolist(), "text"
            self._append_vectors(outputs["embedding"], rows, kinds)
        self._proteins.add(cells, called, probabilities, accepted)
        if self._wells is not None:
            self._wells.add(cells, called, probabilities, accepted)
        self.num_cells += len(cells)

    def _append_vectors(
        self, vectors: NDArray[np.float32], rows: dict[str, Any], kinds: dict[str, str]
    ) -> None:
        if self._vectors is None:
            table = writing_table(
                self._folder / EMBEDDINGS_NAME,
                feature_names(self._model.description.layer, vectors.shape[1]),
                kinds,
                {
                    "kind": "embeddings",
                    **self._provenance(),
                    "made_from": list(self._model.made_from),
                },
            )
            self._vectors = self._stack.enter_context(table)
        self._vectors.append(vectors, rows)

    def _add_rejects(self, rejects: Sequence[Reject]) -> None:
        self._rejects += rejects
        check_rejects(self._rejects, self._max_rejects)

    def _provenance(self) -> dict[str, Any]:
        of = self._model.description
        return {
            "deeploc_tf": __version__,
            "model_sha256": of.model_sha256,
            "trained_on_records_digest": of.records_digest,
            "layer": of.layer,
            "test_time": of.test_time,
            "precision": of.precision,
            "channels": list(of.channels),
            "class_names": list(of.class_names),
        }


def _called(probabilities: NDArray[np.float32], description: Description) -> NDArray[np.bool_]:
    """The classes that each cell is said to be of, `(num_cells, num_classes)`."""
    if description.activation == "sigmoid":
        called: NDArray[np.bool_] = probabilities > 0.5
    else:
        called = np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, np.newaxis]
    return called
