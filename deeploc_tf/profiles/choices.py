"""What becomes of profiles, by name; in a file that imports nothing, for the command line."""

from __future__ import annotations

from typing import Literal

Similarity = Literal["cosine", "pearson", "euclidean"]
Method = Literal["mean", "median", "trimmed_mean", "modz"]
NormalizationKind = Literal["center", "standardize", "mad"]
ProjectionKind = Literal["sphere", "pca"]
