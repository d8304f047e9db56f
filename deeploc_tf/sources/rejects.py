"""Cells that were set aside, and crops that were kept although something is odd about them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from deeploc_tf.sources.source import Reject, SourceError


def check_rejects(rejects: Sequence[Reject], max_rejects: int) -> None:
    """Raise `SourceError` with what is wrong with the first if there are too many."""
    if len(rejects) > max_rejects:
        first = rejects[0]
        error = SourceError(first.detail or f"{first.reason}: {first.key!r}.")
        error.add_note(too_many(len(rejects), max_rejects))
        raise error


def too_many(count: int, max_rejects: int) -> str:
    """What to add to the error of a cell where not so many may be bad."""
    if max_rejects == 0:
        return "To set bad cells aside, allow some with `max_rejects` (--max-rejects)."
    return f"It is bad cell {count}, where `max_rejects` is {max_rejects} (--max-rejects)."


def counted(rejects: Iterable[Reject]) -> dict[str, int]:
    """How many there are of each reason."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))


def as_lines(rejects: Iterable[Reject]) -> bytes:
    """One JSON object a line, in the order of the keys, whatever the order of the source."""
    ordered = sorted(rejects, key=lambda reject: (reject.key, reject.reason, reject.files))
    lines = [json.dumps(dataclasses.asdict(reject), ensure_ascii=False) for reject in ordered]
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def to_json(rejects: Iterable[Reject]) -> list[list[object]]:
    """The rejects as plain JSON values; `from_json` reads them back."""
    return [[r.reason, r.key, list(r.files), r.detail] for r in rejects]


def from_json(values: Any) -> list[Reject]:
    """The rejects that `to_json` wrote."""
    return [Reject(reason, key, tuple(files), detail) for reason, key, files, detail in values]
