"""What `benchmark` wrote, read once for all that is drawn of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeploc_tf.report.reading import read_json


class BenchmarkResults:
    """A folder of results, whose `scores.json` is read once, and not before it is needed.

    Args:
        folder: that `benchmark` wrote.

    Attributes:
        folder: the same.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def of(cls, results: str | Path | BenchmarkResults) -> BenchmarkResults:
        """Those in a folder; those that are open stay as they are."""
        return results if isinstance(results, BenchmarkResults) else cls(results)

    @functools.cached_property
    def scores(self) -> dict[str, Any]:
        """Content of `scores.json`; raises `ValueError` where `benchmark` did not write it."""
        path = self.folder / "scores.json"
        values = read_json(path)
        standards = values.get("standards")
        if isinstance(standards, dict) and all(isinstance(n, dict) for n in standards.values()):
            return values
        msg = f"scores.json must be one that `benchmark` wrote. Received: {path} without standards."
        raise ValueError(msg)

    @property
    def standards(self) -> Mapping[str, Mapping[str, Any]]:
        """Numbers of each standard, in the order in which they were scored."""
        standards: dict[str, dict[str, Any]] = self.scores["standards"]
        return standards

    @property
    def methods(self) -> dict[str, Mapping[str, Mapping[str, Any]]]:
        """Numbers of each method by standard; of several tables of one name those of the last."""
        return {method["name"]: method["standards"] for method in self.scores.get("methods", ())}
