"""Pages in a browser: without errors, requests or faults of access, for ordinary and odd input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from chromium import Browser, Page, chromium
from made_run import make_evaluation, make_run
from test_report_map_page import ODD_NAMES
from test_report_plates import screen, write_predictions

import tfrecords
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report.map_page import write_map
from deeploc_tf.report.run_page import write_report
from tfrecords.schema import Crop, Schema

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")

ODD = [name for name in ODD_NAMES if len(name.splitlines()) == 1]  # what a class may be called
ODD_CLASSES = (*ODD, *(f"class {i}" for i in range(60 - len(ODD))))


class Folder(NamedTuple):
    """Where the pages are."""

    browser: Browser
    path: Path


def make_odd_run(folder: Path) -> None:
    """Sixty classes, some with odd names, which are the names of proteins and channels, too."""
    folder.mkdir()
    schema = Schema(
        image_shape=(9, 12, 2), dtype="float32", channels=ODD_NAMES[:2], has_mask=False,
        label_names=ODD_CLASSES, metadata={"field": "text"},
    )  # fmt: skip
    random = np.random.default_rng(0)
    crops = [
        Crop(
            key=f"{ODD_CLASSES[i % 60]}/{i}",
            image=random.random((9, 12, 2), "float32"),
            labels=(i % 60,),
            protein=ODD_CLASSES[i % 60],
            metadata={"field": "1"},
        )
        for i in range(240)
    ]
    entries = [
        tfrecords.Entry(crop.key, "test" if i < 180 else "train", crop.labels, crop.protein)
        for i, crop in enumerate(crops)
    ]
    make_run(folder / "run", tfrecords.write_records(folder / "records", schema, entries, crops))
    make_evaluation(folder / "evaluation", folder / "records")


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, write_screen: Callable[..., Any]
) -> Iterator[Folder]:
    folder = tmp_path_factory.mktemp("pages")
    with chromium(folder) as browser:
        names = [*ODD_NAMES, *(f"AAC{i}" for i in range(20))]
        features = np.random.default_rng(0).normal(size=(len(names), 4)).astype(np.float32)
        metadata = pd.DataFrame(
            {"protein": names, "place": [f"class {i % 17}" for i in range(len(names))]}
        )
        profiles = VectorTable(features, metadata, {"kind": "profiles"})
        standard = Standard(
            "</script>", {t: frozenset(names[i : i + 8]) for i, t in enumerate("ab")}
        )
        write_screen(folder / "crops")
        write_map(folder / "map.html", profiles, records=folder / "crops", standards=[standard],
                  projection="pca")  # fmt: skip
        (folder / "plain").mkdir()
        manifest = write_screen(folder / "plain" / "records", size=12)
        make_run(folder / "plain" / "run", manifest)
        make_evaluation(folder / "plain" / "evaluation", folder / "plain" / "records")
        compare([("ours", profiles)], [standard]).write(folder / "scores")
        write_report(
            folder / "report.html",
            folder / "plain" / "run",
            evaluation=folder / "plain" / "evaluation",
            records=folder / "plain" / "records",
            benchmarks=[folder / "scores"],
            map_page=folder / "map.html",
            cells=write_predictions(folder / "calls", screen(2)),
            controls={"protein": ["WT"]},
        )
        make_odd_run(folder / "odd")
        write_report(
            folder / "odd.html",
            folder / "odd" / "run",
            evaluation=folder / "odd" / "evaluation",
            records=folder / "odd" / "records",
            title=ODD_NAMES[0],
        )
        write_report(folder / "bare.html", folder / "odd" / "run")
        yield Folder(browser, folder)


PAGES = ("report", "odd", "bare", "map")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_fits_and_asks_nobody(here: Folder, name: str, width: int) -> None:
    page = here.browser.open_page((here.path / f"{name}.html").as_uri(), width)
    assert (page.problems, page.requests) == ([], [])
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run("getComputedStyle(document.body).color") == "rgb(29, 36, 48)"  # has its style
    assert page.run("document.querySelectorAll('[onerror], header img').length") == 0
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
    assert page.run(broken) == 0


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(here: Folder, name: str, width: int) -> None:
    page = here.browser.open_page((here.path / f"{name}.html").as_uri(), width)
    assert page.faults() == []


def seen(page: Page, selector: str) -> list[str]:
    """Texts for those who do not see of the pictures in an element that are shown."""
    found: list[str] = page.run(
        f"[...document.querySelectorAll('{selector} img')].filter(i => i.offsetParent)"
        ".map(i => i.alt)"
    )
    return found


def test_a_number_of_the_matrix_opens_its_crops(here: Folder) -> None:
    page = here.browser.open_page((here.path / "report.html").as_uri())
    assert seen(page, ".behind") == []
    links = page.run("[...document.querySelectorAll('.matrix a')].map(a => a.title)")
    assert len(links) > 3
    for number in (0, len(links) - 1):
        page.run(f"document.querySelectorAll('.matrix a')[{number}].click()")
        page.frames()
        true, said = links[number].partition(":")[0].split(" called ")
        crops = seen(page, ".behind")
        assert crops != []
        assert all(alt.endswith(f"{true}, called {said}") for alt in crops)
    page.run("document.querySelector('.behind:target a').click()")
    page.frames()
    assert seen(page, ".behind") == []


def test_the_map_is_opened_from_the_report(here: Folder) -> None:
    page = here.browser.open_page((here.path / "report.html").as_uri())
    page.run("document.querySelector('.links a').click()")
    page.wait("document.title === 'Map of proteins'")
