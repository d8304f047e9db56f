"""Tables as Parquet, for what is larger than memory and for other programs.

Columns `Metadata_Key`, `Metadata_Protein`, ... and one column a feature (`fc_2_000`, ...), as
pycytominer and copairs expect; the JSON of the provenance in the schema's metadata, the digests in
that of the file.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.foreign import (
    Roles,
    as_texts,
    check_features,
    described_columns,
    describes_objects,
    describes_rows,
    provenance,
    sentence,
    some,
)
from deeploc_tf.profiles.tables.table_format import ARROW_TYPES, Stored, TableFormat, Writer

_METADATA_KEY = b"deeploc_tf"
_DIGESTS_KEY = b"deeploc_tf_digests"
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")

_log = logging.getLogger(__name__)


class ParquetTable(Stored):
    """A table of ours in a Parquet file, opened each time that something is read."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """What the footer says."""
        footer = pq.read_metadata(path)
        stored = footer.metadata or {}
        text = stored[_METADATA_KEY]
        described = {cytomining_name(name) for name in json.loads(text)["columns"]}
        names = footer.schema.to_arrow_schema().names
        features = tuple(name for name in names if name not in described)
        return cls(path, text, features, footer.num_rows, stored.get(_DIGESTS_KEY))

    def blocks(self, num_rows: int) -> Iterator[NDArray[np.float32]]:
        """See `Stored`."""
        names = list(self.feature_names)
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(num_rows, columns=names):
                block = np.empty((batch.num_rows, len(names)), np.float32)
                for index, name in enumerate(names):
                    block[:, index] = batch[name].to_numpy()
                yield block

    def column(self, name: str) -> NDArray[Any]:
        """See `Stored`."""
        stored = cytomining_name(name)
        with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            return np.asarray(file.read([stored])[stored].to_numpy())


@dataclasses.dataclass(frozen=True, eq=False)
class ForeignParquet(ParquetTable):
    """A table of another program in a Parquet file.

    Attributes:
        described: our name of each metadata column -> its name in the file.
    """

    described: Mapping[str, str]

    def blocks(self, num_rows: int) -> Iterator[NDArray[np.float32]]:
        """See `Stored`; NaN where a value is missing."""
        names = list(self.feature_names)
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(num_rows, columns=names):
                block = np.empty((batch.num_rows, len(names)), np.float32)
                for index, name in enumerate(names):
                    numbers = batch[name].cast(pa.float64(), safe=False)
                    with np.errstate(over="ignore"):  # who uses the rows refuses infinity
                        block[:, index] = numbers.to_numpy(zero_copy_only=False)
                yield block

    def column(self, name: str) -> NDArray[Any]:
        """See `Stored`."""
        stored = self.described[name]
        with pq.ParquetFile(self.path) as file:
            return as_texts(file.read([stored])[stored].to_pandas())


def open_parquet(path: Path, roles: Roles) -> ParquetTable:
    """A table of ours, or of another program.

    Of another one, columns of text, times and truth values describe rows; so do those whose names
    say it, see `foreign`, and the index of pandas. All other numbers are features.

    Raises:
        TableError: no column is a feature, or a role is that of no column.
    """
    footer = pq.read_metadata(path)
    if {_METADATA_KEY, _DIGESTS_KEY} & (footer.metadata or {}).keys():
        return ParquetTable.open(path)
    with path.open("rb") as file:
        # Its size as the file says it: what was understood of a damaged footer may be less.
        file.seek(-8, os.SEEK_END)
        size = int.from_bytes(file.read(4), "little") + 8
        file.seek(-min(size, path.stat().st_size), os.SEEK_END)
        if _DIGESTS_KEY in file.read():
            msg = "its footer is damaged where it says that the table is ours"
            raise ValueError(msg)
    schema = footer.schema.to_arrow_schema()
    index = _index_of_pandas(schema)
    nested = [f.name for f in schema if pa.types.is_nested(f.type)]
    numbers = [f.name for f in schema if _is_number(f.type)]
    is_place = {"x", "y"} <= {*numbers}
    describing = [
        name
        for name in schema.names
        if name not in (*nested, *numbers)
        or describes_rows(name)
        or describes_objects(name)
        or name in index
        or (is_place and name in ("x", "y", "z"))
    ]
    names = [name for name in schema.names if name not in nested]
    describing = [name for name in describing if name not in nested]
    described = described_columns(names, roles, path, describing)
    if "protein" not in described and len(index) == 1 and index[0] not in numbers:
        described = {"protein": index[0], **described}
    row_numbers = {name for name in index if name in numbers and _UNNAMED_INDEX.fullmatch(name)}
    described = {name: own for name, own in described.items() if own not in row_numbers}
    features = [n for n in numbers if n not in (*row_numbers, *described.values())]
    check_features(features, described, path)
    if nested:
        _log.warning(
            "%s: columns of lists are not read: %s. Spread them over columns.",
            path.name,
            some(nested),
        )
    _log.info("%s", sentence(path, features, described))
    text = json.dumps(provenance(path, described, len(features)))
    return ForeignParquet(path, text, tuple(features), footer.num_rows, None, described)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _index_of_pandas(schema: pa.Schema) -> list[str]:
    """Columns that pandas would take for the index, which it writes beside the others."""
    try:
        index = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:
        index = []
    return [name for name in index if isinstance(name, str) and name in schema.names]


def cytomining_name(name: str) -> str:
    """Name of a metadata column in Parquet: `field` is `Metadata_Field` there."""
    return f"Metadata_{name[:1].upper()}{name[1:]}"


class ParquetWriter(Writer):
    """Writes a row group a block."""

    def __post_init__(self) -> None:
        described = [cytomining_name(name) for name in self.columns]
        if len({*described, *self.feature_names}) != len(described) + len(self.feature_names):
            msg = (
                "Columns of Parquet must differ in more than the case of their first letter. "
                f"Received: {', '.join(self.columns)}. Write .h5, or rename one before the records "
                "are built."
            )
            raise ValueError(msg)
        types = map(ARROW_TYPES.get, self.columns.values())
        fields = list(map(pa.field, described, types))
        fields += [pa.field(name, pa.float32()) for name in self.feature_names]
        self._schema = pa.schema(fields).with_metadata({_METADATA_KEY: self.provenance.encode()})
        # Of a feature, the smallest and largest value of each row group helps nobody, nor would a
        # dictionary of its values.
        self._writer = pq.ParquetWriter(
            self.path,
            self._schema,
            write_page_checksum=True,
            use_dictionary=described,
            write_statistics=described,
        )

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def append(self, features: NDArray[np.float32], metadata: Mapping[str, Sequence[Any]]) -> None:
        """Add rows."""
        arrays = [pa.array(metadata[n], ARROW_TYPES[kind]) for n, kind in self.columns.items()]
        arrays += [pa.array(column) for column in np.ascontiguousarray(features.T)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def finish(self, digests: str) -> None:
        """Store the digests of all rows."""
        self._writer.add_key_value_metadata({_DIGESTS_KEY: digests.encode()})


PARQUET = TableFormat(ParquetTable.open, ParquetWriter, foreign=open_parquet)
