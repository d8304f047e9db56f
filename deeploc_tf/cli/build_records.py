"""`deeploc-tf build-records`: a folder or a table of crops, or whole fields, into records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.parameters import Output, part_option
from deeploc_tf.cli.records_options import records_options, write_records
from deeploc_tf.cli.sources import source_of, source_options

EPILOG = """\b
Examples:
  A folder, one file a channel; field 4 tests, field 3 validates, the rest trains:
    deeploc-tf build-records CROPS RECORDS --channels gfp,rfp \\
        --pattern '{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif' \\
        --label protein --test field=4 --validation field=3
  Labels from a second table, fractions of whole fields:
    deeploc-tf build-records CROPS RECORDS --channels gfp \\
        --pattern '{plate}/{protein}_{field}_{cell}_{channel}.tif' \\
        --label-table localization.csv --label compartment \\
        --fractions train=0.8,validation=0.1,test=0.1 --group plate,field
  A table, a column of paths per channel:
    deeploc-tf build-records cells.csv RECORDS --label compartment --split-column split \\
        --image-column gfp=path_gfp --image-column rfp=path_rfp
  Whole fields and the centers of their cells:
    deeploc-tf build-records FIELDS RECORDS --pattern '{field}-{channel}.tif' --channels gfp,rfp \\
        --cells cells.csv --label localization --fractions train=0.8,test=0.2 --group field
"""


COMMON = (
    *("--pattern", "--channels", "--cells", "--label-image", "--label"),
    *("--label-table", "--test", "--validation", "--fractions", "--workers"),
    *("--overwrite", "--dry-run"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("crops", type=click.Path(exists=True, path_type=Path))
@click.argument("records", type=Output())
@source_options
@records_options
@part_option
def build_records(crops: Path, records: Path, **options: Any) -> None:
    """Build the data set RECORDS from the images in CROPS.

    CROPS is a folder of crops or of whole fields, or a table (.csv, .tsv, .parquet) that lists
    image files; the page "What `build-records` and `convert` take" of the
    documentation describes each. Use `deeploc-tf convert` for the files of the
    DeepLoc publications.

    The folder RECORDS appears once it is complete. The same images, options and seed give the same
    bytes. If a build is interrupted, run the same command to resume it.
    """
    write_records(source_of(crops, options), records, options)
