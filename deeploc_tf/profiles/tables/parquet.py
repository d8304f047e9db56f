"""Tables as Parquet, for what is larger than memory and for other programs.

Columns `Metadata_Key`, `Metadata_Protein`, ... and one column a feature (`fc_2_000`, ...), as
pycytominer and copairs expect; the JSON of the provenance in the schema's metadata, the digests in
that of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deeploc_tf.profiles.tables.table_format import ARROW_TYPES, Stored, TableFormat, Writer

_METADATA_KEY = b"deeploc_tf"
_DIGESTS_KEY = b"deeploc_tf_digests"


class ParquetTable(Stored):
    """A table in a Parquet file, opened each time that something is read."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """What the footer says."""
        footer = pq.read_metadata(path)
        stored = footer.metadata or {}
        if _METADATA_KEY not in stored:
            msg = "it has no provenance, as tables of other programs"
            raise ValueError(msg)
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


PARQUET = TableFormat(ParquetTable.open, ParquetWriter)
