"""What `pip install` puts on a machine: two packages, their type marks, one command."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "cli.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network from a copy, so that no stale `build` takes part."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, and fetching it needs a network")
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    for folder in ("tfrecords", "deeploc_tf", "tests", "docs", "experiments", "perf"):
        ignore = shutil.ignore_patterns("__pycache__", "_build")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    output = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = output.glob("*.whl")
    return zipfile.ZipFile(path)


def read(wheel: zipfile.ZipFile, ending: str) -> str:
    """The text of the one file whose name ends so."""
    (name,) = (name for name in wheel.namelist() if name.endswith(ending))
    return wheel.read(name).decode()


def test_wheel_holds_two_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"deeploc_tf", "tfrecords"}
    assert read(wheel, "top_level.txt").split() == ["deeploc_tf", "tfrecords"]


def test_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("deeploc_tf", "tfrecords")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in wheel.namelist() if name.endswith(".py")} == modules


def test_wheel_marks_both_packages_as_typed(wheel: zipfile.ZipFile) -> None:
    assert {"deeploc_tf/py.typed", "tfrecords/py.typed"} <= set(wheel.namelist())


def test_wheel_holds_what_pages_are_made_of(wheel: zipfile.ZipFile) -> None:
    room = ROOT / "deeploc_tf" / "report"
    parts = {path.name for path in room.iterdir() if path.suffix in (".html", ".css", ".js")}
    assert {"map_page.js", "page.html"} <= parts
    assert {f"deeploc_tf/report/{name}" for name in parts} <= set(wheel.namelist())


def test_wheel_holds_the_suites_and_their_attribution(wheel: zipfile.ZipFile) -> None:
    suites = ROOT / "deeploc_tf/benchmark/suites"
    files = {path.relative_to(ROOT).as_posix() for path in suites.rglob("*") if path.is_file()}
    assert "deeploc_tf/benchmark/suites/yeast/ATTRIBUTION.md" in files
    assert {name for name in wheel.namelist() if "/suites/" in name} == files
    assert sum(wheel.getinfo(name).file_size for name in files) < 1_000_000


def test_wheel_has_one_command_and_the_license(wheel: zipfile.ZipFile) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(read(wheel, "entry_points.txt"))
    assert {name: dict(entries[name]) for name in entries.sections()} == {
        "console_scripts": {"deeploc-tf": "deeploc_tf.__main__:main"}
    }
    assert "Apache License" in read(wheel, "LICENSE")


def test_wheel_requires_one_of_the_two_tested_tensorflows(wheel: zipfile.ZipFile) -> None:
    from packaging.requirements import Requirement

    lines = read(wheel, ".dist-info/METADATA").splitlines()
    requirements = [
        Requirement(line.removeprefix("Requires-Dist: "))
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    (tensorflow,) = (found for found in requirements if found.name == "tensorflow")
    candidates = ["2.14.1", "2.15.0", "2.15.1", "2.16.2", "2.17.1", "2.18.1", "2.19.1", "2.20.0"]
    candidates += ["2.21.0", "2.22.0"]
    assert list(tensorflow.specifier.filter(candidates)) == ["2.15.1", "2.21.0"]
    # Without a floor, pip may fall back to building an old release from source.
    assert not [str(found) for found in requirements if ">" not in str(found.specifier)]


def test_the_page_of_the_index_has_no_dead_links(wheel: zipfile.ZipFile) -> None:
    page = read(wheel, ".dist-info/METADATA").split("\n\n", 1)[1]
    assert "# deeploc-tf" in page
    assert "make demo" in page
    targets = re.findall(r"\]\(([^)]*)\)", page)
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


def test_the_source_archive_holds_what_a_clone_holds(tmp_path: Path) -> None:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, and fetching it needs a network")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("what a clone holds is known in a clone alone")
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    make = "import sys; from setuptools.build_meta import build_sdist; build_sdist('dist')"
    done = subprocess.run(
        [sys.executable, "-c", make], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("dist/*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {
            name.partition("/")[2] for name in opened.getnames() if opened.getmember(name).isfile()
        }
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO"}
    assert names - made == tracked - {".gitignore"}


def test_installed_packages_are_this_clone() -> None:
    import deeploc_tf
    import tfrecords

    for package in (deeploc_tf, tfrecords):
        assert package.__file__ is not None
        assert Path(package.__file__).parents[1] == ROOT, "run `make install` in this clone"
