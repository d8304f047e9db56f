"""Types of metadata columns: numbers only where nothing is lost by it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from deeploc_tf.ingest.metadata import metadata_columns


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "-20", "0"], "int64", [1, -20, 0]),
        (["01", "2"], "text", ["01", "2"]),
        (["+1", "2"], "text", ["+1", "2"]),
        (["-0", "2"], "text", ["-0", "2"]),
        (["1", ""], "text", ["1", ""]),
        (["1.5", "2.0", "1e-05", ""], "float32", [1.5, 2.0, 1e-05, math.nan]),
        (["1.5", "2", ""], "text", ["1.5", "2", ""]),
        (["1.5", "1.50"], "text", ["1.5", "1.50"]),
        (["1.5", "nan"], "text", ["1.5", "nan"]),
        (["9" * 19, "1"], "text", ["9" * 19, "1"]),
        (["A01", None], "text", ["A01", ""]),
        (["", ""], "text", ["", ""]),
        ([1, 2], "int64", [1, 2]),
        ([True, False], "text", ["True", "False"]),
        ([0.5, None], "float32", [0.5, math.nan]),
    ],
)
def test_type_fits_all_values(values: list[Any], kind: str, expected: list[Any]) -> None:
    types, columns = metadata_columns(pd.DataFrame({"x": values}), {"x": "x"})
    assert types == {"x": kind}
    assert repr(columns["x"]) == repr(expected)
    assert {type(value) for value in columns["x"]} == {type(expected[0])}
