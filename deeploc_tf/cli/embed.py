"""`deeploc-tf embed`: a run and records into a table of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option, tell_part
from deeploc_tf.cli.parameters import (
    Names,
    Output,
    Records,
    batch_size_option,
    cache_option,
    devices_option,
    fast_option,
    json_option,
    other_pixel_size_option,
    overwrite_option,
    part_option,
    split_option,
    test_time_option,
)
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf embed RUN RECORDS cells.parquet
  deeploc-tf embed RUN RECORDS cells.h5 --split train --split test --layer conv_5:max --layer fc_1
  deeploc-tf embed RUN RECORDS cells.h5ad --test-time crops --fast
  deeploc-tf embed RUN RECORDS cells.parquet --test-time orientations  # eight views; see ADR 6
"""

COMMON = (
    *("--split", "--layer", "--test-time", "--fast", "--summarize-by", "--batch-size"),
    *("--device", "--json"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("records", type=Records())
@click.argument("output", type=Output())
@split_option
@click.option(
    "--layer",
    multiple=True,
    help="Layer whose output is the embedding: fc_2 (the penultimate one), fc_1, conv_1 to conv_8 "
    "or logits; source_conv_1 to source_conv_5 for inpainting. Append :max or :mean to pool each "
    "channel over the image. Give it several times to concatenate layers.  "
    "[default: fc_2, or source_conv_3:max for inpainting]",
)
@test_time_option
@fast_option
@click.option(
    "--summarize-by",
    type=Names(),
    default="protein",
    show_default=True,
    help="Columns that define a group, such as well or compound; one profile is written per "
    "group. Columns above them, such as plate, are included.",
)
@batch_size_option
@devices_option
@other_pixel_size_option
@part_option
@cache_option
@quiet_option
@overwrite_option
@json_option
def embed(
    run: Path,
    records: str | Path,
    output: Path,
    splits: tuple[str, ...],
    summarize_by: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write a vector for each cell in RECORDS, computed by the model in RUN, to the table OUTPUT.

    The table has one row per cell, in record order. Its suffix decides the format: .h5 or .parquet,
    or .npz or .h5ad if it fits into memory. Profiles, one row per protein with the mean of its
    cells, are written next to it as NAME.profiles.SUFFIX. If embed is interrupted, the same command
    continues after the last finished shard.
    """
    from deeploc_tf.pipeline.splits import find_splits
    from deeploc_tf.remote_records import local_manifest

    find_splits(local_manifest(records), splits)  # before TensorFlow starts

    start_tensorflow()
    from deeploc_tf.embedding.embed import embed as embed_crops

    written = embed_crops(
        run,
        records,
        output,
        splits=splits,
        summarize_by=summarize_by,
        progress=not quiet,
        **options,
    )
    if options["part"] is not None:
        tell_part(options["part"], written.num_crops, as_json=as_json)
        return
    what = "proteins" if summarize_by == ("protein",) else f"groups by {', '.join(summarize_by)}"
    lines = [
        f"{written.embeddings}: {written.num_crops} cells, "
        f"{written.num_features} features of {written.layer}",
        f"{written.profiles}: {written.num_proteins} {what}",
    ]
    answer(written, lines, as_json=as_json)
