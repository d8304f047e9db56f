"""Sphinx settings: Markdown by MyST, furo, no network."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "deeploc-tf"
author = "The deeploc-tf developers"
project_copyright = author
version = release = installed_version("deeploc-tf")

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "pypi.md"]

html_theme = "furo"
html_title = f"deeploc-tf {version}"
# Pages are read from disk as well: nothing depends on the day of the build, and nothing is fetched
# but MathJax, on the pages with formulas; without a network these show as they are written in TeX.
html_last_updated_fmt = None
html_show_sphinx = False
