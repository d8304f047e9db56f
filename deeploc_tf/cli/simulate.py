"""`deeploc-tf simulate`: a synthetic yeast screen with a known answer."""

from __future__ import annotations

from pathlib import Path

import click

from deeploc_tf.cli.progress import Progress

EPILOG = """\b
Examples:
  deeploc-tf simulate SCREEN
  deeploc-tf build-records SCREEN/cells.csv RECORDS --label localization \\
      --image-column gfp=gfp --image-column rfp=rfp --test field=5 --validation field=4
  A small and easy one, with whole fields and label images:
    deeploc-tf simulate SCREEN --proteins 68 --difficulty 0.1 --whole-fields
"""


@click.command(epilog=EPILOG)
@click.argument("screen", type=click.Path(path_type=Path))
@click.option("--proteins", type=int, default=272, show_default=True, help="34 or more.")
@click.option("--fields", type=int, default=5, show_default=True, help="Images of each protein.")
@click.option(
    "--cells", type=int, default=4, show_default=True, help="Crops that are cut from each image."
)
@click.option(
    "--difficulty",
    type=float,
    default=0.5,
    show_default=True,
    help="0 to 1: less light, more variation, and less of function in mere brightness.",
)
@click.option("--whole-fields", is_flag=True, help="Write the images and label images, too.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes that draw.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--quiet", is_flag=True, help="No progress.")
def simulate(
    screen: Path,
    proteins: int,
    fields: int,
    cells: int,
    difficulty: float,
    whole_fields: bool,
    workers: int,
    seed: int,
    quiet: bool,
) -> None:
    """Write a synthetic screen of budding yeast to the new folder SCREEN.

    Proteins sit in 17 localizations and work in complexes, pathways and processes; the nearer in
    function, the more alike they look. The truth stands beside the crops, in SCREEN/standards.
    """
    from deeploc_tf.sources.simulation.simulate import Screen
    from deeploc_tf.sources.simulation.simulate import simulate as draw

    settings = Screen(proteins, fields, cells, difficulty, seed)
    with Progress("Drawing proteins", proteins) as progress:
        table = draw(
            screen,
            settings,
            fields=whole_fields,
            workers=workers,
            progress=None if quiet else progress,
        )
    click.echo(
        f"{screen}: {len(table)} crops of {proteins} proteins in cells.csv; "
        "the truth in standards and proteins.csv"
    )
