"""One page of HTML that holds everything it shows and asks no other machine for anything.

The page is `page.html` with `page.css`; what only some pages have, such as a confusion matrix, are
further templates. Texts are never markup: Jinja2 escapes whatever is put into a template, and
controls and marks that turn the direction of writing are shown as escapes. The
security policy allows this one style sheet, by its digest, pictures inside the file, and nothing
else.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from deeploc_tf.extras import install
from deeploc_tf.names import printable
from deeploc_tf.provenance import with_seal
from deeploc_tf.report.drawing import MissingExtraError, check_matplotlib, picture
from deeploc_tf.version import __version__
from tfrecords.publishing import publish_bytes

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

_ROOM = "deeploc_tf.report"
_MEDIA_TYPES = {b"\x89PNG": "image/png", b"RIFF": "image/webp"}


@dataclasses.dataclass(frozen=True)
class Section:
    """A piece of a page: a heading, then text, links, a table and a picture, those that are given.

    Attributes:
        title: heading; "" goes on under the one before.
        text: plain text, an empty line between paragraphs.
        table: columns in their order; its index is shown unless it only counts the rows.
        picture: a figure, or bytes of a PNG or SVG.
        alt: what the picture shows, for those who do not see it.
        caption: below the table or picture.
        links: text -> path of a file, from the folder of the page.
        folded: what opens the table, where it is to be closed at first.
        template: file of this room with what only some pages have, such as a confusion matrix.
        values: what that template shows, which it calls `values`.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    picture: Figure | bytes | None = None
    alt: str = ""
    caption: str = ""
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folded: str = ""
    template: str = ""
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a picture that cannot be shown, or not to all."""
        if self.picture is not None:
            if isinstance(self.picture, bytes):
                _media_type(self.picture)
            if not self.alt:
                msg = f"A picture must have `alt`, what it shows. Received: none in {self.title!r}."
                raise ValueError(msg)

    @property
    def paragraphs(self) -> list[str]:
        """Those of the text."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


def write_page(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    subtitle: str = "",
    *,
    made_from: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a page; the file is old or new, never a mixture.

    Args:
        path: of the file, by custom ending in .html.
        title: of the page.
        sections: in their order.
        subtitle: a sentence below the title.
        made_from: what the seal of the page names, see `deeploc_tf.provenance.parent`.

    Raises:
        MissingExtraError: there is no Jinja2.
    """
    content = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            titles=[section.title for section in sections if section.title],
            sections=sections,
            version=__version__,
        )
    )
    publish_bytes(Path(path), with_seal(f"{content}\n".encode(), made_from))


def check_extra() -> None:
    """Raise `MissingExtraError` unless the extra `report` is whole: matplotlib and Jinja2."""
    check_matplotlib()
    _check_jinja()


def _check_jinja() -> None:
    if importlib.util.find_spec("jinja2") is None:
        msg = (
            f"Pages need Jinja2. Received: an installation without it. Mend it: {install('report')}"
        )
        raise MissingExtraError(msg)


def data_address(content: Figure | bytes) -> str:
    """The address of a picture that is inside the page.

    Args:
        content: a figure, or the bytes of a PNG, SVG or WebP.

    Raises:
        ValueError: it is none of these.
    """
    drawn = content if isinstance(content, bytes) else picture(content)
    return f"data:{_media_type(drawn)};base64,{base64.b64encode(drawn).decode()}"


@functools.cache
def _environment() -> Environment:
    _check_jinja()
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def shown(value: Any) -> Any:
        is_text = isinstance(value, str) and not hasattr(value, "__html__")
        return printable(value, keep="\n\t") if is_text else value

    environment = Environment(
        finalize=shown,
        loader=FunctionLoader(lambda name: (resources.files(_ROOM) / name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cells": _cells, "data_address": data_address, "relative": _relative}
    style = environment.get_template("page.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment.globals["style_digest"] = f"sha256-{digest}"
    return environment


def _relative(path: str) -> str:
    return quote(path, errors="surrogateescape")  # as the system has names that are no UTF-8


def _cells(table: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[list[tuple[str, bool]]]]:
    """Names of columns and texts of rows, each with whether it is a number."""
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index(names=table.index.name or "", allow_duplicates=True)
    columns = [
        (str(name), pd.api.types.is_numeric_dtype(kind)) for name, kind in table.dtypes.items()
    ]
    return columns, [list(map(_cell, row)) for row in table.itertuples(index=False)]


def _cell(value: Any) -> tuple[str, bool]:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–", False
    if pd.api.types.is_float(value):
        number = float(value)
        return format(number, ".4g" if abs(number) < 1e4 else ",.0f"), True
    if pd.api.types.is_integer(value):
        return f"{value:,}", True
    return str(value), False


def _media_type(content: bytes) -> str:
    if content.lstrip().startswith((b"<?xml", b"<svg")):
        return "image/svg+xml"
    if content[:4] not in _MEDIA_TYPES:
        msg = f"A picture must be the bytes of a PNG or SVG. Received: {content[:12]!r}."
        raise ValueError(msg)
    return _MEDIA_TYPES[content[:4]]
