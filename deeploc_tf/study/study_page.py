"""Pictures of a study, and the page that holds them and its tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deeploc_tf.benchmark.scores import bars
from deeploc_tf.joins import joined
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.report.comparison import comparison
from deeploc_tf.report.data_set import data_sheet
from deeploc_tf.report.densities import density_map
from deeploc_tf.report.drawing import publish_picture
from deeploc_tf.report.function_curves import function_curves
from deeploc_tf.report.map import protein_map
from deeploc_tf.report.map_page import write_map
from deeploc_tf.report.page import Section, write_page
from deeploc_tf.report.training_sections import environment_table
from deeploc_tf.study.config import StudyConfig
from deeploc_tf.study.data import StudyData
from deeploc_tf.training.run_folder import environment

PICTURES = ("figure", "curves", "map", "densities")
MAP_PAGE = "map.html"


def draw_pictures(
    folder: Path,
    config: StudyConfig,
    data: StudyData,
    scores: pd.DataFrame,
    curves: pd.DataFrame,
    profiles: VectorTable | None,
    made_from: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write `figure` and, where there is something to draw, `curves`, `map` and `densities`.

    With the picture of the map comes a page of it to explore, `map.html`.

    Args:
        folder: receives each as .png and .svg.
        config: of the study.
        data: what its methods saw.
        scores: as `Comparison.table` gives them.
        curves: scores by epoch; none if empty.
        profiles: of the map; None leaves it out.
        made_from: the tables, see `deeploc_tf.provenance.parent`.
    """
    publish_picture(comparison(scores, config.reference), folder / "figure", made_from)
    if not curves.empty:
        publish_picture(function_curves(curves), folder / "curves", made_from)
    if profiles is not None:
        of_map = profiles.provenance.get("made_from", ())
        distinct = config.distinct_case
        colors = _as_in(profiles, data.compartments, distinct)
        compartments = {name: data.compartments[known] for known, name in colors.items()}
        publish_picture(protein_map(profiles, compartments), folder / "map", of_map)
        write_map(
            folder / MAP_PAGE,
            profiles,
            records=data.records,
            standards=data.standards,
            projection="tsne",  # as the picture
            title=f"{config.title}: the map of {config.map}",
            distinct_case=distinct,
        )
        chosen = {s.name: s.terms for s in data.standards}.get(config.densities or "")
        if chosen is not None:
            names = _as_in(profiles, frozenset().union(*chosen.values()), distinct)
            terms = {
                term: frozenset(names[member] for member in members & names.keys())
                for term, members in chosen.items()
            }
            publish_picture(density_map(profiles, terms), folder / "densities", of_map)


def _as_in(profiles: VectorTable, members: Collection[str], distinct_case: bool) -> dict[str, str]:
    """The name that the profiles have for each of these proteins that has one."""
    proteins = profiles.metadata["protein"].tolist()
    words = "profiles", "members"
    found = joined(proteins, members, "protein", words, distinct_case=distinct_case)
    return dict(found.data_of)


