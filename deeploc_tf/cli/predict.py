"""`deeploc-tf predict`: whole fields into tables of cells, wells and proteins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import (
    CONDITION,
    POSITIVE,
    Output,
    allow_unmatched_option,
    batch_size_option,
    delimiter_option,
    devices_option,
    distinct_case_option,
    fast_option,
    json_option,
    layer_option,
    max_rejects_option,
    number_option,
    other_pixel_size_option,
    overwrite_option,
    plate_map_option,
    settings_of,
    test_time_option,
    values_by_column,
)
from deeploc_tf.cli.sources import field_options, quality_of, set_aside_option, source_of
from deeploc_tf.cli.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    from deeploc_tf.serving.inputs import Columns
    from deeploc_tf.serving.open_model import OpenModel
    from deeploc_tf.serving.predict import Predicted
    from deeploc_tf.sources import Source

EPILOG = """\b
Examples:
  deeploc-tf predict RUN FIELDS CALLS --pattern '{well}f{field}-{channel}.tif' \\
      --label-image '{well}f{field}_labels.tif'
  deeploc-tf predict SAVEDMODEL PLATE_1 PLATE_2 CALLS --pattern '{well}f{field}-{channel}.tif' \\
      --label-image '{well}f{field}_labels.tif' --plate-map wells.csv --embedding
  deeploc-tf predict RUN FIELDS CALLS --pattern '{field}-{channel}.tif' --cells centers.csv
"""

_OF_MODEL = ("layer", "test_time", "fast", "trust", "device")
_OF_PREDICTION = ("embedding", "min_fraction", "max_rejects", "batch_size", "other_pixel_size")


COMMON = (
    *("--pattern", "--channels", "--cells", "--label-image", "--protein"),
    *("--well", "--plate", "--plate-map", "--where", "--crop-size", "--embedding"),
    *("--max-rejects", "--device"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument(
    "fields",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.argument("output", type=Output())
@field_options
@click.option("--protein", help="Column that names the protein.  [default: protein, if present]")
@click.option("--well", help="Column that names the well.  [default: well, ...]")
@click.option(
    "--plate",
    help="Column that names the plate, or what precedes the well in the pattern.  [default: plate, "
    "barcode, ...]",
)
@click.option("--field", help="Column that names the field.  [default: field, site, fov, ...]")
@plate_map_option
@delimiter_option
@distinct_case_option
@allow_unmatched_option("wells without a row in the plate map")
@click.option(
    "--where",
    **CONDITION,
    help="Select cells, such as those with field=3,4; conditions on several columns must all "
    "hold. Files of other fields are not opened if the column is one of the pattern.",
)
@set_aside_option
@number_option(
    "--crop-size",
    least=1,
    help="Side of the square crops, in pixels of the fields; they are averaged to the size that "
    "the model expects.  [default: that size]",
)
@click.option("--embedding", is_flag=True, help="Write the embedding of each cell as well.")
@layer_option
@test_time_option
@fast_option
@click.option(
    "--min-fraction",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Fraction of a protein's cells from which a compartment counts as a localization.",
)
@click.option("--trust", is_flag=True, help="Load a SavedModel even if its digests do not match.")
@max_rejects_option
@click.option(
    "--pixel-size",
    type=POSITIVE,
    help="Pixel size of the images in micrometers.  [default: what the files say]",
)
@other_pixel_size_option
@batch_size_option
@devices_option
@click.option("--dry-run", is_flag=True, help="Show what would be written, without writing it.")
@overwrite_option
@json_option
@quiet_option
def predict(
    run: Path,
    fields: tuple[Path, ...],
    output: Path,
    where: tuple[tuple[str, str], ...],
    set_aside: tuple[str, ...],
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Classify the localization of every cell in FIELDS, folders or tables of whole images.

    RUN is a finished run, or a SavedModel from `export`. Cells are located by a table (--cells) or
    by label images (--label-image). The new folder OUTPUT gets cells.parquet, with one row per
    cell, and wells.csv and proteins.csv, with the fraction of cells per compartment.
    """
    from tfrecords.publishing import check_absent

    check_absent(output)  # before TensorFlow takes its seconds
    quality = quality_of(set_aside)
    simulated = [_of_simulation(folder, options) for folder in fields]
    if not all(simulated) and options["cells"] is None and options["label_image"] is None:
        msg = (
            "Cells of whole fields come from a table, --cells, or from label images, --label-image."
        )
        raise click.UsageError(msg)
    start_tensorflow()
    from deeploc_tf.serving.inputs import Columns
    from deeploc_tf.serving.open_model import open_model
    from deeploc_tf.serving.predict import predict as predict_fields

    of_model, of_prediction = (
        {name: options.pop(name) for name in names} for names in (_OF_MODEL, _OF_PREDICTION)
    )
    model = open_model(run, **of_model)
    options["where"] = values_by_column(where)
    sources = _sources(fields, options, model)
    columns = settings_of(Columns, options)
    if dry_run:
        found = _forecast(sources, columns, output)
        answer(found, _forecast_lines(found), as_json=as_json)
        return
    single = next(sources)[1] if len(fields) == 1 else None
    done = predict_fields(
        model,
        single or sources,
        output,
        columns=columns,
        quality=quality,
        scale_crops=options["crop_size"] is not None,
        progress=not quiet,
        **of_prediction,
    )
    answer(done, _lines(output, done), as_json=as_json)


