"""What one can choose by name: formats, networks, losses; ours, a caller's, and installed ones.

A registry knows its names without importing what they stand for, so that a command's help is quick
and lists all of them.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from tfrecords.errors import did_you_mean

Entry = TypeVar("Entry")

_log = logging.getLogger(__name__)


class PluginError(ImportError, ValueError):
    """What an installed package offers cannot be imported, or two offer the same name."""


class Registry(Generic[Entry]):
    """Names and what they stand for, imported when it is first asked for.

    Another package adds an entry by an entry point of the registry's group, which every process
    sees; a program adds one for itself by `register`. Ours come first, in their own order.

    Args:
        what: the argument or setting that takes these names, for messages.
        entries: name -> the object, or where it is, as "module:attribute".
        group: name of the group of entry points; None: other packages add nothing.
        error: raised where a name is not known.
        kind: what entries of other packages must be; None: anything.

    Example:
        >>> shapes = Registry("shape", {"sum": "math:fsum", "root": "math:sqrt"})
        >>> shapes.names, shapes.get("root")(9.0), "cube" in shapes
        (('sum', 'root'), 3.0, False)
    """

    def __init__(
        self,
        what: str,
        entries: Mapping[str, Entry | str],
        *,
        group: str | None = None,
        error: type[ValueError] = ValueError,
        kind: type | None = None,
    ) -> None:
        self.what = what
        self._kind = kind
        self.group = group
        self._entries: dict[str, Entry | str] = dict(entries)
        self._error = error
        self._registered: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """All names: ours, those registered since, and those of installed packages."""
        installed = _installed(self.group)
        return (*self._entries, *(name for name in installed if name not in self._entries))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return name in self._entries or name in _installed(self.group)

    def check(self, name: str) -> str:
        """The name itself, if it is known; nothing is imported.

        Raises:
            ValueError: it is not; the message has all names, and the nearest one.
        """
        if name in self:
            return name
        known = ", ".join(self.names) or "those that are registered; now there are none"
        msg = (
            f"`{self.what}` must be one of {known}. "
            f"Received: {self.what}={name!r}.{did_you_mean(str(name), self.names)}"
        )
        raise self._error(msg)

    def get(self, name: str) -> Entry:
        """What a name stands for.

        Raises:
            ValueError: the name is not known.
            PluginError: an installed package offers it, and it cannot be imported; or another one
                offers the same name.
        """
        self.check(name)
        places = _installed(self.group).get(name, ())
        if len(places) + (name in self._entries) > 1:
            msg = (
                f"A name must be offered once. Received: {self.what}={name!r}, offered by "
                f"{', '.join(places)}{' and by deeploc-tf' if name in self._entries else ''}. "
                "Uninstall all packages but one that offer it."
            )
            raise PluginError(msg)
        if name in self._entries:
            found = self._entries[name]
            if isinstance(found, str):
                found = self._entries[name] = cast("Entry", imported(found))
            return found
        try:
            entry = imported(places[0])
        except Exception as error:  # a module of somebody else may raise anything
            raise self._broken(name, places[0], str(error)) from error
        if self._kind is not None and not isinstance(entry, self._kind):
            raise self._broken(name, places[0], f"a {type(entry).__name__}")
        return cast("Entry", entry)

    def is_ours(self, name: str) -> bool:
        """Whether a name came with the registry, and neither by `register` nor by a package."""
        return name in self._entries and name not in self._registered

    def _broken(self, name: str, place: str, problem: str) -> PluginError:
        what = "importable" if self._kind is None else f"importable, and a {self._kind.__name__}"
        return PluginError(
            f"What a package offers must be {what}. Received: {self.what}={name!r} at {place}: "
            f"{problem}. Install a version of that package that fits."
        )

    def usable(self) -> Iterator[tuple[str, Entry]]:
        """Name and entry of all that can be had; what an installed package breaks is reported once.

        One broken extension must not stop what does not need it.
        """
        for name in self.names:
            try:
                yield name, self.get(name)
            except PluginError as error:
                _tell_once(str(error))

    def register(self, name: str, entry: Entry | str, *, replace: bool = False) -> None:
        """Add an entry to this process; other processes see entry points only.

        Args:
            name: how it is chosen.
            entry: the object, or "module:attribute", imported when it is first asked for.
            replace: take the place of what was registered under this name before.

        Raises:
            ValueError: the name is taken.
        """
        if name in self and not (replace and name in self._registered):
            msg = (
                f"A name must be new. Received: {self.what}={name!r}, which is there already. "
                "Choose another name."
            )
            raise ValueError(msg)
        self._entries[name] = entry
        self._registered.add(name)

    def unregister(self, name: str) -> None:
        """Take an entry out again that `register` added."""
        self._registered.remove(name)
        del self._entries[name]


@functools.cache
def _tell_once(problem: str) -> None:
    _log.warning("%s It is passed over.", problem)


def imported(place: str) -> Any:
    """What stands at a place, written "module:attribute"."""
    module, _, attribute = place.partition(":")
    return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))


def _installed(group: str | None) -> dict[str, tuple[str, ...]]:
    """Name -> the places, nearly always one, that installed packages give for it."""
    return {} if group is None else installed_parts().get(group, {})


@functools.cache
def installed_parts() -> dict[str, dict[str, tuple[str, ...]]]:
    """What installed packages add: group -> name -> the places, nearly always one, that give it.

    Looked up once, because it reads a file of each installed package.
    """
    from importlib.metadata import distributions

    offered = {
        (point.group, point.name, point.value)
        for distribution in distributions()
        for point in distribution.entry_points
        if point.group.startswith("deeploc_tf.")
    }
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for group, name, place in sorted(offered):
        names = found.setdefault(group, {})
        names[name] = (*names.get(name, ()), place)
    return found
