"""Names that steer, end or break what shows them: in pages, scripts and pictures."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from made_run import make_evaluation, make_run
from shared import run_cli
from test_report_map_page import content_of

from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.names import printable
from deeploc_tf.profiles.tables import VectorTable, write_table
from deeploc_tf.report.crops import crop_sheet
from deeploc_tf.report.curves import average_precisions, confusion_matrix, precision_recall
from deeploc_tf.report.drawing import picture
from deeploc_tf.report.function_curves import function_curves
from deeploc_tf.report.page import Section, write_page
from deeploc_tf.report.script_page import script_page
from deeploc_tf.text_tables import csv_bytes
from tfrecords.manifest import Manifest

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")

HOSTILE = {
    "escape": "a\x1b[2Jb",
    "NUL": "a\0b",
    "next line": "a\x85b",
    "override": "\u202elive",
    "line separator": "a\u2028b",
    "surrogate": "a\udc80b",
    "no character": "a\ufffeb",
    "math": r"$\frac{$",
    "dollar": "$",
    "script": "</script><script>alert(1)</script>",
    "comment": "--><!--",
    "section": "]]>",
    "entity": "&lt;&#x202e;",
    "template": "{{ 7 * 7 }}{% raw %}${title}",
    "unshown": "_no_legend",
}
BAD = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
each_name = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)


def drawn(figure: object) -> str:
    """A figure in both forms; gives the text of the SVG, which is well-formed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of glyphs that no font has
        assert picture(figure, "png")  # type: ignore[arg-type]
        svg = picture(figure, "svg")  # type: ignore[arg-type]
    ElementTree.fromstring(svg)
    return svg.decode()


def test_pictures() -> None:
    curve = pd.DataFrame({"epoch": [0, 1], "average_precision": [0.1, 0.2]})
    curves = pd.concat(curve.assign(standard="s", method=name) for name in HOSTILE.values())
    crops = {name: np.zeros((1, 8, 8, 2)) for name in list(HOSTILE.values())[:6]}
    for figure in (function_curves(curves), crop_sheet(crops)):
        assert not BAD.search(drawn(figure))


def test_classes_on_the_axes_of_a_user(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    names = [HOSTILE[key] for key in ("override", "math", "dollar", "script", "comment")]
    table = pd.DataFrame(np.eye(5, dtype=int), names, names)
    (tmp_path / "confusion.csv").write_bytes(csv_bytes(table, index=True))
    assert not BAD.search(drawn(confusion_matrix(tmp_path)))
    sheet = Figure()
    axes = sheet.add_subplot()
    axes.set_title("$x^2$")
    confusion_matrix(tmp_path, axes)
    sheet.savefig(io.BytesIO(), format="svg")  # without our style
    assert [label.get_text() for label in axes.get_xticklabels()] == names


@each_name
def test_pages(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({name: [name]}, index=pd.Index([name], name=name))
    section = Section(name, name, table, caption=name, links={name: name}, folded=name)
    write_page(tmp_path / "p.html", name, [section] * 3, subtitle=name)
    page = (tmp_path / "p.html").read_text("utf-8")
    assert not BAD.search(page)
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(page)
    assert texts.count(printable(name)) >= 20
    assert "<script" not in page


@each_name
def test_pages_with_a_script(name: str) -> None:
    page = script_page("map_page", name, {"proteins": [name]}).decode()
    assert not BAD.search(page)
    assert page.count("<script") == 2
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    assert json.loads(found[1]) == {"proteins": [name]}


def test_a_benchmark_and_a_map_with_such_names(tmp_path: Path) -> None:
    odd = HOSTILE.keys() - {"surrogate", "line separator", "NUL"}
    names = [*(HOSTILE[key] for key in sorted(odd)), *"ABCDEFGH"]
    features = np.random.default_rng(0).normal(size=(len(names), 4)).astype(np.float32)
    profiles = VectorTable(features, pd.DataFrame({"protein": names}), {"kind": "profiles"})
    terms = {HOSTILE["script"]: frozenset(names[:5]), HOSTILE["math"]: frozenset(names[5:12])}
    methods = [(HOSTILE["override"], profiles), (HOSTILE["dollar"], profiles)]
    compare(methods, [Standard(HOSTILE["escape"], terms)]).write(tmp_path / "scores")
    for figure in (precision_recall(tmp_path / "scores"), average_precisions(tmp_path / "scores")):
        assert not BAD.search(drawn(figure))
    write_table(tmp_path / "p.parquet", profiles, list("abcd"))
    title = HOSTILE["override"]
    done = run_cli(
        "map",
        tmp_path / "p.parquet",
        tmp_path / "map.html",
        "--title",
        title,
        "--projection",
        "pca",
    )
    assert done.exit_code == 0, done.output
    assert not BAD.search((tmp_path / "map.html").read_text("utf-8"))
    assert set(content_of(tmp_path / "map.html")["proteins"]) == set(names)


def test_a_report_with_such_names(tmp_path: Path, write_screen: Callable[..., Manifest]) -> None:
    labels = [HOSTILE[key] for key in ("script", "math", "comment", "template")]
    splits = {"train": (2, 2, 2, 2), "test": (2, 2, 2, 2)}
    make_run(tmp_path / "run", write_screen(tmp_path / "r", splits, size=8, label_names=labels))
    make_evaluation(tmp_path / "e", tmp_path / "r")
    (tmp_path / f"{HOSTILE['override']}.html").touch()
    done = run_cli(
        *("report", tmp_path / "run", tmp_path / "report.html"),
        *("--evaluation", tmp_path / "e", "--records", tmp_path / "r"),
        *("--map", tmp_path / f"{HOSTILE['override']}.html"),
    )
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not BAD.search(page)
    assert "<script" not in page
