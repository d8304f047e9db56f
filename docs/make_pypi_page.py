"""Writes docs/pypi.md, the README without what holds in the repository alone.

    python docs/make_pypi_page.py [--check]

The Python Package Index shows this page. Relative links lead nowhere there, so they become their
text, and pictures of the repository go.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("pypi.md")
README = PAGE.parents[1] / "README.md"
_RELATIVE = r"\((?![a-z]+:)[^)]*\)"


def render() -> str:
    """The page."""
    text = README.read_text(encoding="utf-8")
    text = re.sub(rf"!\[[^\]]*\]{_RELATIVE}\n*", "", text)
    return re.sub(rf"\[([^\]]*)\]{_RELATIVE}", r"\1", text)


def main() -> int:
    """Writes or checks, 1 if the page is out of date."""
    if "--check" in sys.argv[1:]:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == render()
        print("up to date" if fresh else "run `make pypi-page`")
        return int(not fresh)
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