def write_study_page(
    path: Path,
    config: StudyConfig,
    data: StudyData,
    summary: pd.DataFrame,
    pictures: Mapping[str, bytes],
    reports: Mapping[str, str],
    made_from: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the page, which links to the map and to the reports.

    Args:
        path: of the page.
        config: of the study.
        data: what its methods saw.
        summary: as `Comparison.summary` gives it.
        pictures: by name, as `draw_pictures` names them.
        reports: method -> file of the report of its first network.
        made_from: the steps, see `deeploc_tf.provenance.parent`.
    """
    sections = [
        _methods(config, data),
        Section(
            "Methods against standards",
            picture=pictures["figure"],
            alt="Three scores of each method on each standard",
            caption="Mean over seeds, their standard deviation, and each seed. Dark lines: the "
            "same profiles, given to the proteins at random.",
        ),
        *_tables(summary, config.reference),
    ]
    if "curves" in pictures:
        sections.append(
            Section(
                "What is learned when",
                picture=pictures["curves"],
                alt="Average precision of validation profiles against the epoch",
                caption="Profiles of validation cells. Epoch 0 is the untrained network.",
            )
        )
    if "map" in pictures:
        sections.append(
            Section(
                f"The map of {config.map}",
                links={"Explore the map: search, neighbors, cells": MAP_PAGE},
                picture=pictures["map"],
                alt="Proteins in the plane, colored by compartment",
                caption="t-SNE of the profiles of the first seed by cosine distance.",
            )
        )
    if "densities" in pictures:
        sections.append(
            Section(
                "",
                picture=pictures["densities"],
                alt=f"Where the proteins of the largest terms of {config.densities} gather",
                caption=f"The same map: the largest terms of {config.densities}, and the density "
                "of their proteins.",
            )
        )
    if reports:
        text = "Settings, training and data of the first seed of each network, on a page."
        sections.append(Section("Networks", text, links=reports))
    sections += [
        *data_sheet(data.manifest),
        Section("What was run", table=environment_table(environment())),
    ]
    write_page(path, config.title, sections, made_from=made_from)


def _methods(config: StudyConfig, data: StudyData) -> Section:
    counts = data.manifest.counts[config.split]["protein"]
    rows = [
        {"method": name, "kind": method.kind, "settings": _settings(method)}
        for name, method in config.methods.items()
    ]
    splits = ", ".join(f"{data.manifest.num_crops(s):,} {s}" for s in data.manifest.split_names)
    return Section(
        "What is compared",
        f"{len(counts):,} proteins; crops: {splits}. A protein's profile is the mean over its "
        f"{config.split} cells; two proteins are similar by the cosine of their profiles. Seeds "
        f"of what is learned: {', '.join(map(str, config.seeds))}. Records "
        f"{data.manifest.digest[:12]}, standards {data.standards_digest[:12]}.",
        table=pd.DataFrame(rows),
    )


def _settings(method: object) -> str:
    values = method.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})  # type: ignore[attr-defined]
    return ", ".join(f"{name}: {value}" for name, value in values.items()).replace("'", "")


def _tables(summary: pd.DataFrame, reference: str | None) -> Iterator[Section]:
    for number, (score, bar) in enumerate(bars().items()):
        rows = summary[summary["score"] == score]
        resampled = rows["low"].notna().any()
        caption = "Mean over seeds" + (
            ", [95% interval over samples of proteins]" if resampled else " ± standard deviation"
        )
        yield Section(
            "" if number else "Numbers",
            f"{bar.title[0].upper()}{bar.title[1:]}",
            _wide(rows),
            caption=" ".join([f"{caption}.", *rows["note"].dropna().unique()]),
        )
        if resampled and reference is not None:
            others = rows[rows["method"] != reference]
            yield Section(
                "",
                table=_wide(others, "difference"),
                caption=f"{reference} less the method, paired: on the same proteins. p is adjusted "
                "after Holm for all methods, standards and scores; intervals are not.",
            )


def _wide(rows: pd.DataFrame, value: str = "mean") -> pd.DataFrame:
    """A row a method, a column a standard, with intervals as text."""
    bounds = ("low", "high") if value == "mean" else (f"{value}_low", f"{value}_high")
    methods = list(dict.fromkeys(rows["method"]))
    columns: dict[str, list[str]] = {"method": methods}
    for standard in dict.fromkeys(rows["standard"]):
        found = rows[rows["standard"] == standard].set_index("method")
        columns[standard] = [_number(found.loc[method], value, bounds) for method in methods]
    return pd.DataFrame(columns)


def _number(row: pd.Series[float], value: str, bounds: tuple[str, str]) -> str:
    if pd.isna(row[value]):
        return "–"
    text = f"{row[value]:.3f}"
    if pd.notna(row[bounds[0]]):
        text += f" [{row[bounds[0]]:.3f}, {row[bounds[1]]:.3f}]"
        return text if value == "mean" else f"{text}, p {row['adjusted_p_value']:.2g}"
    return f"{text} ± {row['sd']:.3f}" if value == "mean" and pd.notna(row["sd"]) else text
