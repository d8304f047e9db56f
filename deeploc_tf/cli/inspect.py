"""`deeploc-tf inspect`: what a data set of records holds, from its manifest alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import Records, json_option

if TYPE_CHECKING:
    from tfrecords.inspect import Summary

EPILOG = """\b
Examples:
  deeploc-tf inspect RECORDS
  deeploc-tf inspect RECORDS --json > records.json
"""

_SHOWN_PROTEINS = 20


@click.command(cls=Command, epilog=EPILOG)
@click.argument("records", type=Records())
@json_option
@click.option(
    "--all", "all_proteins", is_flag=True, help="List all proteins, not only the first 20."
)
def inspect(records: str | Path, as_json: bool, all_proteins: bool) -> None:
    """Print shape, dtype and counts by split, class and protein of the data set RECORDS."""
    from deeploc_tf.remote_records import local_manifest
    from tfrecords.inspect import summarize

    summary = summarize(records, manifest=local_manifest(records))
    lines = _lines(records, summary, None if all_proteins else _SHOWN_PROTEINS)
    answer(summary.to_json(), lines, as_json=as_json)


def _lines(records: str | Path, summary: Summary, shown: int | None) -> Iterator[str]:
    from tfrecords.manifest import described

    schema = summary.schema
    yield f"records   {records}"
    yield f"digest    {summary.digest}"
    without = " (without digests: only verify --deep tells shards of another build apart)"
    yield f"format    {summary.format_version}{without if summary.format_version == 1 else ''}"
    shape = " x ".join(map(str, schema.image_shape))
    yield f"crops     {summary.num_crops} of {shape} {schema.dtype}"
    yield f"channels  {', '.join(schema.channels)}"
    yield f"mask      {'yes' if schema.has_mask else 'no'}"
    unknown = "unknown" if schema.pixel_size is None else f"{schema.pixel_size} micrometers"
    resampled = f" (resampled from {schema.resampled_from})" if schema.resampled_from else ""
    yield f"pixel     {unknown}{resampled}"
    columns = ", ".join(f"{name} ({kind})" for name, kind in schema.metadata.items())
    yield f"metadata  {columns or 'none'}"
    yield f"groups    {', '.join(summary.group_by) or 'none'}"
    if summary.units:
        yield f"units     {' > '.join(summary.units)} > cell"
    yield f"size      {summary.num_bytes / 1e6:.1f} MB"
    for reason, count in summary.rejects.items():
        yield f"left out  {count} ({reason})"
    if summary.duplicates is None:
        yield "twice     unknown (format 1: nobody looked for equal crops)"
    for how, count in described(summary.duplicates).items():
        yield f"twice     {count} ({how})"
    yield ""
    names = list(summary.splits)
    rows = [["crops", *(str(split.num_crops) for split in summary.splits.values())]]
    rows.append(["shards", *(str(split.num_shards) for split in summary.splits.values())])
    rows += _rows(summary, "label", schema.label_names)
    proteins = sorted({name for counts in summary.counts.values() for name in counts["protein"]})
    rows += _rows(summary, "protein", proteins[:shown])
    yield from _table(["", *names], rows)
    if len(proteins) > len(proteins[:shown]):
        yield f"... and {len(proteins) - len(proteins[:shown])} more proteins (--all)"


def _rows(summary: Summary, kind: str, names: Sequence[str]) -> list[list[str]]:
    counts: list[Mapping[str, int]] = [summary.counts[split][kind] for split in summary.splits]
    return [[f"{kind} {name}", *(str(c.get(name, 0)) for c in counts)] for name in names]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table: the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()
