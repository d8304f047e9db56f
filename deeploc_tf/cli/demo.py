"""`deeploc-tf demo`: every command once, on a simulated screen."""

from __future__ import annotations

from pathlib import Path

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import (
    Output,
    json_option,
    number_option,
    seed_option,
    workers_option,
)
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf demo DEMO
  deeploc-tf demo DEMO --proteins 68 --epochs 20
Stopped? The same command goes on after the last finished step.
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("folder", type=Output(file_okay=False))
@click.option(
    "--proteins",
    type=int,
    default=272,
    show_default=True,
    help="Number of proteins, at least 34.",
)
@number_option("--epochs", least=1, default=10, help="Number of epochs.")
@workers_option
@seed_option
@quiet_option
@json_option
def demo(
    folder: Path,
    proteins: int,
    epochs: int,
    workers: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Simulate a screen, build records, fit, evaluate, embed, export and benchmark, all in FOLDER.

    Writes a page, FOLDER/index.html, with the numbers and pictures of every step, and a link to the
    map, FOLDER/map.html. Takes some minutes on two cores. Requires the extra report.
    """
    from deeploc_tf.report.page import check_extra

    check_extra()
    start_tensorflow()
    from deeploc_tf.simulation.simulate import Screen
    from deeploc_tf.study.demo import CONFIG
    from deeploc_tf.study.demo import demo as run_demo
    from deeploc_tf.study.demo_folder import PLACES

    here = run_demo(
        folder,
        Screen(num_proteins=proteins, seed=seed),
        CONFIG.model_copy(update={"epochs": epochs, "seed": seed}),
        workers=workers,
        progress=not quiet,
    )
    values = {name: getattr(here, name) for name in PLACES}
    page = here.page.resolve().as_uri()
    lines = [
        *(f"{values[name]}: {what}" for name, what in PLACES.items()),
        f"Every AP exceeds chance by three standard deviations. The page: {page}",
    ]
    answer({"page": here.page, **values}, lines, as_json=as_json)
