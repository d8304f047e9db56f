"""Steps of a study, each made once, in a folder named by the digest of all that it depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deeploc_tf.version import __version__
from tfrecords.publishing import publish_json

_log = logging.getLogger(__name__)

_DONE = "step.json"


@dataclasses.dataclass(frozen=True)
class Step:
    """A finished step.

    Attributes:
        name: what it is, as in messages and in its folder's name.
        key: digest of the step's name, its settings and the keys of the steps it builds on.
        folder: its files.
    """

    name: str
    key: str
    folder: Path

    def __truediv__(self, name: str) -> Path:
        """A file or folder that the step made."""
        return self.folder / name


class Steps:
    """Finished and unfinished steps below a folder.

    A step that is finished, and whose files are as they were, is not made again. An unfinished one
    is called again on the same folder, so that what can go on where it stopped does. Changed
    settings make another key, hence another folder: nothing old is ever taken for new.

    Args:
        folder: of the steps; made with its first one.

    Attributes:
        used: name of the folder -> key of each step that was asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: dict[str, str] = {}

    def made(
        self,
        name: str,
        settings: Mapping[str, Any],
        make: Callable[[Path], None],
        *,
        after: tuple[Step, ...] = (),
    ) -> Step:
        """The step, made by `make(folder)` unless it is there.

        Args:
            name: a few words; letters, digits, spaces and hyphens.
            settings: JSON values that decide what comes out.
            make: called with the folder, which may hold what an unfinished call left.
            after: the steps whose output it reads.
        """
        settings = dict(settings)
        identity = {
            "step": name,
            "settings": settings,
            "after": [step.key for step in after],
            "deeploc_tf": __version__,
        }
        text = json.dumps(identity, sort_keys=True, allow_nan=False)
        key = hashlib.sha256(text.encode()).hexdigest()
        step = Step(name, key, self.folder / f"{name.replace(' ', '-')}-{key[:12]}")
        self.used[step.folder.name] = key
        done = step.folder / _DONE
        if done.exists():
            damage = _damage(step.folder)
            if not damage:
                return step
            aside = _set_aside(step.folder)
            _log.info(
                f"{name}: {damage} is not as it was written; made again, in {step.folder}. What "
                f"was there is now in {aside}"
            )
        else:
            _log.info("%s: in %s", name, step.folder)
        step.folder.mkdir(parents=True, exist_ok=True)
        make(step.folder)
        publish_json(done, identity | {"files": _digests(step.folder)})
        return step

    def unused(self) -> list[Path]:
        """Folders of steps that were not asked for, such as those of earlier settings."""
        folders = (path for path in self.folder.iterdir() if path.is_dir())
        return sorted(path for path in folders if path.name not in self.used)


def _set_aside(folder: Path) -> Path:
    """Give a folder another name: somebody may have put files of his own there."""
    names = (folder.with_name(f"{folder.name}-damaged-{n}") for n in itertools.count(1))
    aside = next(path for path in names if not path.exists())
    return folder.rename(aside)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the one that holds them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != _DONE:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _damage(folder: Path) -> str:
    """Name of a file that is not as it was when the step ended, or ""."""
    try:
        expected = json.loads((folder / _DONE).read_text("utf-8"))["files"]
        found = _digests(folder)
        names = sorted(expected.keys() | found.keys())
    except (ValueError, KeyError, AttributeError, TypeError):
        return _DONE
    return next((name for name in names if found.get(name) != expected.get(name)), "")
