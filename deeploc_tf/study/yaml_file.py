"""YAML and JSON files of settings, read safely; what is wrong with them is said in a sentence."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

_LARGEST_FILE = 1 << 20


def read_yaml(path: Path, what: str) -> Any:
    """The values in a file of YAML, of which JSON is a part.

    Args:
        path: the file; a pipe is read once.
        what: it must be, in words: "A study".

    Raises:
        ValueError: it is larger than 1 MiB, is no YAML, or has a key twice.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        msg = f"{what}'s file must be under 1 MiB. Received: {path}. Is it the right one?"
        raise ValueError(msg)
    try:
        return yaml.load(content.decode("utf-8"), _Loader)  # noqa: S506 - a safe loader
    # of YAML, of text, of a number with thousands of digits, and of thousands of brackets
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        msg = f"{what} must be a YAML file. Received: {path}: {said}."
        raise ValueError(msg) from error


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key that is there twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} must be there once", node.start_mark
            )
        return super().construct_mapping(node, deep)
