"""Pictures of runs and of benchmark results."""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report import curves
from deeploc_tf.report.drawing import COLORS, MissingExtraError, picture

image = pytest.importorskip("matplotlib.image", reason="matplotlib is in the extra report")


def words(figure: Any) -> list[str]:
    """Every text of a picture; matplotlib draws letters as shapes and keeps the text beside."""
    return [
        html.unescape(text.strip())
        for text in re.findall(r"<!--(.*?)-->", picture(figure, "svg").decode())
    ]


def pixels(figure: Any) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    return np.asarray(image.imread(io.BytesIO(picture(figure))))[..., :3]


def share_of(figure: Any, color: str) -> float:
    """How much of a picture has a color, to a hundredth."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float((np.abs(pixels(figure) - wanted) < 0.01).all(axis=-1).mean())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    epochs = np.arange(1, 13)
    history = {"epoch": epochs, "seconds": 2.5, "accuracy": epochs / 20, "loss": 3 / epochs}
    history |= {"val_loss": 4 / epochs, "val_accuracy": epochs / 30}
    pd.DataFrame(history).to_csv(tmp_path / "history.csv", index=False)
    names = ["ER", "Golgi & co", r"nucleus $\2$"]  # no formula
    table = pd.DataFrame([[90, 10, 0], [30, 12000, 0], [0, 0, 0]], names, names)
    table.to_csv(tmp_path / "confusion.csv")
    return tmp_path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    proteins = [f"P{i:02}" for i in range(40)]
    features = np.repeat(random.normal(size=(4, 6)), 10, axis=0) + random.normal(size=(40, 6)) / 2
    standards = [
        Standard("groups", {f"g{k}": frozenset(proteins[10 * k : 10 * k + 10]) for k in range(4)}),
        Standard("1", {f"t{k}": frozenset(proteins[k::5]) for k in range(5)}),
    ]
    metadata = pd.DataFrame({"protein": proteins})
    table = VectorTable(features.astype(np.float32), metadata, {})
    compare([("m", table)], standards, extent=Extent()).write(tmp_path / "results")
    return tmp_path / "results"


def test_training_curves(run: Path) -> None:
    assert {"loss", "accuracy", "epoch", "training", "validation"} <= set(
        words(curves.training_curves(run))
    )
    both = curves.training_curves(run)
    assert share_of(both, COLORS[0]) > 0.001
    assert share_of(both, COLORS[1]) > 0.001
    table = pd.read_csv(run / "history.csv")
    table.iloc[:1, :4].to_csv(run / "history.csv", index=False)  # one epoch, no validation yet
    one = curves.training_curves(run)
    assert 0 < share_of(one, COLORS[0]) < share_of(both, COLORS[0])
    assert share_of(one, COLORS[1]) == 0


def test_confusion_matrix(run: Path) -> None:
    texts = words(curves.confusion_matrix(run))
    assert {"ER", "Golgi & co", r"nucleus $\2$", "90", "30", "12k"} <= set(texts)
    assert f"12,130 crops, accuracy {12090 / 12130:.3f}" in texts
    assert texts.count("0") == 0  # a zero is left blank
    assert share_of(curves.confusion_matrix(run), "#08306B") > 0.005  # .998: the full blue
    counts = pd.read_csv(run / "confusion.csv", index_col=0)
    counts.iloc[:, :2].to_csv(run / "confusion.csv")
    with pytest.raises(ValueError, match=r"same classes in rows and columns.*3 by 2"):
        curves.confusion_matrix(run)


def test_a_large_confusion_matrix_has_colors_only(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(40)]
    pd.DataFrame(7 * np.eye(40, dtype=int), names, names).to_csv(tmp_path / "confusion.csv")
    assert "7" not in words(curves.confusion_matrix(tmp_path))


def test_precision_recall(results: Path) -> None:
    figure = curves.precision_recall(results)
    svg = picture(figure, "svg").decode()
    scores = pd.read_csv(results / "scores.csv", dtype={"standard": str})
    table = pd.read_csv(results / "precision_recall.csv", dtype={"standard": str})
    texts = words(figure)
    for color, (_, numbers) in zip(COLORS, scores.iterrows(), strict=False):
        assert f"{numbers['standard']}, AP {numbers['average_precision']:.3f}" in texts
        lines = re.findall(rf'<path d="([^"]*)"[^>]*style="([^"]*{color.lower()}[^"]*)"', svg)
        # the curve, its prevalence, its entry in the legend
        assert [("dasharray" in style) for _, style in lines] == [False, True, False]
        curve = table[table["standard"] == numbers["standard"]]
        steps = np.diff(curve["recall"], prepend=0) @ curve["precision"]
        assert steps == pytest.approx(numbers["average_precision"])
        heights, (height, _) = ([float(y) for y in path.split()[2::3]] for path, _ in lines[:2])
        ends = curve["precision"].iloc[[0, -1]]
        a_precision = (heights[-1] - heights[0]) / (ends.iloc[1] - ends.iloc[0])
        drawn = ends.iloc[0] + (height - heights[0]) / a_precision
        assert drawn == pytest.approx(numbers["prevalence"], abs=1e-4)


def test_average_precisions(results: Path) -> None:
    texts = words(curves.average_precisions(results))
    assert {"groups", "1", "average precision", "proteins shuffled, ± 3 sd", "prevalence"} <= set(
        texts
    )
    scores = pd.read_csv(results / "scores.csv", index_col=0).loc["groups"]
    assert f"{scores['average_precision']:.3f} ({scores['lift']:.1f} × prevalence)" in texts


def test_average_precisions_without_shuffles(tmp_path: Path) -> None:
    numbers = '{"average_precision": 0.5, "prevalence": 0.1, "lift": 5.0}'
    (tmp_path / "scores.json").write_text(f'{{"standards": {{"s": {numbers}}}}}')
    texts = words(curves.average_precisions(tmp_path))
    assert "0.500 (5.0 × prevalence)" in texts
    assert not [text for text in texts if "shuffled" in text]


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("history.csv", curves.training_curves),
        ("confusion.csv", curves.confusion_matrix),
        ("precision_recall.csv", curves.precision_recall),
        ("scores.json", curves.average_precisions),
    ],
)
def test_files_that_are_not_there_or_are_others(
    tmp_path: Path, name: str, draw: Callable[[Path], bytes]
) -> None:
    with pytest.raises(FileNotFoundError):
        draw(tmp_path)
    for content in ("", "one,two\n1,2\n", "[1, 2]"):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
            draw(tmp_path)


def test_the_same_files_give_the_same_bytes(run: Path, results: Path) -> None:
    for form in ("png", "svg"):
        assert picture(curves.training_curves(run), form) == picture(
            curves.training_curves(run), form
        )
        assert picture(curves.precision_recall(results), form) == picture(
            curves.precision_recall(results), form
        )


@pytest.mark.parametrize(
    "draw",
    [curves.confusion_matrix, curves.precision_recall, curves.average_precisions],
)
def test_a_panel_can_be_drawn_on_axes_of_the_caller(
    run: Path, results: Path, draw: Callable[..., Any]
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4))
    left, right = figure.subplots(1, 2)
    assert draw(run if draw is curves.confusion_matrix else results, ax=right) is figure
    assert right.has_data()
    assert not left.has_data()
    assert not figure.legends  # the legend is inside the panel


def test_other_forms_are_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"'png' or 'svg'.*form='pdf'"):
        picture(curves.training_curves(run), "pdf")  # type: ignore[arg-type]


def test_without_matplotlib_one_sentence_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="pip install 'matplotlib>=") as caught:
        curves.training_curves(run)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, ValueError)  # which the command line turns into exit code 1


def test_the_settings_of_the_user_stay_and_change_nothing(run: Path) -> None:
    import matplotlib as mpl

    before = picture(curves.training_curves(run))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert picture(curves.training_curves(run)) == before
        assert mpl.rcParams["font.size"] == 30


def test_the_room_never_imports_tensorflow_nor_chooses_a_screen() -> None:
    script = (
        "import sys; from deeploc_tf.report import crops, curves, map, page; import numpy as np\n"
        "assert 'matplotlib' not in sys.modules\n"
        "crops.crop_sheet({'ER': np.ones((1, 4, 4, 2))})\n"
        "bad = ('tensorflow', 'keras', 'matplotlib.pyplot')\n"
        "sys.exit(any(name in sys.modules for name in bad))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
