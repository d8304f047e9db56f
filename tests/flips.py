"""One bit of every file of a folder flipped, one file after the other: who finds it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from deeploc_tf.lineage.verify import verify
from deeploc_tf.profiles.tables import read_table


def not_found(folder: Path, passed_over: Collection[str] = (), most: int = 3) -> list[str]:
    """The files of which a flipped bit is not found by `verify --deep` of what they lie in.

    Args:
        folder: whose entries are verified: each file, and each folder with its files.
        passed_over: names of entries.
        most: files of one folder and suffix that are tried.
    """
    missed = []
    for entry in sorted(folder.iterdir()):
        if entry.name in passed_over or entry.name.startswith("."):
            continue
        files = [entry] if entry.is_file() else sorted(p for p in entry.rglob("*") if p.is_file())
        seen: dict[tuple[Path, str], int] = {}
        for path in files:
            kind = (path.parent, path.suffix)
            seen[kind] = seen.get(kind, 0) + 1
            content = path.read_bytes()
            if seen[kind] > most or not content:
                continue
            random = np.random.default_rng(sum(path.name.encode()))
            at = int(random.integers(len(content)))
            flipped = content[at] ^ 1 << int(random.integers(8))
            path.write_bytes(content[:at] + bytes([flipped]) + content[at + 1 :])
            try:
                verify(entry, deep=True)
            except (ValueError, OSError):
                pass
            else:
                if not _is_harmless(path, content):
                    missed.append(f"{path.relative_to(folder)}, byte {at} of {len(content)}")
            finally:
                path.write_bytes(content)
    return missed


def _is_harmless(path: Path, content: bytes) -> bool:
    """Whether a table with a flipped bit, such as in its padding, is read as the same."""
    if path.suffix not in (".parquet", ".h5"):
        return False
    before = path.with_name(f"before{path.suffix}")
    before.write_bytes(content)
    try:
        one, other = read_table(path), read_table(before)
        same = one.features.tobytes() == other.features.tobytes()
        return same and one.metadata.equals(other.metadata)
    finally:
        before.unlink()
