"""Which faults would the tests miss? Mutants of the code that computes numbers, against its tests.

    python experiments/mutants.py OUT [--number 300] [--seed 0] [--timeout 300]

A mutant is the code with one fault: an arithmetic operator exchanged, a comparison turned round or
moved by its boundary, a number raised by one, a truth value turned, a call left out (its first
argument takes its place). Strings, annotations and what only words an error are left alone. They
are drawn by seed from benchmark, profiles, the metrics of training and the codec. Each is put into
a copy of the tree, and the tests run that name the module or are named after it, those of its
room after them; the first that fails, or the time limit, kills it.

OUT/mutants.jsonl has a line for each mutant, and what it has already is not run again. Survivors
are listed at the end: each wants a test, or an argument that it is no fault.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "deeploc_tf/benchmark/**/*.py",
    "deeploc_tf/profiles/**/*.py",
    "deeploc_tf/training/*metrics.py",
    "deeploc_tf/training/calibration.py",
    "deeploc_tf/training/multilabel.py",
    "tfrecords/codec.py",
)
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
BOUNDARIES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}


@dataclasses.dataclass(frozen=True, order=True)
class Mutant:
    """One fault: text that takes the place of other text, in bytes of the file."""

    path: str
    start: int
    end: int
    kind: str
    text: str

    def of(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants_of(path: str, source: bytes) -> Iterator[Mutant]:
    """All mutants of a file, in the order of its text."""
    lines = source.splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))
    for node in _computing(ast.parse(source)):
        start = begins[node.lineno - 1] + node.col_offset
        end = begins[node.end_lineno - 1] + node.end_col_offset  # type: ignore[operator]
        for kind, other in _faults(node):
            yield Mutant(path, start, end, kind, f"({ast.unparse(other)})")


def _computing(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that compute something: no annotations, no errors, no text."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("msg", "message"):
                continue
            if isinstance(node, ast.expr):
                yield node
            if isinstance(node, ast.AST):
                yield from _computing(node)


def _faults(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not any(
            isinstance(part, ast.Constant | ast.JoinedStr) and _is_text(part)
            for part in (node.left, node.right)
        ):
            yield "arithmetic", _changed(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "comparison", _changed(node, ops=[COMPARISONS[type(node.ops[0])]()])
        if type(node.ops[0]) in BOUNDARIES:
            yield "boundary", _changed(node, ops=[BOUNDARIES[type(node.ops[0])]()])
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        other = not node.value if isinstance(node.value, bool) else node.value + 1
        yield "constant", ast.Constant(other)
    elif isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
        yield "removed call", node.args[0]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        yield "removed call", node.func.value


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def _changed(node: ast.expr, **fields: object) -> ast.expr:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def drawn(number: int, seed: int) -> list[Mutant]:
    """As many mutants of all files, by seed."""
    found: list[Mutant] = []
    for pattern in FILES:
        for path in sorted(ROOT.glob(pattern)):
            found += mutants_of(path.relative_to(ROOT).as_posix(), path.read_bytes())
    found = sorted(set(found))
    return random.Random(seed).sample(found, min(number, len(found)))


def tests_of(path: str) -> list[list[str]]:
    """Test files that name a module or are named after it, and then those of its room."""
    file = Path(path)
    module = ".".join(file.with_suffix("").parts)
    room = "tfrecords" if file.parts[0] == "tfrecords" else file.parts[1]
    near, far = [], []
    for test in sorted((ROOT / "tests").glob("test_*.py")):
        text = test.read_text()
        rooms = (f"test_{room}_", f"test_cli_{room}", f"test_faults_{room}")
        if room == "training":  # of which metrics alone are looked at
            rooms = ("test_training_metrics", "test_training_evaluate", "test_cli_evaluate")
        if module in text or test.stem.startswith(f"test_{room}_{file.stem}"):
            near.append(f"tests/{test.name}")
        elif test.stem.startswith(rooms) or (
            "outside" in test.stem and room != "training" and f"_tf.{room}." in text
        ):
            far.append(f"tests/{test.name}")
    return [stage for stage in (near, far) if stage]


def judge(mutant: Mutant, tree: Path, timeout: float) -> dict[str, object]:
    """Run the tests of a mutant; what killed it, or None."""
    file = tree / mutant.path
    source = file.read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header"]
    words += ["-m", "not gpu and not long", "--timeout", str(int(timeout))]
    killer = None
    file.write_bytes(mutant.of(source))
    try:
        for stage in tests_of(mutant.path):
            try:
                done = subprocess.run(
                    [*words, *stage],
                    cwd=tree,
                    env=environment,
                    timeout=2 * timeout,
                    capture_output=True,
                    text=True,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                killer = "time limit"
                break
            if done.returncode not in (0, 5):
                last = [
                    line
                    for line in done.stdout.splitlines()
                    if line.startswith(("FAILED", "ERROR"))
                ]
                killer = last[0][:200] if last else f"exit code {done.returncode}"
                break
    finally:
        file.write_bytes(source)
    line = source[: mutant.start].count(b"\n") + 1
    return {
        **dataclasses.asdict(mutant),
        "line": line,
        "before": source[mutant.start : mutant.end].decode(),
        "killed_by": killer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=300, help="Seconds per test.")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    log = given.output / "mutants.jsonl"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["path"], row["start"], row["end"], row["kind"], row["text"]) for row in known}
    tree = given.output / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    kept = ("deeploc_tf", "tfrecords", "tests", "experiments", "docs", "perf")
    for name in kept:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "Makefile", "CHANGELOG.md", "README.md", "cli.py"):
        shutil.copy(ROOT / name, tree / name)
    for mutant in drawn(given.number, given.seed):
        if dataclasses.astuple(mutant) in done:
            continue
        row = judge(mutant, tree, given.timeout)
        known.append(row)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
    survivors = [row for row in known if row["killed_by"] is None]
    for row in survivors:
        sys.stdout.write(f"{row['path']}:{row['line']}: {row['before']!r} -> {row['text']!r}\n")
    sys.stdout.write(f"{len(survivors)} of {len(known)} mutants survived\n")


if __name__ == "__main__":
    main()
