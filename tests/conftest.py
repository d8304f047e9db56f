"""Fixtures that test files share; nothing here imports TensorFlow before a test needs it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfrecords
from tfrecords.manifest import Manifest
from tfrecords.schema import Crop, Schema

# read when TensorFlow is first imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


LONGEST = (
    *(
        "test_real_run",
        "test_study_study",
        "test_training_fit",
        "test_failpoints",
        "test_serving_export",
    ),
    *(
        "test_outside_keras_settings",
        "test_faults",
        "test_explanation",
        "test_training_",
        "test_study_",
    ),
    *(
        "test_embedding_embed",
        "test_models_",
        "test_docs_",
        "test_house_",
        "test_outside_",
        "test_cli_",
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, or one process would be left alone with one of them in the end."""
    ranks = {
        path: next(
            (i for i, name in enumerate(LONGEST) if path.name.startswith(name)), len(LONGEST)
        )
        for path in {item.path for item in items}
    }
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_finish() -> None:
    """Two logical CPUs, if a module imported TensorFlow; only possible before its first use."""
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        with contextlib.suppress(RuntimeError):  # used already, by another pytest of this process
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * 2
            )


@pytest.fixture(autouse=True)
def same_weights_in_every_run() -> None:
    """Networks of a few units are now and then born dead; with a seed a test has the same ones."""
    if "tensorflow" in sys.modules:
        import keras

        keras.utils.set_random_seed(1)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


