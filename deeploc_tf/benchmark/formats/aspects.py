"""The three aspects of the Gene Ontology, one of which is a standard."""

from __future__ import annotations

from collections.abc import Iterable

from deeploc_tf.benchmark.formats.entries import Reading
from deeploc_tf.benchmark.formats.text import StandardError

ASPECTS = {"C": "cellular_component", "F": "molecular_function", "P": "biological_process"}
ROOTS = frozenset({"GO:0005575", "GO:0003674", "GO:0008150"})


class AspectError(StandardError):
    """A file has several aspects and none is chosen, or not the one that is."""


class OneAspect:
    """Chooses the lines of one aspect, and minds that there is no doubt which.

    Args:
        reading: with `aspect`, or None where the file must have one only.
    """

    def __init__(self, reading: Reading) -> None:
        check_aspect(reading.aspect)
        self._reading = reading
        self._seen: set[str] = set()

    def known(self, aspect: str) -> bool:
        """Whether there is such an aspect."""
        return aspect in ASPECTS

    def takes(self, aspect: str) -> bool:
        """Whether a line of this aspect is wanted.

        Raises:
            AspectError: none was chosen, and this is the second one.
        """
        self._seen.add(aspect)
        if self._reading.aspect is None and len(self._seen) > 1:
            raise self._choose(self._seen)
        return self._reading.aspect in (None, aspect)

    def check_found(self) -> None:
        """Raise `AspectError` if the file has no line of the aspect."""
        if self._reading.aspect is not None and self._reading.aspect not in self._seen:
            raise self._choose(self._seen)

    def _choose(self, there: Iterable[str]) -> AspectError:
        return AspectError(
            "A standard must be of one aspect of the Gene Ontology, C (component), F (function) or "
            f"P (process), that the file has. Received: aspect={self._reading.aspect!r} for "
            f"{self._reading.path}, which has {', '.join(sorted(there)) or 'none'}. Choose one."
        )


def check_aspect(aspect: str | None) -> None:
    """Raise `StandardError` unless it is C, F, P or None."""
    if aspect is not None and aspect not in ASPECTS:
        msg = f"`aspect` must be C, F or P. Received: aspect={aspect!r}."
        raise StandardError(msg)
