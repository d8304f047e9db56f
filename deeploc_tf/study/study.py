"""The study: every method on the same cells and standards, and a page that compares them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from deeploc_tf.benchmark.comparable import Method, common_proteins
from deeploc_tf.benchmark.compare import compare
from deeploc_tf.benchmark.results import Comparison
from deeploc_tf.benchmark.scores import Extent, bars
from deeploc_tf.benchmark.similarity import unusable_profiles
from deeploc_tf.benchmark.standards import met
from deeploc_tf.features.cellprofiler import cellprofiler_features
from deeploc_tf.joins import joined
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.profiles.tables.columns import column_types
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import sealed
from deeploc_tf.report.comparison import SCORES as PAPER
from deeploc_tf.report.page import check_extra
from deeploc_tf.study.comparison import read_scores, write_scores
from deeploc_tf.study.config import StudyConfig, StudyConfigError, read_study
from deeploc_tf.study.data import ShowCount, StudyData, prepare
from deeploc_tf.study.methods import TRAIN, Methods
from deeploc_tf.study.protein_halves import protein_halves
from deeploc_tf.study.specification import (
    CellTransform,
    ChosenMethod,
    FeaturesMethod,
    SupervisedFeaturesMethod,
)
from deeploc_tf.study.steps import Step, Steps
from deeploc_tf.study.study_page import MAP_PAGE, PICTURES, draw_pictures, write_study_page
from deeploc_tf.text_tables import csv_bytes
from deeploc_tf.training.state import TrainingStoppedError
from tfrecords.errors import did_you_mean
from tfrecords.locking import locked
from tfrecords.publishing import check_untaken, keeping, publish_bytes, publish_json

_log = logging.getLogger(__name__)

SCORES, SUMMARY, CURVES, PAGE = "scores.csv", "summary.csv", "curves.csv", "index.html"
HALVES, CHOICES, SEAL = "halves.csv", "choices.csv", "study.json"
_DRAWN = (*(f"{name}{form}" for name in PICTURES for form in (".png", ".svg")), MAP_PAGE)
_FEWEST_PROTEINS = 2


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        folder: everything.
        scores: a row for each method, seed and standard, as in `scores.csv`.
        summary: a row for each score, standard and method, as in `summary.csv`.
        page: the page to open.
    """

    folder: Path
    scores: pd.DataFrame
    summary: pd.DataFrame
    page: Path

    def to_frame(self) -> pd.DataFrame:
        """A copy of the scores."""
        return self.scores.copy()


