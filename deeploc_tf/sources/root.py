"""The folder that all files of a source lie in: no path and no link may lead out of it."""

from __future__ import annotations

import os
from pathlib import Path


class Root:
    """A folder, and the real paths of what lies in it.

    Args:
        path: the folder; it may itself be reached by a link.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        self._folders: dict[str, str | None] = {}

    def real(self, name: str) -> str | None:
        """The real path of relative POSIX path `name`; None if it lies outside the folder.

        Folders are resolved once and files only where they are links, because resolving every path
        costs more than decoding a small image.
        """
        folder, _, base = name.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._resolve(self.path / folder)
        real = self._folders[folder]
        if real is None:
            return None
        path = os.path.join(real, base)  # noqa: PTH118 -- twice per crop; Path is ten times slower
        return self._resolve(path) if os.path.islink(path) else path  # noqa: PTH114

    def _resolve(self, path: str | os.PathLike[str]) -> str | None:
        real = Path(path).resolve()
        return str(real) if real.is_relative_to(self.path) else None
