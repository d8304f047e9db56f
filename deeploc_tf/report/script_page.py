"""Pages with a script of their own: one file that holds everything, and no network.

A page NAME is `NAME.html`, `NAME.css` and `NAME.js` with what all of them share, and its data as
JSON. The security policy allows this one script and this one style sheet, by their digests, and
pictures that are inside the file; scripts build elements and never parse HTML.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from deeploc_tf.names import printable

_SUFFIXES = (".html", ".htm")


def check_suffix(path: str | Path) -> Path:
    """The path of a page, which must end as one.

    Raises:
        ValueError: it does not.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        msg = f"A page must end in .html. Received: {path.name!r}. Name it {path.stem}.html."
        raise ValueError(msg)
    return path


def script_page(name: str, title: str, content: Mapping[str, Any]) -> bytes:
    """The whole page; no text of the content can end the element that it stands in.

    Args:
        name: of its files in this room, without their suffixes.
        title: of the page.
        content: what the script reads as `data`, JSON-ready.
    """
    style = _text("script_page.css") + _text(f"{name}.css")
    script = f'"use strict";\n(() => {{\n{_text("script_page.js")}{_text(f"{name}.js")}}})();\n'
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    title = html.escape(printable(title))
    page = Template(_text("script_page.html")).substitute(
        title=title,
        body=Template(_text(f"{name}.html")).substitute(title=title),
        style=style,
        style_digest=_digest(style),
        script=script,
        script_digest=_digest(script),
        data=printable(data).replace("<", "\\u003c"),
    )
    return page.encode()


def _text(name: str) -> str:
    return (resources.files("deeploc_tf.report") / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
