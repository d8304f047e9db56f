"""Writes docs/api.md from signatures and docstrings, or with --check says whether it is up to date.

The page is the contract: a change of a public name or signature is a difference in it to review.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deeploc_tf
import tfrecords

_WIDTH = 96
_PACKAGES = ("deeploc_tf.", "tfrecords.")
PAGE = Path(__file__).with_name("api.md")
HEAD = """# Public names

<!-- Written by `make api-reference` from the code: change that, not this page. -->

These names are the interface for Python: `from deeploc_tf import fit`, `from tfrecords import
read_manifest`. They are imported when they are first used, so that `import deeploc_tf` imports no
TensorFlow. Everything else may change without notice. Examples are on the page
[From Python](python.md), and `help(deeploc_tf.fit)` shows arguments, shapes, units and errors.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *_section("deeploc_tf", deeploc_tf.MODULES), *_section("tfrecords", _storage())]
    return "\n".join(parts) + "\n"


def _storage() -> dict[str, tuple[str, ...]]:
    return {f"tfrecords.{module}": names for module, names in tfrecords.MODULES.items()}


def _section(package: str, modules: dict[str, tuple[str, ...]]) -> Iterator[str]:
    yield f"## {package}\n"
    for module, names in modules.items():
        for name in names:
            found = getattr(importlib.import_module(module), name)
            summary = (inspect.getdoc(found) or "").split("\n\n")[0].replace("\n", " ")
            yield f"### {name}\n\n{summary}\n\n```python\n{_described(name, found)}\n```\n"


def _described(name: str, found: Any) -> str:
    """The signature of a function; of a class that and its public methods, inherited or not."""
    if not inspect.isclass(found):
        return _call(name, found)
    if issubclass(found, BaseException):
        return f"class {name}({', '.join(base.__name__ for base in found.__bases__)})"
    fields = getattr(found, "model_fields", None)
    if fields is not None:  # of pydantic, whose signature differs between its versions
        return "\n".join([f"class {name}", *(f"    {n}={_value(f)}" for n, f in fields.items())])
    lines = [f"class {_call(name, found)}" if _has_init(found) else f"class {name}"]
    ours = [base for base in found.__mro__ if base.__module__.startswith(_PACKAGES)]
    members = {name: value for base in reversed(ours) for name, value in vars(base).items()}
    for method, value in members.items():
        if method.startswith("_") or dataclasses.is_dataclass(value):
            continue
        if isinstance(value, property):
            annotation = inspect.signature(value.fget).return_annotation
            lines.append(f"    {method}: {annotation}")
        elif callable(value) or isinstance(value, classmethod | staticmethod):
            lines.append("    " + _call(method, getattr(found, method)))
    return "\n".join(lines)


def _has_init(found: type) -> bool:
    return found.__init__ is not object.__init__ and not getattr(found, "_is_protocol", False)


def _value(field: Any) -> str:
    return "..." if field.is_required() else repr(field.get_default())


class _Annotation(str):
    """An annotation as it is written in the code, without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


def _call(name: str, function: Any) -> str:
    """A call on one line, or with an argument per line where it is long."""
    signature = inspect.signature(function)
    arrow = signature.return_annotation
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part[0] == "*" for part in parts):
            parts.append("*")
        if isinstance(parameter.annotation, str):
            parameter = parameter.replace(annotation=_Annotation(parameter.annotation))
        parts.append(str(parameter))
    returned = "" if arrow is signature.empty or inspect.isclass(function) else f" -> {arrow}"
    line = f"{name}({', '.join(parts)}){returned}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit(
                "docs/api.md must show the public names as they are. Run `make api-reference`."
            )
    else:
        PAGE.write_text(page(), encoding="utf-8")
