"""The whole way once, on a simulated screen: from images to a page that says what came of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from deeploc_tf.benchmark.benchmark import StandardScores
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.standards import read_standard
from deeploc_tf.embedding.embed import embed
from deeploc_tf.ingest import build_records
from deeploc_tf.progress import ShowProgress
from deeploc_tf.report.map_page import write_map
from deeploc_tf.serving.export import export
from deeploc_tf.simulation.function import STANDARDS
from deeploc_tf.simulation.simulate import (
    CHANNELS,
    Screen,
    check_same_screen,
    simulate,
)
from deeploc_tf.sources import TableSource
from deeploc_tf.study.demo_folder import PLACES, Demo
from deeploc_tf.study.demo_page import write_demo_page
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.evaluate import evaluate
from deeploc_tf.training.fit import fit
from tfrecords.publishing import check_untaken, keeping, publishing_folder

_log = logging.getLogger(__name__)

CONFIG = FitConfig(
    width=0.25,
    dense_units=(128, 128),
    epochs=10,
    window=48,  # the cell without its neighbors, in less than two thirds of the time
    batch_size=32,
    warmup_epochs=1,
    ema_momentum=0.97,  # averages over half an epoch: a short training has no more to spare
)
_NUM_SHUFFLES = 20
_SIGMAS = 3.0


def demo(
    output: str | Path,
    screen: Screen | None = None,
    config: FitConfig = CONFIG,
    *,
    workers: int = 2,
    progress: ShowProgress = False,
) -> Demo:
    """Simulate, build, fit, evaluate, embed, export and benchmark, and write a page about it.

    Every step is that of the command of its name. Called again on the same folder, it goes on
    after the last step that was finished.

    Args:
        output: folder to make, or that an earlier call made.
        screen: what to simulate.
        config: settings of the training.
        workers: processes that draw.
        progress: True to show the progress of each step; or a callable that gets `(done, total)`.

    Returns:
        Where everything is.

    Raises:
        ValueError: the folder has a screen of other settings, or the profiles do not score above
            chance, by three standard deviations, on one of the four standards.

    Example:
        demo("DEMO", Screen(num_proteins=34)).page
    """
    here = Demo.below(Path(output))
    screen = screen or Screen()
    check_untaken(here.folder, "screen", [getattr(here, name).name for name in (*PLACES, "page")])
    here.folder.mkdir(parents=True, exist_ok=True)
    with keeping("Steps", here.folder):
        _make_records(here, screen, workers, progress)
        _train_and_embed(here, config, progress)
        if not here.savedmodel.exists():
            _log.info("export: a SavedModel for any TensorFlow code, in %s", here.savedmodel)
            export(here.run, here.savedmodel)
        _log.info("benchmark: profiles against the four true standards, in %s", here.results)
        scores = _score(here, screen.seed)
        _draw(here, progress)
    check_beats_chance(scores)
    return here


def check_beats_chance(scores: Sequence[StandardScores]) -> None:
    """Raise `ValueError` unless every AP exceeds that of shuffled proteins by three sd."""
    for result in scores:
        numbers = result.numbers
        shuffled = numbers["shuffled_average_precision"]
        bound = shuffled + _SIGMAS * numbers["shuffled_average_precision_sd"]
        if not numbers["average_precision"] > bound:
            msg = (
                "The profiles must score above chance, shuffled proteins and three standard "
                f"deviations. Received: AP {numbers['average_precision']:.4f} on "
                f"{result.standard!r}, bound {bound:.4f}. Train for longer, or on more cells."
            )
            raise ValueError(msg)


def _make_records(here: Demo, screen: Screen, workers: int, progress: ShowProgress) -> None:
    if here.screen.exists():
        check_same_screen(here.screen, screen)
    else:
        _log.info("simulate: %d tagged proteins, in %s", screen.num_proteins, here.screen)
        simulate(here.screen, screen, workers=workers, progress=progress)
    if not here.records.exists():
        _log.info("build-records: the crops as records, in %s", here.records)
        source = TableSource(here.screen / "cells.csv", {name: name for name in CHANNELS})
        build_records(
            source,
            here.records,
            label="localization",
            conditions={
                "test": [("field", str(screen.num_fields))],
                "validation": [("field", str(screen.num_fields - 1))],
            },
            progress=progress,
        )


def _train_and_embed(here: Demo, config: FitConfig, progress: ShowProgress) -> None:
    _log.info("fit: DeepLoc learns the localizations, in %s", here.run)
    fit(here.records, here.run, config, progress=progress)
    if not here.evaluation.exists():
        _log.info("evaluate: the model on the test cells, in %s", here.evaluation)
        evaluate(here.run, here.records, here.evaluation, progress=progress)
    if not here.profiles.exists():
        _log.info("embed: vectors of cells and profiles of proteins, in %s", here.profiles)
        here.cells.unlink(missing_ok=True)  # of a call that stopped between the two
        embed(here.run, here.records, here.cells, progress=progress)


def _standards(here: Demo) -> list[Path]:
    return [here.screen / "standards" / f"{name}.gmt" for name in STANDARDS]


def _score(here: Demo, seed: int) -> Sequence[StandardScores]:
    extent = Extent(num_shuffles=_NUM_SHUFFLES, seed=seed)
    found = compare([("deeploc", here.profiles)], _standards(here), extent=extent)
    if not here.results.exists():
        with publishing_folder(here.results) as folder:
            found.write(folder)
    return found.methods[0].results


def _draw(here: Demo, progress: ShowProgress) -> None:
    if not here.map.exists():
        _log.info("map: the proteins as a page to explore, in %s", here.map)
        read = [read_standard(file) for file in _standards(here)]
        write_map(
            here.map,
            here.profiles,
            records=here.records,
            standards=read,
            projection="tsne",  # as the picture on the page
            title="The proteins of the demo",
            progress=progress,
        )
    _log.info("report: all of it on a page, in %s", here.page)
    write_demo_page(here)
