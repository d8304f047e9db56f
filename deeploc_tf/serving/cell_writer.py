"""`cells.parquet` and `cells.csv`: rows of any columns, written while cells stream by."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from deeploc_tf.profiles.tables.table_format import ARROW_TYPES
from deeploc_tf.text_tables import escape_formulas
from tfrecords.publishing import sync

_TYPES = {**ARROW_TYPES, "bool": pa.bool_()}
_ROWS_OF_A_GROUP = 8192


class CellWriter:
    """Writes a Parquet table in row groups of some thousand rows, whatever the batches.

    The same rows go to a CSV file beside it, for spreadsheets.

    Args:
        path: file to make; the other one has its name and the suffix `.csv`.
        kinds: column -> "text", "int64", "float32", "float64" or "bool".
    """

    def __init__(self, path: Path, kinds: dict[str, str]) -> None:
        self._path, self._kinds = path, kinds
        self._schema = pa.schema([(name, _TYPES[kind]) for name, kind in kinds.items()])
        self._writer = pq.ParquetWriter(path, self._schema, write_page_checksum=True)
        self._csv = path.with_suffix(".csv")
        header = escape_formulas(self._schema.empty_table()).schema
        self._csv_writer = csv.CSVWriter(self._csv, header)
        self._waiting: list[pa.RecordBatch] = []

    def __enter__(self) -> CellWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write()
        for writer, path in ((self._writer, self._path), (self._csv_writer, self._csv)):
            writer.close()
            sync(path)

    def append(self, rows: dict[str, Any]) -> None:
        """Add rows, a sequence of values a column."""
        arrays = [pa.array(rows[name], _TYPES[kind]) for name, kind in self._kinds.items()]
        self._waiting.append(pa.record_batch(arrays, schema=self._schema))
        if sum(map(len, self._waiting)) >= _ROWS_OF_A_GROUP:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=len(table))
            self._csv_writer.write_table(escape_formulas(table))
            self._waiting = []
