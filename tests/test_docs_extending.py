"""The package on the page about extending can be installed, and its parts are found by name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
NEW = ("logarithm", "pooled", "small", "squares", "lion", "plain")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds the package of the page."""
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
    (tmp_path / "yeast_extra.py").write_text(blocks["python"], "utf-8")
    project = tomllib.loads(blocks["toml"])["project"]
    folder = tmp_path / f"yeast_extra-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}


def python(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_parts_stand_in_the_help(environment: dict[str, str]) -> None:
    shown = python(environment, "-m", "deeploc_tf", "fit", "--help")
    for name in NEW:
        assert re.search(rf"[\[|]{name}\]", shown), name


def test_its_parts_make_a_network_and_a_training(environment: dict[str, str]) -> None:
    code = """
from deeploc_tf.models.choices import NETWORKS
from deeploc_tf.models.deeploc import DeepLoc
from deeploc_tf.models.networks import with_heads
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.objectives import make_loss
from deeploc_tf.training.optimization import make_optimizer
from deeploc_tf.training.tasks import TASKS

config = FitConfig(
    method="plain", normalization="logarithm", backbone="pooled", loss="squares", optimizer="lion"
)
assert config.augmentation == "none"
model = DeepLoc((8, 8, 1), 3, backbone="pooled", normalization="logarithm", dense_units=(4, 2))
assert model.get_layer("pooled").output.shape[1:] == (32,)
own = with_heads(NETWORKS.get("small"), (8, 8, 1), "uint16", 3)
assert own.get_layer("features").output.shape[1:] == (32,)
assert type(make_loss(config)).__name__ == "Squares"
assert "Lion" in [kind.__name__ for kind in type(make_optimizer(config, 10)).__mro__]
assert TASKS.get("plain").load().__name__ == "Classification"
"""
    python(environment, "-c", code)


def test_the_page_has_every_group() -> None:
    code = (ROOT / "deeploc_tf").rglob("*.py")
    groups = {
        g for path in code for g in re.findall(r'group="(deeploc_tf\.\w+)"', path.read_text())
    }
    assert {group for group in groups if f"`{group}`" not in PAGE} == set()
