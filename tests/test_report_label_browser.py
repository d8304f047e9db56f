"""First labels in a browser: keys, steps back, tables, and records made of what was labeled."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from chromium import Browser, Page, chromium
from shared import run_cli
from test_report_map_page import content_of

from deeploc_tf.report.label_page import write_label_page
from deeploc_tf.text_tables import read_table
from tfrecords.manifest import read_manifest
from tfrecords.reader import read_crops

CLASSES = ["cytoplasm", "mitochondrion", '</script><b>, "quoted"']
DOWNLOADED = "labels.csv"
_times = itertools.count(1)  # that a page was loaded anew


class Folder(NamedTuple):
    """Where the browser puts its downloads, and the page."""

    browser: Browser
    path: Path
    page: Path
    groups: list[list[str]]


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, write_screen: Callable[..., Any]
) -> Iterator[Folder]:
    folder = tmp_path_factory.mktemp("label")
    with chromium(folder) as browser:
        write_screen(folder / "records", {"train": (20,), "test": (10,)}, label_names=())
        page = folder / "a page.html"
        write_label_page(page, folder / "records", CLASSES)
        content = content_of(page)
        groups = [[content["keys"][row] for row in rows] for rows in content["groups"]]
        yield Folder(browser, folder, page, groups)


@pytest.fixture
def page(here: Folder) -> Iterator[Page]:
    """The page at 1280 pixels, which keeps nothing of the test before."""
    page = here.browser.open_page(here.page.as_uri())
    page.run("localStorage.clear()")
    again(here, page)
    yield page
    assert page.problems == []
    assert page.requests == []


def again(here: Folder, page: Page) -> None:
    """Load the page anew."""
    number = next(_times)
    page.call("Page.navigate", url=f"{here.page.as_uri()}?{number}")
    page.wait(f"location.search === '?{number}' && document.readyState === 'complete'")
    page.frames()


def press(page: Page, key: str, code: str = "", *, shift: bool = False) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call(
            *("Input.dispatchKeyEvent",),
            type=kind,
            key=key,
            code=code or (f"Digit{key}" if key.isdigit() else key),
            modifiers=8 * shift,
        )


def labels(page: Page) -> dict[str, str]:
    """Key -> label of the crops of the group that is shown, and what the browser keeps."""
    shown: list[list[str]] = page.run(
        "[...document.querySelectorAll('#crops button')].map(e => [e.title, e.dataset.mark])"
    )
    kept = dict(
        json.loads(page.run("Object.entries(localStorage).map(([key, value]) => value)[0] || '[]'"))
    )
    assert all(kept.get(key, "") == mark for key, mark in shown)
    return kept


def current(page: Page) -> str:
    key: str = page.run("document.getElementById('name').textContent")
    return key


def said(page: Page) -> str:
    sentence: str = page.run("document.getElementById('status').textContent")
    return sentence


def saved(here: Folder, page: Page) -> Path:
    path = here.path / DOWNLOADED
    path.unlink(missing_ok=True)
    page.run("document.getElementById('save').click()")
    end = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size) and time.monotonic() < end:
        page.frames(1)
    return path


def load(page: Page, path: Path) -> None:
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    found = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=found, files=[str(path)])
    page.wait("document.getElementById('file').files.length === 0")


def test_keys_label_skip_and_undo(here: Folder, page: Page) -> None:
    first, second, third, fourth = here.groups[0][:4]
    assert current(page) == first
    press(page, "2")
    assert current(page) == second
    press(page, "ArrowRight")
    press(page, "&", "Digit1")  # of a French keyboard
    assert labels(page) == {first: CLASSES[1], third: CLASSES[0]}
    assert current(page) == fourth
    press(page, "9")  # no class
    press(page, "b")
    assert page.run("document.getElementById('count').textContent") == "2 of 30 crops labeled"
    press(page, "Backspace")
    assert labels(page) == {first: CLASSES[1]}
    assert current(page) == third
    press(page, "ArrowLeft")
    assert current(page) == second
    press(page, "ArrowLeft")
    press(page, "Delete")
    assert labels(page) == {}
    press(page, "Backspace")
    assert labels(page) == {first: CLASSES[1]}
    press(page, "Backspace")
    press(page, "Backspace")
    assert said(page) == "There is nothing to undo."
    assert labels(page) == {}


def test_the_rest_of_a_cluster_is_one_stroke(here: Folder, page: Page) -> None:
    odd, *rest = here.groups[0]
    press(page, "1")
    press(page, "@", "Digit2", shift=True)
    assert labels(page) == {odd: CLASSES[0], **dict.fromkeys(rest, CLASSES[1])}
    assert current(page) == here.groups[1][0]
    page.run("document.getElementById('undo').click()")
    assert labels(page) == {odd: CLASSES[0]}
    page.run("document.getElementById('whole').click()")
    page.run("document.querySelectorAll('#classes button')[2].click()")
    assert labels(page) == {odd: CLASSES[0], **dict.fromkeys(rest, CLASSES[2])}


def test_labels_survive_a_reload_and_another_browser_takes_the_table(
    here: Folder, page: Page
) -> None:
    for key in "132":
        press(page, key)
    before = labels(page)
    assert len(before) == 3
    again(here, page)
    assert labels(page) == before
    assert said(page) == "3 labels of before, kept by this browser."
    table = saved(here, page)
    page.run("document.getElementById('clear').click()")
    assert labels(page) == {}
    load(page, table)
    assert labels(page) == before
    assert said(page).startswith("3 labels loaded from labels.csv, 3 of crops on this page.")
    assert current(page) == here.groups[0][3]
    press(page, "Backspace")
    assert labels(page) == {}


def test_tables_of_spreadsheets_and_of_other_pages(here: Folder, page: Page) -> None:
    first = here.groups[0][0]
    table = here.path / "edited.csv"
    table.write_text(f'\ufeffwho;Label;KEY\r\nme;" CYTOplasm";{first}\r\n;bud;elsewhere\r\n;;x\r\n')
    load(page, table)
    kept = labels(page)
    assert kept == {first: CLASSES[0], "elsewhere": "bud"}
    assert page.run("document.querySelectorAll('#classes button').length") == 4
    assert read_table(saved(here, page)).to_dict("list") == {
        "key": [first, "elsewhere"],
        "label": [CLASSES[0], "bud"],
    }
    table.write_text("key,label\nelsewhere,'=A1\n")
    load(page, table)
    kept["elsewhere"] = "=A1"
    assert labels(page) == kept
    assert "elsewhere,'=A1\n" in saved(here, page).read_text()
    table.write_text("protein,label\nAAC1,bud\n")
    load(page, table)
    assert "must have the columns key and label. Received: protein, label" in said(page)
    table.write_bytes(b"")
    load(page, table)
    assert "Received: no columns" in said(page)
    assert labels(page) == kept


def test_a_browser_that_keeps_nothing(here: Folder, page: Page) -> None:
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'localStorage', { get() { throw new Error(); } })",
    )
    again(here, page)
    assert "keeps no labels" in said(page)
    press(page, "1")
    assert page.run("document.getElementById('count').textContent") == "1 of 30 crops labeled"


def test_from_the_page_to_records(
    here: Folder, write_crops: Callable[..., Path], tmp_path: Path
) -> None:
    crops = write_crops(cells=3)
    build = (
        *("build-records", crops, "--channels", "gfp,rfp", "--quiet"),
        *("--pattern", "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"),
    )
    done = run_cli(*build[:2], tmp_path / "records", *build[2:], "--test", "field=4")
    assert done.exit_code == 0, done.output
    done = run_cli(
        *("label", tmp_path / "records", tmp_path / "label.html", "--classes", "bud,vacuole"),
        *("--order", "random", "--quiet"),
    )
    assert done.exit_code == 0, done.output
    page = here.browser.open_page((tmp_path / "label.html").as_uri(), 390)
    for key in "1212" * 4:
        press(page, key)
    labeled = labels(page)
    assert len(labeled) == 16
    table = saved(here, page)
    done = run_cli(
        *(*build[:2], tmp_path / "labeled", *build[2:], "--label-table", table),
        *("--label", "label", "--label-key", "key", "--unknown", "skip"),
    )
    assert done.exit_code == 0, done.output
    names = read_manifest(tmp_path / "labeled").schema.label_names
    assert names == ("bud", "vacuole")
    found = {crop.key: names[crop.labels[0]] for _, crop in read_crops(tmp_path / "labeled")}
    assert found == labeled


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_the_page(here: Folder, width: int, scheme: str) -> None:
    page = here.browser.open_page(here.page.as_uri(), width)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.call("Emulation.setEmulatedMedia", features=features)
    assert page.run("document.documentElement.scrollWidth") == width
    press(page, "1")
    page.run("document.querySelector('details').open = true")
    assert page.faults() == []


def test_focus_stays_and_what_people_press_has_a_name(here: Folder, page: Page) -> None:
    page.run("document.querySelector('#crops button').focus()")
    press(page, "PageDown")
    assert current(page) == here.groups[1][0]
    assert page.run("document.activeElement.title") == here.groups[1][0]
    press(page, " ", "Space")  # presses the button, and skips nothing
    assert current(page) == here.groups[1][0]
    nameless = page.run(
        "[...document.querySelectorAll('button, input')].filter(e => "
        "!(e.textContent.trim() || e.ariaLabel || e.labels.length)).map(e => e.outerHTML)"
    )
    assert nameless == []
