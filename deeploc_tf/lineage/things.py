"""What a file or folder of ours is, by its content, and what it says of itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeploc_tf.provenance import (
    HEADS,
    changed_since,
    file_digest,
    folder_identity,
    head_of,
    json_of,
    loaded,
    seal_of,
)
from deeploc_tf.serving.digests import DIGESTS_NAME, savedmodel_folder, savedmodel_identity
from tfrecords.publishing import json_digest

STEP = "step.json"
TABLES = (".parquet", ".h5", ".hdf5", ".npz", ".h5ad")
SEALED = {".html": "page", ".htm": "page", ".png": "picture", ".svg": "picture", ".md": "card"}
_FOLDERS = {
    "manifest.json": "records",
    "run.json": "run",
    "scores.json": "scores",
    "predict.json": "predictions",
    "metrics.json": "evaluation",
    "explanation.json": "explanation",
    "study.json": "study",
    "simulation.json": "simulated screen",
}
_OF_ALL_FILES = ("command", "made_from", "deeploc_tf", "records_digest", "step", "after")
_UP = 4  # folders above a file that may name it

Json = Mapping[str, Any]


class NoDigestError(ValueError):
    """A file that is none of ours, or of which nothing tells whether it is as it was."""


@dataclasses.dataclass(frozen=True)
class Thing:
    """A file or folder that says what it is.

    Attributes:
        path: of it.
        kind: what it is, in a word or two.
        identity: how its children name it, `sha256` of a file or of a run's model, or `digest`.
        said: what it says of itself.
        listed: the JSON beside or above it that names its SHA-256, and that; None where none does.
    """

    path: Path
    kind: str
    identity: Mapping[str, str]
    said: Json
    listed: tuple[Path, str] | None = None

    @property
    def parents(self) -> list[Json]:
        """What it is made from; of files of earlier versions as far as they say it."""
        if isinstance(self.said.get("made_from"), list):
            return [one for one in self.said["made_from"] if isinstance(one, dict)]
        found: list[Json] = []
        if "after" in self.said and "step" in self.said:
            found += [{"what": "step", "digest": key} for key in self.said["after"]]
        if isinstance(self.said.get("profiles"), dict) and "sha256" in self.said["profiles"]:
            one = self.said["profiles"]
            found.append({"what": "profiles", "name": one.get("file"), "sha256": one["sha256"]})
        if "model_sha256" in self.said:
            found.append({"what": "run", "sha256": self.said["model_sha256"]})
        if "records_digest" in self.said:
            found.append({"what": "records", "digest": self.said["records_digest"]})
        return found


def read_thing(path: Path) -> Thing:
    """What is at a path.

    Raises:
        FileNotFoundError: nothing is.
        NoDigestError: it is nothing of ours.
        ValueError: it is damaged.
    """
    if path.is_dir():
        return _folder(path)
    identity = {"sha256": file_digest(path)}
    listed = listing(path)
    kind, said = _file(path, listed is not None)
    if listed is not None and not said:  # it says nothing itself
        said = {n: v for n, v in json_of(listed[0]).items() if n in _OF_ALL_FILES}
        kind = f"file of {_FOLDERS.get(listed[0].name, listed[0].name)}"
    return Thing(path, kind, identity, said, listed)


def _folder(path: Path) -> Thing:
    model = savedmodel_folder(path)
    if model is not None:
        card = path / "README.md"
        said = (seal_of(card) or {}) if card.is_file() else {}
        return Thing(path, "SavedModel", savedmodel_identity(model), said)
    if (path / STEP).is_file():
        said = json_of(path / STEP)
        return Thing(path, "step of a study", {"digest": step_key(said)}, said)
    if (path / "config.json").is_file():
        config = json_of(path / "config.json")
        identity, said = folder_identity(path)
        return Thing(path, "run", identity, {**config, **said})
    head = head_of(path)
    if head is None:
        what = f"a folder without {', '.join(HEADS[:4])} or the like. Was its build interrupted?"
        msg = _no_digest(path, what.removesuffix("?") + ", or is this another folder?")
        raise NoDigestError(msg)
    identity, said = folder_identity(path)
    return Thing(path, _FOLDERS[head.name], identity, said)


def _file(path: Path, is_listed: bool) -> tuple[str, Json]:
    """Kind of a file, and what it says of itself."""
    suffix = path.suffix.lower()
    if suffix in SEALED:
        return SEALED[suffix], seal_of(path) or {}
    if suffix == ".json":
        return kind_by_name(path), json_of(path)
    if suffix in TABLES and not is_listed and (said := _table_says(path)) is not None:
        return str(said.get("kind", "transform")), said
    return "file", {}


def kind_by_name(path: Path) -> str:
    """What a file is called that may be too damaged to say it."""
    suffix = path.suffix.lower()
    by_suffix = {**SEALED, ".json": "JSON", **dict.fromkeys(TABLES, "table")}
    return _FOLDERS.get(path.name) or by_suffix.get(suffix, "file")


def _table_says(path: Path) -> Json | None:
    """Provenance of a table of ours, or of a transform; None where the file is neither.

    Raises:
        ValueError: it is damaged.
    """
    if path.suffix == ".npz":
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as file:
                if "settings" in file:
                    text = str(file["provenance"]) if "provenance" in file else "{}"
                    return loaded(text.encode())
        except Exception:  # noqa: S110 - the reader of tables says what is wrong
            pass
    from deeploc_tf.profiles.tables import open_rows

    found = open_rows(path)
    return None if found.digests is None else found.provenance


def step_key(said: Json) -> str:
    """Digest of all that a step depends on, by which later steps name it."""
    import hashlib

    identity = {name: said.get(name) for name in ("step", "settings", "after", "deeploc_tf")}
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def listing(path: Path) -> tuple[Path, str] | None:
    """The JSON that names the SHA-256 of a file, and that; None where none does."""
    path = path.absolute()
    beside = (path.with_suffix(".json"), path.with_name(f"{path.name}.json"))
    for head in beside:
        values = _values(head) if head != path else {}
        found = _named(values, path.name) or (
            values.get("index_sha256") if head == beside[1] else None
        )
        if isinstance(found, str):
            return head, found
    for folder in [*path.parents][:_UP]:
        name = path.relative_to(folder).as_posix()
        for head in (folder / one for one in (*HEADS, STEP, DIGESTS_NAME)):
            found = _named(_values(head), name) if head != path else None
            if found is not None:
                return head, found
    return None


def _named(values: Json, name: str) -> str | None:
    files = values.get("files")
    found = files.get(name) if isinstance(files, dict) else None
    if isinstance(found, dict):  # of a SavedModel, with its size
        found = found.get("sha256")
    if found is None and isinstance(values.get("splits"), dict):
        shards = [s for split in values["splits"].values() for s in split if isinstance(s, dict)]
        found = next((s.get("sha256") for s in shards if s.get("name") == name), None)
    return found if isinstance(found, str) else None


def _values(path: Path) -> Json:
    try:
        return json_of(path)
    except (OSError, ValueError):
        return {}


def check_json(path: Path, values: Json) -> None:
    """Raise `ValueError` unless JSON is as it was written, by its own digest."""
    if values.get("digest") != json_digest(values):
        raise changed_since(path, "its digest is another")


def _no_digest(path: Path, what: str) -> str:
    return (
        "What is verified must be a file or folder that deeploc-tf wrote with digests. Received: "
        f"{str(path)!r}, {what}"
    )


def no_digest_error(path: Path) -> NoDigestError:
    """Nothing tells whether a file is as it was written."""
    return NoDigestError(
        _no_digest(path, "which has no digest, and no file beside it names one.")
        + " Compare its SHA-256 with one that came another way (sha256sum)."
    )
