"""GMT: a line a term, its name, a description and members, divided by tabs.

People also write it without descriptions. Then the second field is a member, and would be lost.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry, names_proteins
from deeploc_tf.benchmark.formats.text import StandardError, malformed, names_in
from deeploc_tf.names import same_form

_LINES_LOOKED_AT = 5000
_NO_DESCRIPTION = frozenset(
    ["", "-", ".", "_", "?", "na", "n/a", "nan", "none", "null", "unknown", "description"]
)
_USUAL = 0.02  # of all members; a rarer form of name says nothing
_MOST, _FEW = 0.8, 0.2

_log = logging.getLogger(__name__)


def read_gmt(reading: Reading) -> Iterator[Entry]:
    """The entries of a GMT file, with or without descriptions, as it seems to be.

    The second field of a line looks like a member if it is one elsewhere in the file, or is written
    as members are: the same runs of capitals, small letters, digits and signs. Where four in five
    do, every second field is a member; where one in five or fewer do, all are descriptions.

    Raises:
        StandardError: what the second fields are is not clear, or as of `read_described_gmt`.
    """
    yield from _entries(reading, described=_is_described(reading.path, reading))


def read_described_gmt(reading: Reading) -> Iterator[Entry]:
    """The entries of a GMT file whose second fields are descriptions, whatever they look like.

    Raises:
        StandardError: a line has no term or no member, or two have one term.
    """
    yield from _entries(reading, described=True)


def read_gmt_of_members(reading: Reading) -> Iterator[Entry]:
    """The entries of a file without descriptions: a term, then members, divided by tabs."""
    yield from _entries(reading, described=False)


def _entries(reading: Reading, *, described: bool) -> Iterator[Entry]:
    seen: dict[str, int] = {}
    first = 2 if described else 1
    for number, line in reading.lines():
        fields = names_in(reading.path, number, line)
        term, members = fields[0], [name for name in fields[first:] if name]
        if not seen and members and all(map(names_proteins, members)):
            reading.left_out["header line"] += 1
            continue
        if not term or not members:
            must = "A line of a GMT file must be a term, a description and members, tabs between."
            raise malformed(reading.path, number, line, must)
        if (form := same_form(term, "label")) in seen:
            msg = (
                f"Each term must have one line. Received: {term!r} in lines {seen[form]} and "
                f"{number} of {reading.path}."
            )
            raise StandardError(msg)
        seen[form] = number
        yield entry(term, members, fields[1] if described else "")


def _is_described(path: Path, reading: Reading) -> bool:
    """Whether the second fields are descriptions; what was assumed is noted."""
    rows = [
        [field.strip() for field in line.split("\t")]
        for _, line in itertools.islice(Reading(path).lines(), _LINES_LOOKED_AT)
    ]
    if rows and len(rows[0]) > 2 and all(map(names_proteins, rows[0][2:])):
        del rows[0]
    rows = [row for row in rows if len(row) > 1]
    members = {name for row in rows for name in row[2:] if name}
    forms = Counter(map(_form, members))
    usual = {form for form, count in forms.items() if count >= _USUAL * len(members)}
    like = [row for row in rows if row[1] in members or _is_like(row[1], usual)]
    if len(like) <= _FEW * len(rows):
        if like:
            reading.notes["descriptions that look like members"] = len(like)
        return True
    known = sum(row[1] in members for row in like)
    same = sum(row[1] == row[0] for row in like)
    if len(like) < _MOST * len(rows) or 2 * same > len(like) or (len(rows) < 3 and not known):
        examples = ", ".join(repr(row[1]) for row in like[:3])
        msg = (
            "The second fields of a GMT file must be descriptions, or all of them members. "
            f"Received: {path}, where {len(like)} of {len(rows)} look like members, such as "
            f"{examples}. Say which they are: --format gmt-described, or --format gmt-members "
            "for a file without descriptions."
        )
        raise StandardError(msg)
    reading.notes["lines without a description, all fields are members"] = len(rows)
    _log.warning(
        "%s is read as a file without descriptions: %d of %d second fields look like members, "
        "such as %r. --format gmt-described reads them as descriptions.",
        path,
        len(like),
        len(rows),
        like[0][1],
    )
    return False


def _is_like(field: str, usual: set[str]) -> bool:
    return field.casefold() not in _NO_DESCRIPTION and _form(field) in usual


def _form(name: str) -> str:
    """How a name is written: `A0A` of YAL001C and SEC61B, `a` of nucleus."""
    for kind, sign in (("[A-Z]+", "A"), ("[a-z]+", "a"), ("[0-9]+", "0")):
        name = re.sub(kind, sign, name)
    return name


def gmt_bytes(terms: Mapping[str, frozenset[str]], descriptions: Mapping[str, str]) -> bytes:
    """GMT with terms and members in the order of their names: the same bytes for the same sets.

    Raises:
        StandardError: a term has no member, or begins with `#`, which would make it a comment, or a
            name begins with a quotation mark, which would be taken off.
    """
    lines = []
    for term, members in sorted(terms.items()):
        if term.startswith("#") or not members:
            msg = f"A term of GMT must have members and no '#' in front. Received: {term!r}."
            raise StandardError(msg)
        if quoted := [name for name in (term, *members) if name.startswith('"')]:
            msg = f"Names in GMT must not begin with a quotation mark. Received: {quoted[0]!r}."
            raise StandardError(msg)
        description = " ".join(descriptions.get(term, "").split())
        lines.append("\t".join([term, description, *sorted(members)]) + "\n")
    return "".join(lines).encode()
