"""The digests of the images that records or predictions were made from, in a file beside them.

`inputs.sha256` is what `sha256sum` writes: a digest and a path a line, from the folder that all of
them lie in, after a comment with the digest of these lines. `sha256sum --check inputs.sha256`
compares them in that folder, and `deeploc-tf trace` wherever it lies.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deeploc_tf.provenance import changed_since, file_digest
from tfrecords.manifest import INPUTS_NAME

_MOST_BYTES = 64 << 30  # that are read once more
_HEAD = "# deeploc-tf "
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")
_log = logging.getLogger(__name__)

__all__ = ["INPUTS_NAME", "list_of_inputs", "listed_inputs"]


def list_of_inputs(paths: Iterable[str | Path]) -> bytes | None:
    """The content of `inputs.sha256`.

    Args:
        paths: files, each as often as one likes; what is no file is left out.

    Returns:
        None where there are none, or they are more than can well be read once more: 64 GiB.
    """
    names = sorted({os.path.abspath(path) for path in paths})  # noqa: PTH100 -- links stay
    files = [name for name in names if os.path.isfile(name)]  # noqa: PTH113 -- of many, twice as quick
    total = sum(os.path.getsize(name) for name in files)  # noqa: PTH202
    if not files:
        return None
    if total > _MOST_BYTES:
        _log.info(
            "%d images of %.0f GB are not read once more for %s: `trace` cannot compare them.",
            len(files),
            total / 1e9,
            INPUTS_NAME,
        )
        return None
    root = os.path.commonpath([os.path.dirname(name) for name in files])  # noqa: PTH120
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        digests = list(pool.map(lambda name: file_digest(Path(name)), files))
    lines = [
        _line(digest, Path(name).relative_to(root).as_posix())
        for name, digest in zip(files, digests, strict=True)
    ]
    body = "".join(lines).encode("utf-8", "surrogateescape")
    return f"{_HEAD}{hashlib.sha256(body).hexdigest()}\n".encode() + body


def listed_inputs(path: Path) -> dict[str, str]:
    """Path from the common folder -> SHA-256 of each file of an `inputs.sha256`.

    Raises:
        ValueError: the list is not as it was written.
        OSError: it cannot be read.
    """
    head, _, body = path.read_bytes().partition(b"\n")
    if head != f"{_HEAD}{hashlib.sha256(body).hexdigest()}".encode():
        raise changed_since(path, "its digest is another")
    found = {}
    for line in body.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        if (match := _LINE.fullmatch(line)) is None:
            raise changed_since(path, f"a line {line[:80]!r}")
        name = match[3]
        if match[1]:
            name = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), name)
        found[name] = match[2]
    return found


def _line(digest: str, name: str) -> str:
    """As `sha256sum` writes it, with a backslash before a line whose name has been escaped."""
    told = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    sign = "\\" if told != name else ""
    return f"{sign}{digest}  {told}\n"
