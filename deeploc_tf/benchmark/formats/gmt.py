"""GMT: a line a term, its name, a description and members, divided by tabs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import StandardError, malformed, names_in, numbered_lines


def read_gmt(reading: Reading) -> Iterator[Entry]:
    """The entries of a GMT file.

    Raises:
        StandardError: a line has no term or no member, or two have one term.
    """
    seen: dict[str, int] = {}
    for number, line in numbered_lines(reading.path):
        term, *rest = names_in(reading.path, number, line)
        members = [field for field in rest[1:] if field]
        if not term or not members:
            must = "A line of a GMT file must be a term, a description and members, tabs between."
            raise malformed(reading.path, number, line, must)
        if term in seen:
            msg = (
                f"Each term must have one line. Received: {term!r} in lines {seen[term]} and "
                f"{number} of {reading.path}."
            )
            raise StandardError(msg)
        seen[term] = number
        yield entry(term, members, rest[0])


def gmt_bytes(terms: Mapping[str, frozenset[str]], descriptions: Mapping[str, str]) -> bytes:
    """GMT with terms and members in the order of their names: the same bytes for the same sets.

    Raises:
        StandardError: a term has no member, or begins with `#`, which would make it a comment.
    """
    lines = []
    for term, members in sorted(terms.items()):
        if term.startswith("#") or not members:
            msg = f"A term of GMT must have members and no '#' in front. Received: {term!r}."
            raise StandardError(msg)
        description = " ".join(descriptions.get(term, "").split())
        lines.append("\t".join([term, description, *sorted(members)]) + "\n")
    return "".join(lines).encode()
