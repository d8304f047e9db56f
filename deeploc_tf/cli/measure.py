"""`deeploc-tf measure`: records into a table of classic features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option, tell_part
from deeploc_tf.cli.parameters import (
    LazyChoice,
    Output,
    Records,
    cache_option,
    json_option,
    number_option,
    overwrite_option,
    part_option,
    split_option,
    workers_option,
)
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf measure RECORDS cellprofiler.parquet --workers 4
  deeploc-tf measure RECORDS intensity.parquet --kind intensity --threshold-channel rfp
  deeploc-tf measure RECORDS pixels.h5 --kind pixels --components 64 --split train --split test
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("records", type=Records())
@click.argument("output", type=Output())
@click.option(
    "--kind",
    type=LazyChoice("deeploc_tf.features.choices:FeatureKind"),
    default="cellprofiler",
    show_default=True,
    help="Features to compute: CellProfiler's, by cp-measure (extra `cellprofiler`); simple "
    "statistics of intensity and texture; or principal components of the pixels.",
)
@split_option
@click.option(
    *("--threshold-channel", "mask_channel"),
    metavar="NAME",
    help="Channel whose bright part is the cell, by Otsu's threshold; none takes the whole crop.  "
    "[default: the stored masks, else the second channel]",
)
@number_option(
    *("--components", "num_components"),
    least=1,
    default=64,
    help="Number of principal components to keep; --kind pixels only.",
)
@workers_option
@part_option
@cache_option
@quiet_option
@overwrite_option
@json_option
def measure(
    records: str | Path,
    output: Path,
    kind: str,
    splits: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure classic features of the crops in RECORDS, and write them to OUTPUT.

    Needs neither a network nor labels. The table has one row per cell, in record order, as that of
    `embed`; its suffix is .h5, .parquet, .npz or .h5ad. Profiles, one row per protein, are written
    next to it as NAME.profiles.SUFFIX. If measure is interrupted, run the same command to resume.
    """
    from deeploc_tf.pipeline.splits import find_splits
    from deeploc_tf.remote_records import local_manifest

    find_splits(local_manifest(records), splits)  # before TensorFlow starts

    start_tensorflow()  # records are decoded by it
    from deeploc_tf.features.measure import measure as measure_crops

    written = measure_crops(records, output, kind, splits=splits, progress=not quiet, **options)
    if options["part"] is not None:
        tell_part(options["part"], written.num_crops, as_json=as_json)
        return
    lines = [
        f"{written.embeddings}: {written.num_crops} cells, {written.num_features} features "
        f"({kind})",
        f"{written.profiles}: {written.num_proteins} proteins, "
        f"{written.num_profile_features} features",
    ]
    answer(written, lines, as_json=as_json)
