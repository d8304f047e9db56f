"""What a file says of where it came from, and the digest that tells whether it is as it was.

Every file that we write names its parents: what they are, their names, and SHA-256 of a file or
the digest of a folder. No path is stored, so that everything may be moved. JSON says it in the
members below; a table in its provenance, which its own digests cover; a page, a picture and the
card of a model in a seal at their end:

    made_from   list of parents, each with what is known of its own parents
    command     the words of the command, with files by their last name and `OUTPUT` for what it
                wrote; not there if no command wrote it
    files       of the JSON of a folder: SHA-256 of the files beside it, by name
    digest      of the JSON, or of all bytes of the file that has the seal
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeploc_tf.version import __version__
from tfrecords.publishing import json_digest

# of a run
MODEL_NAME, PROTEIN_MODEL_NAME, SEAL_NAME = "model.keras", "proteins.keras", "run.json"
HEADS = (
    "manifest.json",
    SEAL_NAME,
    "scores.json",
    "predict.json",
    "metrics.json",
    "explanation.json",
    "study.json",
    "simulation.json",
)
"""Files that say what a folder holds; the first that is there does."""

SAID = ("deeploc_tf", "command", "made_from", "files", "digest")
"""Members that `sealed` adds."""
_PNG = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"deeploc-tf\0"
_COMMENT = re.compile(rb"<!-- deeploc-tf (\{.*\}) -->\n\Z")
# of which the begin may be damaged
_END_OF_SEAL = re.compile(rb'"digest": "[0-9a-f]{64}"\} -->\s*\Z')

_command: contextvars.ContextVar[tuple[str, ...] | None] = contextvars.ContextVar(
    "command", default=None
)


@contextlib.contextmanager
def command_recorded(words: Sequence[str]) -> Iterator[None]:
    """Let what is written while the block runs say that a command of these words wrote it."""
    token = _command.set(tuple(words))
    try:
        yield
    finally:
        _command.reset(token)


def written_by() -> dict[str, Any]:
    """The version, and the command if there is one, JSON-ready."""
    words = _command.get()
    return {"deeploc_tf": __version__, **({} if words is None else {"command": list(words)})}


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parent(what: str, path: str | Path, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A parent, JSON-ready: `what` it is, its name and its digest, and what it is made from.

    Args:
        what: a word or two, such as "cells".
        path: file or folder. A run goes by the SHA-256 of its model, any other folder by the
            digest in the JSON that describes it.
        values: what it says of itself, where it was read already; None: nothing, or what the JSON
            of a folder says.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    name = path.absolute().name
    if path.is_dir():
        identity, said = folder_identity(path)
    else:
        identity, said = {"sha256": file_digest(path)}, {}
    said = dict(said if values is None else values)
    known: dict[str, Any] = {key: said[key] for key in ("command", "made_from") if key in said}
    return {"what": what, "name": name, **identity, **known}


def folder_identity(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """How children know a folder, and what it says of itself; both are empty if it says nothing."""
    head = head_of(folder)
    values = _json(head) if head is not None else {}
    if (folder / MODEL_NAME).is_file():
        return {"sha256": file_digest(folder / MODEL_NAME)}, values
    return ({"digest": values["digest"]} if isinstance(values.get("digest"), str) else {}), values


def head_of(folder: Path) -> Path | None:
    """The JSON that says what a folder holds; None if there is none."""
    return next((folder / name for name in HEADS if (folder / name).is_file()), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json_of(path)
    except ValueError:
        return {}


def changed_since(path: Path, problem: object) -> ValueError:
    """A file that is not as it was written."""
    return ValueError(
        f"A file must be as it was written. Received: {str(path)!r}: {problem}. Restore it, or "
        "make it again."
    )


def json_of(path: Path) -> dict[str, Any]:
    """The object of JSON in a file of ours.

    Raises:
        ValueError: there is none in it.
        OSError: it cannot be read.
    """
    try:
        return loaded(path.read_bytes())
    except ValueError as error:
        raise changed_since(path, error) from error


def seal_of(path: Path) -> dict[str, Any] | None:
    """What the seal of a page, a picture or a card says; None if it has none.

    Raises:
        ValueError: the file is not as it was sealed.
        OSError: it cannot be read.
    """
    try:
        return read_seal(path.read_bytes())
    except ValueError as error:
        raise changed_since(path, error) from error


def loaded(content: bytes) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: it is none, or nested deeper than anything of ours.
    """
    try:
        values = json.loads(content)
    except RecursionError:
        values = None
    if not isinstance(values, dict):
        msg = "no object of JSON"
        raise ValueError(msg)
    return values


