"""Lines of a text file, gzip or not, with limits on what is taken into memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

GIBIBYTE = 1 << 30
MAX_BYTES = 4 * GIBIBYTE
MAX_LINE_BYTES = 16 << 20  # 16 MiB: a line of a GMT file is a term with all its members
MAX_WHOLE_BYTES = 256 << 20  # 256 MiB: JSON and OBO are read at once
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


class StandardError(ValueError):
    """A standard's file is malformed, or has nothing in common with the profiles."""


def malformed(path: Path, number: int, line: str, must: str) -> StandardError:
    """The error of a line that is not as it must be."""
    shown = line if len(line) <= 60 else f"{line[:60]}..."
    return StandardError(f"{must} Received: {path}, line {number}: {shown!r}.")


def numbered_lines(path: Path, comment: str = "#") -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is neither empty nor a comment.

    Args:
        path: UTF-8 text; whether it is compressed is seen from its content.
        comment: what such a line begins with; "" for formats without.

    Raises:
        StandardError: not UTF-8, a damaged archive, or more than the limits of this module.
        OSError: the file cannot be read.
    """
    start = 0
    for number, raw in enumerate(_raw_lines(path), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            at = start + error.start
            msg = f"A standard must be UTF-8 text. Received: {path}, which is not at byte {at}."
            raise StandardError(msg) from error
        start += len(raw)
        if line.strip() and not (comment and line.startswith(comment)):
            yield number, line


def header_of(path: Path, lines: Iterator[tuple[int, str]], columns: Collection[str]) -> list[str]:
    """The names in the first line of a table.

    Raises:
        StandardError: there is no line, or a column is not there.
    """
    number, line = next(lines, (1, ""))
    header = [name.strip() for name in line.split("\t")]
    if not set(columns) <= set(header):
        must = f"The first line must name the columns {', '.join(columns)}, tabs between."
        raise malformed(path, number, line, must)
    return header


def whole_file(path: Path, max_bytes: int = MAX_WHOLE_BYTES) -> bytes:
    """Content of a file, decompressed.

    Raises:
        StandardError: it is larger than `max_bytes`, or a damaged archive.
        OSError: the file cannot be read.
    """
    content = bytearray()
    with _opened(path) as file:
        for chunk in _reading(path, iter(lambda: file.read(_CHUNK_BYTES), b"")):
            content += chunk
            if len(content) > max_bytes:
                raise _too_large(path, f"more than {max_bytes >> 20} MiB of content")
    return bytes(content)


def _raw_lines(path: Path) -> Iterator[bytes]:
    total = 0
    with _opened(path) as file:
        for raw in _reading(path, iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")):
            total += len(raw)
            if len(raw) > MAX_LINE_BYTES:
                raise _too_large(path, f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
            if total > MAX_BYTES:
                raise _too_large(path, f"more than {MAX_BYTES >> 20} MiB of text")
            yield raw


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]


def _reading(path: Path, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts, with the file named where its archive is damaged."""
    try:
        yield from parts
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"A .gz file must be whole. Received: {path}: {error}. Download it again."
        raise StandardError(msg) from error


def _too_large(path: Path, what: str) -> StandardError:
    return StandardError(
        f"A standard must fit into memory. Received: {path} with {what}. "
        "Take the file of one organism, or of one aspect."
    )
