"""A table scored on a suite: everything that the suite asks, in one JSON that can be recomputed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from deeploc_tf.benchmark.average_precision import shared_terms
from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.choices import SUITE_SCORES, Kind
from deeploc_tf.benchmark.comparable import Method, comparable
from deeploc_tf.benchmark.influence import Influence
from deeploc_tf.benchmark.intervals import paired_difference
from deeploc_tf.benchmark.labels import label_profiles
from deeploc_tf.benchmark.prospective import prospective_scores
from deeploc_tf.benchmark.results import Comparison, with_adjusted
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.similarity import usable_profiles
from deeploc_tf.benchmark.standards import Standard, StandardError, annotate, met
from deeploc_tf.benchmark.suite import Suite, open_suite
from deeploc_tf.joins import listed
from deeploc_tf.profiles.reading import open_profiles
from deeploc_tf.profiles.tables import NO_ROLES, AnyTable, Roles, VectorTable
from deeploc_tf.provenance import SAID, changed_since, file_digest, sealed
from deeploc_tf.version import __version__
from tfrecords.publishing import check_absent, json_digest, publish_json

SCHEMA_VERSION = 1
NUM_RANDOM = 64
_TABLE = "table"
_CLOSE, _NEAR = 1e-6, 1e-9  # relative and absolute: products of other processors differ in a bit


class SuiteScores(dict[str, Any]):
    """What a table scored on a suite, JSON-ready: digests, settings, coverage, scores and more."""

    def to_frame(self) -> pd.DataFrame:
        """A row per method (`table`, then each baseline and the table beside it) and standard."""
        found = [("table", "all", self["scores"])]
        for name, baseline in self["baselines"].items():
            if "scores" in baseline:
                beside = baseline.get("table", self)
                found += [("table", name, beside["scores"])] * ("table" in baseline)
                found.append((name, name, baseline["scores"]))
        rows = [
            {"method": method, "beside": beside, "standard": standard, **numbers}
            for method, beside, scores in found
            for standard, numbers in scores.items()
        ]
        return pd.DataFrame(rows)


def score_suite(
    table: AnyTable,
    suite: str | Path | Suite = "yeast",
    output: str | Path | None = None,
    *,
    data: str | Path | None = None,
    similarity: Kind = "cosine",
    intervals: bool = True,
    seed: int = 0,
    roles: Roles = NO_ROLES,
    distinct_case: bool = False,
) -> SuiteScores:
    """Score a table of profiles on a suite, as `deeploc-tf benchmark TABLE --suite NAME` does.

    The table is scored on all of its proteins beside random vectors. Beside each set of labels, and
    abundance, it is scored once more on the proteins that both have; with labels also among
    pairs of proteins of one label.

    Args:
        table: with a row per protein, a file or in memory, see `open_rows`.
        suite: name of a suite of the package, the folder of another one, or a suite that is open.
        output: JSON file to write, which `verify` recomputes; None writes nothing.
        data: folder with files that are no part of the suite, see `open_suite`.
        similarity: of two profiles.
        intervals: whether scores have intervals, and baselines differences with p-values.
        seed: of the random vectors.
        roles: which column of the table names the protein.
        distinct_case: let names of proteins differ in case and be two.

    Returns:
        JSON-ready: digests, settings, coverage, scores, baselines and prospective tests.

    Raises:
        OutputExistsError: the output is there already.
        StandardError: the suite cannot be read, or shares no protein with the table.
        ValueError: the table has fewer than two usable profiles.
        OSError: a file cannot be read.

    Example:
        score_suite("cells.profiles.parquet", "yeast", "scores.json").to_frame()
    """
    opened = suite if isinstance(suite, Suite) else open_suite(suite, data)
    if output is not None:
        check_absent(Path(output))
    rows = open_profiles(table, roles, distinct_case=distinct_case)
    profiles, made_from = rows.read(), rows.made_from("profiles")
    run = _Run(opened, profiles, similarity, Extent(0, 0, 0, intervals, None, seed), distinct_case)
    main = run.beside(None)
    names: Sequence[str] = main.methods[0].profiles.metadata["protein"].tolist()
    known = met(Standard(opened.name, {"all": opened.proteins}), names)
    found = main.to_json()
    baselines = {"random": found.pop("baseline")}
    for name, labels in opened.labels.items():
        baselines[f"labels: {name}"] = run.baseline(label_profiles(labels), labels)
    if opened.abundance is not None:
        baselines["abundance"] = run.baseline(opened.abundance)
    is_file = rows.stored.is_file
    values: dict[str, Any] = {
        "kind": SUITE_SCORES,
        "schema_version": SCHEMA_VERSION,
        "suite": {"name": opened.name, "version": opened.version, "digest": opened.digest},
        _TABLE: {
            "file": rows.path.name if is_file else None,
            "sha256": file_digest(rows.path) if is_file else None,
            "profiles": len(profiles.features),
            "features": profiles.features.shape[1],
        },
        "versions": {
            "deeploc_tf": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
        },
        "settings": {
            "similarity": similarity,
            "intervals": intervals,
            "seed": seed,
            "random": NUM_RANDOM,
            "roles": roles.given(),
            "distinct_case": distinct_case,
        },
        "coverage": {
            "proteins": len(names),
            "proteins_of_suite": known.num_reference,
            "proteins_of_suite_with_profile": len(known.data_of),
            "share": len(known.data_of) / known.num_reference,
            "proteins_not_of_suite": listed(known.unmatched),
            "excluded": main.methods[0].excluded,
            "identifiers": _counted(main.methods[0].identifiers),
        },
        "absent": dict(opened.absent),
        **found,
        "baselines": baselines,
    }
    if output is not None:
        values = sealed(values, made_from)
        publish_json(Path(output), values)
    return SuiteScores(values)


def check_suite_scores(
    file: str | Path,
    *,
    table: str | Path | None = None,
    suite: str | Path | None = None,
    data: str | Path | None = None,
) -> dict[str, Any]:
    """Recompute what `score_suite` found, and compare every number.

    Args:
        file: JSON of it.
        table: that was scored; None: the file of its name beside the JSON.
        suite: None: that of its name, which must be one of the package.
        data: folder with files that are no part of the suite.

    Returns:
        The content of the file.

    Raises:
        ValueError: the file is no such JSON; table or suite have another digest; or a number is
            another one, with its place.
        OSError: a file cannot be read.

    Example:
        check_suite_scores("scores.json", table="cells.profiles.parquet")
    """
    path = Path(file)
    values = read_suite_scores(path)
    try:
        told, settings = values["suite"], values["settings"]
        name, digest = values[_TABLE]["file"], values[_TABLE]["sha256"]
        options = {key: settings[key] for key in ("similarity", "intervals", "seed")}
        options |= {"roles": Roles(**settings["roles"]), "distinct_case": settings["distinct_case"]}
        where = path.parent / name if table is None else Path(table)
        opened = open_suite(told["name"] if suite is None else suite, data)
        absent, expected = values["absent"], told["digest"]
    except (KeyError, TypeError) as error:
        msg = f"Scores of a suite must be whole. Received: {path}, without {error}. Score anew."
        raise ValueError(msg) from error
    with where.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    for what, one, other in (("table", digest, found), ("suite", expected, opened.digest)):
        if one != other:
            msg = (
                f"The {what} must be the one that was scored. Received: digest {other}, scored "
                f"{one}. Take the file that was scored, or score this one."
            )
            raise ValueError(msg)
    if missing := sorted(opened.absent.keys() - absent.keys()):
        msg = (
            "All that was scored must be there. Received: no "
            f"{opened.absent[missing[0]]}. Name the folder that has it (--suite-data FOLDER)."
        )
        raise ValueError(msg)
    if more := sorted(absent.keys() - opened.absent.keys()):
        opened = open_suite(told["name"] if suite is None else suite)
        if sorted(opened.absent) != sorted(absent):
            msg = f"The same files must be there as were. Received: {', '.join(more)} as well."
            raise ValueError(msg)
    again = json.loads(json.dumps(score_suite(where, opened, **options)))
    told_apart = {"versions", _TABLE, *SAID}
    place = next(
        _differences(
            {key: value for key, value in values.items() if key not in told_apart},
            {key: value for key, value in again.items() if key not in told_apart},
        ),
        None,
    )
    if place is not None:
        msg = (
            f"Scores must be those of the table. Received: {place}. Scored with deeploc-tf "
            f"{values['versions'].get('deeploc_tf')}, recomputed with {__version__}."
        )
        raise ValueError(msg)
    if "digest" in values and values["digest"] != json_digest(values):
        raise changed_since(path, "its digest is another")
    return values


def read_suite_scores(path: Path) -> dict[str, Any]:
    """The JSON of `score_suite`.

    Raises:
        ValueError: the file is none.
        OSError: it cannot be read.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.get("kind") != SUITE_SCORES:
        msg = (
            "Scores of a suite must be the JSON that `deeploc-tf benchmark --suite` wrote. "
            f"Received: {path}."
        )
        raise ValueError(msg)
    return values


