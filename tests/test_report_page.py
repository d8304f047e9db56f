"""The page: whole in one file, well formed, and nothing in it but what was given."""

from __future__ import annotations

import base64
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deeploc_tf.report.page import Section, write_page

pytest.importorskip("jinja2", reason="jinja2 is in the extra report")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Keeps tags, attributes and text, and sees that every element is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder: Path, *sections: Section, title: str = "A page", subtitle: str = "") -> Reader:
    write_page(folder / "page.html", title, sections, subtitle)
    assert [path.name for path in folder.iterdir()] == ["page.html"]
    return Reader((folder / "page.html").read_text(encoding="utf-8"))


def test_all_that_was_given_is_on_the_page(tmp_path: Path) -> None:
    table = pd.DataFrame({"standard": ["GO"], "AP": [0.123456], "pairs": [12345]})
    page = written(
        tmp_path,
        Section("Cells", "One.\n\nTwo.", picture=PNG, alt="five cells", caption="Made up."),
        Section("", picture=SVG, alt="a curve"),
        Section("Scores", table=table, caption="All pairs."),
        Section("Words", "Nothing else."),
        subtitle="What it is",
    )
    assert [text for text in page.texts if not text.startswith("Written by deeploc-tf ")] == [
        *("A page", "A page", "What it is", "Cells", "Scores", "Words"),
        *("Cells", "One.", "Two.", "Made up."),
        *("Scores", "standard", "AP", "pairs", "GO", "0.1235", "12,345", "All pairs."),
        *("Words", "Nothing else."),
    ]
    first, second = page.all("img")
    assert (first["alt"], second["alt"]) == ("five cells", "a curve")
    assert first["src"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert second["src"] == "data:image/svg+xml;base64," + base64.b64encode(SVG).decode()
    targets = [f"#{heading['id']}" for heading in page.all("h2")]
    assert [link["href"] for link in page.all("a")] == targets


def test_text_is_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert('&\"$title')</script>"
    table = pd.DataFrame({evil: [evil]}, index=pd.Index([evil], name=evil))
    section = Section(evil, evil, table, SVG, alt=evil, caption=evil)
    page = written(tmp_path, *[section] * 3, title=evil, subtitle=evil)
    assert not page.all("script")
    assert set(page.texts[:-1]) == {evil}
    assert {image["alt"] for image in page.all("img")} == {evil}


def test_the_page_asks_no_other_machine_for_anything(tmp_path: Path) -> None:
    page = written(tmp_path, *[Section("Cells", "text", picture=PNG, alt="cells")] * 3)
    sources = [
        str(value)
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    ]
    assert len(sources) == 6
    assert all(source.startswith(("data:", "#s")) for source in sources)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_numbers_of_a_table_can_be_read(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"a": [1.0, np.nan, 123456.7], "b": [1, 2, 3], "c": ["x", None, True]},
        index=["first", "second", "third"],
    )
    page = written(tmp_path, Section("", table=table))
    cells = page.texts[page.texts.index("a") : -1]
    assert cells == [
        *("a", "b", "c"),
        *("first", "1", "1", "x"),
        *("second", "–", "2", "–"),
        *("third", "123,457", "3", "True"),
    ]
    assert [cell.get("class") for cell in page.all("th")] == [None, "number", "number", None]


def test_an_old_page_is_replaced_or_stays(tmp_path: Path) -> None:
    written(tmp_path, Section("Old"))
    assert "New" in written(tmp_path, Section("New")).texts
    with pytest.raises(AttributeError):
        write_page(tmp_path / "page.html", "Newer", [Section("a", table="no table")])  # type: ignore[arg-type]
    assert "New" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_picture_must_be_one_and_be_described() -> None:
    with pytest.raises(ValueError, match=r"bytes of a PNG or SVG. Received: b'GIF89a"):
        Section("Cells", picture=b"GIF89a", alt="cells")
    with pytest.raises(ValueError, match=r"must have `alt`.*'Cells'"):
        Section("Cells", picture=PNG)


def test_a_page_needs_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written(tmp_path, Section("Cells"))
