"""The interactive map: what is on the page, and that nothing of the data is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.standards import Standard, StandardError
from deeploc_tf.profiles.space import nearest, search_space
from deeploc_tf.profiles.tables import VectorTable, write_table
from deeploc_tf.report.drawing import MissingExtraError
from deeploc_tf.report.map_crops import protein_crops
from deeploc_tf.report.map_page import write_map

ODD_NAMES = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"quoted\", with 'both'",
    "a&amp;b &lt;",
    "\U0001f9ec\u200d\U0001f52c",
    "\u05d7\u05dc\u05d1\u05d5\u05df",  # right to left
    "${title} $title $$",
    "\u2028\u2029\\u003c",
    "100%",
    "ADE5,7",
]
WriteScreen = Callable[..., Any]


def table_of(names: list[str], **columns: Any) -> VectorTable:
    features = np.random.default_rng(len(names)).normal(size=(len(names), 6)).astype(np.float32)
    metadata = pd.DataFrame({"protein": names, **columns})
    return VectorTable(features, metadata, {"kind": "profiles"}, tuple("abcdef"))


class Reader(HTMLParser):
    """Tags and attributes of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inside.append((self.tags[-1][0], data))


def content_of(path: Path) -> dict[str, Any]:
    found = re.search(
        '<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S
    )
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def numbers(packed: str, dtype: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(packed), dtype)


def test_the_page_has_proteins_places_columns_and_neighbors(tmp_path: Path) -> None:
    names = [f"P{i}" for i in range(20)]
    table = table_of(
        names,
        place=["ER", "", "Golgi", "ER"] * 5,
        num_crops=np.arange(20),
        spread=np.float32([0.1] * 19 + [np.nan]),
    )
    written = write_map(tmp_path / "map.html", table, projection="pca", num_neighbors=3)
    content = content_of(written.path)
    assert content["proteins"] == names
    places = numbers(content["places"], "<f4").reshape(20, 2)
    assert np.isfinite(places).all()
    assert places.std() > 0
    place, num_crops, spread = content["columns"]
    assert place["classes"] == ["ER", "Golgi"]
    assert numbers(place["codes"], "<i4").tolist() == [0, -1, 1, 0] * 5
    assert numbers(num_crops["numbers"], "<f8").tolist() == list(range(20))
    assert numbers(spread["numbers"], "<f8")[0] == 0.1  # and not that of float32
    assert np.isnan(numbers(spread["numbers"], "<f8")[19])
    space = search_space(table.features.copy(), names, names)
    rows, likeness = nearest(space, np.arange(20), 3)
    assert numbers(content["neighbors"]["rows"], "<i4").reshape(20, 3).tolist() == rows.tolist()
    assert numbers(content["neighbors"]["similarities"], "<f4") == pytest.approx(likeness.ravel())
    assert written.num_bytes == written.path.stat().st_size
    assert (written.num_proteins, written.num_crops) == (20, 0)
    assert [note.split(":")[0] for note in written.notes] == [
        "No cells are shown",
        "No terms are shown",
    ]
    assert content["notes"] == list(written.notes)