@dataclasses.dataclass
class _Pair:
    """The table and what it is beside, on the same proteins; scores that both have."""

    methods: list[Method]
    not_scored: dict[str, str]
    prospective: dict[str, list[dict[str, Any]]]
    differences: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Numbers of the table and, as `baseline`, of the other."""
        ours, theirs = (
            {
                "scores": {one.standard: dict(one.numbers) for one in method.results},
                "notes": {one.standard: dict(one.notes) for one in method.results if one.notes},
                "prospective": {test: found[place] for test, found in self.prospective.items()},
            }
            for place, method in enumerate(self.methods)
        )
        known = len(self.methods[0].profiles.features)
        baseline = {"proteins": known, **theirs, "table_less_this": self.differences}
        return {**ours, "not_scored": self.not_scored, "baseline": baseline}


@dataclasses.dataclass
class _Run:
    """Scores of one table on a suite beside others."""

    suite: Suite
    profiles: VectorTable
    similarity: Kind
    extent: Extent
    distinct_case: bool

    def baseline(self, other: VectorTable, labels: Standard | None = None) -> dict[str, Any]:
        """The table beside another one on the proteins of both, JSON-ready."""
        try:
            pair = self.beside(other, labels)
        except ValueError as error:
            return {"proteins": 0, "note": str(error)}
        found = pair.to_json()
        return {**found.pop("baseline"), _TABLE: found}

    def beside(self, other: VectorTable | None, given: Standard | None = None) -> _Pair:
        """Score the table and another one, or random vectors, on the same proteins."""
        named = [(_TABLE, self.profiles)] + ([] if other is None else [("baseline", other)])
        methods = comparable(
            named,
            similarity=self.similarity,
            identifiers=self.suite.identifiers,
            num_random=NUM_RANDOM if other is None else None,
            seed=self.extent.seed,
            distinct_case=self.distinct_case,
        )
        standards, not_scored = self._scorable(methods[0])
        options = {"similarity": self.similarity, "distinct_case": self.distinct_case}
        scored = [
            dataclasses.replace(
                method,
                results=benchmark(
                    method.profiles.features,
                    method.profiles.metadata["protein"].tolist(),
                    standards,
                    extent=self.extent,
                    given=given,
                    **options,  # type: ignore[arg-type]
                )
                if standards
                else [],
            )
            for method in methods
        ]
        prospective, more = self._prospective(scored)
        differences = Comparison(scored).differences() if standards else []
        rows = [{k: v for k, v in r.items() if k not in ("method", "other")} for r in differences]
        return _Pair(scored, not_scored, prospective, with_adjusted(rows + more))

    def _scorable(self, method: Method) -> tuple[list[Standard], dict[str, str]]:
        """Standards that share pairs with the profiles, and why others do not."""
        names = method.profiles.metadata["protein"].tolist()
        usable = usable_profiles(method.profiles.features, names, self.similarity)
        kept = [name for name, good in zip(names, usable, strict=True) if good]
        whole = Standard(self.suite.name, {"all": self.suite.proteins})
        met(whole, kept, distinct_case=self.distinct_case).check(None, error=StandardError)
        good, reasons = [], {}
        for standard in self.suite.standards:
            try:
                shared_terms(annotate(standard, kept, distinct_case=self.distinct_case))
                good.append(standard)
            except StandardError as error:
                reasons[standard.name] = str(error)
        return good, reasons

    def _prospective(
        self, methods: Sequence[Method]
    ) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
        """Numbers of each test, a method after the other; and differences of the two."""
        found: dict[str, list[dict[str, Any]]] = {}
        differences = []
        for test in self.suite.prospective:
            moved: list[Influence] = []
            found[test.name] = []
            for method in methods:
                names = method.profiles.metadata["protein"].tolist()
                usable = usable_profiles(method.profiles.features, names, self.similarity)
                kept = [name for name, good in zip(names, usable, strict=True) if good]
                features = method.profiles.features[usable]
                try:
                    numbers, influence = prospective_scores(features, kept, test, self.similarity)
                except StandardError as error:
                    numbers, influence = {"auroc": None, "note": str(error)}, None
                found[test.name].append(numbers)
                moved += [] if influence is None else [influence]
            if len(moved) == len(methods) and self.extent.intervals:
                row = {"standard": test.name, "score": "auroc", **paired_difference(*moved)}
                differences.append(row)
        return found, differences


def _counted(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What identifiers did, as counts and the first few names."""
    if report is None:
        return None
    names = {what: listed(report[what]) for what in ("unmapped", "ambiguous", "merged")}
    return {"names": report["names"], "mapped": report["mapped"], **names}


def _differences(told: Any, found: Any, place: str = "") -> Iterator[str]:
    """Places where two JSON values differ by more than rounding."""
    if isinstance(told, dict) and isinstance(found, dict) and told.keys() == found.keys():
        for name in told:
            yield from _differences(told[name], found[name], f"{place}/{name}")
    elif isinstance(told, list) and isinstance(found, list) and len(told) == len(found):
        for number, (one, other) in enumerate(zip(told, found, strict=True)):
            yield from _differences(one, other, f"{place}/{number}")
    elif isinstance(told, float) or isinstance(found, float):
        numbers = isinstance(told, int | float) and isinstance(found, int | float)
        if not numbers or not math.isclose(told, found, rel_tol=_CLOSE, abs_tol=_NEAR):
            yield f"{place} is {told!r}, recomputed {found!r}"
    elif told != found:
        yield f"{place or 'the file'} is {str(told)[:60]}, recomputed {str(found)[:60]}"
