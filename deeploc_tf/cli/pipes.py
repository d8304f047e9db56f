"""Files that are none: `-` for standard input or output, and pipes, each read once."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

_FOLDER, _READ, _WRITTEN = (f"deeploc_tf.cli: {name}" for name in ("spool", "read", "written"))
_STDIN = "-"
_HEAD = 1 << 16


def is_piped(text: str) -> bool:
    """Whether a file can be read once only: standard input, or a pipe such as `<(zcat x.gz)`."""
    if text == _STDIN:
        return True
    try:
        mode = Path(text).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or text == "/dev/stdin"


def spooled(text: str, parameter: click.Parameter | None, context: click.Context) -> Path:
    """A file with what a pipe holds, for as long as the command runs; its suffix says what it is.

    Raises:
        click.BadParameter: another parameter has read it, or it is a terminal or empty.
    """
    read: dict[str, tuple[str, Path]] = context.meta.setdefault(_READ, {})
    name = str(parameter.name) if parameter is not None else ""
    if text in read:
        if read[text][0] != name:
            msg = f"{text!r} can be read once. Received: it for two parameters. Write it to a file."
            raise click.BadParameter(msg, context, parameter)
        return read[text][1]
    if text == _STDIN and sys.stdin is not None and sys.stdin.isatty():
        msg = "'-' reads standard input, and that is a terminal. Pipe a file into the command."
        raise click.BadParameter(msg, context, parameter)
    plain = _folder(context) / (f"{'stdin' if text == _STDIN else 'pipe'}-{len(read)}")
    with plain.open("wb") as file:
        if text == _STDIN:
            shutil.copyfileobj(sys.stdin.buffer, file)
        else:
            with Path(text).open("rb") as pipe:
                shutil.copyfileobj(pipe, file)
    head = _head(plain)
    if not head:
        msg = f"{text!r} is empty. Does the command before it write to standard output?"
        raise click.BadParameter(msg, context, parameter)
    if head.startswith(b"\x1f\x8b"):
        unpacked = plain.with_name(f"{plain.name}u")
        with gzip.open(plain) as packed, unpacked.open("wb") as file:
            shutil.copyfileobj(packed, file)
        plain, head = unpacked, _head(unpacked)
    named = plain.with_name(("stdin" if text == _STDIN else plain.name) + _suffix(head))
    plain.rename(named)
    read[text] = (name, named)
    return named


def standard_output(context: click.Context, suffix: str) -> Path:
    """A file whose text is printed when the command has ended well."""
    path = _folder(context) / f"stdout{suffix}"
    context.meta.setdefault(_WRITTEN, []).append(path)
    return path


def writes_standard_output(context: click.Context | None) -> bool:
    """Whether standard output holds a file, so that nothing else may stand there."""
    return context is not None and bool(context.meta.get(_WRITTEN))


def print_written(context: click.Context) -> None:
    """Print what the command has written for standard output."""
    for path in context.meta.get(_WRITTEN, ()):
        click.echo(path.read_text("utf-8"), nl=False)


def _folder(context: click.Context) -> Path:
    """A folder that is removed when the program ends, whatever happens."""
    if _FOLDER not in context.meta:
        made = context.find_root().with_resource(tempfile.TemporaryDirectory(prefix="deeploc-tf-"))
        context.meta[_FOLDER] = Path(made)
    found: Path = context.meta[_FOLDER]
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _suffix(head: bytes) -> str:
    """How a file of this content is usually called."""
    if head.startswith(b"PAR1"):
        return ".parquet"
    if head.startswith(b"\x89HDF"):
        return ".h5ad" if b"anndata" in head else ".h5"
    if head.startswith(b"PK"):
        return ".xlsx" if b"[Content_Types].xml" in head else ".npz"
    if head.lstrip()[:1] in (b"{", b"["):
        return ".json"
    whole = head if len(head) < _HEAD else head[: head.rfind(b"\n") + 1]
    counts = [line.count(b"\t") for line in whole.splitlines() if line and line[:1] != b"#"]
    if not counts or not counts[0]:
        return ".csv"
    # The lines of a table are equally long; terms have as many members as they like.
    return ".gmt" if len(set(counts)) > 1 and min(counts) > 1 else ".tsv"


class InputFile(click.Path):
    """A file to read; `-` is standard input, and pipes are read once.

    Args:
        attributes: as for `click.Path`.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(exists=True, dir_okay=False, allow_dash=True, path_type=Path, **attributes)

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """The file, or the copy of what a pipe holds."""
        text = str(value)
        if ctx is not None and not ctx.resilient_parsing and is_piped(text):
            return spooled(text, param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))
