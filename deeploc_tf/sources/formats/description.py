"""What an image file says of itself."""

from __future__ import annotations

import dataclasses

from deeploc_tf.sources.formats.length_units import micrometres_of


@dataclasses.dataclass(frozen=True, slots=True)
class PixelSize:
    """How large a file says that its pixels are.

    Attributes:
        width: of a pixel; 0 where only the height is said.
        height: of a pixel; 0 where only the width is said.
        unit: of both; "" where the file has none.
    """

    width: float
    height: float
    unit: str = "micrometres"

    @classmethod
    def of(cls, width: float, height: float, unit: str | None = "micrometres") -> PixelSize | None:
        """The size, or None where the numbers are none."""
        sizes = (float(width), float(height))
        if not all(0 <= size < float("inf") for size in sizes) or not any(sizes):
            return None
        return cls(*sizes, unit or "")

    @classmethod
    def in_units(
        cls, width: float, height: float, across: str | None, down: str | None
    ) -> PixelSize | None:
        """The size in micrometres where both units are known, else in the units as written."""
        factors = [micrometres_of(unit or "") for unit in (across, down)]
        if factors[0] is None or factors[1] is None:
            unit = "/".join(map(str, (across, down))) if across or down else None
            return cls.of(width, height, unit)
        return cls.of(width * factors[0], height * factors[1])

    @property
    def micrometres(self) -> float | None:
        """The size of a pixel that is as wide as it is high, to one part in a thousand."""
        is_square = abs(self.width - self.height) <= 1e-3 * self.width
        return self.width if is_square and self.unit == "micrometres" else None

    def is_like(self, other: PixelSize) -> bool:
        """Whether two files say the same, to one part in a thousand."""
        pairs = ((self.width, other.width), (self.height, other.height))
        return self.unit == other.unit and all(abs(a - b) <= 1e-3 * b for a, b in pairs)

    def __str__(self) -> str:
        size = (
            f"{self.width:g}" if self.width == self.height else f"{self.width:g} x {self.height:g}"
        )
        return f"{size} {self.unit or 'without a unit'}"


@dataclasses.dataclass(frozen=True, slots=True)
class ImageDescription:
    """What an image file says of itself, known before its pixels are.

    Attributes:
        shape: of the stored planes, without axes of length 1 before them.
        axes: a letter an axis (T, Z, C, Y, X), or "" where the file does not say.
        channels: names of its channels in their order, "" for one without a name; or ().
        labels: texts of its planes, which may be names of channels or something else; or ().
        size: of a pixel, or None where the file does not say.
        zero_is_white: the photometric interpretation is WhiteIsZero: high numbers are dark.
        orientation: how a viewer is to turn or mirror the image; 1 is as it is stored.
        color: the format calls its channels red, green and blue.
    """

    shape: tuple[int, ...]
    axes: str = ""
    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    size: PixelSize | None = None
    zero_is_white: bool = False
    orientation: int = 1
    color: bool = False

    @property
    def pixel_size(self) -> float | None:
        """Micrometres a pixel, or None where the file does not say or pixels are not square."""
        return None if self.size is None else self.size.micrometres
