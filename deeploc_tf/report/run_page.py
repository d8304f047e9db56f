"""The report of a run: what was trained, on what, how well it does, and the cells behind that."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.provenance import parent
from deeploc_tf.report.data_set import DataSet, data_sheet
from deeploc_tf.report.evaluation import Evaluation
from deeploc_tf.report.function import function_by_epoch, function_sections
from deeploc_tf.report.map import protein_map
from deeploc_tf.report.page import Section, check_extra, write_page
from deeploc_tf.report.plates import plate_sections
from deeploc_tf.report.training_sections import how_it_went, read_config, what_was_run
from deeploc_tf.report.wells import (
    has_wells,
    joined_wells,
    read_predictions,
    wells_of,
    with_left_out,
)


def write_report(
    output: str | Path,
    run: str | Path,
    *,
    evaluation: str | Path | None = None,
    records: str | Path | None = None,
    benchmarks: Iterable[str | Path] = (),
    profiles: str | Path | None = None,
    map_page: str | Path | None = None,
    function: str | Path | None = None,
    cells: str | Path | None = None,
    controls: Mapping[str, Collection[str]] | None = None,
    title: str = "",
    before: Sequence[Section] = (),
    after: Sequence[Section] = (),
) -> tuple[str, ...]:
    """Write a page about a run, in one file; what it lacks is named on it.

    Args:
        output: the page, by custom ending in .html; a file that is there is replaced.
        run: folder of a training, finished or not.
        evaluation: folder that `evaluate` wrote for this run.
        records: data set that was evaluated, whose cells to show.
        benchmarks: folders that `benchmark` wrote.
        profiles: table of profiles, for the map.
        map_page: page that `write_map` wrote, to link to; best in the folder of the output.
        function: CSV file of scores by epoch that `FunctionByEpoch` wrote.
        cells: folder that `predict` wrote, for heat maps of plates.
        controls: column of these cells, or of the records where there are none -> values of the
            control wells, on which effects of edges and plates are tested.
        title: of the page; by default one that names the run.
        before: what the page begins with.
        after: what it ends with.

    Returns:
        What the page does not show, and what would add it.

    Raises:
        ValueError: a file is not what this package writes, or is of another run or data set.
        OSError: a file cannot be read or written.
        MissingExtraError: matplotlib or Jinja2 is not installed.

    Example:
        missing = write_report("report.html", "run", evaluation="results")
    """
    check_extra()
    run, benchmarks = Path(run), tuple(benchmarks)
    config = read_config(run)
    missing: list[str] = []
    tested = None if evaluation is None else Evaluation(evaluation, config["records_digest"])
    data = None if records is None else DataSet(records)
    sections = [
        *before,
        *what_was_run(run, config, missing),
        *how_it_went(run, missing, matrix=tested is None),
    ]
    if data is None:
        missing.append("The data set and its cells: add --records RECORDS.")
    else:
        sections += data_sheet(data.manifest)
    if tested is None:
        missing.append(
            "Calibration, classes, proteins and cells: run `deeploc-tf evaluate "
            f"{shlex.quote(str(run))} RECORDS EVALUATION`, and add --evaluation EVALUATION."
        )
    else:
        sections += tested.sections(data)
    for folder in benchmarks:
        sections += function_sections(folder)
    if not benchmarks:
        missing.append(
            f"Function: run `deeploc-tf embed {shlex.quote(str(run))} RECORDS cells.parquet` and "
            "`deeploc-tf benchmark cells.profiles.parquet RESULTS`, and add --benchmark RESULTS."
        )
    if function is not None:
        sections.append(function_by_epoch(function))
    else:
        missing.append(
            "Function against the epoch: train with the callback `FunctionByEpoch`, as `deeploc-tf "
            "study` does, and add --function FILE."
        )
    sections += _plates(data, tested, cells, controls or {}, missing)
    sections += _map(profiles, _address(map_page, output), tested, missing)
    if missing:
        sections.append(Section("What this page does not show", "\n\n".join(missing)))
    read = {
        "run": run,
        "evaluation": evaluation,
        "records": records,
        **{f"benchmark {number}": folder for number, folder in enumerate(benchmarks, start=1)},
        "profiles": profiles,
        "map": map_page,
        "function": function,
        "cells": cells,
    }
    write_page(
        output,
        title or f"Report of {run.name}",
        [*sections, *after],
        made_from=[
            parent(what, path) for what, path in read.items() if path and Path(path).exists()
        ],
    )
    return tuple(missing)


def _plates(
    data: DataSet | None,
    tested: Evaluation | None,
    cells: str | Path | None,
    controls: Mapping[str, Collection[str]],
    missing: list[str],
) -> list[Section]:
    """Plates of the predictions, of the data set, or of both."""
    found = []
    if cells is not None:
        found.append(with_left_out(wells_of(read_predictions(cells), controls), cells))
    if data is not None and has_wells(data.manifest.schema.metadata):
        measured = data.measured()
        if tested is not None:
            measured = measured.merge(tested.calls(), how="left", on="key")
        found.append(wells_of(measured, {} if found else controls))
    if not found:
        what = "the cells name no wells" if data is not None else "no cells were given"
        missing.append(
            f"Plates: {what}; run `deeploc-tf predict RUN FIELDS PREDICTIONS`, and add "
            "--predictions PREDICTIONS, or give --records with wells."
        )
        return []
    wells = found[0] if len(found) == 1 else joined_wells(*found)
    return plate_sections(wells, missing, has_controls=bool(controls))


def _address(page: str | Path | None, output: str | Path) -> str:
    """Of a page, from the folder of another; "" where there is none."""
    return "" if page is None else Path(os.path.relpath(page, Path(output).parent)).as_posix()


def _map(
    profiles: str | Path | None,
    page: str,
    tested: Evaluation | None,
    missing: list[str],
) -> list[Section]:
    """A picture of the map, and a link to the one to explore."""
    links = {"Explore the map: search, neighbors, cells": page} if page else {}
    if not page:
        table = "PROFILES" if profiles is None else shlex.quote(str(profiles))
        missing.append(
            f"The map to explore: run `deeploc-tf map {table} map.html`, and add --map map.html."
        )
    if profiles is None:
        missing.append("A picture of the map: add --profiles TABLE.")
        return [Section("The map", links=links)] if links else []
    places = {} if tested is None else tested.labels_of_proteins()
    return [
        Section(
            "The map",
            links=links,
            picture=protein_map(read_profiles(profiles), places),
            alt="Proteins in the plane, colored by class",
            caption="t-SNE of the profiles by cosine distance.",
        )
    ]
