"""What becomes of a page, by name; in a file that imports nothing, for the command line."""

from __future__ import annotations

from typing import Literal

Projection = Literal["umap", "tsne", "pca"]
LabelOrder = Literal["clusters", "least-certain", "random"]
MAX_LABEL_CROPS = 5000
"""On a page of first labels: about 10 MB of crops of 64 pixels."""
