"""Draws the pictures of these pages from the folder of a demo.

make demo
python docs/pictures.py demo
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.report.crops import crop_sheet
from deeploc_tf.report.drawing import picture
from deeploc_tf.report.map import protein_map
from deeploc_tf.study.demo_page import examples

FEW = (
    "actin",
    "bud neck",
    "cell periphery",
    "ER",
    "Golgi",
    "mitochondrion",
    "nucleus",
    "vacuolar membrane",
)
IMAGES = Path(__file__).parent / "images"


def main(demo: Path) -> None:
    cells = pd.read_csv(demo / "screen" / "cells.csv")
    compartments = dict(zip(cells["protein"], cells["localization"], strict=True))
    profiles = read_profiles(demo / "cells.profiles.parquet")
    save("classes.png", opened(crop_sheet(examples(demo / "screen", cells, 5), by_crop=True)))
    few = cells[cells["localization"].isin(FEW)]
    crops = opened(crop_sheet(examples(demo / "screen", few, 3), by_crop=True))
    places = opened(protein_map(profiles, compartments))
    both = Image.new("RGB", (1500, 600), "white")
    both.paste(crops.resize((560, 560 * crops.height // crops.width)), (0, 60))
    both.paste(places.resize((600 * places.width // places.height, 600)), (620, 0))
    save("crops-to-map.png", both)


def opened(figure: Figure) -> Image.Image:
    return Image.open(io.BytesIO(picture(figure))).convert("RGB")


def save(name: str, image: Image.Image) -> None:
    """With 256 colors, which is a third of the bytes and looks the same."""
    IMAGES.mkdir(exist_ok=True)
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
