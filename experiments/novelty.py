"""Which crops real models refuse: spoiled ones, those of other data sets, good ones of new fields.

    python experiments/novelty.py DATA OUT [--sets yeast,hep2] [--left-out]

DATA has `yeast_crops` and `hep2`. Of the yeast cells fields 1 and 2 train, 3 sets the limits and 4
tests; of the HEp-2 cells so do blocks 0 and 1, 2 and 3, a hundred cells of each class and block.
With `--left-out` each of the 17 simulated localizations is left out of a training in turn, and its
AUROC by `novelty` is printed, against the other classes: seventeen trainings. Stopped and started
again, it goes on where it was. Prints the tables of docs/trust.md in Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

SETTINGS = {  # short trainings: minutes on two cores
    "yeast": [
        *("--width", "0.25", "--dense-units", "128,128", "--batch-size", "16", "--epochs", "15"),
        *("--learning-rate", "0.001"),
    ],
    "hep2": [
        *("--width", "0.12", "--dense-units", "64,64", "--batch-size", "32", "--epochs", "6"),
        *("--learning-rate", "0.002", "--test-time", "none"),
    ],
}
_COMMON = ["--label-smoothing", "0.1", "--batch-norm-momentum", "0.99", "--seed", "0"]
OTHER = {"yeast": "hep2", "hep2": "yeast"}
_PATCH = 10  # pixels a side of the darkest place of a crop, which stands for its background
_MOST = 200  # crops of a kind
_LEFT_OUT_SETTINGS = [
    *("--width", "0.12", "--dense-units", "64,64", "--batch-size", "32", "--epochs", "12"),
    *("--warmup-epochs", "1", "--ema-momentum", "0.95", "--test-time", "none"),
]

Image = NDArray[Any]
Spoil = Callable[[Image, np.random.Generator], Image]


def run_command(*arguments: str | Path) -> None:
    """Run `deeploc-tf` in a process of its own."""
    command = [sys.executable, "-m", "deeploc_tf", *map(str, arguments)]
    print("$ deeploc-tf", *map(str, arguments), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


def build(data: Path, out: Path, name: str) -> Path:
    """Records of a data set, with fields or blocks of their own in each split."""
    records = out / name
    if records.exists():
        return records
    if name == "yeast":
        pattern = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
        run_command(
            *("build-records", data / "yeast_crops" / "images", records, "--pattern", pattern),
            *("--channels", "gfp,rfp", "--label", "protein"),
            *("--validation", "field=3", "--test", "field=4"),
        )
        return records
    table = pd.read_csv(data / "hep2" / "cells.csv")
    table = table.groupby(["label", "block"]).sample(100, random_state=0)
    table.to_csv(out / "hep2.csv", index=False)
    run_command(
        *("build-records", out / "hep2.csv", records, "--root", data / "hep2"),
        *("--image-column", "path", "--channels", "stain", "--axes", "YX", "--label", "label"),
        *("--field", "block", "--validation", "block=2", "--test", "block=3"),
        "--allow-duplicates",
    )
    return records


def highest(image: Image) -> float:
    """What the brightest pixel can be: 1 of the float32 crops of DATA."""
    return 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)


def as_pixels(values: NDArray[np.floating], like: Image) -> Image:
    """Values as the crop has them: in its dtype and range."""
    values = values if like.dtype.kind == "f" else np.rint(values)
    pixels: Image = np.clip(values, 0, highest(like)).astype(like.dtype)
    return pixels


def background(image: Image) -> Image:
    """Pixels of the darkest place, `(num_pixels, channels)`."""
    height, width = image.shape[:2]
    corners = [(y, x) for y in range(0, height - _PATCH, 4) for x in range(0, width - _PATCH, 4)]
    patches = [image[y : y + _PATCH, x : x + _PATCH] for y, x in corners]
    darkest = min(patches, key=lambda patch: float(patch.astype(float).sum()))
    pixels: Image = darkest.reshape(-1, image.shape[-1])
    return pixels


def empty(image: Image, random: np.random.Generator) -> Image:
    """Its background alone, in random order."""
    pixels = background(image)
    return pixels[random.integers(0, len(pixels), image.shape[:2])]


def blurred(image: Image, random: np.random.Generator) -> Image:  # noqa: ARG001
    """As of a lens out of focus: a Gaussian of 2 pixels."""
    return as_pixels(gaussian_filter(image.astype(float), (2, 2, 0)), image)


def blurred_below_noise(image: Image, random: np.random.Generator) -> Image:
    """Blurred, and then with the noise of its background again."""
    values = gaussian_filter(image.astype(float), (2, 2, 0))
    noise = background(image).astype(float).std(axis=0)
    return as_pixels(values + noise * random.normal(size=image.shape), image)


def saturated(image: Image, random: np.random.Generator) -> Image:  # noqa: ARG001
    """Exposed so long that a tenth of the pixels of each channel is as bright as can be."""
    values = image.astype(float)
    scale = highest(image) / np.maximum(np.quantile(values, 0.9, axis=(0, 1)), 1e-6)
    return as_pixels(values * scale, image)


def shifted(image: Image, random: np.random.Generator) -> Image:
    """The cell away from the middle by 0.4 of the crop, with background in its place."""
    height, width = image.shape[:2]
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = (round(0.4 * height * part) for part in (np.sin(angle), np.cos(angle)))
    moved = empty(image, random).copy()
    moved[max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)] = image[
        max(-rows, 0) : height + min(-rows, 0), max(-columns, 0) : width + min(-columns, 0)
    ]
    return moved


SPOILS: dict[str, Spoil] = {
    "blurred": blurred,
    "blurred below noise": blurred_below_noise,
    "empty": empty,
    "saturated": saturated,
    "shifted": shifted,
}


def as_crop(image: Image, shape: tuple[int, ...], dtype: str) -> Image:
    """A crop of another data set in the shape and dtype of a model: its middle, or padded."""
    values = image / highest(image)
    for axis, size in enumerate(shape[:2]):
        excess = values.shape[axis] - size
        if excess > 0:
            values = np.take(values, range(excess // 2, excess // 2 + size), axis)
        pads = [(0, 0)] * 3
        pads[axis] = (max(-excess, 0) // 2, max(-excess, 0) - max(-excess, 0) // 2)
        values = np.pad(values, pads, mode="reflect")
    values = values[..., [channel % values.shape[-1] for channel in range(shape[-1])]]
    like = np.zeros(1, dtype)
    return as_pixels(values * highest(like), like)


def crops_of(records: Path, split: str) -> tuple[Image, NDArray[np.int64]]:
    """Images and labels of a split."""
    from deeploc_tf import batches

    read = list(batches(records, split, features=["image", "label"]))
    return (
        np.concatenate([batch["image"].numpy() for batch in read]),
        np.concatenate([batch["label"].numpy() for batch in read]),
    )


def judge(run: Path, images: Image) -> dict[str, NDArray[Any]]:
    """`novelty` and `accepted` of crops."""
    from deeploc_tf.serving.open_model import open_model

    model = open_model(run, test_time="none")
    parts = [model(images[start : start + 256]) for start in range(0, len(images), 256)]
    return {name: np.concatenate([p[name] for p in parts]) for name in ("novelty", "accepted")}


def measure(data: Path, out: Path, name: str) -> dict[str, float]:
    """Share of the crops of each kind that a model of a data set refuses."""
    path = out / f"{name}.json"
    if path.exists():
        found: dict[str, float] = json.loads(path.read_text())
        return found
    records, run = build(data, out, name), out / f"{name}-run"
    run_command("fit", records, run, *SETTINGS[name], *_COMMON)
    good, _ = crops_of(records, "test")
    random = np.random.default_rng(0)
    some = good[random.permutation(len(good))[:_MOST]]
    kinds = {"good, of a new field": good}
    kinds |= {k: np.stack([spoil(i, random) for i in some]) for k, spoil in SPOILS.items()}
    others, _ = crops_of(build(data, out, OTHER[name]), "test")
    foreign = [as_crop(image, good.shape[1:], good.dtype.name) for image in others[:_MOST]]
    kinds[f"foreign ({OTHER[name]})"] = np.stack(foreign)
    accepted = judge(run, np.concatenate([*kinds.values()]))["accepted"]
    parts = np.split(accepted, np.cumsum([len(images) for images in kinds.values()])[:-1])
    shares = {
        kind: round(1 - float(part.mean()), 3) for kind, part in zip(kinds, parts, strict=True)
    }
    path.write_text(json.dumps(shares, indent=1))
    return shares


def left_out(out: Path) -> dict[str, float]:
    """AUROC of `novelty` for each simulated localization that a network has not seen."""
    screen, records = out / "screen", out / "simulated"
    options = ["--image-column", "gfp=gfp", "--image-column", "rfp=rfp", "--label", "localization"]
    options += ["--validation", "field=4", "--test", "field=5"]
    if not records.exists():
        if not screen.exists():
            run_command("simulate", screen, "--proteins", "102", "--difficulty", "0.2")
        run_command("build-records", screen / "cells.csv", records, *options)
    from tfrecords import read_manifest

    names = read_manifest(records).schema.label_names
    images, labels = crops_of(records, "test")
    found: dict[str, float] = {}
    for number, name in enumerate(names):
        path = out / f"without-{number}.json"
        if not path.exists():
            others, run = out / f"without-{number}", out / f"without-{number}-run"
            if not others.exists():
                kept = ",".join(other for other in names if other != name)
                only = ["--classes", kept, "--unknown", "skip"]
                run_command("build-records", screen / "cells.csv", others, *options, *only)
            run_command("fit", others, run, *_LEFT_OUT_SETTINGS)
            score = roc_auc_score(labels == number, judge(run, images)["novelty"])
            path.write_text(json.dumps({name: round(float(score), 3)}))
        found |= json.loads(path.read_text())
    return found


def main() -> None:
    """Run what is missing and print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", default="yeast,hep2")
    parser.add_argument("--left-out", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = [name for name in arguments.sets.split(",") if name]
    of = {name: measure(arguments.data, arguments.out, name) for name in sets}
    for name, shares in of.items():
        print(f"\n| {name} | refused |\n|---|---|")
        for kind, share in shares.items():
            print(f"| {kind} | {share:.3f} |")
    if arguments.left_out:
        print("\n| localization left out | AUROC by novelty |\n|---|---|")
        for name, score in left_out(arguments.out).items():
            print(f"| {name} | {score:.3f} |")


if __name__ == "__main__":
    main()
