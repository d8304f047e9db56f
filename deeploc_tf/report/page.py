"""One page of HTML that holds everything it shows and asks no other machine for anything."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import pandas as pd

from deeploc_tf.report.drawing import picture
from deeploc_tf.version import __version__
from tfrecords.publishing import publish_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Section:
    """A piece of a page: a heading, then text, a table and a picture, those that are given.

    Attributes:
        title: heading; "" goes on under the one before.
        text: plain text, an empty line between paragraphs.
        table: columns in their order; its index is shown unless it only counts the rows.
        picture: a figure, or bytes of a PNG or SVG.
        alt: what the picture shows, for those who do not see it.
        caption: below the table or picture.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    picture: Figure | bytes | None = None
    alt: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        """Refuse a picture that cannot be shown, or not to all."""
        if self.picture is not None:
            if isinstance(self.picture, bytes):
                _media_type(self.picture)
            if not self.alt:
                msg = f"A picture must have `alt`, what it shows. Received: none in {self.title!r}."
                raise ValueError(msg)


def write_page(
    path: str | Path, title: str, sections: Sequence[Section], subtitle: str = ""
) -> None:
    """Write a page; the file is old or new, never a mixture.

    Args:
        path: of the file, by custom ending in .html.
        title: of the page.
        sections: in their order.
        subtitle: a sentence below the title.
    """
    titles = [section.title for section in sections if section.title]
    links = "".join(
        f'<li><a href="#s{number}">{html.escape(name)}</a></li>'
        for number, name in enumerate(titles, start=1)
    )
    body, number = [], 0
    for section in sections:
        if section.title:
            number += 1
            body.append(f'<h2 id="s{number}">{html.escape(section.title)}</h2>')
        body += _section(section)
    content = _PAGE.substitute(
        title=html.escape(title),
        subtitle=f"<p>{html.escape(subtitle)}</p>" if subtitle else "",
        contents=f"<nav><ul>{links}</ul></nav>" if len(titles) > 2 else "",
        body="\n".join(body),
        version=html.escape(__version__),
    )
    publish_bytes(Path(path), content.encode())


def _section(section: Section) -> list[str]:
    parts = [
        f"<p>{html.escape(paragraph.strip())}</p>"
        for paragraph in section.text.split("\n\n")
        if paragraph.strip()
    ]
    shown = []
    if section.table is not None:
        shown.append(f'<div class="wide">{_table(section.table)}</div>')
    if section.picture is not None:
        drawn = section.picture
        content = drawn if isinstance(drawn, bytes) else picture(drawn)
        kind, data = _media_type(content), base64.b64encode(content).decode()
        shown.append(f'<img src="data:{kind};base64,{data}" alt="{html.escape(section.alt)}">')
    if section.caption:
        shown.append(f"<figcaption>{html.escape(section.caption)}</figcaption>")
    return [*parts, *(["<figure>", *shown, "</figure>"] if shown else [])]


def _table(table: pd.DataFrame) -> str:
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index(names=table.index.name or "", allow_duplicates=True)
    head = "".join(
        f"<th{_NUMBER if pd.api.types.is_numeric_dtype(kind) else ''}>{html.escape(str(name))}</th>"
        for name, kind in table.dtypes.items()
    )
    rows = ("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.itertuples(index=False))
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>" + "\n".join(rows) + "</tbody></table>"


def _cell(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "<td>–</td>"
    if pd.api.types.is_float(value):
        number = float(value)
        return f"<td{_NUMBER}>{format(number, '.4g' if abs(number) < 1e4 else ',.0f')}</td>"
    if pd.api.types.is_integer(value):
        return f"<td{_NUMBER}>{value:,}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def _media_type(picture: bytes) -> str:
    if picture.startswith(b"\x89PNG"):
        return "image/png"
    if picture.lstrip().startswith((b"<?xml", b"<svg")):
        return "image/svg+xml"
    msg = f"A picture must be the bytes of a PNG or SVG. Received: {picture[:12]!r}."
    raise ValueError(msg)


_NUMBER = ' class="number"'
# `screen and` in the dark rules: paper stays white. The policy forbids what the page never does.
_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { --ink: #1d2430; --soft: #5d6675; --line: #dfe3e8; --paper: #fff; --accent: #0a5c91; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #9aa4b2; --line: #333b47; --paper: #14181f; --accent: #7cc0ef; }
}
body { max-width: 58rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.6rem 0 .6rem; font-size: 1.25rem; break-after: avoid; }
header { padding-bottom: 1rem; border-bottom: 2px solid var(--accent); }
header p { margin: .4rem 0 0; }
header p, figcaption, footer { color: var(--soft); }
p { max-width: 44rem; white-space: pre-line; overflow-wrap: break-word; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 1rem 0 0; padding: 0;
  list-style: none; }
figure { margin: 1.2rem 0; break-inside: avoid; }
figcaption { margin-top: .4rem; font-size: .88rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th.number { text-align: right; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
footer { margin-top: 3rem; font-size: .82rem; }
</style>
</head>
<body>
<header><h1>$title</h1>$subtitle$contents</header>
<main>
$body
</main>
<footer>Written by deeploc-tf $version.</footer>
</body>
</html>
""")
