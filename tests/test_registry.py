"""Registries know names without importing, and let other packages add to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deeploc_tf import registry
from deeploc_tf.registry import PluginError, Registry


@pytest.fixture
def shapes() -> Registry[object]:
    return Registry("shape", {"sum": "math:fsum", "gone": "no_such_module:x"}, group="deeploc_tf.s")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """What packages offer in the group `deeploc_tf.s`."""
    offered: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(registry, "installed_parts", lambda: {"deeploc_tf.s": offered})
    return offered


def test_names_are_known_without_an_import(shapes: Registry[object]) -> None:
    assert shapes.names == ("sum", "gone")
    assert list(shapes) == ["sum", "gone"]
    assert len(shapes) == 2
    assert "gone" in shapes
    assert ["gone"] not in shapes  # as a file of settings may have it
    assert shapes.check("gone") == "gone"
    with pytest.raises(ModuleNotFoundError):
        shapes.get("gone")


def test_an_entry_is_imported_once(shapes: Registry[object]) -> None:
    import math

    assert shapes.get("sum") is math.fsum
    assert shapes.get("sum") is math.fsum


def test_an_unknown_name_is_refused_with_the_nearest_one(shapes: Registry[object]) -> None:
    expected = r"`shape` must be one of sum, gone\. Received: shape='Sun'\. Did you mean 'sum'\?"
    for ask in (shapes.check, shapes.get):
        with pytest.raises(ValueError, match=expected):
            ask("Sun")


def test_the_error_is_the_one_of_its_room() -> None:
    with pytest.raises(UnicodeError):
        Registry[str]("shape", {}, error=UnicodeError).get("x")


def test_a_program_registers_what_it_likes(shapes: Registry[object]) -> None:
    shapes.register("mine", len)
    shapes.register("other", "os.path:join")
    assert shapes.names[-2:] == ("mine", "other")
    assert shapes.get("mine") is len
    assert shapes.get("other")("a", "b") == str(Path("a", "b"))  # type: ignore[operator]
    with pytest.raises(ValueError, match="A name must be new"):
        shapes.register("sum", len)
    shapes.unregister("mine")
    assert "mine" not in shapes


def test_installed_packages_add_names(
    shapes: Registry[object], installed: dict[str, tuple[str, ...]]
) -> None:
    installed |= {"ceiling": ("math:ceil",), "broken": ("math:nothing",)}
    assert shapes.names == ("sum", "gone", "ceiling", "broken")
    assert shapes.get("ceiling")(1.5) == 2  # type: ignore[operator]
    with pytest.raises(PluginError, match="shape='broken' at math:nothing"):
        shapes.get("broken")
    with pytest.raises(ValueError, match="A name must be new"):
        shapes.register("ceiling", len)
    assert Registry[object]("other", {}).names == ()  # of no group


def test_a_name_that_is_offered_twice_is_refused(
    shapes: Registry[object], installed: dict[str, tuple[str, ...]]
) -> None:
    installed |= {"sum": ("math:ceil",), "half": ("a:x", "b:x")}
    assert shapes.names == ("sum", "gone", "half")
    with pytest.raises(PluginError, match="offered by math:ceil and by deeploc-tf"):
        shapes.get("sum")
    with pytest.raises(PluginError, match="offered by a:x, b:x"):
        shapes.get("half")


def test_entry_points_of_a_package_are_found(tmp_path: Path) -> None:
    (tmp_path / "extra.py").write_text("def area(a): return a * a\n")
    folder = tmp_path / "extra-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[deeploc_tf.s]\narea = extra:area\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from deeploc_tf.registry import Registry\n"
        "shapes = Registry('shape', {}, group='deeploc_tf.s')\n"
        "assert shapes.names == ('area',) and 'extra' not in sys.modules\n"
        "assert shapes.get('area')(3) == 9\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