def _lines(output: Path, done: Predicted) -> Iterator[str]:
    """How many cells, wells and proteins there are, and what was left out."""
    yield (f"{output}: {done.num_cells} cells")
    yield (f"  wells.csv     {done.num_wells:9}")
    yield (f"  proteins.csv  {done.num_proteins:9}")
    for what, count in (
        ("no protein", done.num_without_protein),
        ("no well", done.num_without_well),
    ):
        if count:
            yield (f"  {what:12}  {count:9}  (cells that no {what.split()[1]} is known of)")
    if done.num_not_accepted is not None:
        reasons = "(novel, blurred, empty, saturated)"
        yield (f"  not accepted  {done.num_not_accepted:9}  {reasons}")
    for what, counts in (
        ("flagged", done.flagged),
        ("set aside", done.set_aside),
        ("left out", done.rejects),
        ("passed over", done.passed_over),
    ):
        for reason, count in counts.items():
            yield (f"  {what:12}  {count:9}  ({reason})")


def _forecast(
    sources: Iterable[tuple[str, Source]], columns: Columns, output: Path
) -> dict[str, Any]:
    """How many cells there are; no pixel is read."""
    folders, rejects, passed_over = {}, Counter[str](), Counter[str]()
    for name, source in sources:
        cells, _ = columns.table(source, name)
        folders[name] = len(columns.wanted(cells))
        rejects.update(reject.reason for reject in source.rejects)
        passed_over.update(source.passed_over)
    return {
        "path": output,
        "num_cells": sum(folders.values()),
        "folders": folders,
        "rejects": dict(rejects),
        "passed_over": dict(passed_over),
    }


def _forecast_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"Would write {found['path']}: {found['num_cells']} cells"
    for name, count in found["folders"].items():
        yield f"  {name:12}  {count:9}"
    for what, counts in (("left out", found["rejects"]), ("passed over", found["passed_over"])):
        for reason, count in counts.items():
            yield f"  {what:12}  {count:9}  ({reason})"
    yield "Pixels were not read: bad images are found when cells are classified."


def _of_simulation(folder: Path, options: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """Where the whole fields of our own `simulate` lie, which need no options, and how they are."""
    from deeploc_tf.simulation.simulate import FIELDS, screen_of_fields

    screen = screen_of_fields(folder)
    if screen is None or any(options[n] is not None for n in ("pattern", "cells", "label_image")):
        return None
    return screen, {**options, **FIELDS, "cells": screen / "fields.csv"}


def _sources(
    folders: tuple[Path, ...], options: dict[str, Any], model: OpenModel
) -> Iterator[tuple[str, Source]]:
    """Name and cells of each folder, one at a time: a source keeps the list of its cells."""
    of = model.description
    height, width = of.image_shape[:2]
    if height != width:
        msg = (
            "Windows of whole fields are square. Received: a model of crops of "
            f"{height} x {width} pixels."
        )
        raise ValueError(msg)
    ours = {"source_kind": "fields", "channels": options["channels"]}
    ours["crop_size"] = options["crop_size"] or height
    for folder in folders:
        root, own = _of_simulation(folder, options) or (folder, options)
        if not options["channels"] and "{channel}" in (own["pattern"] or ""):
            ours["channels"] = of.channels
        path = root.resolve()
        yield path.stem if path.is_file() else path.name, source_of(root, {**own, **ours})