def test_nothing_of_the_data_is_markup_and_the_policy_allows_one_script(tmp_path: Path) -> None:
    evil = ODD_NAMES[0]
    table = table_of(ODD_NAMES, **{evil: ODD_NAMES[::-1]})
    standard = Standard(evil, {evil: frozenset(ODD_NAMES[:3]), "b": frozenset(ODD_NAMES[2:])})
    path = tmp_path / "map.html"
    write_map(path, table, standards=[standard], projection="pca", title=evil)
    assert content_of(path)["proteins"] == ODD_NAMES
    page = Reader(path.read_text("utf-8"))
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == [
        "application/json",
        None,
    ]
    assert not {tag for tag, _ in page.tags} & {"img", "link", "iframe", "object", "form", "base"}
    attributes = {name for _, found in page.tags for name in found}
    assert not {name for name in attributes if name.startswith("on")} | attributes & {
        *("src", "href", "style", "action", "srcset")
    }
    (policy,) = (
        found["content"] or ""
        for tag, found in page.tags
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag in ("script", "style"):
        text = [text for kind, text in page.inside if kind == tag][-1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    script = page.inside[-1][1]
    assert not re.search(
        r"\b(eval|Function|innerHTML|outerHTML|insertAdjacentHTML|fetch|XMLHttpRequest|import)\b",
        re.sub(r"//.*", "", script),
    )
    assert "http" not in script.replace('"http://www.w3.org/2000/svg"', "")  # a name, no address


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(
    "features", [[[1, 2]], [[0, 0]], [[np.nan, 1], [1, 2]], [[1, 2], [1, 2], [0, 0], [np.inf, 0]]]
)
def test_few_and_odd_profiles_still_make_a_page(
    features: list[list[float]], center: bool, tmp_path: Path
) -> None:
    names = [f"P{i}" for i in range(len(features))]
    table = VectorTable(np.float32(features), pd.DataFrame({"protein": names}), {})
    written = write_map(tmp_path / "map.html", table, projection="pca", center=center)
    content = content_of(written.path)
    places = numbers(content["places"], "<f4").reshape(-1, 2)
    good = np.isfinite(features).all(axis=1) & np.any(features, axis=1)
    if not center:
        assert np.isfinite(places).all(axis=1).tolist() == good.tolist()
        near = numbers(content["neighbors"]["rows"], "<i4").reshape(len(names), -1)
        assert set(near[near >= 0]) <= set(np.flatnonzero(good))
        assert ("have no place" in " ".join(written.notes)) == (not good.all())


@pytest.mark.parametrize("shape", [(2, 3), (300, 40), (60, 900)])
def test_the_sketch_has_the_similarities_of_all_pairs(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    basis = random.normal(size=(12, shape[1]))
    features = random.normal(size=(shape[0], 12)) @ basis + 0.1 * random.normal(size=shape)
    features = np.vstack([features, np.zeros(shape[1])]).astype(np.float32)
    names = [f"P{i}" for i in range(len(features))]
    table = VectorTable(features, pd.DataFrame({"protein": names}), {})
    write_map(tmp_path / "map.html", table, projection="pca")
    sketch = content_of(tmp_path / "map.html")["sketch"]
    codes = numbers(sketch["codes"], "i1").reshape(len(names), sketch["size"])
    about = codes * numbers(sketch["scales"], "<f4").astype(float)
    unit = features[:-1] / np.linalg.norm(features[:-1], axis=1, keepdims=True)
    error = abs(about[:-1] @ about[:-1].T - unit @ unit.T)
    assert np.quantile(error, 0.99) < 0.03
    assert np.quantile(error, 0.99) == pytest.approx(sketch["error"], rel=0.5, abs=1e-3)
    assert sketch["size"] <= min(64, shape[1])
    assert not codes[-1].any()


def test_tables_without_a_row_and_with_a_protein_twice_are_refused(tmp_path: Path) -> None:
    for names, said in (([], "must have a protein"), (["A", "A "], "must have one row")):
        with pytest.raises(ValueError, match=said):
            write_map(tmp_path / "map.html", table_of(names))
    with pytest.raises(ValueError, match=r"end in .html. Received: 'map.parquet'"):
        write_map(tmp_path / "map.parquet", table_of(["A", "B"]))
    assert not list(tmp_path.iterdir())


def test_terms_and_aliases_meet_by_the_table_of_identifiers(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text("YAL001C\tTFC3\nTSV115\tTFC3\nYAL002W\tVPS8\n")
    identifiers = read_identifiers(tmp_path / "names.tsv")
    standard = Standard(
        "complexes",
        {"GO:1": frozenset({"TFC3", "VPS8"}), "GO:2": frozenset({"VPS8"})},
        {"GO:1": "TFIIIC", "GO:2": ""},
    )
    write_map(
        tmp_path / "map.html",
        table_of(["YAL001C", "YAL002W", "other"]),
        standards=[standard],
        identifiers=identifiers,
        projection="pca",
    )
    content = content_of(tmp_path / "map.html")
    assert content["aliases"] == {"0": ["TFC3", "TSV115"], "1": ["VPS8"]}
    (terms,) = content["standards"]
    assert (terms["name"], terms["terms"]) == ("complexes", ["GO:2", "TFIIIC"])
    assert numbers(terms["starts"], "<i4").tolist() == [0, 1, 3, 3]
    assert numbers(terms["members"], "<i4").tolist() == [1, 0, 1]
    with pytest.raises(StandardError, match="must be among the proteins of 'complexes'"):
        write_map(tmp_path / "no.html", table_of(["A"]), standards=[standard], projection="pca")


def test_a_description_that_all_terms_have_names_none(tmp_path: Path) -> None:
    terms = {"one": frozenset({"A", "B"}), "two": frozenset({"B"})}
    standard = Standard("sim", terms, dict.fromkeys(terms, "sim"))
    write_map(tmp_path / "map.html", table_of(["A", "B"]), standards=[standard], projection="pca")
    assert content_of(tmp_path / "map.html")["standards"][0]["terms"] == ["one", "two"]


def test_crops_are_green_and_magenta_with_one_contrast(
    write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records")
    names = ["AAC1", "unknown", " AAC3"]
    found = protein_crops(tmp_path / "records", names, 2)
    assert [len(images) for images in found.images] == [2, 0, 2]
    assert found.channels == ("gfp", "rfp")
    assert found.shape == (20, 20)
    assert set(found.labels[::2]) <= {"cytoplasm", "mitochondrion", "nucleus"}
    assert found.labels[1] == ""
    picture = imagecodecs.webp_decode(found.images[0][0])[..., :3].astype(float)
    assert picture.shape == (20, 20, 3)
    # The bar is bright in channel 0 alone: green; channel 1 is noise: magenta, red equals blue.
    assert picture[8:12, 8:12, 1].mean() > 1.5 * picture[:4, :4, 1].mean()
    assert abs(picture[..., 0] - picture[..., 2]).mean() < 12
    again = protein_crops(tmp_path / "records", names, 2)
    assert again.images == found.images
    with pytest.raises(ValueError, match=r"must hold crops of proteins.*'AAC0'.*'other'"):
        protein_crops(tmp_path / "records", ["other"], 2)


def test_large_crops_are_reduced(write_screen: WriteScreen, tmp_path: Path) -> None:
    write_screen(tmp_path / "records", {"train": (2, 2, 0)}, size=100, channels=("gfp",))
    found = protein_crops(tmp_path / "records", ["AAC0"], 9)
    assert found.shape == (50, 50)
    assert found.channels == ("gfp",)
    gray = imagecodecs.webp_decode(found.images[0][0])[..., :3].astype(int)
    assert abs(gray - gray[..., :1]).max() <= 3


def test_the_page_keeps_to_its_size(write_screen: WriteScreen, tmp_path: Path) -> None:
    write_screen(tmp_path / "records")
    table = table_of([f"AAC{i}" for i in range(4)])
    settings: dict[str, Any] = {"records": tmp_path / "records", "projection": "pca"}
    whole = write_map(tmp_path / "whole.html", table, crops_per_protein=6, **settings)
    bare = write_map(tmp_path / "bare.html", table, crops_per_protein=0, **settings)
    assert (whole.num_crops, bare.num_crops) == (24, 0)
    assert content_of(whole.path)["columns"][-1]["name"] == "label in the records"
    room = (whole.num_bytes + bare.num_bytes) // 2
    part = write_map(tmp_path / "part.html", table, crops_per_protein=6, max_bytes=room, **settings)
    assert bare.num_bytes < part.num_bytes <= room
    counts = [len(images) for images in content_of(part.path)["crops"]["images"]]
    assert max(counts) - min(counts) <= 1
    assert 0 < sum(counts) == part.num_crops < 24
    assert f"{sum(counts)} of 24 crops are shown" in part.notes[-1]
    with pytest.raises(ValueError, match=r"must have .* bytes at most.* without a crop"):
        write_map(tmp_path / "none.html", table, max_bytes=bare.num_bytes - 500, **settings)
    assert not (tmp_path / "none.html").exists()


def test_without_umap_it_is_tsne(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    asked = []

    def places(features: np.ndarray[Any, Any], projection: str) -> np.ndarray[Any, Any]:
        asked.append(projection)
        return np.zeros((len(features), 2))

    table = table_of([f"P{i}" for i in range(20)])
    with monkeypatch.context() as patched:
        patched.setattr("deeploc_tf.report.map_page.positions", places)
        write_map(tmp_path / "map.html", table)
    assert asked == ["tsne"]
    assert content_of(tmp_path / "map.html")["projection"] == "t-SNE"
    write_map(tmp_path / "few.html", table_of(["A", "B", "C"]))
    assert content_of(tmp_path / "few.html")["projection"] == "principal components"
    with pytest.raises(MissingExtraError, match="pip install 'umap-learn>="):
        write_map(tmp_path / "map.html", table, projection="umap")
    with pytest.raises(ValueError, match="Did you mean 'tsne'"):
        write_map(tmp_path / "map.html", table, projection="t-sne")  # type: ignore[arg-type]


@pytest.mark.long
def test_umap_places_groups_apart(tmp_path: Path) -> None:
    pytest.importorskip("umap", reason="umap-learn is in the extra map")
    from deeploc_tf.report.map import positions

    random = np.random.default_rng(0)
    centers = np.repeat(random.normal(size=(3, 12)), 15, axis=0)
    features = (centers + 0.05 * random.normal(size=centers.shape)).astype(np.float32)
    places = positions(features, "umap")
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(45)
    assert (apart.argmin(axis=1) // 15 == np.arange(45) // 15).all()
    assert (positions(features, "umap") == places).all()


def test_the_command_writes_the_page_and_says_what_it_lacks(
    write_screen: WriteScreen, tmp_path: Path
) -> None:
    write_screen(tmp_path / "records")
    write_table(tmp_path / "profiles.parquet", table_of(["AAC0", "AAC1", "AAC2"]))
    (tmp_path / "terms.gmt").write_text("one\t\tAAC0\tAAC1\n")
    done = run_cli(
        *("map", tmp_path / "profiles.parquet", tmp_path / "map.html", "--projection", "pca"),
        *("--records", tmp_path / "records", "--standard", tmp_path / "terms.gmt"),
        *("--crops-per-protein", 2, "--title", "Mine", "--quiet"),
    )
    assert done.exit_code == 0, done.stderr
    assert re.search(r"map.html: 3 proteins, 6 cells, 0\.\d MB", done.stdout)
    content = content_of(tmp_path / "map.html")
    assert (content["title"], content["source"]) == ("Mine", "profiles.parquet")
    assert [standard["name"] for standard in content["standards"]] == ["terms"]
    done = run_cli("map", tmp_path / "profiles.parquet", tmp_path / "map.h5")
    assert done.exit_code == 1
    assert "must end in .html" in done.stderr


def test_records_are_read_without_tensorflow(write_screen: WriteScreen, tmp_path: Path) -> None:
    write_screen(tmp_path / "records", {"train": (2, 2, 0)})
    write_table(tmp_path / "profiles.npz", table_of(["AAC0", "AAC1"]))
    code = (
        "import sys; from deeploc_tf import write_map; "
        "print(write_map('map.html', 'profiles.npz', records='records', projection='pca')"
        ".num_crops, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["2", "False"], done.stderr
