"""Methods of a study: from records to profiles, each costly piece of work a step of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from deeploc_tf.benchmark.comparable import random_profiles
from deeploc_tf.embedding.embed import embed
from deeploc_tf.features.measure import measure
from deeploc_tf.models.heads import head
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.profiles.fitting import TransformSettings
from deeploc_tf.profiles.profile import ProfileSettings, profile
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import VectorTable, open_rows, read_table, write_table
from deeploc_tf.report.run_page import write_report
from deeploc_tf.study.data import ShowCount, StudyData
from deeploc_tf.study.function_by_epoch import FunctionByEpoch, read_curve
from deeploc_tf.study.label_methods import profiles_of_labels, supervised_profiles
from deeploc_tf.study.shuffled_labels import shuffle_labels
from deeploc_tf.study.specification import (
    CellTransform,
    CombinedMethod,
    FeaturesMethod,
    LabelsMethod,
    NetworkMethod,
    Plain,
    RandomMethod,
    SupervisedFeaturesMethod,
)
from deeploc_tf.study.steps import Step, Steps
from deeploc_tf.study.transformed import filled, side_by_side, transformed
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.duration import Duration
from deeploc_tf.training.fit import fit
from deeploc_tf.training.run_folder import open_for_training
from deeploc_tf.training.tasks import TASKS
from tfrecords.manifest import read_manifest
from tfrecords.publishing import publishing

TRAIN = "train"
_CELLS, _PROFILES = "cells.parquet", "cells.profiles.parquet"
CURVE = "function.csv"
_ANY_FEATURES = FeaturesMethod(kind="features", features="intensity")  # for the labels beside them


class Methods:
    """What methods leave behind, made where it is missing.

    Args:
        methods: by name.
        data: what all see.
        steps: where the work is kept.
        split: whose cells make the profiles.
        curves: names of the trained methods that are scored after each epoch.
        workers: processes that measure.
        show: shows progress.
        should_stop: asked after each training step.
        distinct_case: let proteins whose names differ in case alone be two.
    """

    def __init__(
        self,
        methods: dict[str, Plain],
        data: StudyData,
        steps: Steps,
        *,
        split: str,
        curves: tuple[str, ...],
        workers: int,
        show: ShowCount,
        should_stop: Callable[[], bool] | None,
        distinct_case: bool = False,
    ) -> None:
        self.methods = methods
        self.data = data
        self.steps = steps
        self.split = split
        self.curves = curves
        self.workers = workers
        self.show = show
        self.should_stop = should_stop
        self.distinct_case = distinct_case

    @property
    def spelling(self) -> dict[str, Any]:
        """What steps that join names depend on, too; nothing in most studies."""
        return {"distinct_case": True} if self.distinct_case else {}

    def knows_seeds(self, name: str) -> bool:
        """Whether another seed gives other profiles."""
        method = self.methods[name]
        if isinstance(method, CombinedMethod):
            return any(self.knows_seeds(part) for part in method.of)
        return isinstance(method, NetworkMethod | RandomMethod)

    def steps_of(self, name: str, seed: int) -> tuple[Step, ...]:
        """The steps that the profiles of a method are read from; made where they are missing."""
        method = self.methods[name]
        if isinstance(method, CombinedMethod):
            return tuple(step for part in method.of for step in self.steps_of(part, seed))
        if isinstance(method, NetworkMethod):
            embedded = self._embedded(method, self._run(method, seed))
            return tuple(self._normalized(step, method.transform) for step in embedded)
        if isinstance(method, LabelsMethod):
            return (self._measured(_ANY_FEATURES, self.split),)
        if isinstance(method, SupervisedFeaturesMethod):
            return tuple(self._measured(method, split) for split in (TRAIN, self.split))
        if isinstance(method, FeaturesMethod):
            measured = self._measured(method, self.split)
            return (self._normalized(measured, method.transform),)
        return ()

    def profiles(self, name: str, seed: int) -> VectorTable:
        """Profiles of a method, transformed, the proteins in alphabetical order."""
        method = self.methods[name]
        if isinstance(method, RandomMethod):
            proteins = sorted(self.data.manifest.counts[self.split]["protein"])
            return random_profiles(proteins, method.dimensions, seed)
        if isinstance(method, LabelsMethod):
            (measured,) = self.steps_of(name, seed)
            return profiles_of_labels(read_table(measured / _CELLS))
        if isinstance(method, SupervisedFeaturesMethod):
            train, own = (read_table(step / _CELLS) for step in self.steps_of(name, seed))
            table = supervised_profiles(train, own)
        elif isinstance(method, CombinedMethod):
            table = side_by_side([self.profiles(part, seed) for part in method.of])
        else:
            table = _concatenated(
                [
                    read_profiles(step / _PROFILES, distinct_case=self.distinct_case)
                    for step in self.steps_of(name, seed)
                ]
            )
        features = transformed(table.features, method.transform)
        return VectorTable(features, table.metadata, table.provenance)

    def report(self, name: str, seed: int) -> Step | None:
        """A page about the network of a method, `report.html`; None where none was trained."""
        method = self.methods[name]
        if not isinstance(method, NetworkMethod) or method.untrained:
            return None
        run = self._run(method, seed)
        records = self._shuffled(seed) / "records" if method.shuffled else self.data.records
        curve = run / CURVE

        def make(folder: Path) -> None:
            write_report(
                folder / "report.html",
                run / "run",
                records=records,
                function=curve if curve.exists() else None,
                title=f"{name}, seed {seed}",
            )

        return self.steps.made("report", {"name": name, "seed": seed}, make, after=(run,))

    def curve(self, name: str, seed: int) -> pd.DataFrame:
        """Scores after each epoch of a method in `curves`."""
        method = self.methods[name]
        if not isinstance(method, NetworkMethod):
            msg = f"Only networks have curves. Received: {name!r}."
            raise TypeError(msg)
        return read_curve(self._run(method, seed) / CURVE)

    def _is_watched(self, method: NetworkMethod) -> bool:
        """Whether its training, which may be that of several methods, is one that has a curve."""

        def training(of: NetworkMethod) -> object:
            return FitConfig(**of.fit), of.untrained, of.shuffled

        watched = [self.methods[name] for name in self.curves]
        return training(method) in [training(m) for m in watched if isinstance(m, NetworkMethod)]

    def _run(self, method: NetworkMethod, seed: int) -> Step:
        """A trained network, or one as it begins."""
        config = FitConfig(**method.fit, seed=seed)
        settings: dict[str, Any] = {
            "fit": config.model_dump(mode="json"),
            "records": self.data.manifest.digest,
        }
        if method.untrained:
            return self.steps.made(
                f"initialize seed {seed}",
                settings,
                lambda folder: initialize(self.data.records, folder / "run", config),
            )
        after = (self._shuffled(seed),) if method.shuffled else ()
        records = after[0] / "records" if after else self.data.records
        watched = self._is_watched(method)
        if watched:
            settings |= {"standards": self.data.standards_digest} | self.spelling
        return self.steps.made(
            f"fit seed {seed}",
            settings,
            lambda folder: self._fit(folder, records, config, watched=watched),
            after=after,
        )

    def _fit(self, folder: Path, records: Path, config: FitConfig, *, watched: bool) -> None:
        keras.backend.clear_session()  # what earlier trainings left in memory
        curve = FunctionByEpoch(
            self.data.records,
            self.data.standards,
            folder / CURVE,
            distinct_case=self.distinct_case,
        )
        manifest = with_usual_splits(read_manifest(records))
        task = TASKS.get(config.method).load()(records, manifest, config)
        epochs = Duration.of(config, task.steps_per_pass).epochs
        with self.show("Training, epochs", epochs) as count:
            fit(
                records,
                folder / "run",
                config,
                callbacks=[curve] if watched else [],
                should_stop=self.should_stop,
                report=lambda row: count(int(row["epoch"])),
            )
        shutil.rmtree(folder / "run" / "checkpoint", ignore_errors=True)

    def _shuffled(self, seed: int) -> Step:
        def make(folder: Path) -> None:
            if not (folder / "records").exists():
                shuffle_labels(self.data.records, folder / "records", seed)

        settings = {"records": self.data.manifest.digest, "seed": seed}
        return self.steps.made(f"shuffle labels seed {seed}", settings, make)

    def _embedded(self, method: NetworkMethod, run: Step) -> tuple[Step, ...]:
        config = FitConfig(**method.fit)
        resolved = TASKS.get(config.method).load().resolved(config, self.data.manifest.schema)
        test_time = method.test_time or resolved.get("test_time", "none")

        def made(layer: str | None) -> Step:
            def make(folder: Path) -> None:
                total = self.data.manifest.num_crops(self.split)
                with self.show("Embedding crops", total) as count:
                    embed(
                        run / "run",
                        self.data.records,
                        folder / _CELLS,
                        splits=[self.split],
                        layer=layer,
                        test_time=test_time,
                        progress=lambda done, _: count(done),
                    )

            settings = {"split": self.split, "layer": layer, "test_time": test_time}
            return self.steps.made(f"embed {run.name}", settings, _once(make), after=(run,))

        return tuple(made(layer) for layer in method.layers or (None,))

    def _normalized(self, cells: Step, transform: CellTransform) -> Step:
        """Profiles of cells that are normalized by group or on controls; or those as they are."""
        if not transform.of_cells:
            return cells
        fit = TransformSettings(
            transform.normalize,
            by=() if transform.by is None else (transform.by,),
            controls=next(iter(transform.controls.items()), None),
        )

        def make(folder: Path) -> None:
            source = cells / _CELLS
            if not open_rows(source).defined().all():
                kept = read_table(cells / _PROFILES).feature_names
                source = folder / _CELLS
                write_table(source, filled(read_table(cells / _CELLS), kept))
            settings = ProfileSettings(distinct_case=self.distinct_case)
            profile(source, folder / _PROFILES, settings, fit=fit)

        settings = transform.model_dump(mode="json", include={"normalize", "by", "controls"})
        settings |= self.spelling
        return self.steps.made("normalize", settings, _anew(make), after=(cells,))

    def _measured(self, method: FeaturesMethod | SupervisedFeaturesMethod, split: str) -> Step:
        def make(folder: Path) -> None:
            total = self.data.manifest.num_crops(split)
            with self.show("Measuring crops", total) as count:
                measure(
                    self.data.records,
                    folder / _CELLS,
                    method.features,
                    mask_channel=method.mask_channel,
                    splits=[split],
                    workers=self.workers,
                    progress=lambda done, _: count(done),
                )

        settings = {"records": self.data.manifest.digest, "split": split}
        if method.mask_channel is not None:
            settings["mask_channel"] = method.mask_channel
        return self.steps.made(f"measure {method.features}", settings, _once(make))


def initialize(records: Path, run: Path, config: FitConfig) -> None:
    """Make a run of a network as it is before its first step of training."""
    manifest = with_usual_splits(read_manifest(records))
    keras.utils.set_random_seed(config.seed)
    model = TASKS.get(config.method).load()(records, manifest, config).build()
    folder = open_for_training(run, config, manifest)
    with publishing(folder.model_path) as temporary:
        (head(model) if folder.class_names else model).save(temporary)


def _once(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Make the table of cells unless it is there; it is published last, when all is done."""

    def make_if_absent(folder: Path) -> None:
        if not (folder / _CELLS).exists():
            make(folder)

    return make_if_absent


def _anew(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Make quick tables without what an unfinished call left."""

    def make_anew(folder: Path) -> None:
        for name in (_CELLS, _PROFILES):
            (folder / name).unlink(missing_ok=True)
        make(folder)

    return make_anew


def _concatenated(tables: list[VectorTable]) -> VectorTable:
    """Features of several layers of the same cells side by side."""
    first = tables[0]
    features = np.hstack([table.features for table in tables])
    return VectorTable(features, first.metadata, first.provenance)
