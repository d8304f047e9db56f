"""The folder that all files of a source lie in: no path and no link may lead out of it."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deeploc_tf.sources.source import SourceError

_logger = logging.getLogger(__name__)
_OF_WINDOWS = re.compile(r"[A-Za-z]:/|//[^/]")  # a drive, or a server
IsItem = Callable[[str, Sequence[str]], bool]


class Root:
    """A folder, and the real paths of what lies in it.

    Args:
        path: the folder; it may itself be reached by a link.
        follow_links: links may lead out of it, and folders are entered by them.
    """

    def __init__(self, path: str | os.PathLike[str], *, follow_links: bool = False) -> None:
        self.path = Path(path).resolve()
        self.follow_links = follow_links
        self._moved_from = ""
        self._given = os.path.abspath(path)  # noqa: PTH100 -- links in it stay
        self._text = str(self.path)
        self._folders: dict[str, tuple[str, frozenset[str]] | None] = {}

    def relative(self, text: str) -> str | None:
        """A path, absolute or from the folder, as a relative POSIX path; None if it leads out.

        A backslash divides folders, as on Windows, unless there is a file of such a name.
        """
        path = text
        if "\\" in text and not os.path.lexists(self.path / text):
            path = text.replace("\\", "/")
        if _OF_WINDOWS.match(path) and os.name != "nt":
            return self._moved(path)
        if posixpath.isabs(path) or _OF_WINDOWS.match(path):
            return self._below(path)
        path = posixpath.normpath(path)
        if path == ".." or path.startswith("../"):
            return None
        return text if text == path else path  # not twice in memory, where there are millions

    def _moved(self, path: str) -> str | None:
        """An absolute path of a Windows machine whose files were copied into the folder."""
        if self._moved_from and path.startswith(self._moved_from):
            return path.removeprefix(self._moved_from)
        parts = path.split("/")
        for start in range(1, len(parts)):
            rest = "/".join(parts[start:])
            if rest and os.path.lexists(self.path / rest):
                self._moved_from = path.removesuffix(rest)
                _logger.info("What lay in %s is taken from %s.", self._moved_from, self.path.name)
                return rest
        return None

    def _below(self, path: str) -> str | None:
        """An absolute path from the folder: as it is written, or where its links lead."""
        folder, _, name = path.rpartition("/")
        for place, root in (
            (folder, self._given),
            (folder, self._text),
            (os.path.realpath(folder), self._text),
        ):
            relative = posixpath.relpath(place.replace(os.sep, "/"), root.replace(os.sep, "/"))
            if relative != ".." and not relative.startswith("../"):
                return posixpath.normpath(f"{relative}/{name}")
        return None

    def real(self, name: str) -> str | None:
        """The real path of relative POSIX path `name`; None if it lies outside the folder.

        Folders are resolved and looked at for links once, when they are first asked for, because
        resolving every path costs more than decoding a small image.
        """
        folder, _, base = name.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._look_into(folder)
        found = self._folders[folder]
        if found is None:
            return None
        real, links = found
        path = f"{real}/{base}"  # twice per crop; Path is ten times slower
        return self._resolve(path) if base in links else path

    def forget(self) -> None:
        """Look for links anew from now on: a file may have become one since it was listed."""
        self._folders.clear()

    def _look_into(self, folder: str) -> tuple[str, frozenset[str]] | None:
        """Real path of a folder and the links in it; None if it lies outside."""
        real = self._resolve(self.path / folder)
        if real is None:
            return None
        try:
            with os.scandir(real) as entries:
                return real, frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:  # whoever opens the file says what is wrong
            return real, frozenset()

    def unchecked(self, name: str) -> str:
        """The path of `name`, wherever a link leads: to ask for size and time, never to open."""
        return f"{self._text}/{name}"

    def inside(self, name: str) -> str:
        """As `real`, for names that a listing found: a link that leads out is an error."""
        path = self.real(name)
        if path is None:
            msg = (
                f"Files must lie inside {self.path}. Received: {name}, a link to "
                f"{(self.path / name).resolve()}. Copy it there, or pass follow_links=True "
                "(--follow-links)."
            )
            raise SourceError(msg)
        return path

    def walk(self, is_item: IsItem | None = None) -> Iterator[str]:
        """Relative POSIX paths of all files, sorted; links to folders must stay inside.

        Links to folders inside are not entered: their files are listed where they are. With
        `follow_links`, those that lead out are, each folder once.

        Args:
            is_item: whether a folder, with files of these names, is one item: it is not entered.
        """
        if not self.path.is_dir():
            msg = f"Images must lie in a folder that exists. Received: {self.path}."
            raise FileNotFoundError(msg)

        def fail(error: OSError) -> None:
            raise error

        entered: set[str] = set()
        for folder, folders, files in os.walk(self.path, onerror=fail, followlinks=True):
            folders.sort()
            relative = Path(folder).relative_to(self.path).as_posix()
            prefix = "" if relative == "." else relative + "/"
            for name in folders[:]:
                if (Path(folder) / name).is_symlink():
                    real = self.inside(prefix + name)
                    is_inside = Path(real).is_relative_to(self.path)
                    if is_inside or self.path.is_relative_to(real) or real in entered:
                        folders.remove(name)
                    entered.add(real)
            if is_item is not None and is_item(folder, files):
                folders.clear()
                files = [""]
                prefix = relative
            for name in sorted(files):
                _check_name(prefix + name)
                yield prefix + name

    def _resolve(self, path: str | os.PathLike[str]) -> str | None:
        real = Path(path).resolve()
        return str(real) if self.follow_links or real.is_relative_to(self.path) else None


def is_listed(root: Path) -> Callable[[str], bool]:
    """A function that says of a relative path whether the file is there: one call a folder.

    Listings are kept as long as the function is, and tell of the time at which they were made.
    """
    folders: dict[str, frozenset[str]] = {}

    def answer(path: str) -> bool:
        folder, name = posixpath.split(path)
        if folder not in folders:
            here = root / folder
            folders[folder] = frozenset(os.listdir(here)) if here.is_dir() else frozenset()  # noqa: PTH208
        return name in folders[folder]

    return answer


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        msg = (
            f"File names must be UTF-8, because they become keys. Received: {path!r}. Rename the "
            "file."
        )
        raise SourceError(msg) from error
