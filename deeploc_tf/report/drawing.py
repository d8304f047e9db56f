"""How pictures are drawn: without a screen, in one style, the same bytes for the same content."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from deeploc_tf.extras import install
from deeploc_tf.names import printable
from deeploc_tf.provenance import with_seal
from tfrecords.publishing import publish_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]
FORMS: tuple[Form, ...] = get_args(Form)

# Okabe and Ito's colors, which differ for colour-blind eyes too; the palest come last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
"""With a color each, so that neither alone must be told apart: seven, which eight colors repeat."""

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
            f"{install('report')}"
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
    with _style():
        from matplotlib.figure import Figure

        # No pyplot: it would choose a screen, and keep every figure that it made.
        yield Figure(figsize=(width, height), layout="constrained")


@contextlib.contextmanager
def new_axes(ax: Axes | None, width: float, height: float) -> Iterator[Axes]:
    """Axes to draw one panel on: the caller's, or those of a new sheet; see `new_figure`."""
    if ax is None:
        with new_figure(width, height) as figure:
            yield figure.add_subplot()
    else:
        with _style():
            before = {text: text.get_text() for text in _texts(ax)}
            yield ax
            for text in _texts(ax):
                if text.get_text() != before.get(text):
                    text.set_parse_math(False)  # what was there, or is made later, has their style


def figure_of(axes: Axes) -> Figure:
    """The sheet that axes lie on."""
    return cast("Figure", axes.get_figure(root=True))


def legend(axes: Axes, ax: Axes | None, *handles: Any, loc: Any, **options: Any) -> None:
    """A legend outside the panel on a sheet of ours; inside, at the best place, on the caller's."""
    if ax is None:
        figure_of(axes).legend(*handles, loc=loc, **options)
    else:
        axes.legend(*handles, **options)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    check_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def picture(figure: Figure, form: Form = "png") -> bytes:
    """A figure as the bytes of a file; the same figure gives the same bytes.

    Raises:
        ValueError: `form` is neither "png" nor "svg".
    """
    if form not in FORMS:
        msg = f"`form` must be 'png' or 'svg'. Received: form={form!r}."
        raise ValueError(msg)
    timeless: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    content = io.BytesIO()
    with _style():
        _escape(figure)
        figure.savefig(content, format=form, dpi=_DOTS_PER_INCH, metadata=timeless)
    return content.getvalue()


def publish_picture(
    figure: Figure, path: Path, made_from: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write a figure as PNG and as SVG; each file is old or new, never a mixture.

    Args:
        figure: what is drawn.
        path: of the files, without a suffix.
        made_from: what their seals name, see `deeploc_tf.provenance.parent`.
    """
    for form in FORMS:
        content = with_seal(picture(figure, form), made_from)
        publish_bytes(path.with_name(f"{path.name}.{form}"), content)


def _escape(figure: Figure) -> None:
    """Show as escapes what no SVG can hold, or would turn the text behind it; see `printable`."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            shown = [printable(label, keep="\n") for label in labels]
            if shown != labels:
                axis.set_ticks(axis.get_majorticklocs(), shown)
    texts: list[Any] = figure.findobj(_is_text)
    for text in texts:
        text.set_text(printable(text.get_text(), keep="\n"))


def _is_text(artist: Any) -> bool:
    from matplotlib.text import Text

    return isinstance(artist, Text)


def _texts(axes: Axes) -> list[Any]:
    """All texts of a panel, those of its ticks too, which are made when they are asked for."""
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return [*ticks, *axes.findobj(_is_text)]


def without_axes(axes: Axes) -> None:
    """Leave what is inside: for pictures whose coordinates mean nothing."""
    axes.set_axis_off()
    axes.set_aspect("equal")
