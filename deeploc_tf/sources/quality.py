"""What can be odd about the pixels of a crop, and which of it sets a crop aside.

Nothing here changes a pixel. Crops that are dead or saturated are counted in every build, because
an experiment with many of them has a problem; they are kept unless one asks otherwise. The
thresholds are conventions, stated here so that they can be disputed.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Brightest values of cameras of 8, 10, 12, 14 and 16 bits.
CEILINGS = (255, 1023, 4095, 16383, 65535)
# More of a channel at its ceiling than this changes sums and textures; single hot pixels do not.
# (The measure is "percent maximal" of Bray et al. 2012, J. Biomol. Screen. 17:266.)
MAX_SATURATED = 0.01
# See `structure`; the better channel counts. Of 821 real yeast cells the lowest had 7.1; of 300
# images of photon noise the highest had 1.2, and 1.7 with a background that rises by a tenth.
MIN_STRUCTURE = 2.0
# See `sharpness`; the better channel counts. Of the same cells the lowest had 0.12; blurred by a
# Gaussian of 1 pixel, 7 of 10 fell below 0.03, and by 1.5 pixels all of 206 of them. Noise hides
# blur: with as little as 1 % of the brightest pixel added after it, none did. So it finds blurred
# images that are bright or denoised, and no others.
MIN_SHARPNESS = 0.03

ODDITIES = ("all pixels are zero", "channel is constant", "saturated", "empty", "out of focus")
DEAD = ODDITIES[:2]


@dataclasses.dataclass(frozen=True)
class Quality:
    """What to look for.

    Attributes:
        drop: the oddities, of `ODDITIES`, that set a crop aside. "empty" and "out of focus" are
            measured only if they are among them.
        max_saturated: see `MAX_SATURATED`.
        min_structure: see `MIN_STRUCTURE`.
        min_sharpness: see `MIN_SHARPNESS`.
    """

    drop: tuple[str, ...] = ()
    max_saturated: float = MAX_SATURATED
    min_structure: float = MIN_STRUCTURE
    min_sharpness: float = MIN_SHARPNESS

    def __post_init__(self) -> None:
        """Refuse oddities that nobody looks for."""
        unknown = sorted(set(self.drop) - set(ODDITIES))
        if unknown:
            msg = f"`drop` must be among {', '.join(ODDITIES)}. Received: {', '.join(unknown)}."
            raise ValueError(msg)

    def oddities(self, image: NDArray[Any]) -> list[tuple[str, str]]:
        """Each oddity of an image `(height, width, channels)`, and what was found in words."""
        found = _dead(image)
        if image.dtype.kind == "u" and (ceiling := int(image.max())) in CEILINGS:
            shares = (image == ceiling).mean(axis=(0, 1))
            if shares.max() > self.max_saturated:
                detail = f"{shares.max():.1%} of channel {int(shares.argmax())} is {ceiling}."
                found.append(("saturated", detail))
        if "empty" in self.drop:
            value = max(structure(plane) for plane in np.moveaxis(image, -1, 0))
            if value < self.min_structure:
                found.append(("empty", f"structure {value:.2f}, below {self.min_structure}."))
        if "out of focus" in self.drop:
            value = max(sharpness(plane) for plane in np.moveaxis(image, -1, 0))
            if value < self.min_sharpness:
                detail = f"sharpness {value:.4f}, below {self.min_sharpness}."
                found.append(("out of focus", detail))
        return found


def qualities(image: NDArray[Any]) -> dict[str, float]:
    """`sharpness`, `structure` and `saturation` of an image, each of the channel with most of it.

    Exported models compute the same in their graph: `deeploc_tf.models.crop_quality`.

    Args:
        image: `(height, width, channels)`.
    """
    planes = np.moveaxis(image, -1, 0)
    measures = {"sharpness": sharpness, "structure": structure, "saturation": saturation}
    return {name: max(map(measure, planes)) for name, measure in measures.items()}


def saturation(plane: NDArray[Any]) -> float:
    """Share of the pixels that are as bright as the brightest one, whatever that is.

    Unlike "saturated", it needs no ceiling of a camera, so that it also tells crops that were
    clipped in float32 or rescaled; what is usual depends on the data.
    """
    return float((plane == plane.max()).mean())


def structure(plane: NDArray[Any]) -> float:
    """Spread of the means of 4 x 4 pixels, in units of what pixel noise alone would leave.

    About 1 for noise, 0 for a constant plane. The noise is estimated from second differences, to
    which smooth structure adds little (Immerkaer 1996, Comput. Vis. Image Underst. 64:300).

    Args:
        plane: `(height, width)`; one that is smaller than 8 pixels has no structure to speak of.
    """
    height, width = (size - size % 4 for size in plane.shape)
    if height < 8 or width < 8:
        return float("inf")
    values = plane[:height, :width].astype(np.float64)
    second = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]
    mixed = second[:-2] - 2 * second[1:-1] + second[2:]
    noise = float(np.sqrt(np.pi / 2) * np.abs(mixed).mean() / 6)
    means = values.reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
    spread = float(means.std())
    return spread / (noise / 4) if noise else (float("inf") if spread else 0.0)


def sharpness(plane: NDArray[Any]) -> float:
    """Variance of the Laplacian over the variance of the plane; 0 for a constant plane.

    20 for noise, and nearer 0 the wider the blur. A focus measure of Pech-Pacheco et al. (2000,
    ICPR 3:314), made independent of brightness.
    """
    values = plane.astype(np.float64)
    middle = values[1:-1, 1:-1]
    neighbors = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    variance = float(values.var())
    return float((neighbors - 4 * middle).var()) / variance if variance else 0.0


def _dead(image: NDArray[Any]) -> list[tuple[str, str]]:
    """Channels without any signal. Two equal pixels come first: few live channels have them."""
    height, width, channels = image.shape
    # lists, since to compare arrays of two numbers takes ten times as long
    corner, middle = image[0, 0].tolist(), image[height // 2, width // 2].tolist()
    if True not in map(operator.eq, corner, middle):
        return []
    dead = [
        channel
        for channel in range(channels)
        if corner[channel] == middle[channel] and (image[..., channel] == corner[channel]).all()
    ]
    if len(dead) == channels and not any(corner):
        return [("all pixels are zero", "All pixels are zero.")]
    return [
        ("channel is constant", f"All pixels of channel {channel} are {corner[channel]}.")
        for channel in dead[:1]
    ]
