"""Units of length as image files write them."""

from __future__ import annotations

import re

from deeploc_tf.names import tidy

_SYMBOLS = {"pm": 1e-6, "\u00e5": 1e-4, "nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_WORDS = {
    "angstrom": 1e-4,
    "micron": 1.0,
    "meter": 1e6,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "inch": 25400.0,
}
# The micro sign, the Greek letter, ImageJ's escapes of both, and a sign of Latin-1 read as UTF-8.
_MU = re.compile("\u00c2?\u00b5|\u03bc|\ufffd|\\\\u00b5|\\\\u03bc", re.IGNORECASE)


def micrometres_of(unit: str) -> float | None:
    """How many micrometres a unit of length is; None for pixels and what nobody knows.

    Either mu stands for micro, ImageJ's escape of it too, and words may be plural or British. Case
    matters for symbols alone: `Mm` is no millimetre.

    Example:
        >>> [micrometres_of(unit) for unit in ("\u00b5m", "\u03bcm", "Microns", "mm", "pixel")]
        [1.0, 1.0, 1.0, 1000.0, None]
    """
    text = _MU.sub("u", tidy(unit))
    if text.lower() in _SYMBOLS and (text in _SYMBOLS or text in ("UM", "NM", "\u00c5")):
        return _SYMBOLS[text.lower()]
    word = text.casefold().replace("metre", "meter")
    return _WORDS.get(word, _WORDS.get(word.removesuffix("s")))