def listed_digest(folder: Path, name: str) -> str | None:
    """SHA-256 that the JSON of a folder gives a file; None if it names none."""
    head = head_of(folder)
    if head is None or head.name == name:  # which has a digest of its own
        return None
    listed = _json(head).get("files")
    found = listed.get(name) if isinstance(listed, dict) else None
    return found if isinstance(found, str) else None


def check_unchanged(path: Path) -> None:
    """Raise `ValueError` if the JSON of its folder gives a file another digest than it has."""
    if listed_digest(path.parent, path.name) not in (None, file_digest(path)):
        head = head_of(path.parent)
        raise changed_since(path, f"its digest is not that in {head.name if head else ''}")


def sealed(
    values: Mapping[str, Any],
    made_from: Sequence[Mapping[str, Any]] = (),
    files: Sequence[Path] = (),
    folder: Path | None = None,
) -> dict[str, Any]:
    """JSON values with parents, command, digests of the files beside them, and of all that.

    Args:
        values: JSON-ready.
        made_from: see `parent`.
        files: what the JSON describes; they are there.
        folder: from which the files are named; None: that of each file.
    """
    listed = {
        path.relative_to(folder or path.parent).as_posix(): file_digest(path) for path in files
    }
    whole = {
        **values,
        **written_by(),
        "made_from": list(made_from),
        **({"files": listed} if listed else {}),
    }
    whole = json.loads(json.dumps(whole, allow_nan=False))
    return {**whole, "digest": json_digest(whole)}


def with_seal(content: bytes, made_from: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """A PNG, or a text in which `<!-- -->` is a comment (HTML, SVG, Markdown), with its seal.

    Args:
        content: the whole file.
        made_from: see `parent`.
    """
    said = {**written_by(), "made_from": list(made_from)}
    said["digest"] = _seal_digest(content, said)
    text = json.dumps(said, allow_nan=False).encode()  # ASCII, as a PNG has it
    if content.startswith(_PNG):
        end = len(content) - 12  # the last chunk, which is empty
        return content[:end] + _chunk(b"tEXt", _KEYWORD + text) + content[end:]
    # Two hyphens would end a comment; in JSON they stand in texts only.
    return content + b"<!-- deeploc-tf %b -->\n" % text.replace(b"--", b"-\\u002d")


def read_seal(content: bytes) -> dict[str, Any] | None:
    """What the seal of a file says; None if it has none.

    Raises:
        ValueError: the file is not as it was sealed.
    """
    if content.startswith(_PNG):
        found = _unsealed_png(content)
    else:
        match = _COMMENT.search(content)
        found = None if match is None else (match[1], content[: match.start()])
        if match is None and (b"<!-- deeploc-tf {" in content or _END_OF_SEAL.search(content)):
            msg = "something stands behind its seal, or in it"
            raise ValueError(msg)
    if found is None:
        return None
    text, rest = found
    said = loaded(text)
    if said.get("digest") != _seal_digest(rest, said):
        msg = "its digest is another"
        raise ValueError(msg)
    return said


def _seal_digest(content: bytes, said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json_digest(said).encode() + content).hexdigest()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"%b%b%b%b" % (
        len(data).to_bytes(4, "big"),
        kind,
        data,
        zlib.crc32(kind + data).to_bytes(4, "big"),
    )


def _unsealed_png(content: bytes) -> tuple[bytes, bytes] | None:
    """Text of the seal, and the picture without it; every part has its checksum."""
    start, found, kind = len(_PNG), None, b""
    while start < len(content):
        stop = start + 12 + int.from_bytes(content[start : start + 4], "big")
        kind, data = content[start + 4 : start + 8], content[start + 8 : stop - 4]
        if content[start:stop] != _chunk(kind, data):
            msg = "a part of it has another checksum, or is cut off"
            raise ValueError(msg)
        if kind == b"tEXt" and data.startswith(_KEYWORD):
            found = data.removeprefix(_KEYWORD), content[:start] + content[stop:]
        start = stop
    if kind != b"IEND":
        msg = "its end is cut off"
        raise ValueError(msg)
    return found
