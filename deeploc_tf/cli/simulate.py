"""`deeploc-tf simulate`: a synthetic yeast screen with a known answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import Output, json_option, overwrite_option, workers_option

EPILOG = """\b
Examples:
  deeploc-tf simulate SCREEN
  deeploc-tf build-records SCREEN/cells.csv RECORDS --label localization \\
      --image-column gfp=gfp --image-column rfp=rfp --test field=5 --validation field=4
  A small and easy one, with whole fields and label images:
    deeploc-tf simulate SCREEN --proteins 68 --difficulty 0.1 --whole-fields
  The proteome on which methods are compared:
    deeploc-tf simulate SCREEN --proteome
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("screen", type=Output())
@click.option(
    "--proteome", is_flag=True, help="Use the settings of the study: 612 proteins on 6 plates."
)
@click.option(
    "--proteins", "num_proteins", type=int, help="Number of proteins, at least 34.  [default: 272]"
)
@click.option(
    "--fields", "num_fields", type=int, help="Number of images per protein.  [default: 5]"
)
@click.option("--cells-per-field", type=int, help="Number of crops per image.  [default: 4]")
@click.option(
    "--difficulty",
    type=float,
    help="Difficulty from 0 to 1: less light, more variation, and less of function in mere "
    "brightness.  [default: 0.5]",
)
@click.option(
    "--plates",
    type=int,
    help="Number of plates, each with its own gain, blur and background.  [default: 1]",
)
@click.option(
    "--moonlighting", type=float, help="Fraction of proteins with a second complex.  [default: 0]"
)
@click.option(
    "--crossing",
    type=float,
    help="Fraction of processes that span several localizations.  [default: 0]",
)
@click.option("--seed", type=int, help="Random seed.  [default: 0]")
@click.option("--whole-fields", is_flag=True, help="Write whole images and label images as well.")
@workers_option
@quiet_option
@overwrite_option
@json_option
def simulate(
    screen: Path,
    proteome: bool,
    whole_fields: bool,
    as_json: bool,
    workers: int,
    quiet: bool,
    **given: int | float | None,
) -> None:
    """Write a synthetic screen of budding yeast to the new folder SCREEN.

    Proteins sit in 17 localizations and work in complexes, pathways and processes; the nearer in
    function, the more alike they look. The truth stands beside the crops, in SCREEN/standards.
    """
    from deeploc_tf.simulation.simulate import PROTEOME, Screen
    from deeploc_tf.simulation.simulate import simulate as draw

    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(PROTEOME if proteome else Screen(), **changes)
    table = draw(
        screen,
        settings,
        fields=whole_fields,
        workers=workers,
        progress=not quiet,
    )
    values = {
        "path": screen,
        "num_crops": len(table),
        "settings": dataclasses.asdict(settings),
    }
    line = (
        f"{screen}: {len(table)} crops of {settings.num_proteins} proteins in cells.csv; "
        "the truth in standards and proteins.csv"
    )
    answer(values, [line], as_json=as_json)
