"""The map in a browser: it loads without errors or requests, and shows and exports what is true."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from chromium import Browser, Page, chromium
from test_report_map_page import ODD_NAMES, content_of

from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.space import nearest, search_space
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report.drawing import COLORS
from deeploc_tf.report.map_page import write_map

NAMES = [*(f"AAC{i}" for i in range(4)), *ODD_NAMES, *(f"YAL{i:03}C" for i in range(20))]
CLASSES = [f"class {i % 17}" for i in range(len(NAMES))]
STANDARD = Standard(
    "complexes",
    {"F1 \u2013 ATPase": frozenset(NAMES[:6]), "nuclear pore": frozenset(NAMES[4:20])},
)


class Folder(NamedTuple):
    """Where the browser puts its downloads, and the page."""

    browser: Browser
    path: Path
    page: Path
    table: VectorTable


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, write_screen: Callable[..., Any]
) -> Iterator[Folder]:
    folder = tmp_path_factory.mktemp("map")
    with chromium(folder) as browser:
        write_screen(folder / "records")
        (folder / "names.tsv").write_text("SEC61\tYAL007C\n", encoding="utf-8")
        random = np.random.default_rng(0)
        metadata = pd.DataFrame(
            {"protein": NAMES, "place": CLASSES, "size": np.float32([0.1, np.nan] * 17)}
        )
        features = random.normal(size=(len(NAMES), 5)).astype(np.float32)
        table = VectorTable(features, metadata, {"kind": "profiles"})
        page = folder / "a map.html"
        write_map(
            page,
            table,
            records=folder / "records",
            standards=[STANDARD],
            identifiers=read_identifiers(folder / "names.tsv"),
            projection="pca",
            num_neighbors=3,
        )
        yield Folder(browser, folder, page, table)


@pytest.fixture
def page(here: Folder) -> Iterator[Page]:
    """The page at 1280 pixels; after the test it must have had no problem and asked for nothing."""
    page = here.browser.open_page(here.page.as_uri())
    yield page
    assert page.problems == []
    assert page.requests == []


def type_in(page: Page, text: str) -> None:
    page.run(
        f"(() => {{ const field = document.getElementById('search'); field.value = {text!r};"
        "field.dispatchEvent(new Event('input')); })()"
    )


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll({selector!r})].map(element => element.textContent)"
    )
    return found


def place(page: Page, name: str) -> tuple[float, float]:
    x, y = page.run(f"proteinMap.place({json.dumps(name)})")
    return x, y


def pixel(page: Page, selector: str, place: tuple[float, float]) -> list[int]:
    """Red, green and blue of a canvas, at a place of the window."""
    color: list[int] = page.run(
        f"(() => {{ const source = document.querySelector({selector!r}), box = "
        "source.getBoundingClientRect(), canvas = document.createElement('canvas');"
        "const pen = canvas.getContext('2d');"
        f"pen.drawImage(source, box.left - {place[0]}, box.top - {place[1]});"
        "return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); })()"
    )
    return color


def downloaded(here: Folder, page: Page, button: str, name: str) -> bytes:
    """The file that a button gives."""
    path = here.path / name
    path.unlink(missing_ok=True)
    page.run(f"document.getElementById('{button}').click()")
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        page.frames(1)
    return path.read_bytes()


def exported(here: Folder, page: Page) -> list[dict[str, str]]:
    """The rows of the file that Export gives."""
    content = downloaded(here, page, "export", "proteins.csv")
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_loads_and_fits(here: Folder, width: int) -> None:
    page = here.browser.open_page(here.page.as_uri(), width)
    assert (page.problems, page.requests) == ([], [])
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run("document.title") == "Map of proteins"
    assert texts(page, "tbody th") == NAMES
    assert texts(page, "#legend button bdi")[:2] == ["class 0", "class 1"]
    inside = [0 < x < width for x, _ in (place(page, name) for name in NAMES)]
    assert all(inside)


def test_what_people_press_has_a_name(page: Page) -> None:
    nameless = page.run(
        "[...document.querySelectorAll('button, input, select, img, [tabindex]')].filter(e =>"
        "!(e.textContent.trim() || e.ariaLabel || e.alt || (e.labels && e.labels.length)))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []
    assert page.run("document.documentElement.lang") == "en"
    assert page.run("document.querySelectorAll('h1').length") == 1


def test_points_have_the_colors_of_their_classes(page: Page) -> None:
    for row in (0, 1, 2, 7, 16):
        color = COLORS[int(CLASSES[row].split()[1]) % len(COLORS)]
        assert (
            "#" + "".join(map("{:02X}".format, pixel(page, "#points", place(page, NAMES[row]))))
            == color
        )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("yal007", ["YAL007C"]),
        ("sec6", ["YAL007C"]),  # an alias
        ("atpase", NAMES[:6]),  # a term
        ("\uff21\uff21\uff23\uff11", ["AAC1"]),  # full-width letters
        ("AAC3; sec61, AAC1, nothing", ["AAC1", "AAC3", "YAL007C"]),
        ("ade5,7", ["ADE5,7"]),
        ("<img", ODD_NAMES[:1]),
        ("100%", ["100%"]),
        ("no such protein", []),
    ],
)
def test_search_finds_names_aliases_terms_and_lists(
    page: Page, query: str, found: list[str]
) -> None:
    type_in(page, query)
    assert sorted(texts(page, "#results button > bdi")) == sorted(found)
    assert texts(page, "tbody th") == [name for name in NAMES if name in found]
    assert texts(page, "#count") == [f"{len(found)} of 34 proteins selected"]
    page.run("document.getElementById('clear').click()")
    assert texts(page, "#count") == ["34 proteins"]


def test_pointing_shows_name_class_and_cells(page: Page) -> None:
    page.mouse("moved", *place(page, "AAC2"))
    page.wait("!document.getElementById('tip').hidden")
    assert texts(page, "#tip strong") == ["AAC2"]
    assert texts(page, "#tip span") == ["class 2"]
    page.wait(
        "[...document.querySelectorAll('#tip img')].every(image => image.naturalWidth === 20)"
    )
    assert page.run("document.querySelectorAll('#tip img').length") == 4
    page.mouse("moved", 5, 5)
    page.wait("document.getElementById('tip').hidden")


def test_a_click_shows_cells_neighbors_and_shared_terms(here: Folder, page: Page) -> None:
    page.click(*place(page, "AAC2"))
    page.wait("location.hash === '#AAC2'")
    page.wait("document.querySelector('#details h2').textContent === 'AAC2'")
    features = here.table.features.copy()
    rows, likeness = nearest(search_space(features, NAMES, NAMES), np.array([2]), 3)
    assert texts(page, ".near button") == [NAMES[row] for row in rows[0]]
    assert texts(page, ".near .similarity") == [f"{value:.3f}" for value in likeness[0]]
    shared = [
        "; ".join(term for term, own in STANDARD.terms.items() if {"AAC2", NAMES[row]} <= own)
        for row in rows[0]
    ]
    assert texts(page, ".near .soft") == [terms and f"shares {terms}" for terms in shared]
    assert texts(page, ".terms li") == ["F1 \u2013 ATPase"]
    page.wait("document.querySelector('#details img').complete")
    seen = page.run(
        "(() => { const image = document.querySelector('#details .crops img');"
        "const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');"
        "pen.drawImage(image, 0, 0); return [...pen.getImageData(0, 0, 20, 20).data]; })()"
    )
    picture = imagecodecs.webp_decode(
        base64.b64decode(content_of(here.page)["crops"]["images"][2][0])
    )
    assert np.reshape(seen, (20, 20, 4))[..., :3] == pytest.approx(picture[..., :3], abs=2)
    page.run("history.back()")
    page.wait("document.querySelector('#details h2').textContent === 'Choose a protein'")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_link_opens_any_name(here: Folder, name: str) -> None:
    page = here.browser.open_page(f"{here.page.as_uri()}#{quote(name, safe='')}")
    assert texts(page, "#details h2") == [name]
    assert page.run("document.querySelectorAll('[onerror]').length") == 0
    assert (page.problems, page.requests) == ([], [])


def test_a_link_to_an_alias_and_to_nothing(page: Page) -> None:
    page.run("location.hash = 'sec61'")
    page.wait("document.querySelector('#details h2').textContent === 'YAL007C'")
    page.run("location.hash = 'nobody'")
    page.wait("document.querySelector('#details .notes') !== null")
    assert "No protein is called nobody." in texts(page, "#details")[0]


def test_all_and_the_selection_are_exported(here: Folder, page: Page) -> None:
    rows = exported(here, page)
    assert [row["protein"] for row in rows] == NAMES
    assert list(rows[0]) == [
        "protein",
        "x",
        "y",
        "place",
        "size",
        "label in the records",
        "complexes",
    ]
    assert [row["place"] for row in rows] == CLASSES
    assert (rows[0]["size"], rows[1]["size"]) == ("0.1", "")
    assert rows[4]["complexes"] == "F1 \u2013 ATPase; nuclear pore"
    page.run("document.querySelectorAll('#legend button')[3].click()")
    assert [row["protein"] for row in exported(here, page)] == [
        name for name, own in zip(NAMES, CLASSES, strict=True) if own == "class 3"
    ]
    assert texts(page, "#export") == ["Export 2 proteins as CSV"]


def test_drawing_around_points_selects_them(page: Page) -> None:
    x, y = place(page, "YAL003C")
    page.run("document.getElementById('lasso').click()")
    page.mouse("moved", x - 9, y - 9)
    page.mouse("pressed", x - 9, y - 9)
    for dx, dy in ((9, -9), (9, 9), (-9, 9)):
        page.mouse("moved", x + dx, y + dy, buttons=1)
    page.mouse("released", x - 9, y + 9)
    near = [name for name in NAMES if max(np.abs(np.subtract(place(page, name), (x, y)))) < 9]
    assert "YAL003C" in near
    assert texts(page, "tbody th") == near


def test_the_map_is_moved_and_zoomed(page: Page) -> None:
    before = place(page, "AAC0")
    page.mouse("moved", 600, 600)
    page.mouse("pressed", 600, 600)
    page.mouse("moved", 650, 570, buttons=1)
    page.mouse("released", 650, 570)
    assert place(page, "AAC0") == pytest.approx((before[0] + 50, before[1] - 30))
    page.mouse("wheel", 600, 400, deltaX=0, deltaY=-300)
    page.frames()
    far = np.subtract(place(page, "AAC0"), (600, 400))
    assert far == pytest.approx(
        np.subtract((before[0] + 50, before[1] - 30), (600, 400)) * 1.716, rel=0.01
    )
    page.run("document.getElementById('fit').click()")
    assert place(page, "AAC0") == pytest.approx(before)


def test_the_table_is_sorted_and_colors_are_changed(page: Page) -> None:
    page.run("document.querySelectorAll('thead button')[2].click()")  # size, missing ones last
    assert texts(page, "tbody th") == NAMES[::2] + NAMES[1::2]
    assert page.run("document.querySelectorAll('thead th')[2].ariaSort") == "ascending"
    options = texts(page, "#color option")
    assert options == ["one color", "place", "size", "label in the records", "complexes"]
    for number in (3, 1, -1, ""):
        page.run(
            f"(() => {{ const field = document.getElementById('color'); field.value = '{number}';"
            "field.dispatchEvent(new Event('change')); })()"
        )
        page.frames()
    assert texts(page, "#legend button") == []


def show_as(page: Page, **features: str) -> None:
    """Let the browser prefer something, as of colors; or print."""
    media = features.pop("media", "")
    wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    page.call("Emulation.setEmulatedMedia", media=media, features=wanted)
    page.frames()


def lightness(color: list[int]) -> float:
    """Relative luminance as the guidelines for access define it, of red, green and blue."""
    parts = np.array(color) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_on_a_dark_screen_points_are_seen_and_cells_stay_on_black(page: Page) -> None:
    page.run("location.hash = 'AAC2'")
    page.wait("document.querySelectorAll('#details .crops img').length === 4")
    light = [pixel(page, "#points", place(page, name)) for name in NAMES[:8]]
    show_as(page, prefers_color_scheme="dark")
    behind = pixel(page, "#points", (place(page, "AAC0")[0], 90))
    assert behind == [16, 20, 25]
    found = [pixel(page, "#points", place(page, name)) for name in NAMES[:8]]
    assert len(set(map(tuple, found))) == 8
    contrast = [(lightness(color) + 0.05) / (lightness(behind) + 0.05) for color in found]
    assert min(contrast) > 3
    style = "getComputedStyle(document.querySelector('#details .crops img')).backgroundColor"
    assert page.run(style) == "rgb(0, 0, 0)"
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
    show_as(page, prefers_color_scheme="light")
    assert [pixel(page, "#points", place(page, name)) for name in NAMES[:8]] == light


def test_two_fingers_move_and_zoom_the_map_of_a_phone(here: Folder) -> None:
    page = here.browser.open_page(here.page.as_uri(), 390)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    page.run("document.getElementById('stage').scrollIntoView()")
    x, y = page.run(
        "(({ left, top, width, height }) => [left + width / 2, top + height / 2])"
        "(document.getElementById('map').getBoundingClientRect())"
    )
    names = NAMES[0], NAMES[1]
    before = np.subtract(*(place(page, name) for name in names))

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": a, "y": b, "id": number} for number, (a, b) in enumerate(places)]
        page.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)

    touch("Start", (x - 30, y), (x + 30, y))
    for far in (40, 50, 60):
        touch("Move", (x - far, y), (x + far, y))
    touch("End")
    page.frames()
    assert np.subtract(*(place(page, name) for name in names)) == pytest.approx(2 * before, rel=0.1)
    start = place(page, "AAC0")
    touch("Start", (x, y))
    touch("Move", (x + 20, y + 10))
    touch("Move", (x + 40, y + 20))
    touch("End")
    page.frames()
    assert np.subtract(place(page, "AAC0"), start) == pytest.approx([40, 20], abs=20)
    assert page.run("document.documentElement.scrollWidth") == 390
    assert page.problems == []


def drawn(page: Page) -> ElementTree.Element:
    """What is seen, as SVG."""
    return ElementTree.fromstring(page.run("proteinMap.svg()"))


def part(picture: ElementTree.Element, name: str) -> ElementTree.Element:
    (found,) = (element for element in picture.iter() if element.get("id") == name)
    return found


def test_the_view_is_downloaded_as_svg(here: Folder, page: Page) -> None:
    picture = ElementTree.fromstring(downloaded(here, page, "picture", "map.svg"))
    proteins = part(picture, "proteins")
    assert [shape[0].text for shape in proteins] == NAMES
    assert [shape.get("fill", "").upper() for shape in proteins][:7] == list(COLORS[:7])
    tags = [shape.tag.partition("}")[2] for shape in proteins]
    assert tags[:2] == ["circle", "polygon"]
    left, top = page.run(
        "(({ left, top }) => [left, top])(document.getElementById('map').getBoundingClientRect())"
    )
    x, y = np.subtract(place(page, "AAC0"), (left, top))
    assert float(proteins[0].get("cx", "")) == pytest.approx(x, abs=0.01)
    assert float(proteins[0].get("cy", "")) == pytest.approx(y, abs=0.01)
    legend = [text.text for text in part(picture, "legend").iter() if text.tag.endswith("}text")]
    assert legend == ["place", *(f"class {i} (2)" for i in range(17))]
    assert set(page.run("[...document.querySelectorAll('#stage *')].map(e => e.tagName)")) == {
        *("CANVAS", "DIV", "BUTTON")
    }


def test_svg_has_the_names_of_the_selection(page: Page) -> None:
    for name in ODD_NAMES:
        page.run(f"location.hash = encodeURIComponent({json.dumps(name)})")
        page.wait(f"document.querySelector('#details h2').textContent === {json.dumps(name)}")
        picture = drawn(page)
        names = [text.text or "" for text in part(picture, "names")]
        assert names[0][:27] == name[:27].replace("\u2028", names[0][0])
        assert len(part(picture, "chosen").findall("{http://www.w3.org/2000/svg}circle")) == 4
    page.run("location.hash = ''")
    type_in(page, "atpase")
    shapes = part(drawn(page), "proteins")
    assert {shape[0].text for shape in shapes if shape.get("fill") != "#e3e6ea"} == {*NAMES[:6]}
    assert [shape[0].text for shape in shapes][-6:] == NAMES[:6]  # above the others
    page.run(
        "(() => { const field = document.getElementById('color'); field.value = '1';"
        "field.dispatchEvent(new Event('change')); })()"
    )
    texts = [text.text for text in part(drawn(page), "legend") if text.text]
    assert texts == ["size", "0.1", "0.1"]
    page.run("for (let i = 0; i < 12; i++) document.getElementById('in').click()")
    assert len(part(drawn(page), "proteins")) < 5


def test_svg_of_characters_that_xml_lacks(here: Folder) -> None:
    names = ["a\x00b", "c\x1bd", "e\ufffef", "]]>&amp;", "tab\tline"]
    table = VectorTable(
        np.eye(5, dtype=np.float32), pd.DataFrame({"protein": names, "\x01": names}), {}
    )
    write_map(here.path / "control.html", table, projection="pca", title="\x02<title>")
    page = here.browser.open_page((here.path / "control.html").as_uri())
    titles = [shape[0].text for shape in part(drawn(page), "proteins")]
    assert titles == ["a\ufffdb", "c\ufffdd", "e\ufffdf", "]]>&amp;", "tab\tline"]
    assert page.problems == []


def test_paper_has_map_legend_and_protein_in_light_colors(page: Page) -> None:
    show_as(page, prefers_color_scheme="dark")
    page.run("location.hash = 'AAC2'")
    page.wait("document.querySelector('#details h2').textContent === 'AAC2'")
    page.run("dispatchEvent(new Event('beforeprint'))")
    show_as(page, media="print", prefers_color_scheme="dark")
    shown = page.run(
        "['#search', '#color', '#tools', '#listing', '#points', '#proteins', '#legend', '.near',"
        "'svg #legend']"
        ".filter(name => document.querySelector(name).checkVisibility())"
    )
    assert shown == ["#proteins", ".near", "svg #legend"]
    assert (
        page.run("document.querySelector('#proteins').children[0].getAttribute('fill')")
        == COLORS[0]
    )
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.run("dispatchEvent(new Event('afterprint'))")
    show_as(page, prefers_color_scheme="dark")
    assert page.run("document.querySelector('svg')") is None
    assert pixel(page, "#points", (place(page, "AAC0")[0], 90)) == [16, 20, 25]


def test_two_proteins_stand_side_by_side(here: Folder, page: Page) -> None:
    page.click(*place(page, "AAC2"))
    page.wait("document.querySelector('#details h2')?.textContent === 'AAC2'")
    page.frames()  # the map moves where the details come beside it
    x, y = place(page, "YAL003C")
    for kind in ("moved", "pressed", "released"):
        page.mouse(kind, x, y, modifiers=8)  # Shift
    page.wait("location.hash === '#AAC2&YAL003C'")
    assert texts(page, "#details h2") == ["AAC2 and YAL003C"]
    assert texts(page, "#count") == ["34 proteins"]  # nothing is selected by it
    assert texts(page, ".pair:not(:has(ul)) > div > button") == ["AAC2", "YAL003C"]
    assert page.run("document.querySelectorAll('.pair img').length") == 4  # AAC2 has crops
    values = texts(page, "#details dl.two > *")
    assert values[:6] == ["protein", "AAC2", "YAL003C", "place", *(CLASSES[i] for i in (2, 17))]
    assert texts(page, "#details .pair li") == ["F1 \u2013 ATPase", "nuclear pore"]
    assert texts(page, "#details strong") == []
    features = here.table.features.astype(float)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    (said,) = texts(page, "#similarity")
    assert float(said.split()[2].strip(".,")) == pytest.approx(unit[2] @ unit[17], abs=0.02)
    page.run("document.querySelector('.head button').click()")
    page.wait("location.hash === '#AAC2'")
    page.run("document.getElementById('compare').click()")
    assert "Click a second protein" in texts(page, "#hint")[0]
    type_in(page, "<img")
    page.run("document.querySelector('#results button').click()")
    page.wait("document.querySelector('#details h2')?.textContent.startsWith('AAC2 and </scr')")
    assert texts(page, "#details strong") == ["F1 \u2013 ATPase"] * 2
    assert len(texts(page, "tbody tr.chosen")) == 1
    page.run("location.reload()")
    page.wait("document.querySelector('#details h2')?.textContent.startsWith('AAC2 and </scr')")
    page.run("location.hash = 'YAL003C&sec61'")
    page.wait("document.querySelector('#details h2').textContent === 'YAL003C and YAL007C'")
    page.run("location.hash = 'YAL003C&nobody'")
    page.wait("document.querySelector('#details .notes') !== null")
    page.run("location.hash = encodeURIComponent('a&amp;b &lt;')")
    page.wait("document.querySelector('#details h2').textContent === 'a&amp;b &lt;'")


def test_every_pair_of_odd_names_can_be_compared(page: Page) -> None:
    for pair in itertools.pairwise(ODD_NAMES):
        page.run(f"location.hash = {json.dumps([*pair])}.map(encodeURIComponent).join('&')")
        title = json.dumps(" and ".join(pair))
        page.wait(f"document.querySelector('#details h2').textContent === {title}")
        assert "Cosine similarity" in texts(page, "#similarity")[0]


def test_regions_are_named_by_terms_and_names_can_be_hidden(here: Folder) -> None:
    centers = np.array([[5, 0], [-5, 0], [0, 5]])
    random = np.random.default_rng(0)
    features = np.repeat(centers, 16, axis=0) + random.normal(scale=0.2, size=(48, 2))
    names = [f"P{i}" for i in range(48)]
    evil, long = ODD_NAMES[0], "small subunit of the ribosome of mitochondria"
    standards = [
        Standard("other", {"x": frozenset(names[::7]), "y": frozenset(names[::3])}),
        Standard("terms", {evil: frozenset(names[:12]), long: frozenset(names[16:28])}),
    ]
    table = VectorTable(features.astype(np.float32), pd.DataFrame({"protein": names}), {})
    write_map(here.path / "regions.html", table, standards=standards, projection="pca")
    page = here.browser.open_page((here.path / "regions.html").as_uri())
    found = {text.text: text for text in part(drawn(page), "regions")}
    assert set(found) == {
        *("</script><img src=x", "onerror=alert(1)>"),
        *("small subunit of the", "ribosome of mitochondria"),
    }
    left, top = page.run(
        "(({ left, top }) => [left, top])(document.getElementById('map').getBoundingClientRect())"
    )
    middle = np.median([place(page, name) for name in names[16:32]], axis=0) - (left, top)
    text = found["small subunit of the"]
    assert float(text.get("y", "")) + 4 == pytest.approx(middle[1], abs=12)
    assert float(text.get("x", "")) < middle[0] < float(text.get("x", "")) + 200
    assert "In bold: terms of \u201cterms\u201d that are enriched there." in texts(page, "#rule")[0]
    told = texts(page, "#details .terms li")
    assert told[0].startswith(f"{evil} 12 of 12 proteins there, 12 on the map, p ")
    assert told[1].startswith(f"{long} 12 of 12 proteins there")
    assert "No region has more proteins of a term than by chance." in texts(page, "#details")[0]
    page.run("document.getElementById('region-names').click()")
    assert list(part(drawn(page), "regions")) == []
    assert "In bold" not in texts(page, "#rule")[0]
    page.frames()
    bare = page.screenshot()
    page.run("document.getElementById('region-names').click()")
    page.frames()
    assert page.screenshot() != bare
    assert (page.problems, page.requests) == ([], [])


def test_without_a_named_region_there_is_nothing_to_hide(page: Page) -> None:
    assert page.run("document.getElementById('region-names').hidden")
    assert list(part(drawn(page), "regions")) == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_about_a_pair(here: Folder, width: int, scheme: str) -> None:
    page = here.browser.open_page(f"{here.page.as_uri()}#AAC2&AAC3", width)
    show_as(page, prefers_color_scheme=scheme)
    assert page.faults() == []
    assert page.run("document.documentElement.scrollWidth") == width


def test_one_protein_without_anything(here: Folder) -> None:
    table = VectorTable(np.float32([[1, 2]]), pd.DataFrame({"protein": ["ACT1"]}), {})
    write_map(here.path / "one.html", table)
    page = here.browser.open_page((here.path / "one.html").as_uri())
    page.click(*place(page, "ACT1"))
    page.wait("document.querySelector('#details h2').textContent === 'ACT1'")
    page.run("location.hash = ''")
    page.wait("document.querySelectorAll('#details .notes li').length === 2")
    assert (page.problems, page.requests) == ([], [])


def large(path: Path, count: int) -> str:
    """A page of so many proteins of 17 classes, in clouds; says how large it is."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 17, count)
    features = random.normal(size=(17, 8))[kinds] + 0.4 * random.normal(size=(count, 8))
    names = [f"P{i:05}" for i in range(count)]
    metadata = pd.DataFrame({"protein": names, "place": [f"class {kind}" for kind in kinds]})
    terms = {
        f"term {i}": frozenset(map(str, random.choice(names, 40, replace=False)))
        for i in range(count // 10)
    }
    terms |= {  # which name regions
        f"kind {kind}": frozenset(random.choice(np.array(names)[kinds == kind], 40).tolist())
        for kind in range(17)
    }
    write_map(
        path,
        VectorTable(features.astype(np.float32), metadata, {}),
        standards=[Standard("terms", terms)],
        projection="pca",
    )
    return (
        f"{count:,} proteins, 17 classes, {len(terms):,} terms: {path.stat().st_size / 1e6:.2f} MB"
    )


def measured(page: Page) -> dict[str, float]:
    """Milliseconds from frame to frame while the map is dragged, and of a keystroke of a search."""
    page.run(
        "window.times = []; const tick = now => { times.push(now); requestAnimationFrame(tick); };"
        "requestAnimationFrame(tick)"
    )
    page.mouse("moved", 600, 400)
    page.mouse("pressed", 600, 400)
    for step in range(60):
        page.mouse("moved", 600 + 4 * (step % 30), 400 + 2 * (step % 20), buttons=1)
    page.mouse("released", 600, 400)
    frames = np.diff(page.run("times"))
    drawing = page.run(
        "(() => { const field = document.getElementById('search'), times = [];"
        "for (const text of "
        "['p', 'p0', 'p01', 'p012', 'term', 'term 1', 'zzz', '']) {"
        "const start = performance.now();"
        "field.value = text; field.dispatchEvent(new Event('input'));"
        "times.push(performance.now() - start); } return times; })()"
    )
    return {
        "frame": statistics.median(frames.tolist()),
        "keystroke": statistics.median(drawing),
        "slowest keystroke": max(drawing),
    }


@pytest.mark.parametrize(
    "count", [4000, pytest.param(30_000, marks=pytest.mark.long)], ids=["4000", "30000"]
)
def test_many_proteins(here: Folder, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = here.path / f"{count}.html"
    told = large(path, count)
    page = here.browser.open_page(path.as_uri())
    times = measured(page)
    with capsys.disabled():
        print(f"\n{told}; " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in times.items()))
    type_in(page, "p00012")
    assert texts(page, "tbody th")[:2] == ["P00012"]
    assert (page.problems, page.requests) == ([], [])
    assert path.stat().st_size < 25_000_000
