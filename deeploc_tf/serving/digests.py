"""Whether the files of an exported model are those that `export` wrote.

A digest tells damage and careless changes. It does not tell who made a model: whoever changes the
files on purpose can write the list anew. Against that, compare the model's digest with one that
came another way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from deeploc_tf.provenance import loaded
from tfrecords.publishing import publish_json

DIGESTS_NAME = "digests.json"
GRAPH_NAME = "saved_model.pb"
SCHEMA_VERSION = 1
_MOST_NAMED = 5


class UntrustedModelError(ValueError):
    """A SavedModel whose files are not those that its list of digests names."""


def savedmodel_folder(path: str | Path) -> Path | None:
    """The SavedModel at a path: the folder itself, or the highest of its numbered versions.

    Returns:
        The folder that holds `saved_model.pb`; None where there is none.
    """
    path = Path(path)
    if (path / GRAPH_NAME).exists():
        return path
    if not path.is_dir():
        return None
    numbered = (child for child in path.iterdir() if child.name.isdecimal())
    found = [child for child in numbered if (child / GRAPH_NAME).exists()]
    return max(found, key=lambda child: int(child.name), default=None)


def savedmodel_identity(folder: Path) -> dict[str, str]:
    """How what was made with a SavedModel names it; nothing where its digests are not listed."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return {"digest": str(loaded((folder / DIGESTS_NAME).read_bytes())["digest"])}
    return {}


def write_digests(folder: Path) -> str:
    """List size and SHA-256 of every file of a SavedModel in `digests.json`; return its digest."""
    files = _files(folder)
    digest = _digest_of(files)
    values = {"schema_version": SCHEMA_VERSION, "digest": digest, "files": files}
    publish_json(folder / DIGESTS_NAME, values)
    return digest


def check_digests(folder: Path) -> str:
    """The digest of a SavedModel whose files are all there, whole, and none besides.

    Raises:
        UntrustedModelError: they are not, or nobody listed them.
    """
    try:
        values = json.loads((folder / DIGESTS_NAME).read_text(encoding="utf-8"))
        listed, digest = dict(values["files"]), str(values["digest"])
        if values["schema_version"] != SCHEMA_VERSION:
            msg = f"schema_version {values['schema_version']}, of a later version"
            raise ValueError(msg)
    except FileNotFoundError:
        raise _untrusted(folder, f"no {DIGESTS_NAME}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise _untrusted(folder, f"a {DIGESTS_NAME} that is none ({error})") from error
    found = _files(folder)
    wrong = sorted(
        f"{name} {'is missing' if name not in found else 'differs' if name in listed else 'is new'}"
        for name in listed.keys() | found.keys()
        if listed.get(name) != found.get(name)
    )
    if wrong:
        more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise _untrusted(folder, ", ".join(wrong[:_MOST_NAMED]) + more)
    if digest != _digest_of(found):
        raise _untrusted(folder, f"a digest in {DIGESTS_NAME} that is not that of its list")
    return digest


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 by relative path, but of the list itself."""
    files = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if relative != DIGESTS_NAME:
                with path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                files[relative] = {"size": path.stat().st_size, "sha256": sha256}
    return dict(sorted(files.items()))


def _digest_of(files: dict[str, dict[str, Any]]) -> str:
    lines = (f"{of['sha256']}  {name}\n" for name, of in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _untrusted(folder: Path, problem: str) -> UntrustedModelError:
    msg = (
        "A SavedModel is a program, and must be as it was exported. Received: "
        f"{str(folder)!r}: {problem}. Get it anew from whoever made it; only if you would run any "
        "program of theirs, load it as it is with `trust` (--trust)."
    )
    return UntrustedModelError(msg)
