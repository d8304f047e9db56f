"""Declared packages are those that are imported; messages name what installs a missing one."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deeploc_tf.extras import extras, install, missing

ROOT = Path(__file__).parents[1]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", "utf-8")
EXTRAS = CONFIG["options.extras_require"]
IMPORTED_AS = {
    "absl": "absl-py",
    "apache_beam": "apache-beam",
    "cp_measure": "cp-measure",
    "google": "protobuf",
    "google_crc32c": "google-crc32c",
    "sklearn": "scikit-learn",
    "tensorflow_addons": "tensorflow-addons",
    "tensorflow_datasets": "tensorflow-datasets",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}


def names(requirements: str) -> set[str]:
    lines = (line.strip() for line in requirements.splitlines())
    return {re.split(r"[^\w.-]", line)[0] for line in lines if line and not line.startswith("#")}


def imported() -> set[str]:
    """Packages of others that ours import, by the names of their distributions."""
    found = set()
    for path in [*ROOT.glob("deeploc_tf/**/*.py"), *ROOT.glob("tfrecords/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
                found |= {
                    argument.value.partition(".")[0]
                    for argument in node.args
                    if isinstance(argument, ast.Constant)
                }
    found -= {*sys.stdlib_module_names, "deeploc_tf", "tfrecords"}
    return {IMPORTED_AS.get(name, name) for name in found}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    needed = names(CONFIG["options"]["install_requires"])
    of_users = set(EXTRAS) - {"test", "oracles", "docs", "dev", "interop"}
    optional = set().union(*(names(EXTRAS[extra]) for extra in of_users))
    found = imported()
    assert found <= needed | optional
    assert needed <= found
    # TensorFlow imports tensorboard, and that of the addons stack setuptools; fsspec imports s3fs.
    assert optional - found - needed == {"s3fs", "setuptools", "tensorboard"}


def test_the_table_of_extras_has_all_of_them() -> None:
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    table = page.split("## Extras")[1].split("\n## ")[0]
    assert set(re.findall(r"'\.\[(\w+)\]'`", table)) == set(EXTRAS)


def test_the_command_names_the_packages_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda _: [
            "numpy>=1.26",
            'tensorflow[and-cuda]; extra == "gpu"',
            "nothing-of-this-name<2,>=1; extra == 'two' and python_version > '3'",
            'numpy>=1.26; extra == "two"',
        ],
    )
    version = importlib.metadata.version("tensorflow")
    assert install("gpu") == f"pip install 'tensorflow[and-cuda]=={version}'"
    assert install("two") == "pip install 'nothing-of-this-name<2,>=1' 'numpy>=1.26'"
    assert missing(extras()["two"]) == ["nothing-of-this-name<2,>=1"]
    assert install("none") == "install deeploc-tf with its extra 'none'"


def test_beside_an_unrelated_package_of_the_same_name_commands_explain_it(tmp_path: Path) -> None:
    (tmp_path / "tfrecords").mkdir()
    (tmp_path / "tfrecords" / "__init__.py").touch()
    path = os.pathsep.join([str(tmp_path), str(ROOT)])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, "-P", *words],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    script = tmp_path / "deeploc-tf"
    script.write_text("from deeploc_tf.cli import main\nmain()\n")
    for words in (["-m", "deeploc_tf", "--version"], [str(script), "--version"]):
        done = run(*words)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("Error: The package `tfrecords` must be the one that comes with")
        assert f"{tmp_path / 'tfrecords'}" in line
        assert "pip uninstall tfrecords, then install deeploc-tf again from where" in line
    done = run("-c", "import deeploc_tf")
    assert done.stderr.splitlines()[-1].startswith("ImportError: The package `tfrecords` must")
