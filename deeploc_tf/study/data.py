"""What all methods of a study see: records, standards, and the colors of the map."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd

from deeploc_tf.benchmark.standards import Standard, read_standard
from deeploc_tf.ingest import build_records
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.progress import Count
from deeploc_tf.simulation.function import STANDARDS
from deeploc_tf.simulation.simulate import CHANNELS, Screen, simulate, truth_digest
from deeploc_tf.sources import TableSource
from deeploc_tf.study.config import StudyConfigError
from deeploc_tf.study.specification import RecordsData, SimulatedData
from deeploc_tf.study.steps import Steps
from tfrecords.manifest import Manifest, read_manifest

_log = logging.getLogger(__name__)

ShowCount = Callable[[str, int], AbstractContextManager[Count]]
"""Called with what is going on and how many there are; gives what is called with the count."""


@dataclasses.dataclass(frozen=True)
class StudyData:
    """Records and what is known of their proteins.

    Attributes:
        records: folder of the data set.
        manifest: of it.
        standards: to score against.
        compartments: protein -> the name that colors it on the map.
    """

    records: Path
    manifest: Manifest
    standards: tuple[Standard, ...]
    compartments: Mapping[str, str]

    @property
    def standards_digest(self) -> str:
        """SHA-256 of the standards' names, terms and members."""
        content = [
            (standard.name, sorted((term, sorted(m)) for term, m in standard.terms.items()))
            for standard in self.standards
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def prepare(
    data: SimulatedData | RecordsData, steps: Steps, workers: int, show: ShowCount
) -> StudyData:
    """Records and standards of a study, simulated first where they are to be.

    Raises:
        StudyConfigError: the simulated truth is not the one that was frozen.
        RecordsError: there are no records, or they are damaged.
        StandardError: a standard cannot be read.
        OSError: a file cannot be read.
    """
    if isinstance(data, RecordsData):
        colors = {} if data.compartments is None else read_standard(data.compartments).terms
        read = tuple(read_standard(file, name) for name, file in data.standards.items())
        for standard in read:
            for title in ("left_out", "notes"):
                for reason, count in standard.report[title].items():
                    _log.info(
                        "%s, %s: %d %s", standard.name, title.replace("_", " "), count, reason
                    )
        return StudyData(
            data.records,
            with_usual_splits(read_manifest(data.records)),
            read,
            {protein: term for term, members in colors.items() for protein in sorted(members)},
        )
    screen = data.settings
    _check_truth(data.truth, truth_digest(screen))
    drawn = steps.made(
        "simulate",
        {"truth": truth_digest(screen)},
        lambda folder: _simulate(folder, screen, workers, show),
    )
    built = steps.made(
        "build-records",
        {"test": screen.num_fields, "validation": screen.num_fields - 1},
        lambda folder: _build(drawn / "screen", folder / "records", screen, show),
        after=(drawn,),
    )
    standards = [read_standard(drawn / f"screen/standards/{name}.gmt", name) for name in STANDARDS]
    cells = pd.read_csv(drawn / "screen/cells.csv")
    return StudyData(
        built / "records",
        read_manifest(built / "records"),
        tuple(standards),
        dict(zip(cells["protein"], cells["localization"], strict=True)),
    )


def _check_truth(frozen: str | None, found: str) -> None:
    if frozen is None:
        _log.info(
            f"The truth is not frozen. Before methods are compared, write to `data`: truth: {found}"
        )
    elif frozen != found:
        msg = (
            "`data.truth` must be the digest of what is simulated. Received: "
            f"truth={frozen!r}, simulated {found!r}. Settings or generator have changed since it "
            "was frozen: take them back, or write the new digest and compare all methods anew."
        )
        raise StudyConfigError(msg)


def _source(screen: Path) -> TableSource:
    return TableSource(screen / "cells.csv", {name: name for name in CHANNELS})


def _simulate(folder: Path, screen: Screen, workers: int, show: ShowCount) -> None:
    shutil.rmtree(folder / "screen", ignore_errors=True)  # of a killed call: quickly drawn again
    with show("Drawing proteins", screen.num_proteins) as count:
        simulate(folder / "screen", screen, workers=workers, progress=lambda done, _: count(done))


def _build(screen_folder: Path, records: Path, screen: Screen, show: ShowCount) -> None:
    if records.exists():
        return
    source = _source(screen_folder)
    with show("Reading crops", len(source.index())) as count:
        build_records(
            source,
            records,
            label="localization",
            conditions={
                "test": [("field", str(screen.num_fields))],
                "validation": [("field", str(screen.num_fields - 1))],
            },
            progress=lambda done, _: count(done),
        )
