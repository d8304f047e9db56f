"""`deeploc-tf embed`: a run and records into a table of vectors."""

from __future__ import annotations

from pathlib import Path

import click

from deeploc_tf.cli.progress import Progress
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf embed RUN RECORDS cells.parquet
  deeploc-tf embed RUN RECORDS cells.h5 --split train --split test --layer conv_5
"""


@click.command(epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("records", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--split", "splits", multiple=True, default=("test",), show_default=True, help="Repeatable."
)
@click.option(
    "--layer",
    help="Layer to take: fc_2 is the penultimate one; fc_1, conv_1 ... conv_8, logits; of "
    "inpainting source_conv_1 ... 5. With :max behind it, its maximum over all places.  "
    "[default: fc_2, of inpainting source_conv_3:max]",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--quiet", is_flag=True, help="No progress.")
def embed(
    run: Path,
    records: Path,
    output: Path,
    splits: tuple[str, ...],
    layer: str | None,
    batch_size: int,
    quiet: bool,
) -> None:
    """Write the vectors of the crops of RECORDS, by the model in RUN, to OUTPUT (.h5 or .parquet).

    A row a cell, in the records' order. The profiles, a row a protein (the mean of its cells), go
    to NAME.profiles.SUFFIX beside it.
    """
    from tfrecords.manifest import read_manifest

    manifest = read_manifest(records)
    total = sum(manifest.num_crops(split) for split in splits)

    start_tensorflow()
    from deeploc_tf.embedding.embed import embed as embed_crops

    with Progress("Embedding crops", total) as progress:
        written = embed_crops(
            run,
            records,
            output,
            splits=splits,
            layer=layer,
            batch_size=batch_size,
            progress=None if quiet else progress,
            note=lambda sentence: click.echo(sentence, err=True),
        )
    click.echo(
        f"{written.embeddings}: {written.num_crops} cells, "
        f"{written.num_features} features of {written.layer}"
    )
    click.echo(f"{written.profiles}: {written.num_proteins} proteins")
