"""Where images were taken: folder, plate, well and field, and the columns that say so.

Plates, wells and fields are numbered anew in whatever lies above them: field 1 of plate 1 and field
1 of plate 2 are two fields. A unit of images is therefore named by its full path, the columns above
it included, wherever cells are grouped, averaged, paired, permuted or counted by it.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from deeploc_tf import names
from deeploc_tf.names import Kind, matched, same_form, tidy, well_name

logger = logging.getLogger(__name__)


class UnitError(ValueError):
    """Columns that do not name units of images."""


_TOP, _PLATE, _WELL, _FIELD = range(4)
_LEVELS = {
    **dict.fromkeys(("folder", "screen", "experiment", "batch", "run", "replicate"), _TOP),
    **dict.fromkeys(
        ("plate", "platebarcode", "barcode", "assayplate", "assayplatebarcode", "slide", "dish"),
        _PLATE,
    ),
    "well": _WELL,
    "wellposition": _WELL,
    **dict.fromkeys(("field", "fieldofview", "fov", "site", "image", "position", "tile"), _FIELD),
}
_ROWS, _COLUMNS = frozenset({"row"}), frozenset({"column", "col"})
_WORDS_AROUND = re.compile(r"^metadata|(?<=.)(?:id|name|number|no|index)$")
# Columns whose values come again on several plates because they mean the same there.
_CROSSING = frozenset(
    (
        *("donor", "patient", "animal", "mouse", "subject", "strain", "clone", "allele", "gene"),
        *("orf", "protein", "treatment", "drug", "compound", "dose", "concentration", "condition"),
        *("day", "time", "timepoint", "passage", "class", "label", "set", "split", "channel"),
        *("cell", "object", "number", "key", "x", "y"),
    )
)
_NUMBERED = re.compile(r"[A-Za-z]{0,6}[-_ ]?\d{1,4}")
_RECURRING = 0.5  # of the values of a column
_KINDS: dict[int, Kind] = {_PLATE: "plate", _WELL: "well", _FIELD: "field"}
_SOME = 3  # names in a message


def columns_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Columns as they are given: one, several or none."""
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))


def is_plate(column: str) -> bool:
    """Whether a column names the plate, whatever its case: `plate`, `Plate_ID`, `barcode`."""
    return _level(column) == _PLATE


def is_place(column: str) -> bool:
    """Whether a column says where an image was taken: folder, plate, well, its row, or field.

    >>> is_place("Plate_ID"), is_place("row"), is_place("fc_2_000")
    (True, True, False)
    """
    return _level(column) is not None or _plain(column) in _ROWS | _COLUMNS


def kind_of_column(column: str) -> Kind:
    """How names in a column are compared, as in `deeploc_tf.names`; sites and barcodes are known.

    >>> kind_of_column("Metadata_Site"), kind_of_column("protein"), kind_of_column("dose")
    ('field', 'protein', 'group')
    """
    level = _level(column)
    return names.kind_of_column(column) if level is None else _KINDS.get(level, "group")


@functools.lru_cache(1 << 16)  # crops are many, different names few
def same_in_column(column: str, name: str) -> str:
    """What all spellings of a name in a column have in common, see `deeploc_tf.names.same_form`.

    >>> same_in_column("Metadata_Well", "a1"), same_in_column("plate", "P1 ")
    ('A01', 'P1')
    """
    return same_form(name, kind_of_column(column))


