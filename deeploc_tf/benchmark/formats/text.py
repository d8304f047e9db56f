"""Lines of a text file, gzip or not, with limits on what is taken into memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from deeploc_tf.text_tables import TableError, opened, whole_parts

GIBIBYTE = 1 << 30
MAX_BYTES = 4 * GIBIBYTE
MAX_LINE_BYTES = 16 << 20  # 16 MiB: a line of a GMT file is a term with all its members
MAX_WHOLE_BYTES = 256 << 20  # 256 MiB: JSON and OBO are read at once
_CHUNK_BYTES = 1 << 20


class StandardError(ValueError):
    """A standard's file is malformed, or has nothing in common with the profiles."""


def malformed(path: Path, number: int, line: str, must: str) -> StandardError:
    """The error of a line that is not as it must be."""
    shown = line if len(line) <= 60 else f"{line[:60]}..."
    return StandardError(f"{must} Received: {path}, line {number}: {shown!r}.")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not empty.

    Args:
        path: UTF-8 text; whether it is compressed is seen from its content.

    Raises:
        StandardError: not UTF-8, other line ends, a damaged archive, or more than the limits of
            this module.
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
        if "\r" in line or "\0" in line:
            must = "Lines must end in a newline, without carriage returns or NUL bytes inside."
            raise malformed(path, number, line, must)
        if line.strip():
            yield number, line


def names_in(path: Path, number: int, line: str) -> list[str]:
    """The fields of a line that are names, without spaces around them.

    Raises:
        StandardError: one is quoted, or a quotation mark in front has no other: none of these
            formats has quotes, so that the marks would be part of the name.
    """
    fields = [field.strip() for field in line.split("\t")]
    for field in fields:
        if field[:1] == '"' and (field[-1] == '"' or field.count('"') % 2):
            raise malformed(path, number, line, "A name must not be quoted. Remove the quotes.")
    return fields


def header_of(path: Path, lines: Iterator[tuple[int, str]], columns: Collection[str]) -> list[str]:
    """The names in the first line of a table.

    Raises:
        StandardError: there is no line, or a column is not there.
    """
    number, line = next(lines, (1, ""))
    header = [name.strip() for name in line.split("\t")]
    if any(header.count(name) != 1 for name in columns):
        must = f"The first line must name the columns {', '.join(columns)} once, tabs between."
        raise malformed(path, number, line, must)
    return header


def whole_file(path: Path, max_bytes: int = MAX_WHOLE_BYTES) -> bytes:
    """Content of a file, decompressed.

    Raises:
        StandardError: it is larger than `max_bytes`, or a damaged archive.
        OSError: the file cannot be read.
    """
    content = bytearray()
    with opened(path) as file:
        for chunk in _reading(path, iter(lambda: file.read(_CHUNK_BYTES), b"")):
            content += chunk
            if len(content) > max_bytes:
                raise _too_large(path, f"more than {max_bytes >> 20} MiB of content")
    return bytes(content)


def _raw_lines(path: Path) -> Iterator[bytes]:
    total = 0
    with opened(path) as file:
        for raw in _reading(path, iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")):
            total += len(raw)
            if len(raw) > MAX_LINE_BYTES:
                raise _too_large(path, f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
            if total > MAX_BYTES:
                raise _too_large(path, f"more than {MAX_BYTES >> 20} MiB of text")
            yield raw


def _reading(path: Path, parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts of what must be a whole file."""
    try:
        yield from whole_parts(path, parts)
    except TableError as error:
        raise StandardError(str(error)) from error


def _too_large(path: Path, what: str) -> StandardError:
    return StandardError(
        f"A standard must fit into memory. Received: {path} with {what}. "
        "Take the file of one organism, or of one aspect."
    )
