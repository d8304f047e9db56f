"""Files that are old or new, never a mixture: written beside their name, synced, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrecords.errors import OutputExistsError


def check_absent(output: Path) -> None:
    """Refuse an output that is there already, or that has no folder to stand in.

    Raises:
        OutputExistsError: something has the name, be it a dangling link.
        FileNotFoundError: there is no such folder.
    """
    if os.path.lexists(output):
        msg = (
            f"`output` must not exist yet. Received: output={str(output)!r}. "
            "Name another, or remove this one."
        )
        raise OutputExistsError(msg)
    if not output.parent.is_dir():
        msg = f"The folder of `output` must exist. Received: {str(output.parent)!r}. Make it first."
        raise FileNotFoundError(msg)


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A temporary sibling to write to; it gets the name `path` when the block ends well.

    If the block raises, the sibling is removed and whatever had the name before still has it. The
    suffix is kept, since some writers choose their format by it.

    Args:
        path: final name; its folder must exist.

    Yields:
        The name to write to: a file, which the block must create.
    """
    temporary = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_folder(output: Path) -> Iterator[Path]:
    """A new sibling of `output`, which is gone when the block ends, unless the block renamed it.

    Args:
        output: the name that the block will give it; its folder must exist.
    """
    folder = output.with_name(f"{output.name}.partial-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed and had our number
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_bytes(path: Path, content: bytes) -> None:
    """Give `path` this content, at once or not at all."""
    with publishing(path) as temporary:
        temporary.write_bytes(content)


def publish_json(path: Path, values: Any) -> None:
    """Give `path` these values as JSON, at once or not at all; NaN and infinity are refused."""
    content = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    publish_bytes(path, content.encode())


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
