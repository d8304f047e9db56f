"""Classic features, by name; in a file that imports nothing, for the command line."""

from __future__ import annotations

from typing import Literal

FeatureKind = Literal["cellprofiler", "intensity", "pixels"]
