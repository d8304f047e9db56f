"""The page for ML engineers is run as it stands."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import deeploc_tf
from deeploc_tf.cli import COMMANDS
from tfrecords.schema import Crop, Schema
from tfrecords.writer import Entry, write_records

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
# Graphs of three blocks, an optimizer, averages and eight views more take a minute.
LESS = {
    'image_dtype="uint16", width=0.1, dense_units=(32, 32)': ", last_block=False",
    "epochs=2, batch_size=8": ", last_block=False, optimizer='sgd', ema_momentum=0, "
    "test_time='none'",
}
ROW = re.compile(r"^\| `([\w-]+)` \|(.*)\|(.*)\|$", re.MULTILINE)


def test_each_command_has_a_function() -> None:
    rows = {command: cells for command, *cells in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert list(rows) == list(COMMANDS)
    for command, cells in rows.items():
        names = [re.findall(r"`(\w+)`", cell) for cell in cells]
        assert any(names), command
        assert {*names[0], *names[1]} <= set(deeploc_tf.__all__), command


@pytest.mark.slow
def test_each_public_function_has_an_example() -> None:
    for name in set(deeploc_tf.__all__) - {"__version__"}:
        found = getattr(deeploc_tf, name)
        if inspect.isfunction(inspect.unwrap(found)):
            example = (inspect.getdoc(found) or "").partition("Example:\n")[2]
            code = textwrap.dedent(example)
            assert code.strip(), name
            compile("" if ">>>" in code else code, name, "exec")


@pytest.mark.slow
def test_functions_without_a_network_import_no_tensorflow() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    names = sorted({name for *_, cell in rows for name in re.findall(r"`(\w+)`", cell)})
    program = (
        f"import sys, deeploc_tf\nfound = [getattr(deeploc_tf, name) for name in {names}]\n"
        "print(len(found), *({'tensorflow', 'keras'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"{len(names)}\n", done.stderr


@pytest.mark.slow
def test_every_block_of_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = Schema((64, 64, 2), "uint16", ("gfp", "rfp"), label_names=("cytoplasm", "nucleus"))
    generator = np.random.default_rng(0)
    crops = [
        Crop(
            f"cell/{i}",
            generator.integers(0, 4000, (64, 64, 2), np.uint16),
            None,
            (i % 2,),
            f"P{i % 4}",
        )
        for i in range(24)
    ]
    entries = [
        Entry(c.key, "test" if i < 8 else "train", c.labels, c.protein) for i, c in enumerate(crops)
    ]
    write_records(tmp_path / "records", schema, entries, crops)
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    for given, less in LESS.items():
        assert page.count(given) == 1
        page = page.replace(given, given + less)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 11
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert np.shape(names["vectors"]) == (8, 32)
    assert names["outputs"]["embedding"].shape == (8, 32)  # type: ignore[index]
    assert np.shape(names["cells"].features) == (8, 32)  # type: ignore[attr-defined]
    assert list(names["proteins"].metadata["protein"]) == ["P0", "P1", "P2", "P3"]  # type: ignore[attr-defined]
    summary = names["comparison"].summary("deeploc")  # type: ignore[attr-defined]
    assert list(summary["method"].unique()) == ["deeploc", "median"]
    assert np.shape(names["places"]) == (8, 2)
    assert [batch.shape for batch in names["images"]] == [(64, 64, 2)] * 8  # type: ignore[attr-defined]
    for one, other in zip(names["same"].weights, names["trained"].model.weights, strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(one, other)
    assert (tmp_path / "results" / "scores.json").exists()
    assert all(
        (tmp_path / name).exists() for name in ("training.png", "precision_recall.svg", "map.png")
    )
