"""JSON modules, as BIONIC's evaluation has them: `{"term": ["member", ...], ...}`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deeploc_tf.benchmark.formats.entries import Entry, Reading, entry
from deeploc_tf.benchmark.formats.text import StandardError, whole_file


def read_modules_json(reading: Reading) -> Iterator[Entry]:
    """The entries of a JSON object of lists.

    Raises:
        StandardError: it is not JSON, not an object of lists of text, or has a term twice.
    """
    must = 'Modules must be a JSON object such as {"term": ["member", ...]}, each term once.'
    try:
        modules = json.loads(whole_file(reading.path), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        if isinstance(error, StandardError):
            raise
        msg = f"{must} Received: {reading.path}: {error}."
        raise StandardError(msg) from error
    if not isinstance(modules, dict):
        msg = f"{must} Received: {reading.path}, which is a {type(modules).__name__}."
        raise StandardError(msg)
    for term, members in modules.items():
        if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
            msg = f"{must} Received: {reading.path}, {term!r}: {str(members)[:60]}."
            raise StandardError(msg)
        if not members:
            reading.left_out["empty term"] += 1
            continue
        yield entry(term, members)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        msg = f"{double!r} is there twice"
        raise ValueError(msg)
    return dict(pairs)
