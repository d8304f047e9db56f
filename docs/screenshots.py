"""Takes the pictures of pages from the folder of a demo, by a headless Chromium.

make demo
python docs/screenshots.py demo
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = {"map": "map.html#SIM0001", "report": "index.html"}
SIZE = (1280, 800)


def main(demo: Path) -> None:
    """Write `images/map.png` and `images/report.png`; look at both before you commit them."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"A browser must be installed. Received: none of {', '.join(BROWSERS)}.")
    for name, page in PAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            taken = Path(folder) / "taken.png"
            flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
            window = (f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=20000")
            address = f"file://{demo.resolve()}/{page}"
            command = [browser, *flags, *window, f"--screenshot={taken}", address]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            picture = Image.open(taken).convert("RGB")
        few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE)
        few.save(Path(__file__).parent / "images" / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
