"""Class indices of each crop, from a column, from the protein, or from a second table."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.ingest.identity import unified_names
from deeploc_tf.ingest.metadata import texts_of
from deeploc_tf.joins import Joined, joined
from deeploc_tf.names import loose_form, same_form, tidy
from deeploc_tf.sources.source import SourceError
from deeploc_tf.text_tables import place, read_table, require_column
from deeploc_tf.units import kind_of_column
from tfrecords.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Unknown = Literal["refuse", "skip"]
_NAMED = 5  # values in a message
# What pandas, R, databases and spreadsheets write where there is no value.
_MISSING = frozenset(
    "nan NaN -nan None <NA> NA N/A n/a #N/A #NA NULL null NaT".split()  # noqa: SIM905 -- a list
)


@dataclasses.dataclass(frozen=True)
class Labels:
    """The classes of a data set and those of each crop.

    Attributes:
        names: class names in the order of their indices; empty where there are no labels.
        indices: of each crop its classes, ascending; empty for a crop that is left out.
        multi_label: a crop may have several.
        unknown: bool `(num_crops,)`, crops without a known class, to be left out.
        join: names of the crops and of the label table, where there is one.
    """

    names: tuple[str, ...]
    indices: Sequence[tuple[int, ...]]
    multi_label: bool
    unknown: NDArray[np.bool_]
    join: Joined[str] | None = None


def assign_labels(
    index: pd.DataFrame,
    label: str | None,
    *,
    label_table: str | os.PathLike[str] | None = None,
    label_key: str = "protein",
    separator: str | None = None,
    classes: Sequence[str] | None = None,
    unknown: Unknown = "refuse",
    protein: str = "protein",
    distinct_case: bool = False,
    allow_unmatched: int = 0,
    delimiter: str | None = None,
) -> Labels:
    """Classes of each crop of an index.

    Labels that differ in what nobody sees are one class, and those that differ in no more than case
    are an error, because the crops of one class would silently be two: see `deeploc_tf.names`.

    Args:
        index: one row a crop, with a column `key`.
        label: column of the labels, in `index` or in `label_table`; None for crops without labels.
        label_table: a table with one row for each value of `label_key`.
        label_key: the column, of both `index` and `label_table`, that joins them.
        separator: text between the labels of a crop that has several; makes the data set
            multi-label.
        classes: class names in the order of their indices; by default all labels, sorted.
        unknown: "refuse" crops that have no label or one that is not in `classes`, or "skip" them.
        protein: column of the proteins, as `label` or `label_key` may be.
        distinct_case: let proteins differ in case.
        allow_unmatched: how many values of `label_key` may have no row in `label_table`; their
            crops are left out. With `unknown="skip"` any number may.
        delimiter: of a label table in text; None for what divides its header.

    Raises:
        TableError: the table cannot be read, or a column is missing.
        SourceError: a label is empty, unknown or no line of text, two labels may or may not be one,
            a name in `label_table` may or may not be that of a crop, or more names than are allowed
            have no row there.
    """
    if label is None:
        if label_table is not None or classes is not None or separator is not None:
            msg = (
                "A label table, classes and a separator need `label`, a column. Received: "
                "label=None."
            )
            raise SourceError(msg)
        return Labels((), [()] * len(index), False, np.zeros(len(index), bool))
    join = None
    may_lack = np.zeros(len(index), np.bool_)
    if label_table is None:
        require_column(index.columns, label, "`label`")
        texts = texts_of(index[label])
    else:
        require_column(index.columns, label_key, "`label_key`")
        keys = texts_of(index[label_key])
        distinct = distinct_case and label_key == protein
        table, join = _read_label_table(
            label_table, label_key, label, set(keys), distinct_case=distinct, delimiter=delimiter
        )
        join.checked(None if unknown == "skip" else allow_unmatched, error=SourceError)
        may_lack = np.isin(keys, join.unmatched)
        texts = [table.get(key, "") for key in keys]
    known = sorted(set(texts))  # crops are many, different labels few
    found = {text: _split(text, separator) for text in known}
    distinct = distinct_case and label == protein and label_table is None
    spelling, names = _class_names(found.values(), classes, distinct_case=distinct)
    sets = {text: frozenset(map(spelling.__getitem__, names)) for text, names in found.items()}
    number = {name: i for i, name in enumerate(names)}
    valid = {
        t: tuple(sorted(number[n] for n in s)) for t, s in sets.items() if s and s <= set(number)
    }
    is_unknown = np.array([text not in valid for text in texts])
    if unknown == "refuse" and (refused := is_unknown & ~may_lack).any():
        where = label_key if label_table is not None else "key"
        raise SourceError(_unknown(index, texts, refused, sets, names, where))
    return Labels(names, [valid.get(t, ()) for t in texts], separator is not None, is_unknown, join)


def _read_label_table(
    path: str | os.PathLike[str],
    label_key: str,
    label: str,
    wanted: Set[str],
    *,
    distinct_case: bool,
    delimiter: str | None = None,
) -> tuple[Mapping[str, str], Joined[str]]:
    """The labels of the names `wanted`, those of the crops, and how these meet the table's."""
    frame = read_table(path, delimiter)
    require_column(frame.columns, label_key, f"The key column of {os.fspath(path)}")
    require_column(frame.columns, label, f"The label column of {os.fspath(path)}")
    kind = kind_of_column(label_key)

    def loose(name: str) -> str:
        return loose_form(name, kind, distinct_case=distinct_case)

    names = texts_of(frame[label_key])
    wanted = wanted - {""}
    near = set(map(loose, wanted))
    spelling = unified_names(
        wanted | {name for name in names if loose(name) in near},
        kind,
        f"Values of {label_key!r} in the crops and in {Path(path).name}",
        distinct_case=distinct_case,
    )
    table: dict[str, str] = {}
    for row, (key, text) in enumerate(zip(names, texts_of(frame[label]), strict=True)):
        name = spelling.get(key, key)
        first = table.setdefault(name, text)
        if same_form(first, "label") != same_form(text, "label"):
            msg = (
                f"A label table must have one row for each {label_key}. Received: {name!r} as "
                f"{first!r} and {text!r} ({place(path, row)}). Join several labels in one "
                "row."
            )
            raise SourceError(msg)
    words = f"names of {label_key!r} of the crops", f"names of {Path(path).name}"
    join = joined(wanted, set(names) - {""}, kind, words, distinct_case=distinct_case)
    return {name: table[spelling[name]] for name in join.partners}, join


