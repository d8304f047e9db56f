"""The labels of the proteins of a data set by a gold standard, as a table to build records with."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.labels import Labels, labels_by_protein, read_labels
from deeploc_tf.pipeline.splits import find_splits, with_usual_splits
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.text_tables import csv_bytes
from tfrecords.manifest import read_manifest
from tfrecords.publishing import check_absent, publish_bytes
from tfrecords.reader import read_crops


@dataclasses.dataclass(frozen=True)
class WrittenLabelTable:
    """What `write_label_table` found.

    Attributes:
        table: a row per protein with a label; its columns are the key and `label`.
        num_proteins: of the data set.
        several: proteins that are left out, since they have several labels.
        without: those that have none.
    """

    table: pd.DataFrame
    num_proteins: int
    several: tuple[str, ...]
    without: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()


def write_label_table(
    output: str | Path | None,
    records: str | Path,
    labels: Labels,
    *,
    classes: Collection[str] = (),
    splits: Sequence[str] = (),
    separator: str | None = None,
    key: str = "protein",
    identifiers: IdentifierMap | None = None,
    distinct_case: bool = False,
    progress: ShowProgress = False,
    **reading: Any,
) -> WrittenLabelTable:
    """Write the label of each protein of a data set, for `build_records(..., label_table=)`.

    Args:
        output: .csv file to write; None writes nothing.
        records: folder of the data set; it is read without TensorFlow.
        labels: a standard whose terms are labels, its file, or a table, see `read_labels`.
        classes: labels to use, in any spelling; none: all.
        splits: whose proteins count; none: all.
        separator: text between the labels of a protein that has several; None leaves it out.
        key: name of the column of proteins, as the crops call it.
        identifiers: gives each protein the name to use.
        distinct_case: let proteins whose names differ in case alone be two.
        progress: True to show the number of crops read; or a callable that gets `(done, total)`.
        **reading: further options of `read_standard`, such as `aspect`.

    Raises:
        OutputExistsError: the output is there already.
        StandardError: the labels cannot be read, or no protein has one.
        SplitError: there is no such split.
        ValueError: the output does not end in .csv.

    Example:
        write_label_table("labels.csv", "records", {"AAC1": "mitochondrion"}).to_frame()
    """
    if output is not None:
        if Path(output).suffix.lower() != ".csv":
            msg = f"A table of labels must end in .csv. Received: {Path(output).name!r}."
            raise ValueError(msg)
        check_absent(Path(output))
    standard = read_labels(labels, identifiers, **reading)
    manifest = with_usual_splits(read_manifest(records))
    chosen = find_splits(manifest, splits) if splits else None
    proteins = set()
    with counting(progress, "Reading proteins") as count:
        for number, (_, crop) in enumerate(read_crops(records, chosen, manifest=manifest), 1):
            proteins.add(crop.protein)
            count(number)
    proteins -= {""}
    found = labels_by_protein(
        standard,
        proteins,
        classes=classes,
        separator=separator,
        identifiers=identifiers,
        distinct_case=distinct_case,
    )
    table = pd.DataFrame(found.labels.items(), columns=[key, "label"])
    if output is not None:
        publish_bytes(Path(output), csv_bytes(table))
    return WrittenLabelTable(table, len(proteins), found.several, found.without)
