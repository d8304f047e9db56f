"""`trace`: the chain of files from a score back to the pixels, and whether each is as it was."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deeploc_tf.input_files import INPUTS_NAME, listed_inputs
from deeploc_tf.lineage.things import Json, NoDigestError, Thing, kind_by_name, read_thing
from deeploc_tf.lineage.verify import check_bytes_of_records, verify
from deeploc_tf.provenance import file_digest, folder_identity, head_of
from deeploc_tf.serving.digests import savedmodel_folder, savedmodel_identity

WHOLE, DAMAGED, MISSING, UNKNOWN = "whole", "damaged", "not found", "not known"
_NOT_SETTINGS = {
    *("made_from", "command", "files", "digest", "deeploc_tf", "columns", "kind"),
    *("format_version", "schema_version", "definitions", "methods", "standard_files", "notes"),
    *("profiles", "standards", "differences", "seeds", "cells", "class_names", "schema", "counts"),
    *("splits", "screens", "per_class", "confusion_matrix", "versions", "format", "left_out"),
}
_MOST_SEARCHED = 200_000
_SAMPLE, _MOST = 20, 2000  # files by which a folder is found, folders that are looked at


@dataclasses.dataclass(frozen=True)
class Link:
    """One thing of a chain.

    Attributes:
        what: it is to what was made from it, such as "cells".
        name: of its file or folder.
        identity: `sha256` or `digest`, as what was made from it says.
        state: "whole", "damaged", "not found" on this disk, or "not known": nothing names it.
        detail: why, in a sentence; "" where it is whole.
        path: where it is; None where it was not found.
        command: that wrote it, its words; None where none is known.
        version: of deeploc-tf that wrote it.
        settings: with which it was made, as far as it says.
        parents: what it was made from.
    """

    what: str
    name: str
    identity: Mapping[str, str]
    state: str
    detail: str = ""
    path: Path | None = None
    command: tuple[str, ...] | None = None
    version: str | None = None
    settings: Json = dataclasses.field(default_factory=dict)
    parents: tuple[Link, ...] = ()

    def chain(self) -> Iterator[Link]:
        """This link, then all that it was made from."""
        yield self
        for one in self.parents:
            yield from one.chain()

    def to_frame(self) -> pd.DataFrame:
        """A row per link of the chain: `what`, `name`, `state`, `detail`, `path`, `digest`."""
        links = {id(link): link for link in self.chain()}.values()
        rows = [
            (x.what, x.name, x.state, x.detail, x.path, next(iter(x.identity.values()), ""))
            for x in links
        ]
        return pd.DataFrame(rows, columns=["what", "name", "state", "detail", "path", "digest"])

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "what": self.what,
            "name": self.name,
            **self.identity,
            "state": self.state,
            **({"detail": self.detail} if self.detail else {}),
            "path": None if self.path is None else str(self.path),
            "command": None if self.command is None else list(self.command),
            "deeploc_tf": self.version,
            "settings": dict(self.settings),
            "made_from": [one.to_json() for one in self.parents],
        }


def trace(path: str | Path, search: Sequence[str | Path] = ()) -> Link:
    """What a file was made from, back to the pixels, each checked byte by byte.

    Parents are looked for by their names in the folder of the file, in the folders above and
    in the working folder; and in folders to search by their digests, at any depth.

    Args:
        path: file or folder that we wrote.
        search: further folders.

    Raises:
        FileNotFoundError: there is nothing.
        NoDigestError: it is nothing of ours.

    Example:
        trace("scores.json").to_frame()
    """
    path = Path(path)
    try:
        thing = read_thing(path)
    except NoDigestError:
        raise
    except ValueError as error:
        return Link(kind_by_name(path), path.absolute().name, {}, DAMAGED, str(error), path)
    return _Search([Path(folder) for folder in search]).link(thing, thing.kind, thing.identity)


class _Search:
    """Finds things by name and digest, each checked once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._made: dict[tuple[Path, str], Link] = {}
        self._by_digest: dict[str, Path] | None = None

    def link(self, thing: Thing, what: str, identity: Mapping[str, str]) -> Link:
        """The link of a thing that is there."""
        path = thing.path.absolute()
        if (path, what) not in self._made:
            state, detail = _state(thing)
            said = thing.said
            self._made[path, what] = Link(
                what,
                path.name,
                identity,
                state,
                detail,
                thing.path,
                _words(said),
                _text(said.get("deeploc_tf")),
                _settings(said),
                (*(self.parent(one, path) for one in thing.parents), *self._images(thing)),
            )
        return self._made[path, what]

    def parent(self, named: Json, child: Path) -> Link:
        """The link of a parent, as its child names it."""
        what, name = str(named.get("what", "file")), _text(named.get("name"))
        identity = {key: str(named[key]) for key in ("sha256", "digest") if key in named}
        other = None
        for path in self._candidates(name, identity, child):
            try:
                thing = read_thing(path)
            except (OSError, ValueError) as error:
                other = other or (path, str(error))
                continue
            if identity and all(thing.identity.get(key) == v for key, v in identity.items()):
                return self.link(thing, what, identity)
            found = next(iter(thing.identity.values()), "none")
            other = other or (path, f"its digest is {found[:12]}")
        state, detail = MISSING, "neither beside what was made from it nor in the folders to search"
        if not identity:
            state, detail = UNKNOWN, "what was made from it does not name its digest"
        elif other is not None:
            state = DAMAGED
            detail = f"{other[0]} is not what was used: {other[1]}"
        return Link(
            what,
            name or "",
            identity,
            state,
            detail,
            None if other is None else other[0],
            _words(named),
            _text(named.get("deeploc_tf")),
            {},
            tuple(
                self.parent(one, child)
                for one in named.get("made_from", ())
                if isinstance(one, dict)
            ),
        )

    def _images(self, thing: Thing) -> tuple[Link, ...]:
        """The last links: images, where they are named by digest, or said where they are not."""
        folder = thing.path if thing.path.is_dir() else thing.path.parent
        listed = folder / INPUTS_NAME
        if listed.is_file() and head_of(folder) is not None:
            return (self._checked_images(listed),)
        if thing.kind != "records" or not isinstance(thing.said.get("sources"), list):
            return ()
        detail = "the records hold their pixels, but no digests of the files"
        return tuple(
            Link("images", str(source.get("pattern", source.get("kind", ""))), {}, UNKNOWN, detail)
            for source in thing.said["sources"]
            if isinstance(source, dict)
        )

    def _checked_images(self, listed: Path) -> Link:
        """The images of an `inputs.sha256`: found below a folder that is near or to be searched."""
        try:
            digests = listed_inputs(listed)
        except ValueError as error:
            return Link("images", listed.name, {}, DAMAGED, str(error), listed)
        name, identity = f"{len(digests)} files", {"sha256": file_digest(listed)}
        root = self._root_of(digests, listed.absolute().parent)
        if root is None:
            detail = f"no folder with {next(iter(digests))}, such as {listed} names"
            return Link("images", name, identity, MISSING, detail)
        lost = [path for path in digests if not (root / path).is_file()]
        other = [p for p in digests if p not in lost and file_digest(root / p) != digests[p]]
        state, detail = WHOLE, ""
        if other:
            state, detail = DAMAGED, f"not what was read: {_some(other)} in {root}"
        elif lost:
            state, detail = MISSING, f"no {_some(lost)} in {root}"
        return Link("images", name, identity, state, detail, root)

    def _root_of(self, digests: Mapping[str, str], near: Path) -> Path | None:
        """The folder with most of the first files, of those at hand and two levels below them."""
        some = list(digests)[:_SAMPLE]
        best, most = None, 0
        for top in dict.fromkeys([*self.folders, near, *near.parents[:2], Path.cwd()]):
            for pattern in ("", "*/", "*/*/"):
                for folder in [top] if not pattern else itertools.islice(top.glob(pattern), _MOST):
                    found = sum((folder / name).is_file() for name in some)
                    if found > most:
                        best, most = folder, found
            if most == len(some):
                break
        return best

    def _candidates(
        self, name: str | None, identity: Mapping[str, str], child: Path
    ) -> Iterator[Path]:
        """What has the name, near first; then what has the digest, in the folders to search."""
        near = [child.parent, *list(child.parents)[1:3], Path.cwd()]
        if name:
            steps = child.parents[1] / "steps" if len(child.parents) > 1 else child.parent
            for folder in dict.fromkeys([*self.folders, *near, steps, child.parent / "steps"]):
                if (folder / name).exists() and (folder / name).absolute() != child:
                    yield folder / name
        elif "digest" in identity:  # of a step of a study, of which others know the key alone
            yield from child.parent.glob(f"*-{identity['digest'][:12]}")
        if self._by_digest is None:
            self._by_digest = dict(_digests_below(self.folders))
        found = self._by_digest.get(next(iter(identity.values()), ""))
        if found is not None:
            yield found


