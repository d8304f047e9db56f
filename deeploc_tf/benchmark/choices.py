"""How profiles can be compared, by name; in a file that imports nothing, for the command line."""

from __future__ import annotations

from typing import Literal

Kind = Literal["cosine", "pearson", "spearman", "euclidean"]

SUITE_SCORES = "suite scores"
"""Kind of the JSON that `score_suite` gives."""
