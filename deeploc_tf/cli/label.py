"""`deeploc-tf label`: first labels of cells, by a person on a page or by a standard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, note, quiet_option
from deeploc_tf.cli.parameters import (
    FILE,
    LazyChoice,
    Names,
    Output,
    device_option,
    distinct_case_option,
    json_option,
    overwrite_option,
    seed_option,
)
from deeploc_tf.cli.standard_files import READING, reading_keywords, reading_options
from deeploc_tf.report.choices import MAX_LABEL_CROPS

if TYPE_CHECKING:
    from deeploc_tf.report.label_page import Model

EPILOG = """\b
Examples:
  A page of crops, and the records of those that were labeled on it:
    deeploc-tf label RECORDS label.html --classes mitochondrial,cytoplasmic
    deeploc-tf build-records CROPS LABELED --channels gfp,rfp \\
        --pattern '{protein}/{protein}_{field}_{cell}_{channel}.tif' \\
        --label-table labels.csv --label label --label-key key --unknown skip
  The crops of which a first model is least certain:
    deeploc-tf label RECORDS more.html --run RUN --order least-certain --max-crops 100
  Labels by protein, from a gold standard:
    deeploc-tf label RECORDS labels.csv --from-standard go_slim_mapping.tab --aspect C
"""
_OF_PAGES = ("run", "vectors", "order", "number", "title", "seed", "device")
_OF_STANDARDS = (*READING, "distinct_case", "label_separator", "label_key")


COMMON = (
    *("--classes", "--order", "--max-crops", "--split", "--run", "--vectors", "--from-standard"),
    *("--aspect", "--label-separator", "--label-key", "--seed"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("records", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=Output(dir_okay=False), metavar="OUT.html")
@click.option(
    "--classes",
    type=Names(),
    default=(),
    help="Names of the classes.  [default: those of the records, else of the run]",
)
@click.option(
    "--order",
    type=LazyChoice("deeploc_tf.report.choices:LabelOrder"),
    default="clusters",
    show_default=True,
    help="Order of the crops: in clusters of similar ones, each of which can be labeled at once; "
    "those that --run is least certain of first; or random.",
)
@click.option(
    *("--max-crops", "number"),
    type=click.IntRange(1, MAX_LABEL_CROPS),
    default=500,
    show_default=True,
    help="Maximum number of crops on the page.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    help="Split to use; can be given several times.  [default: those of --vectors, else all]",
)
@click.option(
    "--run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Finished run whose certainty orders the crops, or whose vectors cluster them.",
)
@click.option(
    "--vectors",
    type=FILE,
    help="Table of cells, by embed or measure, in which to find clusters.  [default: the vectors "
    "of --run, else simple statistics of intensity and texture]",
)
@seed_option
@click.option("--title", default="First labels", show_default=True, help="Title of the page.")
@click.option(
    "--from-standard",
    type=FILE,
    help="Write OUT.csv, in place of a page: the label of each protein according to this gold "
    "standard, or to a table with the columns protein and label.",
)
@reading_options
@distinct_case_option
@click.option(
    "--label-separator",
    help="Text between the labels of a crop with several.  [default: leave such proteins out]",
)
@click.option(
    "--label-key",
    default="protein",
    show_default=True,
    help="Column on which the label table is joined; OUT.csv names it so.",
)
@device_option
@overwrite_option
@json_option
@quiet_option
def label(
    records: Path,
    output: Path,
    from_standard: Path | None,
    **options: Any,
) -> None:
    """Write a page, OUT.html, for labeling crops of RECORDS with the keyboard.

    The page is one file that opens by a double click and loads nothing from a network. It keeps the
    labels in the browser, saves them as a table of keys and labels, and loads such a table to
    continue. Then `build-records --label-table labels.csv --label label --label-key key --unknown
    skip` builds records of the labeled crops; the page
    "First labels" of the documentation shows every step.

    With --from-standard, labels come from a gold standard and no page is written.
    """
    foreign = _OF_PAGES if from_standard is not None else _OF_STANDARDS
    for name in foreign:
        if (
            click.get_current_context().get_parameter_source(name)
            is click.core.ParameterSource.COMMANDLINE
        ):
            where = "goes without" if from_standard is not None else "goes with"
            msg = f"--{_FLAGS.get(name, name).replace('_', '-')} {where} --from-standard."
            raise click.UsageError(msg)
    if from_standard is not None:
        _write_labels(records, output, from_standard, options)
    else:
        _write_page(records, output, options)


_FLAGS = {"aspects": "aspect", "exclude_terms": "exclude_term", "number": "max_crops"}


def _write_page(records: Path, output: Path, options: dict[str, Any]) -> None:
    if options["order"] == "least-certain" and options["run"] is None:
        msg = "--order least-certain needs --run."
        raise click.UsageError(msg)
    from deeploc_tf.report.label_page import write_label_page
    from deeploc_tf.report.script_page import check_suffix
    from tfrecords.manifest import read_manifest

    check_suffix(output)
    schema = read_manifest(records).schema
    model, classes = None, options["classes"] or schema.label_names
    if options["run"] is not None:
        model, known = _model(options["run"], records, options["device"])
        classes = classes or known
    names = ("order", "number", "splits", "vectors", "seed", "title")
    written = write_label_page(
        output,
        records,
        classes,
        model=model,
        progress=not options["quiet"],
        **{name: options[name] for name in names},
    )
    clusters = f" in {written.num_clusters} clusters" if written.num_clusters else ""
    line = (
        f"{written.path}: {written.num_crops:,} of {written.num_total:,} crops{clusters}, "
        f"{len(written.classes)} classes, {written.num_bytes / 10**6:.1f} MB"
    )
    answer(written, [line], as_json=options["as_json"])


def _model(run: Path, records: Path, device: str) -> tuple[Model, tuple[str, ...]]:
    """What a run says of crops, and its classes."""
    from deeploc_tf.cli.tensorflow_start import start_tensorflow

    start_tensorflow()
    from deeploc_tf.models.trained import load_trained
    from deeploc_tf.serving.open_model import open_model
    from tfrecords.manifest import read_manifest

    trained = load_trained(run)
    trained.check_tells_classes()
    for sentence in trained.check_schema(read_manifest(records).schema):
        note(sentence)
    return open_model(run, device=device), trained.class_names


def _write_labels(records: Path, output: Path, file: Path, options: dict[str, Any]) -> None:
    if output.suffix.lower() != ".csv":
        msg = f"With --from-standard OUT must end in .csv. Received: {output.name}."
        raise click.UsageError(msg)
    if len(options["aspects"]) > 1:
        msg = "--from-standard takes one --aspect: terms would be mixed."
        raise click.UsageError(msg)
    from deeploc_tf.report.label_table import write_label_table
    from deeploc_tf.units import some

    reading = reading_keywords({name: options[name] for name in READING})
    aspect = next(iter(reading.pop("aspects")), None)
    found = write_label_table(
        output,
        records,
        file,
        classes=options["classes"] or (),
        splits=options["splits"],
        separator=options["label_separator"],
        key=options["label_key"],
        distinct_case=options["distinct_case"],
        progress=not options["quiet"],
        aspect=aspect,
        **reading,
    )
    labels = sorted(set(found.table["label"]))
    values = {
        "path": output,
        "num_proteins": found.num_proteins,
        "num_labeled": len(found.table),
        "labels": labels,
        "several": found.several,
        "without": found.without,
    }
    lines = [f"{output}: {len(found.table)} of {found.num_proteins} proteins, {len(labels)} labels"]
    hint = "; --label-separator takes them, --classes chooses terms"
    for names, why, mend in (
        (found.several, "with several terms", hint),
        (found.without, "without a term", ""),
    ):
        if names:
            lines.append(f"  left out {why}: {len(names)} ({some(names)}){mend}")
    answer(values, lines, as_json=options["as_json"])
