"""Methods of a study: from records to profiles, each costly piece of work a step of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from deeploc_tf.benchmark.comparable import random_profiles
from deeploc_tf.embedding.embed import embed
from deeploc_tf.features.measure import measure
from deeploc_tf.models.heads import head
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.tables import VectorTable, read_table
from deeploc_tf.report.run_page import write_report
from deeploc_tf.study.data import ShowCount, StudyData
from deeploc_tf.study.function_by_epoch import FunctionByEpoch, read_curve
from deeploc_tf.study.label_methods import profiles_of_labels, supervised_profiles
from deeploc_tf.study.shuffled_labels import shuffle_labels
from deeploc_tf.study.specification import (
    CombinedMethod,
    FeaturesMethod,
    LabelsMethod,
    Method,
    NetworkMethod,
    RandomMethod,
    SupervisedFeaturesMethod,
)
from deeploc_tf.study.steps import Step, Steps
from deeploc_tf.study.transformed import side_by_side, transformed
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
    """

    def __init__(
        self,
        methods: dict[str, Method],
        data: StudyData,
        steps: Steps,
        *,
        split: str,
        curves: tuple[str, ...],
        workers: int,
        show: ShowCount,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.methods = methods
        self.data = data
        self.steps = steps
        self.split = split
        self.curves = curves
        self.workers = workers
        self.show = show
        self.should_stop = should_stop

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
            return self._embedded(method, self._run(method, seed))
        if isinstance(method, LabelsMethod):
            return (self._measured("intensity", self.split),)
        if isinstance(method, SupervisedFeaturesMethod):
            return tuple(self._measured(method.features, split) for split in (TRAIN, self.split))
        if isinstance(method, FeaturesMethod):
            return (self._measured(method.features, self.split),)
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
            table = _concatenated([read_profiles(s / _PROFILES) for s in self.steps_of(name, seed)])
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
        settings = {"fit": config.model_dump(mode="json"), "records": self.data.manifest.digest}
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
            settings["standards"] = self.data.standards_digest
        return self.steps.made(
            f"fit seed {seed}",
            settings,
            lambda folder: self._fit(folder, records, config, watched=watched),
            after=after,
        )

    def _fit(self, folder: Path, records: Path, config: FitConfig, *, watched: bool) -> None:
        keras.backend.clear_session()  # what earlier trainings left in memory
        curve = FunctionByEpoch(self.data.records, self.data.standards, folder / CURVE)
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

    def _measured(self, kind: str, split: str) -> Step:
        def make(folder: Path) -> None:
            total = self.data.manifest.num_crops(split)
            with self.show("Measuring crops", total) as count:
                measure(
                    self.data.records,
                    folder / _CELLS,
                    kind,
                    splits=[split],
                    workers=self.workers,
                    progress=lambda done, _: count(done),
                )

        settings = {"records": self.data.manifest.digest, "split": split}
        return self.steps.made(f"measure {kind}", settings, _once(make))


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


def _concatenated(tables: list[VectorTable]) -> VectorTable:
    """Features of several layers of the same cells side by side."""
    first = tables[0]
    features = np.hstack([table.features for table in tables])
    return VectorTable(features, first.metadata, first.provenance)
