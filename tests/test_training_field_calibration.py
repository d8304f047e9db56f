"""Which fields held-out crops lie in, and what a training without them says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tfrecords
from deeploc_tf.training.field_calibration import calibrate_by_field, units_of
from tfrecords import Crop, Schema
from tfrecords.manifest import Manifest, read_manifest


def write(
    folder: Path,
    columns: Mapping[str, list[Any]],
    proteins: list[str],
    group_by: tuple[str, ...] = (),
) -> Manifest:
    """Records of one split, a crop for each value of the columns."""
    kinds = {n: "text" if isinstance(v[0], str) else "int64" for n, v in columns.items()}
    schema = Schema((2, 2, 1), "uint8", ("gfp",), label_names=("a", "b"), metadata=kinds)  # type: ignore[arg-type]
    crops = [
        Crop(
            f"crop {place}",
            np.full((2, 2, 1), place, np.uint8),
            labels=(place % 2,),
            protein=protein,
            metadata={name: values[place] for name, values in columns.items()},
        )
        for place, protein in enumerate(proteins)
    ]
    entries = [tfrecords.Entry(crop.key, "validation", crop.labels, crop.protein) for crop in crops]
    tfrecords.write_records(folder, schema, entries, crops, group_by=group_by)
    return read_manifest(folder)


@pytest.mark.parametrize(
    ("columns", "proteins", "group_by", "expected"),
    [
        (
            {"site": ["1", "01", "2"], "Plate_ID": ["P 1", "P 1", "P 1"], "x": [1, 2, 3]},
            ["", "", ""],
            (),
            (("Plate_ID", "site"), ["P 1/1", "P 1/1", "P 1/2"]),
        ),
        (  # in each well there is one protein
            {"well": ["a1", "A01", "A2"], "field": [1, 1, 1]},
            ["P", "Q", "Q"],
            (),
            (("well", "field"), ["A01/1", "A01/1", "A02/1"]),
        ),
        (  # without wells the fields of each protein are numbered anew
            {"field": [1, 1, 1]},
            ["Act1", "act1", ""],
            (),
            (("field", "protein"), ["1/Act1", "1/act1", "1/"]),
        ),
        ({"block": ["x", "y", "x"]}, ["P"] * 3, ("block",), (("block",), ["x", "y", "x"])),
        ({"block": ["x", "y", "x"]}, ["P"] * 3, (), ((), ["", "", ""])),
    ],
)
def test_a_field_is_all_that_says_where_a_crop_was_imaged(
    columns: dict[str, list[Any]],
    proteins: list[str],
    group_by: tuple[str, ...],
    expected: tuple[tuple[str, ...], list[str]],
    tmp_path: Path,
) -> None:
    manifest = write(tmp_path / "records", columns, proteins, group_by)
    found, names = units_of(tmp_path / "records", manifest, ["validation"])
    assert found == expected[0]
    assert sorted(names) == sorted(expected[1])


def test_without_labels_to_calibrate_on_there_is_a_sentence(caplog: Any) -> None:
    caplog.set_level("INFO")
    assert calibrate_by_field(SimpleNamespace(), "none") is None
    assert "Nothing is calibrated: the run tells no labels." in caplog.text
