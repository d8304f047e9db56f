"""Tables of other programs: pycytominer, CytoTable, scPortrait, SubCell, pandas."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shared import run_cli

from deeploc_tf.benchmark.cells import table_scores
from deeploc_tf.profiles.profile import ProfileSettings, profile
from deeploc_tf.profiles.space import read_space
from deeploc_tf.profiles.tables import Roles, VectorTable, open_rows, read_table, write_table

GENES = [f"G{n:02d}" for n in range(12)]


def vectors(count: int, width: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def of_pycytominer(folder: Path) -> Path:
    """Well profiles: all metadata by prefix, some of it numbers."""
    frame = pd.DataFrame(vectors(24), columns=["Cells_A", "Cytoplasm_B", "Nuclei_C"])
    frame.insert(0, "Metadata_Plate", [1] * 12 + [2] * 12)
    frame.insert(1, "Metadata_Well", [f"A{n:02d}" for n in range(1, 13)] * 2)
    frame.insert(2, "Metadata_gene_symbol", GENES * 2)
    frame.insert(3, "Metadata_Object_Count", 100)
    path = folder / "wells.parquet"
    frame.to_parquet(path, index=False)
    return path


def of_cytotable(folder: Path) -> Path:
    """Cells, with the image table joined, and CellProfiler's numbers and places of objects."""
    count = 40
    table = pa.table(
        {
            "Metadata_ImageNumber": pa.array(np.arange(count) // 10, pa.int64()),
            "Image_Metadata_Plate": ["P1"] * count,
            "Image_Metadata_Well": [f"A{1 + n // 10}" for n in range(count)],
            "Image_TableNumber": pa.array(np.arange(count) + 2**40),
            "Image_Count_Cells": [10.0] * count,
            "Metadata_Cytoplasm_Parent_Cells": pa.array(np.arange(count)),
            "Cells_Number_Object_Number": pa.array(np.arange(count)),
            "Cells_Location_Center_X": vectors(count)[:, 0],
            "Cells_AreaShape_Center_X": vectors(count)[:, 0],
            "Cells_AreaShape_Area": vectors(count)[:, 0],
            "Nuclei_Texture_SumVariance": vectors(count)[:, 1],
        }
    )
    pq.write_table(table, folder / "cells.parquet")
    return folder / "cells.parquet"


def of_scportrait(folder: Path) -> Path:
    frame = pd.DataFrame(vectors(12), columns=["nucleus_area", "gfp_mean", "gfp_median"])
    frame["label"] = ["WT", "KO"] * 6
    frame["cell_id"] = range(100, 112)
    frame.to_csv(folder / "calculated_image_features.csv")
    return folder / "calculated_image_features.csv"


def of_subcell(folder: Path, obs: pd.DataFrame | None = None) -> Path:
    anndata = pytest.importorskip("anndata")
    names = [f"plate/{gene}_1" for gene in GENES]
    table = anndata.AnnData(
        X=vectors(12).astype(np.float32),
        obs=pd.DataFrame(index=names) if obs is None else obs.set_axis(names),
        obsm={"probabilities": vectors(12, 5)},
    )
    table.write_h5ad(folder / "embeddings.h5ad")
    return folder / "embeddings.h5ad"


def test_a_table_of_pycytominer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = of_pycytominer(tmp_path)
    with caplog.at_level("INFO", "deeploc_tf"):
        table = read_table(path, Roles(protein="Metadata_gene_symbol"))
    assert table.feature_names == ("Cells_A", "Cytoplasm_B", "Nuclei_C")
    np.testing.assert_array_equal(table.features, vectors(24).astype(np.float32))
    assert table.metadata["protein"].tolist() == GENES * 2
    assert table.metadata["plate"].tolist() == ["1"] * 12 + ["2"] * 12
    assert table.provenance["kind"] == "foreign"
    assert table.provenance["foreign"]["num_features"] == 3
    assert "3 features" in caplog.text
    assert "4 columns of metadata" in caplog.text


def test_cells_of_cytotable_become_wells(tmp_path: Path) -> None:
    path = of_cytotable(tmp_path)
    table = open_rows(path)
    assert table.feature_names == ("Cells_AreaShape_Area", "Nuclei_Texture_SumVariance")
    answer = run_cli(
        "profile", str(path), str(tmp_path / "wells.parquet"), "--summarize-by", "well"
    )
    assert "4 groups by plate, well" in answer.stdout, answer.output
    wells = read_table(tmp_path / "wells.parquet")
    assert wells.metadata["well"].tolist() == ["A01", "A02", "A03", "A04"]
    assert wells.metadata["plate"].tolist() == ["P1"] * 4
    expected = vectors(40)[:, :2].reshape(4, 10, 2).mean(axis=1)
    np.testing.assert_allclose(wells.features, expected, rtol=1e-5)
    assert wells.provenance["foreign"]["file"] == "cells.parquet"
    with pytest.raises(ValueError, match="--protein"):
        profile(path, tmp_path / "p.parquet")


def test_a_csv_of_scportrait_with_roles(tmp_path: Path) -> None:
    path = of_scportrait(tmp_path)
    with pytest.raises(ValueError, match=r"cell_id|numbers the rows"):
        read_table(path)
    table = read_table(path, Roles(protein="label"))
    assert table.feature_names == ("nucleus_area", "gfp_mean", "gfp_median")
    assert table.metadata["protein"].tolist() == ["WT", "KO"] * 6
    assert table.metadata["cell_id"].tolist() == [str(n) for n in range(100, 112)]


def test_an_h5ad_of_subcell_goes_by_its_names_or_by_a_column_of_obs(tmp_path: Path) -> None:
    path = of_subcell(tmp_path)
    table = read_table(path)
    assert table.metadata["protein"].tolist() == [f"plate/{gene}_1" for gene in GENES]
    np.testing.assert_array_equal(table.features, vectors(12).astype(np.float32))
    obs = pd.DataFrame(
        {"gene_names": pd.Categorical(GENES[:6] * 2), "well": [1.0, None] * 6, "locations": "ER"}
    )
    table = read_table(of_subcell(tmp_path, obs), Roles(protein="gene_names"))
    assert table.metadata["protein"].tolist() == GENES[:6] * 2
    assert table.metadata["well"].tolist() == ["1", ""] * 6
    assert table.metadata["key"][0] == "plate/G00_1"  # rows are cells
    space = read_space(path, roles=Roles(protein="gene_names"))
    assert space.names[1] == "plate/G01_1"


def test_an_h5ad_may_be_sparse_or_keep_its_features_in_obsm(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    sparse = pytest.importorskip("scipy.sparse")
    features = np.round(vectors(4))
    names = pd.DataFrame(index=list("ABCD"))
    anndata.AnnData(X=sparse.csr_matrix(features), obs=names).write_h5ad(tmp_path / "s.h5ad")
    anndata.AnnData(obs=names, obsm={"X_pca": features}).write_h5ad(tmp_path / "o.h5ad")
    for name in ("s.h5ad", "o.h5ad"):
        np.testing.assert_array_equal(read_table(tmp_path / name).features, features)
    two = anndata.AnnData(obs=names, obsm={"X_pca": features, "X_umap": features[:, :2]})
    two.write_h5ad(tmp_path / "two.h5ad")
    with pytest.raises(ValueError, match="X_pca, X_umap"):
        read_table(tmp_path / "two.h5ad")


@pytest.mark.parametrize("index", ["row numbers", "names of proteins"])
def test_our_own_table_after_a_filter_of_pandas(tmp_path: Path, index: str) -> None:
    metadata = pd.DataFrame({"protein": GENES, "plate": "P1", "num_crops": range(12)})
    ours = VectorTable(
        vectors(12).astype(np.float32), metadata, {"kind": "profiles"}, ("x", "y", "z")
    )
    write_table(tmp_path / "p.parquet", ours)
    frame = pd.read_parquet(tmp_path / "p.parquet")
    frame = frame[frame["Metadata_Num_crops"] > 5].sort_values(
        "Metadata_Num_crops", ascending=False
    )
    if index == "names of proteins":
        frame = frame.set_index("Metadata_Protein")
    frame.columns = [{"x": "f0", "y": "f1", "z": "f2"}.get(name, name) for name in frame.columns]
    frame.to_parquet(tmp_path / "filtered.parquet")
    table = read_table(tmp_path / "filtered.parquet")
    assert table.feature_names == ("f0", "f1", "f2")
    assert table.metadata["protein"].tolist() == GENES[:5:-1]
    np.testing.assert_array_equal(table.features, ours.features[:5:-1])
    answer = run_cli("neighbors", str(tmp_path / "filtered.parquet"), "G07", "--json")
    assert json.loads(answer.stdout)["rows"] == 6


def test_text_of_an_index_without_a_name_names_the_proteins(tmp_path: Path) -> None:
    pd.DataFrame(vectors(3), index=["A", "B", "C"], columns=["f0", "f1", "f2"]).to_parquet(
        tmp_path / "p.parquet"
    )
    assert read_table(tmp_path / "p.parquet").metadata["protein"].tolist() == ["A", "B", "C"]


COLUMNS: dict[str, Callable[[], Any]] = {
    "text": lambda: ["x"] * 4,
    "truth values": lambda: [True, False] * 2,
    "times": lambda: pd.date_range("2024-01-01", periods=4),
    "categories": lambda: pd.Categorical(["a", "b"] * 2),
    "plate": lambda: [1, 2] * 2,
    "Well_ID": lambda: [1, 2] * 2,
    "cell_id": lambda: range(4),
    "ObjectNumber": lambda: range(4),
    "Image_Quality": lambda: [0.5] * 4,
    "num_cells": lambda: range(4),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_describes_rows_is_no_feature(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"gene": list("ABCD"), name: COLUMNS[name](), "f0": vectors(4)[:, 0]})
    frame["whole"] = np.arange(4)
    frame["half"] = np.arange(4).astype(np.float16)
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    table = read_table(tmp_path / "p.parquet")
    assert table.feature_names == ("f0", "whole", "half")
    assert table.metadata["protein"].tolist() == list("ABCD")


def test_missing_features_are_nan_and_can_be_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Metadata_Gene": list("AABB"), "f0": [1, None, 3, 4], "f1": 1.0})
    frame.astype({"f0": "Int64"}).to_parquet(tmp_path / "p.parquet", index=False)
    with pytest.raises(ValueError, match=r"f0=nan in row 1"):
        profile(tmp_path / "p.parquet", tmp_path / "o.parquet")
    found = profile(
        tmp_path / "p.parquet", tmp_path / "o.parquet", ProfileSettings(drop_undefined=True)
    )
    assert found.num_undefined == 1
    assert read_table(found.profiles).features.tolist() == [[1, 1], [3.5, 1]]


def test_what_cannot_be_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    frame = pd.DataFrame({"gene": list("AB"), "f0": [1.0, 2.0]})
    frame.to_parquet(path, index=False)
    with pytest.raises(ValueError, match=r"column of the protein must be.*'gen'.*gene"):
        read_table(path, Roles(protein="gen"))
    frame[["gene"]].to_parquet(path, index=False)
    with pytest.raises(ValueError, match="must have a feature"):
        read_table(path)
    calls = frame.assign(call="ER", confidence=0.5, probability_ER=0.5)
    calls.to_parquet(path, index=False)
    with pytest.raises(ValueError, match=r"embeddings\.parquet"):
        read_table(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"p\.parquet"):
        read_table(path)


def test_every_command_reads_a_foreign_table(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    frame = pd.read_parquet(of_pycytominer(tmp_path))
    features = [name for name in frame if not name.startswith("Metadata_")]
    obs = frame.drop(columns=features).set_axis([f"r{n}" for n in frame.index])
    for number, name in enumerate(("untreated", "treated")):
        frame[features] = vectors(24, seed=number)
        frame.to_parquet(tmp_path / f"{name}.parquet", index=False)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        table = anndata.AnnData(
            X=frame[features].to_numpy(), obs=obs, var=pd.DataFrame(index=features)
        )
        table.write_h5ad(tmp_path / f"{name}.h5ad")
    gmt = tmp_path / "s.gmt"
    gmt.write_text("t\td\tG01\tG02\tG03\nu\td\tG04\tG05\n")
    roles = ("--protein", "Metadata_gene_symbol")
    cheap = ("--shuffles", 0, "--permutations", 0, "--json")
    found = []
    for suffix in (".parquet", ".csv", ".h5ad"):
        untreated, treated = (tmp_path / f"{name}{suffix}" for name in ("untreated", "treated"))
        made, table = tmp_path / f"made{suffix}.parquet", tmp_path / f"c{suffix}.csv"
        commands: list[tuple[object, ...]] = [
            ("profile", untreated, made, *roles, "--normalize", "center", "--by", "plate"),
            ("neighbors", made, "G01", "--json"),
            ("benchmark", made, gmt, tmp_path / f"r{suffix}", *cheap),
            ("change", untreated, treated, table, *roles, "--components", 2, "--json"),
        ]
        answers = [run_cli(*words) for words in commands]
        assert [answer.exit_code for answer in answers] == [0] * 4, answers[-1].output
        near, scores, moved = (json.loads(answer.stdout) for answer in answers[1:])
        found.append((near["queries"], scores["standards"], moved["moved"], table.read_text()))
    assert found[0] == found[1] == found[2]
    answer = run_cli("neighbors", tmp_path / "treated.parquet", "G01", *roles)
    assert answer.exit_code == 1
    assert "Each protein must have one row" in answer.output


def test_methods_of_two_programs_are_compared(tmp_path: Path) -> None:
    ours = VectorTable(
        vectors(12).astype(np.float32),
        pd.DataFrame({"protein": GENES}),
        {"kind": "profiles"},
        ("f0", "f1", "f2"),
    )
    write_table(tmp_path / "ours.parquet", ours)
    frame = pd.DataFrame(vectors(12), columns=["a", "b", "c"]).assign(symbol=GENES, Plate=7)
    frame.to_csv(tmp_path / "theirs.csv", index=False)
    (tmp_path / "s.gmt").write_text("t\td\tG01\tG02\tG03\nu\td\tG04\tG05\n")
    files = [str(tmp_path / name) for name in ("ours.parquet", "theirs.csv", "s.gmt", "results")]
    cheap = ("--shuffles", 0, "--permutations", 0, "--json")
    answer = run_cli("benchmark", *files, "--protein", "symbol", *cheap)
    assert answer.exit_code == 0, answer.output
    assert [m["name"] for m in json.loads(answer.stdout)["methods"]] == ["ours", "theirs"]
    words = (*files[:2], "-s", files[2], str(tmp_path / "r2"), "--protein", "symbl")
    answer = run_cli("benchmark", *words)
    assert answer.exit_code == 1
    assert "'symbl'" in answer.output


def test_a_table_divided_by_semicolons_is_no_standard(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("gene;f0;f1\nA;1,5;2\nB;3;4\n")
    (tmp_path / "b.csv").write_text("gene,f0,f1\nA,1,2\nB,3,4\n")
    (tmp_path / "s.gmt").write_text("t\td\tA\tB\n")
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv", "s.gmt", "results")]
    answer = run_cli("benchmark", *files)
    assert answer.exit_code == 1  # there are two proteins
    assert "a.csv is divided by semicolons" in answer.output
    assert "a.csv is of another program: 2 features" in answer.output


def test_our_own_tables_take_roles_and_are_summarized_by_any_column(tmp_path: Path) -> None:
    metadata = pd.DataFrame(
        {
            "key": [str(n) for n in range(8)],
            "protein": list("ABABABAB"),
            "barcode": ["P1"] * 4 + ["P2"] * 4,
            "pos": ["a1", "A2"] * 4,
            "compound": list("XXYYXXYY"),
        }
    )
    cells = VectorTable(
        vectors(8).astype(np.float32), metadata, {"kind": "embeddings"}, ("a", "b", "c")
    )
    write_table(tmp_path / "cells.h5", cells)
    settings = ProfileSettings(summarize_by=("compound",))
    found = profile(tmp_path / "cells.h5", tmp_path / "compounds.h5", settings)
    table = read_table(found.profiles)
    assert table.metadata["compound"].tolist() == ["X", "Y"]
    assert "protein" not in table.metadata
    assert read_space(found.profiles, roles=Roles(protein="compound")).names == ("X", "Y")
    settings = ProfileSettings(summarize_by="well")
    found = profile(tmp_path / "cells.h5", tmp_path / "wells.h5", settings, roles=Roles(well="pos"))
    table = read_table(found.profiles)
    assert found.summarized_by == ("barcode", "well")
    assert table.metadata["well"].tolist() == ["A01", "A02"] * 2
    assert table.metadata["protein"].tolist() == ["A", "B"] * 2  # one in each well
    expected = [
        cells.features[metadata.index[at]].mean(axis=0) for at in ([0, 2], [1, 3], [4, 6], [5, 7])
    ]
    np.testing.assert_allclose(table.features, expected, rtol=1e-6)


def test_profiles_by_protein_keep_their_columns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = pd.DataFrame({"key": list("0123"), "protein": list("AABB"), "plate": "P"})
    cells = VectorTable(
        vectors(4).astype(np.float32), metadata, {"kind": "embeddings"}, ("a", "b", "c")
    )
    write_table(tmp_path / "c.parquet", cells)
    with caplog.at_level(logging.INFO):
        table = read_table(profile(tmp_path / "c.parquet", tmp_path / "p.parquet").profiles)
    assert list(table.metadata) == ["protein", "num_crops", "dispersion", "standard_error"]
    assert "summarize_by" not in table.provenance["profile"]
    assert "another program" not in caplog.text


def test_the_example_of_pycytominer_gives_sensible_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycytominer")
    silent = np.maximum(vectors(40, 5) - [0, 0.5, 1, 2, 9], 0).astype(np.float32)  # ReLUs
    described = {"Metadata_Protein": ["A", "B"] * 20, "Metadata_Plate": "P1"}
    frame = pd.DataFrame(described | {"Metadata_Well": ["A01"] * 20 + ["A02"] * 20})
    names = [f"fc_2_{n}" for n in range(5)]
    frame[names] = silent
    frame.to_parquet(tmp_path / "cells.parquet", index=False)
    page = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text()
    (code,) = re.findall(
        r"```python\n(import pandas as pd\nimport pycytominer\n.*?)```", page, re.S
    )
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(code, made)
    spread = silent.std(axis=0)
    expected = (silent - silent.mean(axis=0)) / np.where(spread > 0, spread, 1)
    found = made["normalized"][names].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found).max() < 10
    wells = read_table(tmp_path / "wells.parquet", Roles(protein="Metadata_Well"))
    assert wells.metadata["protein"].tolist() == ["A01", "A02"]
    medians = np.median(expected.reshape(2, 20, 5), axis=1)
    np.testing.assert_allclose(wells.features, medians, atol=1e-5)


def test_cells_of_another_program_are_scored_by_their_labels(tmp_path: Path) -> None:
    """As SubCell's tables are: no key, the label under a name of theirs."""
    labels = np.repeat(["Golgi", "Nucleus"], 40)
    features = vectors(80) + 4 * (labels == "Golgi")[:, np.newaxis]
    frame = pd.DataFrame(features, columns=["a", "b", "c"])
    frame = frame.assign(gene_name=np.repeat(GENES[:8], 10), Localization=labels)
    frame.to_parquet(tmp_path / "cells.parquet")
    frame.rename(columns={"Localization": "Metadata_Localization"}).to_csv(
        tmp_path / "cells.csv", index=False
    )
    for name in ("cells.parquet", "cells.csv"):
        found = table_scores(tmp_path / name, roles=Roles(protein="gene_name"))
        assert found["cells_scored"] == 80
        assert found["knn_macro_f1"] > 0.95
    with pytest.raises(ValueError, match="must have the columns label, plate"):
        table_scores(of_pycytominer(tmp_path), ["plate"])


DIVIDED = {
    "semicolons and decimal commas": ("t.csv", ";", ","),
    "semicolons and points": ("t.csv", ";", "."),
    "tabs in a .csv": ("t.csv", "\t", "."),
    "tabs and decimal commas": ("t.tsv", "\t", ","),
    "commas in a .txt": ("t.txt", ",", "."),
}


@pytest.mark.parametrize("what", DIVIDED)
def test_text_of_other_countries_is_read(tmp_path: Path, what: str) -> None:
    name, divider, point = DIVIDED[what]
    values = np.round(vectors(12), 3)
    path = tmp_path / name
    rows = [[gene, *(f"{v:.3f}" for v in row)] for gene, row in zip(GENES, values, strict=True)]
    lines = [["gene", "a", "b", "c"], *([v.replace(".", point) for v in row] for row in rows)]
    path.write_text("\n".join(map(divider.join, lines)))
    table = read_table(path)
    np.testing.assert_array_equal(table.features, values.astype(np.float32))
    assert table.metadata["protein"].tolist() == GENES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene;a\nA;1,234\nB;5\n", "nothing between thousands.*'1,234'"),
        ("gene;a\nA;0,5\nB;1.5\n", "'0,5' in column 'a'"),
        ("sep=;\ngene;a\nA;1\n", "'sep=;', a line for Excel alone. Remove it"),
        ("gene f1 f2\nA 1 2\nB 2 1\n", "divided by commas, semicolons or tabs.*'gene f1 f2'"),
    ],
)
def test_text_that_two_countries_read_otherwise_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_a_first_column_that_numbers_images_or_plates_is_no_protein(tmp_path: Path) -> None:
    """As in the CSV files of CellProfiler and of pycytominer before it annotates."""
    frame = pd.DataFrame(vectors(6), columns=["Cells_A", "Cells_B", "Cells_C"])
    for first in ("TableNumber", "ImageNumber", "Metadata_Plate"):
        path = tmp_path / f"{first}.csv"
        wells = frame.assign(Metadata_Well=["A1", "A2", "A3"] * 2)
        wells.insert(0, first, [1] * 3 + [2] * 3)
        wells.to_csv(path, index=False)
        refused = run_cli("profile", path, tmp_path / "p.h5")
        assert refused.exit_code == 1
        assert "none names the protein" in refused.output
        assert "--protein" in refused.output
        made = run_cli("profile", path, tmp_path / f"{first}.h5", "--summarize-by", "well")
        assert made.exit_code == 0, made.output