def _digests_below(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Digest and path of all things below folders, of files as of folders."""
    seen = 0
    for folder in folders:
        for path in [folder, *sorted(folder.rglob("*"))]:
            seen += 1
            if seen > _MOST_SEARCHED:
                msg = (
                    f"Folders to search must hold {_MOST_SEARCHED} files or fewer. Received: more "
                    f"in {', '.join(map(str, folders))}. Name folders further down."
                )
                raise ValueError(msg)
            if path.is_dir():
                model = savedmodel_folder(path)
                identity = (
                    savedmodel_identity(model)
                    if model is not None
                    else folder_identity(path)[0]
                    if head_of(path) is not None
                    else {}
                )
            elif path.suffix == ".tif" or not path.is_file():
                continue
            else:
                identity = {"sha256": file_digest(path)}
            for digest in identity.values():
                yield digest, path


def _state(thing: Thing) -> tuple[str, str]:
    """Whether a thing is whole, by every digest that it has, and what is wrong with it."""
    try:
        verify(thing.path)
        if thing.kind == "records" and thing.path.is_dir():
            check_bytes_of_records(thing.path)
    except NoDigestError:  # what was made from it has its digest, or nothing does
        return WHOLE, ""
    except (ValueError, OSError) as error:
        return DAMAGED, str(error)
    return WHOLE, ""


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _words(said: Json) -> tuple[str, ...] | None:
    words = said.get("command")
    return tuple(map(str, words)) if isinstance(words, list) else None


def _settings(said: Json) -> Json:
    """What is worth a line of what a thing says of itself."""
    return {
        name: value
        for name, value in said.items()
        if name not in _NOT_SETTINGS
        and "digest" not in name
        and "sha256" not in name
        and value not in (None, [], {})
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
