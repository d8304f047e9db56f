"""Repeat the command that wrote a file, on the same parents, and compare the bytes."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deeploc_tf.lineage.trace import WHOLE, Link

OUTPUT = "OUTPUT"
_REPLAYED = {"profile", "benchmark", "change", "neighbors", "map", "measure", "embed", "evaluate"}
_WHY_NOT = {
    "fit": "a training is long, and its file holds the time at which it was saved",
    "predict": "the fields that it read are not named by digests",
    "export": "TensorFlow numbers the parts of a SavedModel anew each time",
}
_BESIDE = re.compile(r"\.(profiles|low|high)(?=\.\w+$)")


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What became of a repetition.

    Attributes:
        same: the bytes are the same; None where nothing was repeated.
        sentence: what was repeated and found, or why not.
    """

    same: bool | None
    sentence: str


def replay(link: Link) -> Replayed:
    """Run the command again in a folder of its own, and compare.

    Args:
        link: the first of a chain, with its parents.

    Example:
        replay(trace("cells.profiles.parquet")).sentence
    """
    if link.path is None or link.command is None:
        return Replayed(None, "Not replayed: no command wrote it, or none is known.")
    name = link.command[0]
    if name not in _REPLAYED:
        why = _WHY_NOT.get(name, "its command is not repeated")
        return Replayed(None, f"Not replayed: `{name}`: {why}.")
    lost = [one for one in link.parents if one.path is None or one.state != WHOLE]
    if lost:
        return Replayed(None, f"Not replayed: {lost[0].what} {lost[0].name} is {lost[0].state}.")
    with tempfile.TemporaryDirectory(prefix="deeploc-tf-replay-") as folder:
        return _repeated(link, link.path, Path(folder))


def _repeated(link: Link, path: Path, folder: Path) -> Replayed:
    places = list(_placed(link, folder))
    made = folder / "made"
    made.mkdir()
    words = []
    for word in link.command or ():
        option, sign, rest = word.partition("=")
        given = rest if sign else word
        if given.startswith(OUTPUT):
            given = str(made / _name(path, given.removeprefix(OUTPUT)))
        else:
            place = next((p for p in places if p.name == given), None)
            if place is not None:
                places.remove(place)
                given = str(place)
        words.append(f"{option}={given}" if sign else given)
    done = subprocess.run(
        [sys.executable, "-m", "deeploc_tf", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return Replayed(False, f"The command failed: {done.stderr.strip().splitlines()[-1:]}.")
    found = [p for p in sorted(made.rglob("*")) if p.is_file()]
    pairs = [(p, _original(path, p.relative_to(made))) for p in found]
    pairs = [(p, other) for p, other in pairs if other.is_file()]
    differing = [other.name for p, other in pairs if p.read_bytes() != other.read_bytes()]
    if not pairs or (path.is_file() and path.name not in [other.name for _, other in pairs]):
        return Replayed(False, f"The command wrote no {path.name}.")
    names = ", ".join(other.name for _, other in pairs)
    if differing:
        return Replayed(False, f"Replayed: other bytes in {', '.join(differing)} (of {names}).")
    return Replayed(True, f"Replayed: the same bytes in {names}.")


def _placed(link: Link, folder: Path) -> Iterator[Path]:
    """Links to all that it was made from, under the names that it knows, the nearest first."""
    ancestors = [one for one in link.chain() if one is not link]
    for number, one in enumerate(ancestors):
        if one.path is not None and one.name:
            place = folder / str(number) / one.name
            place.parent.mkdir()
            place.symlink_to(one.path.absolute())
            yield place


def _name(path: Path, suffix: str) -> str:
    """What the command called its output, of which `path` is all or a part."""
    if not suffix:
        return path.name if path.is_dir() else path.parent.name
    if path.suffix != suffix:  # a table and its JSON
        plain = path.with_suffix("")
        return plain.name if plain.suffix == suffix else f"{plain.name}{suffix}"
    return _BESIDE.sub("", path.name)


def _original(path: Path, relative: Path) -> Path:
    """The file that `relative` was before, beside `path`."""
    if len(relative.parts) == 1:
        return path.parent / relative
    return (path if path.is_dir() else path.parent).joinpath(*relative.parts[1:])
