"""How pictures are drawn: without a screen, in one style, the same bytes for the same content."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]

# Okabe and Ito's colors, which differ for colour-blind eyes too; the palest come last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
GRAY = "#8C8C8C"
_DOTS_PER_INCH = 150
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRAY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "text.parse_math": False,  # names may hold dollars
    "svg.hashsalt": "deeploc-tf",  # ids that do not change from one drawing to the next
    "xtick.color": GRAY,
    "xtick.labelcolor": "black",
    "ytick.color": GRAY,
    "ytick.labelcolor": "black",
}


class MissingExtraError(ImportError, ValueError):
    """Something that only an extra installs is not there."""


def check_matplotlib() -> None:
    """Raise `MissingExtraError` if there is no matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        msg = (
            "Pictures need matplotlib. Received: an installation without it. Mend it: "
            "pip install 'deeploc-tf[report]'"
        )
        raise MissingExtraError(msg)


@contextlib.contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """A white sheet in our style, whatever the user's own settings of matplotlib are.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        MissingExtraError: there is no matplotlib.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # No pyplot: it would choose a screen, and keep every figure that it made.
        yield Figure(figsize=(width, height), layout="constrained")


def picture(figure: Figure, form: Form) -> bytes:
    """The bytes of what `new_figure` gave, to be called before its block ends.

    Raises:
        ValueError: `form` is neither "png" nor "svg".
    """
    if form not in ("png", "svg"):
        msg = f"`form` must be 'png' or 'svg'. Received: form={form!r}."
        raise ValueError(msg)
    timeless: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=_DOTS_PER_INCH, metadata=timeless)
    return content.getvalue()


def without_axes(axes: Axes) -> None:
    """Leave what is inside: for pictures whose coordinates mean nothing."""
    axes.set_axis_off()
    axes.set_aspect("equal")
