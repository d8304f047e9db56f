"""Which crop trains and which one tests: by conditions, or by fractions of whole groups.

Cells of one field, plate or protein resemble each other for reasons that have nothing to do with
localization. Splits are therefore by group, and a group in two splits is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.ingest.metadata import as_text, texts_of
from deeploc_tf.names import respelled, same_form, tidy, well_name
from deeploc_tf.text_tables import require_column
from deeploc_tf.units import (
    check_unit,
    kind_of_column,
    places_of,
    row_and_column,
    told_path,
)
from tfrecords.errors import SplitError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    Texts = pd.Series[Any]

logger = logging.getLogger(__name__)

Conditions = Mapping[str, Sequence[tuple[str, str]]]


def split_by_conditions(
    index: pd.DataFrame, conditions: Conditions, rest: str | None = "train"
) -> NDArray[np.object_]:
    """The split of each crop from conditions on columns.

    Values of one column are alternatives; conditions on several columns must all hold.

    Args:
        index: one row a crop.
        conditions: split -> (column, value) pairs, for example `{"test": [("field", "4")]}`. Values
            are compared as `deeploc_tf.names` compares names of the column's kind.
        rest: the split of the crops that meet no condition; None leaves them out.

    Returns:
        `(num_crops,)`, names of splits, or None for crops that are left out.

    Raises:
        SplitError: no crop has such a value, or a crop meets the conditions of two splits.
        TableError: there is no such column.
    """
    split = np.empty(len(index), dtype=object)
    split.fill(rest)  # numpy.full would make a string for each crop
    taken = np.zeros(len(index), dtype=bool)
    for name, pairs in conditions.items():
        chosen = np.ones(len(index), dtype=bool)
        for column in dict.fromkeys(column for column, _ in pairs):
            require_column(index.columns, column, f"The column of a condition for {name!r}")
            values = [value for c, value in pairs if c == column]
            chosen &= _meets(index, column, values, name)
        if (taken & chosen).any():
            row = int(np.argmax(taken & chosen))
            msg = (
                "Conditions must put each crop in one split. Received: "
                f"{index['key'].iloc[row]!r} in {split[row]} and {name}. Make the conditions "
                "exclude each other."
            )
            raise SplitError(msg)
        split[chosen] = name
        taken |= chosen
    return split


def split_by_fractions(
    index: pd.DataFrame,
    fractions: Mapping[str, float],
    group_by: Sequence[str],
    *,
    labels: Sequence[tuple[int, ...]] | None = None,
    seed: int = 0,
) -> NDArray[np.object_]:
    """The split of each crop such that splits have given shares of the crops, whole groups each.

    Groups come one by one in an order fixed by a hash of their values and `seed`; each goes to the
    split whose shares, of every class and of all crops, it brings closest to what they should be
    (squared error, each class weighted alike). The result does not depend on the order of the rows.

    Args:
        index: one row a crop.
        fractions: split -> share in (0, 1]; they add up to 1.
        group_by: columns whose values, taken together, name a group.
        labels: classes of each crop; without them splits are balanced by size alone.
        seed: of the order of the groups.

    Returns:
        `(num_crops,)`, names of splits.

    Raises:
        SplitError: fractions are not shares of a whole, or no column is given to group by.
        TableError: there is no such column.
    """
    shares = np.array(list(fractions.values()), dtype=float)
    if not len(shares) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        msg = f"Fractions must be above 0 and add up to 1. Received: fractions={dict(fractions)}."
        raise SplitError(msg)
    if not group_by:
        msg = (
            "Fractions must be of groups, because cells of one field or protein are alike. "
            "Received: group_by=(). Name columns, for example --group protein,field."
        )
        raise SplitError(msg)
    number, names = _groups(index, group_by)
    counts = _counts(number, len(names), labels)
    counts = counts / np.maximum(counts.sum(axis=0), 1)
    desired = shares[:, np.newaxis] * np.ones(counts.shape[1])
    current = np.zeros_like(desired)
    choice = np.empty(len(names), dtype=np.intp)
    for group in sorted(range(len(names)), key=lambda g: _order(names[g], seed)):
        # what the squared error grows by, for each split; rounded, so that ties are ties anywhere
        growth = (counts[group] * (counts[group] - 2 * (desired - current))).sum(axis=1)
        choice[group] = int(np.argmin(np.round(growth, 12)))
        current[choice[group]] += counts[group]
    return np.array(list(fractions), dtype=object)[choice[number]]


def units_of(index: pd.DataFrame) -> tuple[str, ...]:
    """The columns that say where a cell was imaged, from the top down: plate, well, field.

    Columns without any value are passed over, and so are a row and a column that are no well's:
    they may be those of a pixel.

    Args:
        index: one row a crop.
    """
    places = places_of(map(str, index.columns))
    pair = row_and_column(places)
    if pair is not None and not _are_wells(index, *pair):
        places = tuple(name for name in places if name not in pair)
    return tuple(
        name
        for name in places
        if any(tidy(as_text(value)) for value in index[name].dropna().unique())
    )


def whole_groups(
    index: pd.DataFrame,
    group_by: Sequence[str],
    *,
    folders: Collection[str] = (),
    protein: str = "protein",
) -> tuple[str, ...]:
    """The columns to group by, and before each those above it: field 1 is another on each plate.

    What the columns mean is logged where they mean more than they say.

    Args:
        index: one row a crop.
        group_by: as given.
        folders: columns that stand for folders in which the images lie.
        protein: column of the protein.

    Raises:
        UnitError: a column is numbered anew under one that is no known place.
    """
    units = units_of(index)
    places = set(places_of(map(str, index.columns)))
    known = [n for n in map(str, index.columns) if n in units or n in group_by or n not in places]
    path = told_path(group_by, known, "`group_by`")
    if set(path) <= set(known):
        check_unit(
            path,
            lambda name: _texts(index, name).tolist(),
            known,
            "`group_by`",
            folders=folders,
            protein=protein,
        )
    return path


def check_groups(index: pd.DataFrame, split: NDArray[np.object_], group_by: Sequence[str]) -> None:
    """Raise `SplitError`, which names the group, if a group has crops in two splits (a leak)."""
    if not group_by:
        return
    number, names = _groups(index, group_by)
    first: dict[int, str] = {}
    leaks: dict[int, tuple[str, str]] = {}
    for group, name in zip(number.tolist(), split, strict=True):
        if name is not None and first.setdefault(group, name) != name:
            leaks.setdefault(group, (first[group], name))
    if leaks:
        group, (one, other) = min(leaks.items(), key=lambda item: names[item[0]])
        values = ", ".join(f"{c}={v!r}" for c, v in zip(group_by, names[group], strict=True))
        msg = (
            "A group must lie in one split, or cells that resemble each other leak from training "
            f"to test. Received: {values} in {min(one, other)} and {max(one, other)} "
            f"({len(leaks)} such groups). Choose conditions that keep groups whole, or another "
            "grouping."
        )
        raise SplitError(msg)


def check_images(
    images: Iterable[tuple[str, ...]], split: NDArray[np.object_], keys: Sequence[str]
) -> None:
    """Raise `SplitError`, which names both crops, if the same files are in two splits (a leak)."""
    if len(set(split.tolist())) < 2:
        return
    first: dict[tuple[str, ...], int] = {}
    for row, image in enumerate(images):
        other = first.setdefault(image, row)
        if split[other] != split[row]:
            msg = (
                "A cell must lie in one split, or it leaks from training to test. Received: "
                f"{', '.join(image)} as {keys[other]!r} in {split[other]} and as {keys[row]!r} in "
                f"{split[row]}. List it once."
            )
            raise SplitError(msg)


def check_splits(
    split: NDArray[np.object_],
    expected: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    label_names: Sequence[str],
) -> None:
    """Raise `SplitError` if an expected split is empty, or a class has no crop to train on."""
    found = set(split.tolist()) - {None}
    for name in expected:
        if name not in found:
            msg = (
                f"Every split must have crops. Received: none in {name!r}. Change its condition "
                "or fraction, or group by columns with more values."
            )
            raise SplitError(msg)
    trained = {
        i for name, chosen in zip(split, labels, strict=True) if name == "train" for i in chosen
    }
    lacking = [name for i, name in enumerate(label_names) if i not in trained]
    if lacking:
        msg = (
            "Every class must have crops in split 'train'. Received: none for "
            f"{', '.join(map(repr, lacking))}. Leave these classes out, or split otherwise."
        )
        raise SplitError(msg)


def _texts(index: pd.DataFrame, column: str) -> Texts:
    import pandas as pd

    return pd.Series(texts_of(index[column]), index=index.index, dtype=object)


def _are_wells(index: pd.DataFrame, row: str, column: str) -> bool:
    """Whether rows (letters or numbers) and columns are always those of a plate."""
    pairs = set(zip(_texts(index, row), _texts(index, column), strict=True))
    return all(well_name(f"{r}{c}") or well_name(f"R{r}C{c}") for r, c in pairs)


def _matched(index: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """The texts of a column, with one spelling for each name."""
    import pandas as pd

    number, texts = pd.factorize(_texts(index, column))
    kind = kind_of_column(column)
    first: dict[str, str] = {}
    spelling = {text: first.setdefault(same_form(text, kind), text) for text in sorted(texts)}
    return np.array([spelling[text] for text in texts], dtype=object)[number]


def _meets(index: pd.DataFrame, column: str, values: Sequence[str], name: str) -> NDArray[np.bool_]:
    """Which crops have one of some values in a column; `name` is the split that asks."""
    import pandas as pd

    number, texts = pd.factorize(_texts(index, column))
    kind = kind_of_column(column)
    forms = [same_form(text, kind) for text in texts]
    for value in values:
        if same_form(value, kind) not in forms:
            known = sorted(texts)
            some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            msg = (
                f"A condition must be met by some crop, or split {name!r} is not what it says. "
                f"Received: {column}={value}, where {column} is one of {some}."
            )
            raise SplitError(msg + did_you_mean(value, known))
    wanted = {same_form(value, kind) for value in values}
    first = dict(zip(reversed(forms), reversed(texts), strict=True))
    if sentence := respelled(
        {value: first[same_form(value, kind)] for value in values if value not in texts},
        f"Values of {column!r} in conditions",
    ):
        logger.info("%s", sentence)
    return np.array([form in wanted for form in forms])[number]


def _groups(
    index: pd.DataFrame, group_by: Sequence[str]
) -> tuple[NDArray[np.intp], list[tuple[str, ...]]]:
    """Number of each crop's group, and the values of each group, however they are spelled."""
    import pandas as pd

    for column in group_by:
        require_column(index.columns, column, "A column to group by")
    table = pd.DataFrame({column: _matched(index, column) for column in group_by})
    number, names = pd.factorize(pd.MultiIndex.from_frame(table))
    return number, [tuple(values) for values in names]


def _counts(
    number: NDArray[np.intp], num_groups: int, labels: Sequence[tuple[int, ...]] | None
) -> NDArray[np.float64]:
    """Crops of each group: in a column for each class, and in all."""
    labels = [()] * len(number) if labels is None else labels
    width = 1 + max((i + 1 for chosen in labels for i in chosen), default=0)
    counts = np.zeros((num_groups, width))
    np.add.at(counts[:, -1], number, 1)
    pairs = [(g, i) for g, chosen in zip(number, labels, strict=True) for i in chosen]
    if pairs:
        np.add.at(counts, tuple(np.array(pairs).T), 1)
    return counts


def _order(group: tuple[str, ...], seed: int) -> bytes:
    text = json.dumps([seed, *group], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
