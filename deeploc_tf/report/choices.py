"""What becomes of a map, by name; in a file that imports nothing, for the command line."""

from __future__ import annotations

from typing import Literal

Projection = Literal["umap", "tsne", "pca"]