def run_study(
    config: str | Path,
    output: str | Path,
    *,
    workers: int = 2,
    progress: ShowProgress = False,
    should_stop: Callable[[], bool] | None = None,
) -> Study:
    """Run what is missing of a study, and write its tables, its pictures and its page.

    Stopped at any point and called again, it goes on where it was. Each step lies in a folder
    of `output/steps` that is named by the digest of all that it depends on; a step whose files are
    not as they were written is made again.

    Args:
        config: YAML file, see `StudyConfig`.
        output: folder to make, or of an earlier call.
        workers: processes that draw and measure.
        progress: True to show the progress of each step; or a callable that gets `(done, total)`.
        should_stop: asked after each training step, and whenever something is counted.

    Returns:
        The tables, and where the rest is.

    Raises:
        StudyConfigError: the file is not what it must be, or the truth is not the frozen one.
        MissingExtraError: there is no matplotlib; nothing is begun.
        MissingCpMeasureError: a method needs cp-measure, which is not installed; likewise.
        SplitError: the records have no such split.
        LockedError: another process runs the same study.
        TrainingStoppedError: `should_stop` said so; the same call goes on.

    Example:
        run_study("study.yaml", "OUT").to_frame()
    """
    settings = read_study(config)
    check_extras(settings)
    show = _stopping(progress, should_stop)
    folder = Path(output)
    files = [SEAL, SCORES, SUMMARY, CURVES, HALVES, CHOICES, PAGE, *_DRAWN]
    files += _names_of_reports(settings).values()
    check_untaken(folder, "steps", files)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", str(folder)), keeping("Steps", folder, "steps/*"):
        steps = Steps(folder / "steps")
        data = prepare(settings.data, steps, workers, show)
        _check_columns(settings, data)
        candidates = settings.candidates
        learn = any(isinstance(m, SupervisedFeaturesMethod) for m in candidates.values())
        others = ["validation"] * bool(settings.curves) + [TRAIN] * learn
        for split in (settings.split, *others):
            data.manifest.shards(split)  # refused now rather than after the first training
        methods = Methods(
            candidates,
            data,
            steps,
            split=settings.split,
            curves=settings.curves,
            workers=workers,
            show=show,
            should_stop=should_stop,
            distinct_case=settings.distinct_case,
        )
        tables = _profiles(settings, methods)
        proteins = _common_proteins(tables)
        distinct = settings.distinct_case
        for standard in data.standards:
            _log.info("%s", met(standard, proteins, distinct_case=distinct).sentence())
        if settings.map is not None and data.compartments:
            words = "profiles", "proteins of the colors of the map"
            found = joined(proteins, data.compartments, "protein", words, distinct_case=distinct)
            _log.info("%s", found.sentence())
        if len(candidates) > len(settings.methods):
            choices = _choices(settings, methods, data, tables, proteins)
            publish_bytes(folder / CHOICES, csv_bytes(choices))
            settings, tables = _with_chosen(settings, methods, tables, choices)
        scored = _scored(settings, methods, data, tables, proteins)
        curves = _curves(settings, methods)
        done = Study(folder, scored.to_frame(), _summary(scored, settings.reference), folder / PAGE)
        for name, table in ((SCORES, done.scores), (SUMMARY, done.summary), (CURVES, curves)):
            publish_bytes(folder / name, csv_bytes(table))
        if settings.choose_by is not None:
            publish_bytes(
                folder / HALVES, csv_bytes(_halves(settings, methods, data, tables, proteins))
            )
        publish_bytes(folder / "study.yaml", Path(config).read_bytes())
        pictures = _shown(folder, _drawn(settings, methods, data, tables, done.scores, curves))
        reports = _reports(folder, settings, methods)
        made_from = [
            {"what": "step", "name": name, "digest": key}
            for name, key in sorted(steps.used.items())
        ]
        write_study_page(done.page, settings, data, done.summary, pictures, reports, made_from)
        present = (folder / name for name in [*files[1:], "study.yaml"])
        listed = [path for path in present if path.exists()]
        publish_json(folder / SEAL, sealed({"title": settings.title}, made_from, listed))
        for old in steps.unused():
            _log.info("Not of this study any more, and may be removed: %s", old)
    return done


def check_extras(config: StudyConfig) -> None:
    """Raise an error with the line that installs what is missing, before anything is begun."""
    check_extra()
    for method in config.candidates.values():
        classic = FeaturesMethod, SupervisedFeaturesMethod
        if isinstance(method, classic) and method.features == "cellprofiler":
            cellprofiler_features(["gfp"], [1.0], (16, 16))


def _stopping(progress: ShowProgress, should_stop: Callable[[], bool] | None) -> ShowCount:
    """Progress that ends in `TrainingStoppedError` once it is time to stop."""

    @contextmanager
    def shown(what: str, total: int) -> Iterator[Callable[[int], None]]:
        with counting(progress, what, total) as note:

            def count(done: int) -> None:
                note(done)
                if should_stop is not None and should_stop():
                    msg = f"Stopped as asked, after {done} of {total}. The same command goes on."
                    raise TrainingStoppedError(msg)

            yield count

    return shown


Seeded = tuple[str, int | None]


def _check_columns(config: StudyConfig, data: StudyData) -> None:
    """Raise `StudyConfigError` unless cells have the columns that they are normalized by."""
    known = column_types(data.manifest.schema)
    for name, method in config.candidates.items():
        transform = getattr(method, "transform", None)
        if isinstance(transform, CellTransform):
            for column in {transform.by, *transform.controls} - {None, *known}:
                msg = (
                    f"`methods.{name}.transform` must name a column of the cells. Received: "
                    f"{column!r}, of {', '.join(known)}.{did_you_mean(str(column), known)}"
                )
                raise StudyConfigError(msg)


def _profiles(config: StudyConfig, methods: Methods) -> dict[Seeded, VectorTable]:
    """Profiles of each method and candidate, by seed; those of one that knows no seed once."""
    tables: dict[Seeded, VectorTable] = {}
    for name in methods.methods:
        for seed in config.seeds if methods.knows_seeds(name) else (None,):
            _log.info("%s%s", name, "" if seed is None else f", seed {seed}")
            tables[name, seed] = methods.profiles(name, seed or 0)
    return tables


def _common_proteins(tables: dict[Seeded, VectorTable]) -> list[str]:
    """The proteins that all tables have."""
    for (name, seed), table in tables.items():
        bad = {why: int(rows.sum()) for why, rows in unusable_profiles(table.features).items()}
        if any(bad.values()):
            counts = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in bad.items() if n)
            of = name if seed is None else f"{name}, seed {seed}"
            _log.info(
                "%s: %d profiles; excluded for all methods: %s", of, len(table.features), counts
            )
    proteins = common_proteins(tables.values())
    if len(proteins) < _FEWEST_PROTEINS:
        msg = (
            "Methods must have proteins in common. Received: "
            f"{len(proteins)} that all of them have a usable profile of."
        )
        raise StudyConfigError(msg)
    return proteins


def _choices(
    config: StudyConfig,
    methods: Methods,
    data: StudyData,
    tables: dict[Seeded, VectorTable],
    proteins: list[str],
) -> pd.DataFrame:
    """What each candidate scores on the half that chooses, and which is the best of its method.

    The score is mean average precision, averaged over seeds and standards; of equals, the first.
    """
    half = _divided(config, data, proteins)["choose"]
    rows = []
    for name, method in config.methods.items():
        if isinstance(method, ChosenMethod):
            own = method.named(name)
            of_them = {key: table for key, table in tables.items() if key[0] in own}
            scores = _scored(config, methods, data, of_them, half).to_frame()
            means = scores.groupby("method")["mean_average_precision"].mean()[list(own)]
            best = means.idxmax()
            rows += [
                (name, candidate, means[full], full == best)
                for candidate, full in zip(method.of, own, strict=True)
            ]
    found = pd.DataFrame(rows, columns=["method", "candidate", "mean_average_precision", "chosen"])
    for row in found[found["chosen"]].itertuples():
        _log.info(
            "%s: %s is chosen, mAP %.3f on %d proteins, which judge no more",
            row.method,
            row.candidate,
            row.mean_average_precision,
            len(half),
        )
    return found


def _with_chosen(
    config: StudyConfig,
    methods: Methods,
    tables: dict[Seeded, VectorTable],
    choices: pd.DataFrame,
) -> tuple[StudyConfig, dict[Seeded, VectorTable]]:
    """The study with the best candidate in the place of each chosen method, and its profiles."""
    best = {
        row.method: f"{row.method}: {row.candidate}"
        for row in choices[choices["chosen"]].itertuples()
    }
    named = {name: best.get(name, name) for name in config.methods}
    chosen = {name: methods.methods[candidate] for name, candidate in named.items()}
    methods.methods |= chosen
    kept = {
        (name, seed): table
        for name, candidate in named.items()
        for (other, seed), table in tables.items()
        if other == candidate
    }
    return config.model_copy(update={"methods": chosen}), kept


def _divided(config: StudyConfig, data: StudyData, proteins: list[str]) -> dict[str, list[str]]:
    """The halves of the proteins; terms of the standard `choose_by` hold together."""
    standard = next(s for s in data.standards if s.name == config.choose_by)
    return protein_halves(proteins, standard, distinct_case=config.distinct_case)


def _halves(
    config: StudyConfig,
    methods: Methods,
    data: StudyData,
    tables: dict[Seeded, VectorTable],
    proteins: list[str],
) -> pd.DataFrame:
    """The summary of each half of the proteins."""
    halves = []
    for half, some in _divided(config, data, proteins).items():
        summary = _summary(_scored(config, methods, data, tables, some), config.reference)
        halves += summary.assign(half=half).to_dict("records")
    return pd.DataFrame(halves)[["half", *summary.columns]]


def _scored(
    config: StudyConfig,
    methods: Methods,
    data: StudyData,
    tables: dict[Seeded, VectorTable],
    proteins: list[str],
) -> Comparison:
    """Scores of all tables on some proteins, each table's a step."""
    extent = Extent(num_draws=config.draws, intervals=True)
    digest = hashlib.sha256(json.dumps(proteins).encode()).hexdigest()
    scored = []
    for (name, seed), table in tables.items():
        settings = {
            "method": methods.methods[name].model_dump(mode="json"),
            "seed": seed,
            "proteins": digest,
            "standards": data.standards_digest,
            "extent": dataclasses.asdict(extent),
        } | methods.spelling
        step = methods.steps.made(
            "score",
            settings,
            lambda folder, table=table: write_scores(  # type: ignore[misc]
                folder / "scores.json",
                compare(
                    [("", table)],
                    data.standards,
                    proteins=proteins,
                    extent=extent,
                    distinct_case=config.distinct_case,
                )
                .methods[0]
                .results,
            ),
            after=methods.steps_of(name, seed or 0),
        )
        results = read_scores(step / "scores.json")
        scored.append(Method(name, table, seed=seed, results=results))
    return Comparison(scored)


def _summary(scored: Comparison, reference: str | None) -> pd.DataFrame:
    """The paper's scores first, by definitions that it does not give; then the others."""
    return scored.summary(reference, [*PAPER, *(score for score in bars() if score not in PAPER)])


def _drawn(
    config: StudyConfig,
    methods: Methods,
    data: StudyData,
    tables: dict[Seeded, VectorTable],
    scores: pd.DataFrame,
    curves: pd.DataFrame,
) -> Step:
    """The pictures; a map takes as long as a small training."""
    name = config.map or ""
    seed = config.seeds[0] if name and methods.knows_seeds(name) else None
    tables_drawn = [
        {"what": "table", "name": file, "sha256": hashlib.sha256(csv_bytes(table)).hexdigest()}
        for file, table in ((SCORES, scores), (CURVES, curves))
    ]
    settings = {
        "tables": [table["sha256"] for table in tables_drawn],
        "reference": config.reference,
        "map": name and [name, seed, config.methods[name].model_dump(mode="json")],
        "densities": config.densities,
        "standards": data.standards_digest,
        "compartments": sorted(data.compartments.items()),
        "records": data.manifest.digest,
        "title": config.title,
    } | methods.spelling
    return methods.steps.made(
        "draw",
        settings,
        lambda folder: draw_pictures(
            folder, config, data, scores, curves, tables.get((name, seed)), tables_drawn
        ),
        after=methods.steps_of(name, seed or 0) if name else (),
    )


def _shown(folder: Path, drawn: Step) -> dict[str, bytes]:
    """Put the pictures beside the tables, in place of earlier ones; gives the PNGs by name."""
    for name in _DRAWN:
        if (drawn / name).exists():
            publish_bytes(folder / name, (drawn / name).read_bytes())
        else:
            (folder / name).unlink(missing_ok=True)
    return {path.stem: path.read_bytes() for path in drawn.folder.glob("*.png")}


def _names_of_reports(config: StudyConfig) -> dict[str, str]:
    """File of the report of each method that may have one."""
    return {name: f"network-{number}.html" for number, name in enumerate(config.methods, start=1)}


def _reports(folder: Path, config: StudyConfig, methods: Methods) -> dict[str, str]:
    """Put a report of each trained network, of the first seed, beside the page."""
    found = {}
    for name, file in _names_of_reports(config).items():
        made = methods.report(name, config.seeds[0])
        if made is not None:
            publish_bytes(folder / file, (made / "report.html").read_bytes())
            found[name] = file
    return found


def _curves(config: StudyConfig, methods: Methods) -> pd.DataFrame:
    """Average precision of the validation profiles after each epoch."""
    found = [
        methods.curve(name, seed).assign(method=name, seed=seed)
        for name in config.curves
        for seed in config.seeds
    ]
    columns = ["method", "seed", "epoch", "standard", "average_precision"]
    return pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)
