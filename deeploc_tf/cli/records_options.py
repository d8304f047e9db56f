"""Options that all commands have that write records, and what these commands do with a source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deeploc_tf.cli.messages import answer, quiet_option, tell_part
from deeploc_tf.cli.parameters import (
    CONDITION,
    FILE,
    POSITIVE,
    Fractions,
    Names,
    allow_unmatched_option,
    delimiter_option,
    distinct_case_option,
    json_option,
    max_rejects_option,
    own_overwrite_option,
    plate_map_option,
    seed_option,
    together,
    workers_option,
)
from deeploc_tf.cli.sources import quality_of, set_aside_option

if TYPE_CHECKING:
    from deeploc_tf.sources import Source
    from tfrecords.manifest import Manifest

_Result = TypeVar("_Result")

records_options = together(
    click.option("--label", help="Column, or {name} in --pattern, that holds the label."),
    click.option(
        "--label-table",
        type=FILE,
        help="Table (CSV, TSV, Excel or Parquet) with the column given by --label.",
    ),
    click.option(
        "--label-key",
        default="protein",
        show_default=True,
        help="Column on which the label table is joined.",
    ),
    plate_map_option,
    delimiter_option,
    click.option(
        "--label-separator",
        help="Text between the labels of a crop with several; makes the data set multi-label.",
    ),
    click.option(
        "--classes", type=Names(), help="Names of the classes.  [default: all labels, sorted]"
    ),
    click.option(
        "--unknown",
        type=click.Choice(["refuse", "skip"]),
        default="refuse",
        show_default=True,
        help="Refuse or skip crops that have no label or no class.",
    ),
    click.option(
        "--protein", default="protein", show_default=True, help="Column that names the protein."
    ),
    distinct_case_option,
    allow_unmatched_option("names without a row in the label table, or wells in the plate map"),
    click.option(
        "--test",
        **CONDITION,
        help=(
            "Select the crops of the test split. Several values of a column are alternatives; "
            "conditions on several columns must all hold."
        ),
    ),
    click.option("--validation", **CONDITION, help="Select the crops of the validation split."),
    click.option(
        "--train",
        **CONDITION,
        help="Select the crops of the train split.  [default: all other crops]",
    ),
    click.option(
        "--fractions", type=Fractions(), help="Fraction of crops per split; groups stay together."
    ),
    click.option(
        "--split-column", help="Column that names the split.  [default: split, if present]"
    ),
    click.option(
        "--group",
        "group_by",
        type=Names(),
        default=(),
        help=(
            "Columns that define a group; no group spans two splits. A field is identified "
            "together with its plate and well, if there are such columns."
        ),
    ),
    click.option("--plate", help="Column that names the plate.  [default: plate, barcode, ...]"),
    click.option("--well", help="Column that names the well.  [default: well, ...]"),
    click.option("--field", help="Column that names the field.  [default: field, site, fov, ...]"),
    click.option(
        "--metadata", type=Names(), help="Columns to store with the crops.  [default: all]"
    ),
    click.option(
        "--pixel-size",
        type=POSITIVE,
        help="Pixel size of the images in micrometers.  [default: what the files say]",
    ),
    seed_option,
    max_rejects_option,
    set_aside_option,
    click.option(
        "--min-cells",
        "minimum_cells",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Leave out proteins with fewer cells than this.",
    ),
    workers_option,
    click.option(
        "--runner",
        type=click.Choice(["local", "beam"]),
        default="local",
        show_default=True,
        help="Read in local processes or with Apache Beam (extra beam).",
    ),
    click.option(
        "--beam-option",
        "beam_options",
        multiple=True,
        metavar="OPTION",
        help=(
            "Option of the Beam pipeline, such as --runner=FlinkRunner; can be given several times."
        ),
    ),
    click.option(
        "--allow-duplicates",
        is_flag=True,
        help="Allow identical or overlapping crops in two splits; they are counted.",
    ),
    own_overwrite_option,
    click.option("--dry-run", is_flag=True, help="Show what would be written, without writing it."),
    json_option,
    quiet_option,
)


def write_records(source: Source, records: Path, options: dict[str, Any]) -> None:
    """Write the crops of `source` as the options say, or with --dry-run say what would be."""
    arguments = _arguments(options)
    if options["dry_run"]:
        _tell_forecast(source, arguments, as_json=options["as_json"])
        return
    part = options.get("part")
    if part is not None:
        from deeploc_tf.ingest import read_part

        done = _build(partial(read_part, part=part), source, records, options, arguments)
        tell_part(part, done, as_json=options["as_json"])
        return
    from deeploc_tf.ingest import build_records

    manifest = _build(build_records, source, records, options, arguments)
    answer(_document(records, manifest), _summary(records, manifest), as_json=options["as_json"])


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """What `plan_records` takes, of the options of this command."""
    conditions = {
        split: _alternatives(options[split])
        for split in ("test", "validation", "train")
        if options[split]
    }
    ways = [bool(conditions), options["fractions"] is not None, options["split_column"] is not None]
    if sum(ways) > 1:
        msg = "Use one of --test and --validation, --fractions, or --split-column."
        raise click.UsageError(msg)
    from deeploc_tf.ingest import plan_records

    names = inspect.signature(plan_records).parameters
    return {"conditions": conditions, **{name: options[name] for name in names if name in options}}


def _build(
    build: Callable[..., _Result],
    source: Source,
    records: Path,
    options: dict[str, Any],
    arguments: dict[str, Any],
) -> _Result:
    quality = quality_of(options["set_aside"])
    read_batches = None
    if options["runner"] == "beam":
        from deeploc_tf.ingest.beam import check_beam, read_with_beam

        check_beam()
        read_batches = partial(read_with_beam, options=options["beam_options"])
    elif options["beam_options"]:
        msg = "--beam-option goes with --runner beam."
        raise click.UsageError(msg)
    return build(
        source,
        records,
        quality=quality,
        overwrite=options["overwrite"],
        workers=options["workers"],
        read_batches=read_batches,
        progress=not options["quiet"],
        **arguments,
    )


def _alternatives(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(column, value) for column, values in pairs for value in values.split(",")]


def _document(records: Path, manifest: Manifest) -> dict[str, Any]:
    """What is to be known of records that were written."""
    return {
        "path": records,
        "digest": manifest.digest,
        "image_shape": manifest.schema.image_shape,
        "dtype": manifest.schema.dtype,
        "splits": {
            split: {
                "num_crops": manifest.num_crops(split),
                "label": manifest.counts[split]["label"],
            }
            for split in manifest.split_names
        },
        "rejects": manifest.rejects,
        "flagged": manifest.flagged,
        "duplicates": manifest.duplicates,
    }


def _summary(records: Path, manifest: Manifest) -> Iterator[str]:
    from tfrecords.manifest import described

    shape = " x ".join(map(str, manifest.schema.image_shape))
    yield f"{records}: crops of {shape} {manifest.schema.dtype}"
    for split in manifest.split_names:
        yield _split(split, manifest.num_crops(split), manifest.counts[split]["label"])
    yield from _counts("left out", manifest.rejects)
    yield from _counts("flagged", manifest.flagged)
    yield from _counts("duplicates", described(manifest.duplicates))


def _tell_forecast(source: Source, arguments: dict[str, Any], *, as_json: bool) -> None:
    from deeploc_tf.ingest import plan_records

    forecast = plan_records(source, **arguments).forecast()
    answer(forecast, _forecast(forecast), as_json=as_json)


def _forecast(forecast: Mapping[str, Any]) -> Iterator[str]:
    shape = " x ".join(map(str, forecast["image_shape"]))
    megabytes = forecast["num_bytes"] / 1e6
    yield f"Would write crops of {shape} {forecast['dtype']}, about {megabytes:.1f} MB"
    for split, counts in forecast["splits"].items():
        yield _split(split, counts["num_crops"], counts["label"])
        yield f"  {'':12}{counts['num_shards']:9}  shards"
        if forecast["group_by"]:
            groups = ", ".join(forecast["group_by"])
            yield f"  {'':12}{counts['num_groups']:9}  groups of one {groups}"
    yield from _counts("left out", forecast["rejects"])
    yield "Pixels were not read, except of one crop: bad images are found when records are built."


def _split(split: str, num_crops: int, labels: Mapping[str, int]) -> str:
    classes = ", ".join(f"{name} {count}" for name, count in labels.items())
    return f"  {split:12}{num_crops:9}" + (f"  ({classes})" if classes else "")


def _counts(what: str, counts: Mapping[str, int]) -> Iterator[str]:
    for reason, count in counts.items():
        yield f"  {what:12}{count:9}  ({reason})"