def _text(value: Any) -> str:
    """A value of a table as text; "" where there is none."""
    return "" if value is None or value != value else str(value)


def _split(text: str, separator: str | None) -> frozenset[str]:
    names = text.split(separator) if separator else [text]
    return frozenset(name for name in names if tidy(name))


def _class_names(
    sets: Collection[frozenset[str]], classes: Sequence[str] | None, *, distinct_case: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Label as it came -> class, and the classes in the order of their indices."""
    found = sorted(frozenset[str]().union(*sets))
    for name in [*(classes or ()), *found]:
        if any(unicodedata.category(letter) == "Cc" for letter in name.strip()):
            msg = f"A label must not hold control characters. Received: {name!r}. Mend the table."
            raise SourceError(msg)
    spelling = unified_names(
        {*(classes or ()), *found},
        "protein" if distinct_case else "label",
        "Labels",
        distinct_case=distinct_case,
    )
    if classes is None:
        missing = [name for name in found if tidy(name) in _MISSING]
        if missing:
            msg = (
                f"A label must be a name. Received: {missing[0]!r}, which programs write where "
                "there is none. Leave it empty, or give `classes` (--classes) that tell."
            )
            raise SourceError(msg)
        if not found:
            msg = "Some crop must have a label. Received: none. Is it the right column?"
            raise SourceError(msg)
        return spelling, tuple(sorted(set(spelling.values())))
    given = {spelling[name]: tidy(name) for name in classes}
    if not all(given.values()) or len(given) != len(classes):
        msg = f"`classes` must be different names. Received: classes={list(classes)}."
        raise SourceError(msg)
    return {name: given.get(to, to) for name, to in spelling.items()}, tuple(given.values())


def _unknown(
    index: pd.DataFrame,
    texts: Sequence[str],
    is_unknown: NDArray[np.bool_],
    sets: Mapping[str, frozenset[str]],
    names: Sequence[str],
    where: str,
) -> str:
    """The sentence about crops without a known label."""
    row = int(np.argmax(is_unknown))
    count = int(is_unknown.sum())
    counted = f"{count} crop{'s' if count > 1 else ''} of {len(texts)}"
    end = 'Mend it, or say `unknown="skip"` (--unknown skip) to leave these crops out.'
    if not sets[texts[row]]:
        missing = sorted({_text(v) for v in index[where][is_unknown]})
        more = ", ..." if len(missing) > _NAMED else ""
        return (
            f"Every crop must have a label. Received: none for {where} "
            f"{', '.join(map(repr, missing[:_NAMED]))}{more} ({counted}). {end}"
        )
    name = min(sets[texts[row]] - set(names))
    return (
        f"A label must be one of the classes {', '.join(names)}. Received: {name!r} at key "
        f"{index['key'].iloc[row]!r} ({counted}).{did_you_mean(name, names)} {end}"
    )