def whole_path(columns: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """The columns, and before each one those known ones that stand for something above it.

    A row and a column of a plate are its well where no column names the well.

    >>> whole_path(["field"], ["key", "plate", "well", "field", "x"])
    ('plate', 'well', 'field')
    """
    levels = _levels(known)
    path: dict[str, None] = {}
    for name in columns:
        if (level := levels.get(name)) is not None:
            path |= dict.fromkeys(other for other in levels if levels[other] < level)
        path[name] = None
    return tuple(path)


def places_of(known: Iterable[str]) -> tuple[str, ...]:
    """The columns that say where a cell was imaged, from the top down.

    >>> places_of(["key", "field", "plate", "well", "x"])
    ('plate', 'well', 'field')
    """
    return tuple(_levels(known))


def row_and_column(known: Iterable[str]) -> tuple[str, str] | None:
    """The columns that name the row and the column of a plate, where there is one of each."""
    known = list(known)
    rows = [name for name in known if _plain(name) in _ROWS]
    columns = [name for name in known if _plain(name) in _COLUMNS]
    return (rows[0], columns[0]) if len(rows) == len(columns) == 1 else None


def check_unit(
    path: Sequence[str],
    values: Callable[[str], Sequence[str]],
    known: Iterable[str],
    what: str,
    *,
    folders: Collection[str] = (),
    protein: str = "protein",
) -> None:
    """Refuse a unit that is numbered anew under a column that is no part of it.

    Scans 1 and 2 of each box are not two scans: without the box, cells of several images would be
    one unit. What is known to lie above is taken along by `whole_path`; this finds a column that
    nobody recognized, in the path or above it.

    Args:
        path: columns of the unit, as `whole_path` gives them.
        values: gives the texts of a column, one a row.
        known: columns of the table, in their order.
        what: that the unit was given for, such as "`replicate`".
        folders: columns that stand for folders in which the images lie.
        protein: column of the protein; what each protein has one value of is no place.

    Raises:
        UnitError: half of the unit's values or more come again under another column.
    """
    known = list(known)
    own = [name for name in path if _plain(name) not in _CROSSING]
    levels = {name: _level(name) for name in known}
    if not own or any(levels.get(name) in (_TOP, _PLATE) for name in own):
        return
    columns = [[same_in_column(name, text) for text in values(name)] for name in own]
    units = list(zip(*columns, strict=True))
    different = sorted({unit for unit in units if all(unit)})
    if not all(well_name(part) or _NUMBERED.fullmatch(tidy(part)) for u in different for part in u):
        return
    last = max(map(known.index, own))
    for place, name in enumerate(known):
        level = levels[name]
        if name in path or _plain(name) in _CROSSING or (level is not None and level >= _FIELD):
            continue
        texts = values(name) if level is not None or name in folders or place < last else ()
        named = {text for text in texts if tidy(text)}
        if level is None and name not in folders and all(map(_is_number, named)):
            continue  # of a measurement, perhaps
        if len(named) < 2 or 2 * len(named) > len(units):
            continue
        if level is None and name not in folders and protein in known:
            of_protein = {pair for pair in zip(values(protein), texts, strict=True) if pair[0]}
            if len(of_protein) == len({one for one, _ in of_protein}):
                continue
        under: dict[tuple[str, ...], set[str]] = {unit: set() for unit in different}
        for unit, text in zip(units, texts, strict=True):
            if unit in under and text in named:
                under[unit].add(text)
        again = [unit for unit in different if len(under[unit]) > 1]
        if again and len(again) >= _RECURRING * len(different):
            msg = (
                f"{what} must name units that are not numbered anew under another column, or "
                f"several images are one. Received: {', '.join(own)} {'/'.join(again[0])!r} under "
                f"{name} {some(under[again[0]])} ({len(again)} of {len(different)} come again). "
                f"Name both, as in {name},{','.join(path)}, or say which column is the plate, the "
                "well or the field (--plate, --well, --field)."
            )
            raise UnitError(msg)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def told_path(columns: Iterable[str], known: Iterable[str], what: str) -> tuple[str, ...]:
    """`whole_path`, which logs what the columns mean where they mean more than they say.

    Args:
        columns: as given.
        known: columns of the table that have values.
        what: that the columns were given for, such as "`replicate`".
    """
    columns = tuple(columns)
    path = whole_path(columns, known)
    if set(path) != set(columns):
        logger.info(
            "%s: %s means %s together, since a name comes again in what lies above it.",
            what,
            ", ".join(columns),
            ", ".join(path),
        )
    return path


def spelled(values: Iterable[str], column: str, *, distinct_case: bool = True) -> dict[str, str]:
    """One spelling for each name in a column, the same in all tables; logs which are matched.

    Wells and fields are written in one way (`a1` is `A01`, `007` is `7`), so that groups of two
    tables have the same names.

    Args:
        values: of the column.
        column: its name, which tells the kind of its values.
        distinct_case: let proteins that differ in case be two.

    Raises:
        NameConflictError: two names may or may not be one, see `deeploc_tf.names`.
    """
    kind = kind_of_column(column)
    distinct = distinct_case and kind == "protein"
    spelling = matched(values, kind, f"Values of column {column!r}", distinct_case=distinct)
    if kind in ("well", "field"):
        return {name: same_form(name, kind) for name in spelling}
    return spelling


def names_of_units(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The name of each row's unit, given its path's columns; "" where a part has no name.

    >>> names_of_units({"well": ["A1", "a01", ""], "field": ["1", "01", "2"]})
    ['A01/1', 'A01/1', '']
    """
    parts = []
    for column, values in columns.items():
        spelling = spelled(values, column)
        parts.append([re.sub(r"([/\\])", r"\\\1", spelling[value]) for value in values])
    return ["/".join(path) if all(path) else "" for path in zip(*parts, strict=True)]


def some(listed: Iterable[str]) -> str:
    """The first of some names in quotation marks, for messages.

    >>> some(["A01", "A02", "A03", "A04"])
    "'A01', 'A02', 'A03' and 1 more"
    """
    listed = sorted(set(listed))
    more = f" and {len(listed) - _SOME} more" if len(listed) > _SOME else ""
    return ", ".join(map(repr, listed[:_SOME])) + more


def _levels(known: Iterable[str]) -> dict[str, int]:
    """The columns that name places, from the top down, and how far down each stands."""
    known = list(known)
    levels = {name: level for name in known if (level := _level(name)) is not None}
    if _WELL not in levels.values() and (well := row_and_column(known)) is not None:
        levels |= dict.fromkeys(well, _WELL)
    return {name: levels[name] for name in sorted(levels, key=levels.__getitem__)}


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.casefold())


def _level(column: str) -> int | None:
    """How far down a column stands, or None where it names no place."""
    plain = _plain(column)
    return _LEVELS.get(plain, _LEVELS.get(_WORDS_AROUND.sub("", plain)))
