"""How large the packages are: code lines per room, options per command, base dependencies.

    python experiments/size.py

A code line carries a token that is neither comment nor docstring; of a string over several lines,
each is one. A line of error text is a code line of a statement `msg = ...`, or of a string in a
`raise`. Modules that lie beside the rooms of a package are counted under its own name.
"""

from __future__ import annotations

import ast
import configparser
import dataclasses
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("deeploc_tf", "tfrecords")
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


@dataclasses.dataclass
class Size:
    """Counts of files and of their lines; `error_texts` are code lines, too."""

    files: int = 0
    code: int = 0
    error_texts: int = 0
    docstrings: int = 0

    def __add__(self, other: Size) -> Size:
        """The counts of both together."""
        both = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Size(*map(sum, both))


def size_of(text: str) -> Size:
    """The size of one file of Python source."""
    tree = ast.parse(text)
    docstrings = set().union(*(_lines(node) for node in _docstrings(tree)))
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    code -= docstrings
    error_texts = set().union(*(_lines(node) for node in _error_texts(tree)))
    return Size(1, len(code), len(error_texts & code), len(docstrings))


def _lines(node: ast.expr | ast.stmt) -> set[int]:
    assert node.end_lineno is not None
    return set(range(node.lineno, node.end_lineno + 1))


def _docstrings(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement that is a docstring."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0]


def _error_texts(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """Every statement that builds a message, and every string in a `raise`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "msg" for target in targets):
                yield node
        elif isinstance(node, ast.Raise):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part


def sizes(root: Path = ROOT) -> dict[str, Size]:
    """The size of each room of the packages below `root`, by name."""
    rooms: dict[str, Size] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            inner = path.relative_to(root / package)
            room = f"{package}/{inner.parts[0]}" if len(inner.parts) > 1 else package
            rooms[room] = rooms.get(room, Size()) + size_of(path.read_text(encoding="utf-8"))
    return rooms


def options() -> dict[str, int]:
    """How many options each command has, `--help` among them."""
    import click

    from deeploc_tf.cli import main

    counts: Counter[str] = Counter()

    def count(command: click.Command, name: str, context: click.Context) -> None:
        below = click.Context(command, info_name=name, parent=context)
        counts[name] = sum(isinstance(p, click.Option) for p in command.get_params(below))
        if isinstance(command, click.Group):
            for inner in command.list_commands(below):
                found = command.get_command(below, inner)
                assert found is not None
                count(found, f"{name} {inner}".strip(), below)

    count(main, "", click.Context(main))
    del counts[""]
    return dict(counts)


def base_dependencies(root: Path = ROOT) -> list[str]:
    """What `pip install deeploc-tf` requires, by name and release."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"].splitlines()
    return [line for line in lines if line.strip()]


def main() -> None:
    """Prints the tables in Markdown."""
    rooms = sizes()
    print("| room | files | code lines | of these error texts | docstring lines |")
    print("|---|---|---|---|---|")
    for name, size in [*rooms.items(), ("**all**", sum(rooms.values(), Size()))]:
        print(f"| {name} | " + " | ".join(f"{n:,}" for n in dataclasses.astuple(size)) + " |")
    print("\n| command | options |\n|---|---|")
    for name, number in options().items():
        print(f"| {name} | {number} |")
    print(f"\nBase dependencies: {len(base_dependencies())}")


if __name__ == "__main__":
    main()
