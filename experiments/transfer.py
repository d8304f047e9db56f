"""How many cells of a new screen does a network need that has learnt on another one?

    python experiments/transfer.py OUT

As Kraus et al. 2017 asked: a network is trained on a large screen, then goes on with a few cells of
each class of another screen, of another look; beside it, the same network begins from nothing. OUT
gets both simulated screens, records, runs and `transfer.csv`; stopped and started again, it goes on
where it was. Prints a table and draws docs/images/transfer.png, which docs/training.md shows.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from deeploc_tf import FitConfig, TableSource, build_records, evaluate, fit
from deeploc_tf.report.drawing import COLORS, GRAY, new_figure, picture
from deeploc_tf.simulation.simulate import CHANNELS, Screen, simulate

SCREENS = {
    "first": Screen(difficulty=0.2, seed=1),
    "second": Screen(difficulty=0.8, seed=2, plates=6),  # dim, and no two plates alike
}
NETWORK = {"width": 0.125, "dense_units": (64, 64), "augmentation": "orientations"}
FIRST = FitConfig(**NETWORK, epochs=20, batch_size=32, warmup_epochs=1, evaluate_test=False)
# Cells a class -> epochs: about as many steps as the network gets better in.
EPOCHS = {1: 60, 5: 40, 25: 15, 100: 6, 250: 4}
REPEATS = 5
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "transfer.png"


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    records = {name: build(out, name) for name in SCREENS}
    fit(records["first"], out / "run-first", FIRST)
    path = out / "transfer.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["cells"], row["repeat"], row["beginning"]) for row in rows}
    if not rows:
        rows += [
            {"cells": 0, "repeat": 1, "beginning": "first screen"}
            | scores(out / "run-first", records["second"])
        ]
    for repeat in range(1, REPEATS + 1):
        for cells in EPOCHS:
            few = None
            for beginning in ("first screen", "nothing"):
                if (cells, repeat, beginning) in done:
                    continue
                few = few or sample(out, cells, repeat)
                run = out / f"run-{cells}-{repeat}-{beginning.split()[0]}"
                fit(
                    few,
                    run,
                    settings(cells, repeat),
                    initial_run=out / "run-first" if beginning == "first screen" else None,
                )
                rows.append(
                    {"cells": cells, "repeat": repeat, "beginning": beginning}
                    | scores(run, records["second"])
                )
                pd.DataFrame(rows).to_csv(path, index=False)
                shutil.rmtree(run)
            if few is not None:
                shutil.rmtree(few)
    table = pd.read_csv(path)
    print(in_words(table))
    PICTURE.write_bytes(drawn(table))


def settings(cells: int, repeat: int) -> FitConfig:
    """Kraus' for the new screen: Adam at 0.003, half of the features left out before the head."""
    return FitConfig(
        **NETWORK,
        dropout=0.5,
        optimizer="adam",
        learning_rate=3e-3,
        warmup_epochs=0,
        ema_warmup=True,
        batch_size=16,
        epochs=EPOCHS[cells],
        seed=repeat,
        evaluate_test=False,
    )


def build(out: Path, name: str) -> Path:
    """The records of a screen; its fifth field tests."""
    if not (out / f"screen-{name}").exists():
        simulate(out / f"screen-{name}", SCREENS[name], workers=2)
    records = out / f"records-{name}"
    if not records.exists():
        build_records(
            TableSource(out / f"screen-{name}" / "cells.csv", {c: c for c in CHANNELS}),
            records,
            label="localization",
            conditions={"test": [("field", "5")]},
        )
    return records


def sample(out: Path, cells: int, repeat: int) -> Path:
    """Records of so many cells of each class of the second screen, drawn from its other fields."""
    table = pd.read_csv(out / "screen-second" / "cells.csv")
    generator = np.random.default_rng([cells, repeat])
    chosen = table[table["field"] < 5].groupby("localization").sample(cells, random_state=generator)
    rows, records = out / f"cells-{cells}-{repeat}.csv", out / f"records-{cells}-{repeat}"
    chosen.assign(split="train").to_csv(rows, index=False)
    if not records.exists():
        build_records(
            TableSource(rows, {c: c for c in CHANNELS}, root=out / "screen-second"),
            records,
            label="localization",
        )
    return records


def scores(run: Path, records: Path) -> dict[str, float]:
    """On the test cells of the second screen, each once."""
    metrics = evaluate(run, records)
    return {name: metrics[name] for name in ("accuracy", "macro_average_precision")}


def in_words(table: pd.DataFrame) -> str:
    """Mean and standard deviation over the repeats, in Markdown."""
    lines = ["| cells a class | from the first screen | from nothing |", "|---|---|---|"]
    for cells, rows in table.groupby("cells"):
        of = {name: group["accuracy"] for name, group in rows.groupby("beginning")}
        shown = [
            f"{of[name].mean():.3f} ± {of[name].std():.3f}" if len(of.get(name, ())) > 1 else
            f"{of[name].mean():.3f}" if name in of else "0.059 (chance)"
            for name in ("first screen", "nothing")
        ]  # fmt: skip
        lines.append(f"| {cells} | {shown[0]} | {shown[1]} |")
    return "\n".join(lines)


def drawn(table: pd.DataFrame) -> bytes:
    """Accuracy against cells, each repeat a dot and a line through the means."""
    with new_figure(5.5, 3.4) as figure:
        axes = figure.subplots()
        places = {cells: i for i, cells in enumerate(sorted(table["cells"].unique()))}
        for color, (name, rows) in zip(COLORS, table.groupby("beginning"), strict=False):
            means = rows.groupby("cells")["accuracy"].mean()
            axes.plot([places[cells] for cells in means.index], means, color=color, label=name)
            axes.plot(rows["cells"].map(places), rows["accuracy"], ".", color=color)
        axes.axhline(1 / 17, color=GRAY, linestyle="--", label="chance")
        axes.set_xticks(list(places.values()), [str(cells) for cells in places])
        axes.set_ylim(0, 1)
        axes.set_xlabel("cells of each class of the second screen")
        axes.set_ylabel("accuracy on its test cells")
        axes.legend(title="weights begin from", loc="upper left")
        return picture(figure, "png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