@contextlib.contextmanager
def _logging_kept() -> Iterator[list[str]]:
    kept = _Kept()
    loggers = [logging.getLogger(name) for name in ("deeploc_tf", "tfrecords")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(kept)
        logger.setLevel(logging.INFO)
    try:
        yield kept.sentences
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(kept)
            logger.setLevel(level)


@pytest.fixture(scope="session")
def logged() -> Callable[[], contextlib.AbstractContextManager[list[str]]]:
    """A context manager that gives the sentences which the library logs within it."""
    return _logging_kept


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """The sentences that the library logs during a test."""
    with _logging_kept() as sentences:
        yield sentences


@dataclasses.dataclass(frozen=True)
class TinyRecords:
    """Twelve crops of one size in bytes: 8 to train, in shards of 4, and 4 to test."""

    schema: Schema
    crops: tuple[Crop, ...]

    def split(self, crop: Crop) -> str:
        return "test" if crop.metadata["field"] == "4" else "train"

    @property
    def entries(self) -> list[Any]:
        return [tfrecords.Entry(c.key, self.split(c), c.labels, c.protein) for c in self.crops]

    def write(self, output: Path, **changes: Any) -> Manifest:
        arguments: dict[str, Any] = {
            "schema": self.schema,
            "entries": self.entries,
            "crops": self.crops,
            "group_by": ("field",),
            "shard_bytes": 4 * 448,
        }
        return tfrecords.write_records(output, **{**arguments, **changes})


@pytest.fixture(scope="session")
def tiny_records() -> TinyRecords:
    schema = Schema(
        image_shape=(8, 8, 2),
        dtype="uint16",
        channels=("gfp", "rfp"),
        has_mask=True,
        label_names=("cytoplasm", "mitochondrion"),
        metadata={"field": "text", "plate": "int64", "focus": "float32"},
        pixel_size=0.108,
    )
    random = np.random.default_rng(0)
    crops = tuple(
        Crop(
            key=f"AAC{i % 3}/{1 + i // 3}",
            image=random.integers(0, 2**16, (8, 8, 2), "uint16"),
            mask=random.integers(0, 2, (8, 8), "uint8"),
            labels=(i % 2,),
            protein=f"AAC{i % 3}",
            metadata={"field": str(1 + i % 4), "plate": i, "focus": i / 8},
        )
        for i in range(12)
    )
    # Fields 1 to 3 have 9 crops; one moves to field 4, so that all shards hold 4.
    moved = dataclasses.replace(crops[2], metadata={**crops[2].metadata, "field": "4"})
    return TinyRecords(schema, (*crops[:2], moved, *crops[3:]))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, DEEPLOC_TF_DATA or beside the project; skips where absent."""
    folder = os.environ.get("DEEPLOC_TF_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(folder) if folder else beside
    if not (path / "yeast_crops").is_dir():
        pytest.skip(f"no real data in {path}: set DEEPLOC_TF_DATA to the folder of yeast_crops")
    return path


@pytest.fixture(scope="session")
def two_cpus() -> list[str]:
    """Names of two logical CPUs, on which MirroredStrategy runs as on two GPUs."""
    import tensorflow as tf

    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow started with one logical CPU")
    return ["CPU:0", "CPU:1"]


@pytest.fixture
def write_crops(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder of small crops, one TIFF a channel, all different and always the same."""
    import tifffile

    def write(
        folder: str = "crops",
        *,
        proteins: Sequence[str] = ("AAC1", "AAH1"),
        fields: Sequence[object] = (1, 2, 3, 4),
        cells: int = 2,
        channels: Sequence[str] = ("gfp", "rfp"),
        shape: tuple[int, int] = (6, 5),
        dtype: Any = np.uint16,
    ) -> Path:
        root = tmp_path / folder
        number = 0
        for protein in proteins:
            (root / protein).mkdir(parents=True)
            for field in fields:
                for cell in range(1, cells + 1):
                    for channel in channels:
                        number += 1
                        image = np.random.default_rng(number).integers(0, 200, shape).astype(dtype)
                        name = f"{protein}_{field}_rfp_{cell}_{channel}.tif"
                        tifffile.imwrite(root / protein / name, image)
        return root

    return write


@pytest.fixture(scope="session")
def write_screen() -> Callable[..., Manifest]:
    """Writes records of small cells whose class can be learnt: a bar, lying, upright or both."""

    def write(
        output: Path,
        splits: Mapping[str, Sequence[int]] | None = None,
        *,
        size: int = 20,
        channels: Sequence[str] = ("gfp", "rfp"),
        dtype: str = "uint16",
        has_mask: bool = False,
        multi_label: bool = False,
        label_names: Sequence[str] = ("cytoplasm", "mitochondrion", "nucleus"),
        crops_of_a_shard: int = 8,
        pixel_size: float | None = 0.1,
        seed: int = 0,
    ) -> Manifest:
        """`splits`: for each split, how many crops each class has."""
        splits = splits or {"train": (12, 9, 6), "validation": (4, 3, 2), "test": (5, 4, 2)}
        schema = Schema(
            image_shape=(size, size, len(channels)),
            dtype=dtype,
            channels=tuple(channels),
            has_mask=has_mask,
            label_names=tuple(label_names),
            multi_label=multi_label,
            metadata={"field": "text", "focus": "float32", "plate": "int64"},
            pixel_size=pixel_size,
        )
        random = np.random.default_rng(seed)
        entries, crops = [], []
        for number, (split, label) in enumerate(
            (split, label)
            for split, counts in splits.items()
            for label, count in enumerate(counts)
            for _ in range(count)
        ):
            image = random.integers(20, 100, (size, size, len(channels)))
            middle = slice(size // 2 - 2, size // 2 + 2)
            if label % 3 != 1:
                image[middle, :, 0] += 150
            if label % 3 != 0:
                image[:, middle, 0] += 150
            crop = Crop(
                key=f"{split}/{number:03}",
                image=image.astype(dtype),
                mask=random.integers(0, 2, (size, size), "uint8") if has_mask else None,
                labels=(label,) if label_names else (),
                protein=f"AAC{number % 4}",
                metadata={"field": f"f{number % 3}", "focus": number / 4, "plate": number % 2},
            )
            crops.append(crop)
            entries.append(tfrecords.Entry(crop.key, split, crop.labels, crop.protein))
        bytes_of_a_crop = tfrecords.encode(crops[0], schema)
        return tfrecords.write_records(
            output,
            schema,
            entries,
            crops,
            seed=seed,
            shard_bytes=crops_of_a_shard * (len(bytes_of_a_crop) + 40),
        )

    return write
