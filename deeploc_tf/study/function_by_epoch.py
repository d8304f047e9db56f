"""What a network knows of function while it learns: scores of profiles after each epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from deeploc_tf.benchmark.benchmark import benchmark
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.standards import Standard, StandardError
from deeploc_tf.models.extractors import feature_extractor, inference_function
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.pipeline.splits import with_usual_splits
from deeploc_tf.profiles.aggregate import MeanProfiles
from deeploc_tf.text_tables import csv_bytes, unescape_formula
from deeploc_tf.training.averages import averaged_weights
from tfrecords.manifest import read_manifest
from tfrecords.publishing import publish_bytes

_log = logging.getLogger(__name__)


class FunctionByEpoch(keras.callbacks.Callback):
    """Run the benchmark on the profiles of a split every few epochs, and keep a table of it.

    For `fit(..., callbacks=[...])`. The averaged weights are scored, which `fit` evaluates and
    keeps; the training itself is not touched, and draws the same random numbers as without. A
    training that goes on after a stop goes on with the table.

    Args:
        records: of the training.
        standards: to score.
        table: CSV to write: `epoch` (0: before the first step), `standard`, `average_precision`.
        split: whose cells make the profiles.
        layer: of the features; None: see `feature_extractor`.
        every: epochs from one score to the next.
        batch_size: crops a step.
        distinct_case: let proteins whose names differ in case alone be two.

    References:
        Razdaibiedina & Brechalov 2022: coarse function is learned first, fine function later.
    """

    def __init__(
        self,
        records: str | Path,
        standards: Sequence[Standard],
        table: str | Path,
        *,
        split: str = "validation",
        layer: str | None = None,
        every: int = 1,
        batch_size: int = 256,
        distinct_case: bool = False,
    ) -> None:
        super().__init__()
        self.records = Path(records)
        self.standards = list(standards)
        self.table = Path(table)
        self.split = split
        self.every = every
        self.batch_size = batch_size
        self.layer = layer
        self.distinct_case = distinct_case
        self._manifest = with_usual_splits(read_manifest(records))
        self._has_told_who_meets = False
        self._twin: Any = None  # a model that takes the averaged weights

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make a model of the same shape that is not trained."""
        if self._twin is None:
            self._twin = keras.Model.from_config(self.model.get_config())
            self._extractor = feature_extractor(self._twin, self.layer)
            self._vectors = inference_function(self._extractor)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Score what the epoch before left, if it was not: the start, or a kill in between."""
        self._score(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Score the averaged weights."""
        self._score(epoch + 1)

    def _score(self, epoch: int) -> None:
        rows = read_curve(self.table) if self.table.exists() else pd.DataFrame(columns=["epoch"])
        if epoch % self.every or (rows["epoch"] == epoch).any():
            return
        self._twin.set_weights(averaged_weights(self.model))
        profiles = MeanProfiles(int(self._extractor.output.shape[-1]))
        names = [tensor.name for tensor in self._extractor.inputs]
        for batch in batches(
            self.records,
            self.split,
            batch_size=self.batch_size,
            features=[*names, "protein"],
            manifest=self._manifest,
        ):
            inputs = {name: batch[name] for name in names}
            vectors = self._vectors(inputs if len(names) > 1 else batch["image"]).numpy()
            profiles.add(vectors, [name.decode() for name in batch["protein"].numpy()])
        found = profiles.table({})
        proteins = found.metadata["protein"].tolist()
        try:
            extent = Extent(num_shuffles=0)
            scores = benchmark(
                found.features,
                proteins,
                self.standards,
                extent=extent,
                distinct_case=self.distinct_case,
            )
            if not self._has_told_who_meets:
                for result in scores:
                    _log.info("%s", result.meeting and result.meeting.sentence())
                self._has_told_who_meets = True
            values = [result.numbers["average_precision"] for result in scores]
        except StandardError:
            raise
        except ValueError:  # vectors of nothing but zeros or NaN, which only time can mend
            values = [float("nan")] * len(self.standards)
        added = pd.DataFrame(
            {
                "epoch": epoch,
                "standard": [standard.name for standard in self.standards],
                "average_precision": values,
            }
        )
        whole = added if rows.empty else pd.concat([rows, added])
        publish_bytes(self.table, csv_bytes(whole))


def read_curve(path: Path) -> pd.DataFrame:
    """The table that `FunctionByEpoch` wrote; names of standards are text."""
    return pd.read_csv(path, converters={"standard": unescape_formula})
