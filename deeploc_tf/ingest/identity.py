"""One spelling for whatever decides which crops belong together, before anything compares it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from deeploc_tf.ingest.metadata import as_text, texts_of
from deeploc_tf.names import (
    Kind,
    NameConflictError,
    matched,
    same_form,
    tidy,
    told_apart,
    unused_splits,
)
from deeploc_tf.sources.source import SourceError
from deeploc_tf.text_tables import require_column
from deeploc_tf.units import kind_of_column
from tfrecords.errors import DuplicateKeyError, SplitError

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")
_ALWAYS = ("plate", "well", "field")


def unify_columns(
    index: pd.DataFrame,
    columns: Iterable[str | None],
    *,
    protein: str,
    split_column: str | None = None,
    distinct_case: bool = False,
) -> pd.DataFrame:
    """The index with one spelling of each name; what was spelled in several ways is logged.

    What the records store, what groups compare and what `verify --deep` compares is then the same
    text. Whole numbers have one spelling and stay as they are; all else becomes text, and what is
    missing the empty one.

    Args:
        index: one row a crop.
        columns: that name groups or meet conditions, beside the protein, the split and all that are
            called plate, well or field; `key` and names of no column are passed over.
        protein: column of the protein.
        split_column: column of the split, or None.
        distinct_case: let proteins differ in case.

    Raises:
        SourceError: two names differ only in what may or may not mean another one.
    """
    kinds: dict[str, Kind] = {str(c): kind_of_column(str(c)) for c in index.columns}
    wanted = {column for column, kind in kinds.items() if kind in _ALWAYS}
    kinds |= {protein: "protein", **({} if split_column is None else {split_column: "split"})}
    wanted |= {str(column) for column in (protein, split_column, *columns) if column is not None}
    index = index.copy(deep=False)
    for column in index.columns:
        if column in wanted and column != "key" and index[column].dtype.kind not in "iu":
            distinct = distinct_case and column == protein
            index[column] = _unified_texts(index[column], kinds[column], distinct_case=distinct)
    return index


def unified_names(
    spellings: Collection[str], kind: Kind, what: str, *, distinct_case: bool = False
) -> dict[str, str]:
    """As `deeploc_tf.names.matched`.

    Raises:
        SourceError: two names may or may not be one.
    """
    try:
        return matched(spellings, kind, what, distinct_case=distinct_case)
    except NameConflictError as error:
        raise SourceError(str(error)) from error


def with_places(
    index: pd.DataFrame, places: Mapping[str, str | None]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The index with the columns of plate, well and field under these names, and what was renamed.

    Args:
        index: one row a crop.
        places: "plate", "well" and "field" -> the column that a person named, or None.

    Raises:
        TableError: there is no such column.
        SourceError: another column has the name already, or one column is given for two.
    """
    renamed: dict[str, str] = {}
    for place, column in places.items():
        if column is None:
            continue
        column = find_column(index.columns, column) or column
        require_column(index.columns, column, f"The column of the {place}")
        taken = column in renamed or (column != place and place in index.columns)
        if taken:
            msg = (
                f"The column of the {place} must be another one than all others, and is called "
                f"{place!r} in the records. Received: {column!r} beside "
                f"{renamed.get(column, place)!r}. Rename or drop a column."
            )
            raise SourceError(msg)
        renamed[column] = place
        if column != place:
            _log.info(f"Column {column!r} is taken as {place!r}.")
    return (index.rename(columns=renamed) if renamed else index), renamed  # no copy for nothing


def find_column(columns: Iterable[str], name: str) -> str | None:
    """The column that a person would call so, or None.

    Raises:
        SourceError: more than one differs from it in case or spaces alone.
    """
    known = list(map(str, columns))
    if name in known:
        return name
    alike = [column for column in known if tidy(column).casefold() == name.casefold()]
    if len(alike) > 1:
        msg = (
            f"Only one column may be called {name!r}, whatever its case. Received: "
            f"{', '.join(map(repr, alike))}. Name the one that is meant, or rename the others."
        )
        raise SourceError(msg)
    if not alike:
        return None
    _log.info(f"Column {alike[0]!r} is taken as {name!r}.")
    return alike[0]


def check_keys(keys: Iterable[str]) -> None:
    """Refuse keys that differ in nothing a person could see: they would be one crop twice.

    Raises:
        DuplicateKeyError: two such keys.
    """
    first: dict[str, str] = {}
    for key in keys:
        other = first.setdefault(same_form(key, "key"), key)
        if other != key:
            one, two = told_apart(*sorted((other, key)))
            msg = (
                f"Every crop must have a key of its own. Received: {one} and {two}, which differ "
                "in nothing that can be seen. Rename one."
            )
            raise DuplicateKeyError(msg)


def by_split(values: Mapping[str, _Value]) -> dict[str, _Value]:
    """The values by the names of their splits as records have them, in their order.

    Raises:
        SplitError: two of the names mean one split.
    """
    named: dict[str, str] = {}
    for name in values:
        first = named.setdefault(same_form(name, "split"), name)
        if first != name:
            msg = f"Each split must be named once. Received: {first!r} and {name!r}, which are one."
            raise SplitError(msg)
    spelling = unified_names(values, "split", "Splits")
    return {spelling[name]: value for name, value in values.items()}


def warn_of_unused_splits(splits: Iterable[str | None]) -> None:
    """Say through logging which splits no training looks at."""
    if sentence := unused_splits(name for name in set(splits) if name):
        _log.warning(sentence)


def _unified_texts(values: pd.Series[Any], kind: Kind, *, distinct_case: bool) -> pd.Series[Any]:
    import pandas as pd

    if values.dtype.kind == "f":  # of which the whole column decides how each is written
        values = pd.Series(texts_of(values), index=values.index, name=values.name, dtype=object)
    codes, different = pd.factorize(values)  # crops are many, different names few
    texts = list(map(as_text, different))
    what = f"Values of column {values.name!r}"
    spelling = unified_names(texts, kind, what, distinct_case=distinct_case)
    spelled = np.array([*(spelling[text] for text in texts), ""], dtype=object)
    return pd.Series(spelled[codes], index=values.index, name=values.name, dtype=object)
