"""Tables in memory go in wherever files do: frames, AnnData, arrays with names."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deeploc_tf import (
    ChangeSettings,
    ProfileSettings,
    VectorTable,
    change,
    compare,
    neighbors,
    profile,
    read_table,
    write_table,
)
from deeploc_tf.benchmark.scores import Extent
from deeploc_tf.benchmark.standards import Standard, StandardError
from deeploc_tf.profiles.tables import Roles
from deeploc_tf.text_tables import TableError

NAMES = [f"P{number:02}" for number in range(12)]
VALUES = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
FRAME = pd.DataFrame(VALUES, columns=["a", "b", "c"]).assign(protein=NAMES)
TERMS = {"x": NAMES[:4], "y": NAMES[4:8], "z": NAMES[8:]}
TABLE = VectorTable(VALUES, pd.DataFrame({"protein": NAMES}), {"kind": "profiles"}, tuple("abc"))


def anndata(**obs: Any) -> Any:
    module = pytest.importorskip("anndata")
    return module.AnnData(X=VALUES, obs=pd.DataFrame(obs or None, index=NAMES))


def forms() -> list[Any]:
    """The same profiles in every form."""
    indexed = FRAME.set_index("protein")
    return [
        TABLE,
        FRAME,
        FRAME.astype({"protein": "category"}),
        FRAME.rename(columns={"protein": "Metadata_Gene"}),
        FRAME.astype({"a": "Float64", "b": "Float32", "protein": "string"}),
        indexed,
        indexed.rename_axis(None),
        indexed.rename_axis("ORF"),
        (VALUES, NAMES),
        (VALUES.tolist(), np.array(NAMES)),
        (VALUES.astype(np.float64), pd.Series(NAMES, index=range(50, 62))),
        (VALUES, pd.Categorical(NAMES)),
    ]


@pytest.mark.parametrize("number", range(12))
def test_every_form_is_the_same_table(number: int) -> None:
    table = read_table(forms()[number], Roles("ORF") if number == 7 else Roles())
    np.testing.assert_array_equal(table.features, VALUES)
    assert table.metadata["protein"].tolist() == NAMES
    assert read_table(table).metadata.equals(table.metadata)
    assert read_table(table.to_frame()).metadata["protein"].tolist() == NAMES


def test_anndata_is_a_table() -> None:
    for given in (anndata(), anndata(gene=NAMES), TABLE.to_anndata()):
        table = read_table(given)
        np.testing.assert_array_equal(table.features, VALUES)
        assert table.metadata["protein"].tolist() == NAMES
    named = read_table(anndata(gene=["A", "B"] * 6)).metadata
    assert named["key"].tolist() == NAMES
    assert set(named["protein"]) == {"A", "B"}


def test_columns_describe_rows_by_type_and_name() -> None:
    frame = FRAME.assign(plate=1, text="x", when=pd.Timestamp("2026-01-01"), on=True, num_crops=3)
    table = read_table(frame)
    assert table.feature_names == ("a", "b", "c")
    assert set(table.metadata) == {"protein", "plate", "text", "when", "on", "num_crops"}
    assert read_table(pd.DataFrame(VALUES, index=NAMES)).feature_names == ("0", "1", "2")


def test_names_of_our_tables_stay_as_they_are() -> None:
    names = ["A\u200d", " B", "C ", *NAMES[3:]]
    metadata = pd.DataFrame({"protein": names, "plate": [1] * 12})
    table = read_table(VectorTable(VALUES, metadata, {"kind": "profiles"}))
    assert table.metadata["protein"].tolist() == names
    assert table.metadata["plate"].dtype == np.int64
    assert table.provenance["kind"] == "profiles"
    lists: Any = VectorTable(VALUES.tolist(), metadata, {"when": pd.Timestamp(0)})  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_table(lists).features, VALUES)


def test_values_are_not_shared_with_the_caller() -> None:
    values = VALUES.copy()
    read_table((values, NAMES)).features[:] = 0
    read_table(VectorTable(values, TABLE.metadata, {})).features[:] = 0
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (VALUES, "pair .array, names.*ndarray of shape .12, 3"),
        (None, "Received: NoneType"),
        ({"a": [1]}, "Received: dict"),
        ((VALUES, NAMES[:-1]), r"name per row, 12.*\(11,\)"),
        ((VALUES, "P00"), "Received: 'P00'"),
        ((VALUES, [[n] for n in NAMES]), r"shape \(12, 1\)"),
        ((VALUES, [None, *NAMES[1:]]), "must be text.*None"),
        ((VALUES, [*NAMES[1:], " "]), "must be text.*' '"),
        ((VALUES, range(12)), r"must be text.*0 \(12 of 12\)"),
        ((VALUES[0], NAMES), "rows and columns"),
        (([[1.0], [2.0, 3.0]], ["A", "B"]), "same length"),
        ((VALUES.astype(str), NAMES), "real numbers"),
        ((VALUES + 1j, NAMES), "real numbers.*complex"),
        ((VALUES.astype(object), NAMES), "real numbers.*object"),
        ((np.empty((0, 3)), []), "must have a row"),
        ((np.empty((12, 0)), NAMES), "must have a feature"),
        (FRAME.iloc[:0], "must have a row"),
        (FRAME[["protein"]], "must have a feature"),
        (FRAME.assign(a=VALUES[:, 0] + 1j), "complex numbers in column 'a'"),
        (FRAME.assign(a=[Decimal(1)] * 12), "objects .Decimal. in column 'a'"),
        (FRAME.assign(a=[[1, 2]] * 12), "objects .list. in column 'a'"),
        (FRAME.assign(a=[1, "x"] * 6), "objects .int, str. in column 'a'"),
        (pd.concat([FRAME, FRAME[["a"]]], axis=1), "different names.*a twice"),
        (FRAME.rename(columns={"b": 1, "c": "1"}), "different names.*1 twice"),
        (FRAME.set_index(["protein", "a"]), "levels protein, a.*reset_index"),
        (pd.concat({"x": FRAME}, axis=1), "2 levels of names"),
        (VectorTable(VALUES, TABLE.metadata[:3], {}), "3 rows of metadata"),
        (VectorTable(VALUES, TABLE.metadata, {}, ("a",)), "1 names"),
        (VectorTable(VALUES[0], TABLE.metadata, {}), "shape"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(given: Any, told: str) -> None:
    with pytest.raises(TableError, match=told):
        read_table(given)


def test_rows_of_one_protein_are_refused_where_profiles_are_asked_for() -> None:
    twice = (VALUES, ["P00", *NAMES[:-1]])
    for call in (lambda: neighbors(twice, "P00"), lambda: compare(twice, TERMS)):
        with pytest.raises(ValueError, match=r"Each protein must have one row.*rows 0 and 1"):
            call()
    with pytest.raises(ValueError, match="'protein' for DataFrame"):
        neighbors(FRAME[["a", "b"]], "P00")


QUICK = Extent(num_shuffles=0)


def test_comparisons_and_neighbors_are_those_of_files(tmp_path: Path) -> None:
    path = tmp_path / "profiles.parquet"
    write_table(path, TABLE)
    expected = compare([("m", path)], TERMS, extent=QUICK).to_frame()
    assert expected["average_precision"].notna().all()
    for given in ({"m": FRAME}, [("m", (VALUES, NAMES))], ("m", FRAME)):
        pd.testing.assert_frame_equal(compare(given, [TERMS], extent=QUICK).to_frame(), expected)
    assert compare(path, TERMS, extent=QUICK).methods[0].name == "profiles"
    assert compare((VALUES, NAMES), TERMS, extent=QUICK).methods[0].file is None
    near = neighbors(path, " P00", 2, standards=TERMS)
    assert near.to_json() == neighbors(FRAME, [" P00"], 2, standards=[TERMS]).to_json()
    frame = near.to_frame()
    assert list(frame) == ["query", "rank", "name", "protein", "similarity", "shared: terms"]
    assert frame["rank"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ([FRAME, FRAME], "Received: DataFrame"),
        (["a.parquet"], "Received: str"),
        ([], "Received: none"),
        ({1: FRAME}, "Received: int, DataFrame"),
        (None, "Received: NoneType"),
        (3, "Received: int"),
        (FRAME.assign(protein=[None, *NAMES[1:]]), r"without a name in row 0 \(1 of 12\)"),
    ],
)
def test_what_is_no_method_is_refused(methods: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        compare(methods, TERMS, extent=QUICK)


def test_standards_have_the_names_of_a_mapping() -> None:
    standards: Any = {"one": TERMS, "two": Standard("x", {"a": frozenset(NAMES[:3])} | TERMS)}
    found = compare(FRAME, standards, extent=QUICK)
    assert [standard.name for standard in found.standards] == ["one", "two"]
    lists: Any = {term: iter(names) for term, names in TERMS.items()}
    assert compare(FRAME, lists, extent=QUICK).standards[0].terms == found.standards[0].terms
    for wrong in (None, 3, {"x": FRAME}):
        with pytest.raises(StandardError, match="Received"):
            compare(FRAME, wrong, extent=QUICK)  # type: ignore[arg-type]


def test_text_that_holds_numbers_is_told(caplog: pytest.LogCaptureFixture) -> None:
    read_table(FRAME.assign(a=FRAME["a"].map("{:.3f}".format), plate="1.5"))
    assert "hold numbers: a. " in caplog.text
    assert read_table((np.ma.masked_less(VALUES, 0), NAMES)).features.min() != VALUES.min()


def test_neighbors_and_settings_are_checked() -> None:
    for number in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"Received: {number}"):
            neighbors(FRAME, "P00", number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Received: 3"):
        neighbors(FRAME, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be ProfileSettings"):
        profile(FRAME, settings={"method": "median"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"x": "P00"},
        {"x": []},
        {"x": [1]},
        {1: ["P00"]},
        {"x": None},
        {"x": [np.nan]},
        {"x": {"P00": 1}},
        {"": ["P00"]},
        {"x": ["a\tb"]},
    ],
)
def test_a_dict_that_is_no_standard_is_refused(terms: Any) -> None:
    with pytest.raises(StandardError, match="Received"):
        compare(FRAME, [terms], extent=QUICK)


def test_profiles_and_changes_are_those_of_files(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    cells = [
        pd.DataFrame(random.normal(size=(240, 4)), columns=list("abcd")).assign(
            protein=[f"P{row % 24:02}" for row in range(240)], plate=[row % 2 for row in range(240)]
        )
        for _ in range(2)
    ]
    settings = ChangeSettings(num_permutations=20)
    found = change(*cells, settings=settings)
    for number, frame in enumerate(cells):
        write_table(tmp_path / f"{number}.parquet", read_table(frame))
    files = change(tmp_path / "0.parquet", tmp_path / "1.parquet", settings=settings)
    pd.testing.assert_frame_equal(found.to_frame(), files.to_frame())
    change(*cells, tmp_path / "changes.csv", settings)
    held = profile(cells[0], settings=ProfileSettings(summarize_by="plate"))
    assert held.profiles is None
    assert held.num_proteins == 2
    written = profile(cells[0], tmp_path / "p.parquet", ProfileSettings(summarize_by="plate"))
    pd.testing.assert_frame_equal(held.to_frame(), written.to_frame(), check_dtype=False)
    with pytest.raises(ValueError, match="Name a file"):
        profile(cells[0], settings=ProfileSettings(intervals=True))
