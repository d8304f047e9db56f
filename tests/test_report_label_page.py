"""First labels: what is on the page, in which order, and labels of proteins by a standard."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shared import TINY_OPTIONS, run_cli
from test_report_map_page import ODD_NAMES, content_of

from deeploc_tf.names import tidy
from deeploc_tf.profiles.tables import VectorTable, write_table
from deeploc_tf.report.label_page import write_label_page
from deeploc_tf.text_tables import read_table
from tfrecords.reader import read_crops

WriteScreen = Callable[..., Any]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, write_screen: WriteScreen) -> Path:
    """47 crops of three classes in three splits."""
    path = tmp_path_factory.mktemp("label") / "records"
    write_screen(path)
    return path


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory: pytest.TempPathFactory, write_screen: WriteScreen) -> Path:
    path = tmp_path_factory.mktemp("label") / "records"
    write_screen(path, {"train": (9,), "test": (5,)}, label_names=())
    return path


def table_of(keys: list[str], values: list[float]) -> VectorTable:
    features = np.float32(values).reshape(-1, 1)
    return VectorTable(features, pd.DataFrame({"key": keys}), {"kind": "embeddings"}, ("a",))


def test_every_crop_is_on_the_page_once_and_in_one_cluster(tmp_path: Path, records: Path) -> None:
    written = write_label_page(tmp_path / "label.html", records)
    content = content_of(written.path)
    keys = [crop.key for _, crop in read_crops(records)]
    assert sorted(content["keys"]) == sorted(keys)
    assert sorted(row for rows in content["groups"] for row in rows) == list(range(len(keys)))
    sizes = list(map(len, content["groups"]))
    assert sizes == sorted(sizes, reverse=True)
    assert content["classes"] == ["cytoplasm", "mitochondrion", "nucleus"]
    assert (written.num_crops, written.num_total) == (47, 47)
    assert written.num_clusters == len(sizes) > 1
    assert written.num_bytes == written.path.stat().st_size
    first = written.path.read_bytes()
    write_label_page(written.path, records)
    assert written.path.read_bytes() == first


def test_more_crops_are_the_same_and_others(tmp_path: Path, records: Path) -> None:
    few, many = (
        content_of(write_label_page(tmp_path / "a.html", records, order="random", number=n).path)
        for n in (7, 20)
    )
    assert few["keys"] == many["keys"][:7]
    assert few["images"] == many["images"][:7]
    assert many["groups"] == [list(range(20))]
    assert few["id"] == many["id"]  # both pages share what the browser keeps
    other = content_of(write_label_page(tmp_path / "a.html", records, ["a", "b"]).path)
    assert other["id"] != few["id"]


def test_clusters_are_those_of_the_vectors(tmp_path: Path, records: Path) -> None:
    keys = [crop.key for _, crop in read_crops(records)][::-1]
    values = [float(number % 3) * 100 + number / 100 for number in range(len(keys))]
    path = tmp_path / "cells.parquet"
    write_table(path, table_of(keys, values), ["a"])
    content = content_of(write_label_page(tmp_path / "label.html", records, vectors=path).path)
    value = dict(zip(keys, values, strict=True))
    for rows in content["groups"]:
        assert len({round(value[content["keys"][row]], -2) for row in rows}) == 1
    some = [key for key in keys if key.startswith("test")]
    table = table_of(some, [1.0] * len(some))
    table.metadata["split"] = "test"
    written = write_label_page(tmp_path / "a.html", records, vectors=table)
    assert (written.num_crops, written.num_total) == (11, 11)  # of the split that the table has
    with pytest.raises(ValueError, match="crops"):
        write_label_page(tmp_path / "a.html", records, vectors=table_of(keys[:-1], values[:-1]))
    profiles = VectorTable(np.zeros((1, 1), np.float32), pd.DataFrame({"protein": ["A"]}), {})
    with pytest.raises(ValueError, match="row per cell, and a column 'key'"):
        write_label_page(tmp_path / "a.html", records, vectors=profiles)


def test_vectors_that_are_undefined_or_all_alike_are_one_cluster_or_more(
    tmp_path: Path, records: Path
) -> None:
    keys = [crop.key for _, crop in read_crops(records)]
    for values in ([np.nan] * len(keys), [1.0] * len(keys), [np.inf, *range(len(keys) - 1)]):
        written = write_label_page(tmp_path / "a.html", records, vectors=table_of(keys, values))
        assert sum(map(len, content_of(written.path)["groups"])) == len(keys)


def test_the_least_certain_crops_come_first(tmp_path: Path, records: Path) -> None:
    means = {crop.key: crop.image.mean() for _, crop in read_crops(records)}
    top = max(means.values())

    def model(images: Any, masks: Any) -> dict[str, Any]:
        sure = images.mean(axis=(1, 2, 3)) / top
        return {"probabilities": np.stack([sure, 1 - sure], axis=1)}

    written = write_label_page(
        tmp_path / "label.html", records, order="least-certain", number=10, model=model
    )
    sure = sorted(means, key=lambda key: max(means[key] / top, 1 - means[key] / top))
    assert content_of(written.path)["keys"] == sure[:10]


def test_nothing_of_the_data_is_markup(tmp_path: Path, records: Path) -> None:
    names = [tidy(name) for name in ODD_NAMES]
    written = write_label_page(tmp_path / "label.html", records, names, title=ODD_NAMES[0])
    page = written.path.read_text("utf-8")
    assert content_of(written.path)["classes"] == names
    assert page.count("<script") == 2
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"number": 0}, "1 to 5,000"),
        ({"number": 5001}, "1 to 5,000"),
        ({"order": "certain"}, "order must|`order` must"),
        ({"order": "least-certain"}, "needs a `model`"),
        ({"classes": ["a", "a "]}, "different names"),
        ({"classes": ["a", ""]}, "different names"),
        ({"classes": ["Nucleus", "nucleus"]}, "must differ in more than case"),
        ({"classes": [f"class {i} of many" for i in range(36)]}, "35 at most"),
        ({"path": "label.txt"}, "must end in .html"),
        ({"splits": ["none"]}, "none"),
    ],
)
def test_what_makes_no_page_is_said(
    tmp_path: Path, records: Path, changes: dict[str, Any], said: str
) -> None:
    arguments = {"path": "label.html", "records": records, **changes}
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(ValueError, match=said):
        write_label_page(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_records_without_labels_need_classes(tmp_path: Path, unlabeled: Path) -> None:
    done = run_cli("label", unlabeled, tmp_path / "label.html")
    assert done.exit_code == 1
    assert "--classes nucleus,cytoplasm" in done.output
    done = run_cli(
        *("label", unlabeled, tmp_path / "label.html", "--classes", "a,b", "--split", "test"),
        *("--order", "random", "--quiet"),
    )
    assert done.exit_code == 0, done.output
    assert "5 of 5 crops, 2 classes, 0." in done.output
    assert content_of(tmp_path / "label.html")["classes"] == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--order", "least-certain"], "needs --run"),
        (["--aspect", "C"], "--aspect goes with --from-standard"),
        (["--max-crops", "5001"], "1<=x<=5000"),
        (["--from-standard", "STANDARD"], "must end in .csv"),
        (["--from-standard", "STANDARD", "--order", "random"], "--order goes without"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, unlabeled: Path, words: list[str], said: str
) -> None:
    (tmp_path / "standard.gmt").write_text("er\t\tAAC1\n")
    words = [str(tmp_path / "standard.gmt") if word == "STANDARD" else word for word in words]
    done = run_cli("label", unlabeled, tmp_path / "label.html", "--classes", "a,b", *words)
    assert done.exit_code == 2
    assert said in done.output


def test_help_and_a_page_import_no_tensorflow(tmp_path: Path, records: Path) -> None:
    check = (
        "import sys\nfrom deeploc_tf.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    for words, left in (
        (["label", "--help"], "[]"),
        (["label", str(records), str(tmp_path / "a.html"), "--quiet"], "['numpy']"),
    ):
        command = [sys.executable, "-c", check, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == left, done.stderr


@pytest.mark.slow
def test_a_run_gives_classes_certainty_and_clusters(
    tmp_path: Path, write_screen: WriteScreen
) -> None:
    from deeploc_tf.serving.open_model import open_model

    write_screen(tmp_path / "records", size=10)
    write_screen(tmp_path / "unlabeled", {"test": (9,)}, size=10, label_names=(), seed=3)
    write_screen(tmp_path / "large", {"test": (9,)}, size=12, label_names=())
    done = run_cli("fit", tmp_path / "records", tmp_path / "run", *TINY_OPTIONS, "--quiet")
    assert done.exit_code == 0, done.output
    words = ("--run", tmp_path / "run", "--max-crops", "5", "--quiet")
    for order, clusters in (("least-certain", ""), ("clusters", " in 2 clusters")):
        page = tmp_path / f"{order}.html"
        done = run_cli("label", tmp_path / "unlabeled", page, "--order", order, *words)
        assert done.exit_code == 0, done.output
        assert f"5 of 9 crops{clusters}, 3 classes" in done.output
    keys, images, masks = zip(
        *((crop.key, crop.image, crop.mask) for _, crop in read_crops(tmp_path / "unlabeled")),
        strict=True,
    )
    assert set(masks) == {None}
    said = open_model(tmp_path / "run")(np.stack(images))["probabilities"].max(axis=1)
    least = [keys[row] for row in np.argsort(said, kind="stable")[:5]]
    assert content_of(tmp_path / "least-certain.html")["keys"] == least
    done = run_cli("label", tmp_path / "large", tmp_path / "a.html", *words)
    assert done.exit_code == 1
    assert "Rebuild the records to match" in done.output


# Of the screen's proteins AAC0 to AAC3.
GMT = "nucleus\t\tAAC0\tAAC1\nER, rough\t\taac1\tAAC2\tABC9\n"


def from_standard(
    records: Path, folder: Path, text: str, *options: str, name: str = "x.gmt"
) -> Any:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "labels.csv").unlink(missing_ok=True)
    return run_cli(
        *("label", records, folder / "labels.csv", "--from-standard", folder / name),
        *("--quiet", *options),
    )


def test_proteins_have_the_labels_of_a_standard(tmp_path: Path, unlabeled: Path) -> None:
    done = from_standard(unlabeled, tmp_path, GMT.replace("aac1", "AAC1"))
    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "labels.csv")
    assert table.to_dict("list") == {
        "protein": ["AAC0", "AAC2"],
        "label": ["nucleus", "ER, rough"],
    }
    assert "2 of 4 proteins, 2 labels" in done.output
    assert "left out with several terms: 1 ('AAC1'); --label-separator" in done.output
    assert "left out without a term: 1 ('AAC3')" in done.output


def test_several_terms_and_chosen_terms(tmp_path: Path, unlabeled: Path) -> None:
    text = GMT.replace("aac1", "AAC1")
    done = from_standard(unlabeled, tmp_path, text, "--label-separator", "|", "--label-key", "orf")
    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "labels.csv")
    assert dict(zip(table["orf"], table["label"], strict=True)) == {
        "AAC0": "nucleus",
        "AAC1": "ER, rough|nucleus",
        "AAC2": "ER, rough",
    }
    done = from_standard(unlabeled, tmp_path, text, "--classes", "nucleus")
    assert read_table(tmp_path / "labels.csv")["protein"].tolist() == ["AAC0", "AAC1"]
    done = from_standard(unlabeled, tmp_path, text, "--classes", "nuclei")
    assert (done.exit_code, "Did you mean 'nucleus'" in done.output) == (1, True), done.output
    done = from_standard(unlabeled, tmp_path, text, "--label-separator", ", ")
    assert (done.exit_code, "'ER, rough'" in done.output) == (1, True)


def test_a_table_of_labels_does_as_well_and_no_table_is_replaced(
    tmp_path: Path, unlabeled: Path
) -> None:
    text = "gene,localization\nAAC0,ER\nAAC1,ER\nAAC2,bud\n"
    done = from_standard(unlabeled, tmp_path, text, name="x.csv")
    assert done.exit_code == 0, done.output
    assert read_table(tmp_path / "labels.csv")["label"].tolist() == ["ER", "ER", "bud"]
    done = run_cli(
        *("label", unlabeled, tmp_path / "labels.csv", "--from-standard", tmp_path / "x.csv"),
    )
    assert (done.exit_code, "must not exist yet" in done.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("er\t\taac0\tAAC1\n", "'AAC0'.*'aac0'"),  # may be one protein
        ("er\t\tXXX1\tXXX2\n", "x"),
        ("er\t\tAAC0\nbud\t\tAAC0\n", "1 with several"),
    ],
)
def test_standards_that_label_nothing(
    tmp_path: Path, unlabeled: Path, text: str, said: str
) -> None:
    done = from_standard(unlabeled, tmp_path, text)
    assert done.exit_code == 1, done.output
    assert re.search(said, done.output), done.output
    assert not (tmp_path / "labels.csv").exists()
