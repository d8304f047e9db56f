"""Text tables as other programs and people write them: read as they stand, or refused.

Names stay text, quotes and line ends are understood or refused with their line, and no column is
taken for what it is not.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared import run_cli

from deeploc_tf.benchmark.identifiers import read_identifiers
from deeploc_tf.benchmark.standards import StandardError, read_standard
from deeploc_tf.ingest.labels import assign_labels
from deeploc_tf.profiles.reading import read_profiles
from deeploc_tf.profiles.space import read_space
from deeploc_tf.report.curves import confusion_matrix
from deeploc_tf.report.drawing import picture
from deeploc_tf.study.function_by_epoch import read_curve
from deeploc_tf.text_tables import TableError, read_table

TAB, COMMA = "\t", ","


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# --- quotation marks and lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('path,note\n0,ok\n1,"old" plate\n2,ok\n', 3),
        ('path,note\n0,"x\n1,ok\n2,y"\n3,z\n', 2),
        ('path,note\n0,"a\nb"\n1,x\n', 2),
        ('path,note\n0,ok\n1,"\n', 3),
        ('path,note\n0,ok\n1,"a""\n2,"b"\n', 3),
        ('path,note\n"0,ok\n1",ok\n', 2),
        ('path,"no\nte"\n0,ok\n', 1),
        ('path,note\n0,ok\n1,"a"b,\n', 3),
        ('path,note\n0,"ok" \n', 2),
    ],
)
@pytest.mark.parametrize("delimiter", [COMMA, TAB])
def test_quotes_that_do_not_balance_in_their_line_are_refused_with_it(
    tmp_path: Path, text: str, line: int, delimiter: str
) -> None:
    name = "t.csv" if delimiter == COMMA else "t.tsv"
    path = written(tmp_path, name, text.replace(COMMA, delimiter))
    with pytest.raises(TableError, match=rf"{name}, line {line}\b.*quot|quot.*{name}, line {line}"):
        read_table(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_of_one_line_are_read(tmp_path: Path, end: str) -> None:
    lines = ['"path","no""te"', '"0","a, b"', '1,"say ""no"""', "2,5' end", '3,12" ruler', '4,""']
    frame = read_table(written(tmp_path, "t.csv", end.join([*lines, ""])))
    assert frame.columns.tolist() == ["path", 'no"te']
    assert frame['no"te'].tolist() == ["a, b", 'say "no"', "5' end", '12" ruler', ""]


def test_the_line_of_a_quote_is_named_far_down_a_long_table(tmp_path: Path) -> None:
    lines = ["a,b", *(f'{i},"{"x" * 50}"' for i in range(60_000))]
    lines[50_000] = '7,"x'
    with pytest.raises(TableError, match=r"line 50001\b"):
        read_table(written(tmp_path, "t.csv", "\n".join(lines)))


def test_a_line_longer_than_a_million_characters_is_read(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    frame = read_table(written(tmp_path, "t.csv", f"a,b\n1,2\n3,{long}\n5,6\n"))
    assert frame["b"].tolist() == ["2", long, "6"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3,4\r5,6\n", "line 3.*carriage return"),
        (b"a,b\r1,2\r3,4\r", "carriage return"),
        (b"a,b \n1,2\n", "a,b"),
        (b"a,a \n1,2\n", "'a' and 'a '"),
        ("a,\u200ba\n1,2\n".encode(), "line 1"),
        (b"a,b\n1,2,\n", "line 2: 3 values"),
        (b"a,b\n1,2\n3,4,5\n", "line 3: 3 values"),
        (b"a,b\n1\n", "line 2: 1 values"),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "whole"),
    ],
)
def test_what_is_odd_about_lines_and_columns_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    if message == "a,b":  # a space behind a name is no fault
        assert len(read_table(written(tmp_path, "t.csv", content))) == 1
        return
    with pytest.raises(TableError, match=message):
        read_table(written(tmp_path, "t.csv", content))


def test_compressed_tables_are_read_by_every_command(tmp_path: Path) -> None:
    labels = written(tmp_path, "labels.csv.gz", "protein,place\nA,ER\nB,nucleus\n")
    assert read_table(labels)["place"].tolist() == ["ER", "nucleus"]
    index = pd.DataFrame({"key": ["1", "2"], "protein": ["B", "A"]})
    found = assign_labels(index, "place", label_table=labels)
    assert [found.names[i] for (i,) in found.indices] == ["nucleus", "ER"]
    profiles = written(tmp_path, "p.tsv.gz", "protein\tf1\tf2\nA\t1\t2\nB\t3\t4\n")
    assert read_profiles(profiles).features.tolist() == [[1, 2], [3, 4]]
    for name in ("p.csv.gz", "P.CSV.GZ", "p.txt.gz"):
        delimiter = TAB if ".txt" in name else COMMA
        path = written(tmp_path, name, f"protein{delimiter}f1\nA{delimiter}1\n".encode())
        path.write_bytes(
            gzip.compress(path.read_bytes()) if path.suffix == ".GZ" else path.read_bytes()
        )
        assert read_profiles(path).metadata["protein"].tolist() == ["A"]


# --- profiles


NAMES_KEPT = {
    "missing values of programs": ["NA", "null", "nan", "None", "N/A", "AAC1"],
    "leading zeros": ["0851234", "851235"],
    "numbers with exponents": ["2310009E13", "1E01", "1e5"],
    "truth values": ["TRUE", "FALSE", "T"],
    "numbers with points": ["1.10", "1.100", "7.0"],
    "large numbers": ["12345678901234567890123", "9007199254740993"],
    "dates": ["1-Oct", "2001-01-01", "OCT1"],
    "infinity": ["inf", "Infinity", "-inf"],
    "apostrophes": ["5'-A", 'a"b', "x'"],
    "underscores and hexadecimals": ["1_000", "0x10"],
}


@pytest.mark.parametrize("names", NAMES_KEPT.values(), ids=NAMES_KEPT)
@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.txt", "p.csv.gz", "p.tsv.gz"])
def test_names_of_proteins_stay_as_they_stand(tmp_path: Path, names: list[str], name: str) -> None:
    between = COMMA if ".csv" in name else TAB
    lines = [
        f"gene{between}f1{between}f2",
        *(f"{n}{between}{i}{between}0.5" for i, n in enumerate(names)),
    ]
    path = written(tmp_path, name, "\n".join(lines) + "\n")
    table = read_profiles(path, distinct_case="true" in names)  # beside TRUE
    assert table.metadata["protein"].tolist() == names
    assert table.features.tolist() == [[i, 0.5] for i in range(len(names))]
    assert table.feature_names == ("f1", "f2")


REFUSED_PROFILES = {
    "no header": ("AAC1,1,2\nAAC3,3,4\n", "header.*line 1"),
    "no header, one feature": ("AAC1,0.5\nAAC3,3\n", "header.*line 1"),
    "no header, exponents": ("AAC1,1e-3,-2.5\nAAC3,3,4\n", "header.*line 1"),
    "no header, a missing value": ("AAC1,1,nan\nAAC3,3,4\n", "header.*line 1"),
    "no header, metadata alone": ("AAC1,1,\nAAC3,3,4\n", "line 1"),
    "numbers as names of columns": ("protein,1,2,4\nA,1,2,3\nB,1,2,3\n", "header.*line 1"),
    "no header, two counts": ("A,0,1\nB,2,3\n", "header.*line 1"),
    "header without the first name, as R writes": ("f1,f2\nA,1,2\nB,3,4\n", "line 2: 3 values"),
    "delimiter at each end of line": ("gene,f1,f2\nA,1,2,\nB,3,4,\n", "line 2: 4 values"),
    "delimiter at the end of the header too": ("gene,f1,f2,\nA,1,2,\nB,3,4,\n", "without a name"),
    "short line": ("gene,f1,f2\nA,1,2\nB,3\n", "line 3: 2 values"),
    "long line": ("gene,f1,f2\nA,1,2\nB,3,4,5\n", "line 3: 4 values"),
    "a column twice": ("gene,f1,f1\nA,1,2\nB,3,4\n", "'f1' twice"),
    "a protein twice": ("gene,f1\nA,1\nB,2\nA,3\n", r"'A'.*lines? 2 and 4"),
    "a protein twice but for spaces": ("gene,f1\nA,1\nB,2\n A,3\n", r"line.* 2 and 4"),
    "no name": ("gene,f1\nA,1\n,2\n", "line 3"),
    "a name of spaces": ("gene,f1\nA,1\n  ,2\n", "line 3"),
    "a comment above": ("# made by x\ngene,f1\nA,1\n", "line 1|line 2"),
    "a comment with the same number of values": ("# a,b\ngene,f1\nA,1\n", "line"),
    "a protein commented out": ("gene,f1\nA,1\n#B,2\nC,3\n", "#B.*line 3"),
    "a comment below": ("gene,f1,f2\nA,1,2\n# end\n", "line 3"),
    "text in a feature": ("gene,f1\nA,1\nB,x\n", "line 3.*'f1'.*'x'|'x'.*'f1'.*line 3"),
    "truth values in a feature": ("gene,f1\nA,True\nB,False\n", "'True'"),
    "thousands": ('gene,f1\nA,"1,000"\nB,2\n', "'1,000'"),
    "underscores": ("gene,f1\nA,1_000\nB,2\n", "'1_000'"),
    "hexadecimals": ("gene,f1\nA,0x10\nB,2\n", "'0x10'"),
    "digits of another script": ("gene,f1\nA,\uff11\nB,2\n", "\uff11"),
    "a currency": ("gene,f1\nA,$1\nB,2\n", r"\$1"),
    "beyond float32": ("gene,f1,f2\nA,1e300,1\nB,2,1\n", "'1e300'.*line 2|line 2.*'1e300'"),
    "beyond float64": ("gene,f1,f2\nA,1,1\nB,2,-1e999\n", "'-1e999'.*line 3|line 3.*'-1e999'"),
    "text that is no metadata by name": ("gene,plate,f1\nA,P1,1\nB,P2,2\n", "Metadata_.*'plate'"),
    "a plate that would be a feature": ("gene,Plate,f1\nA,1,1\nB,2,2\n", "Metadata_Plate"),
    "a site that would be a feature": ("gene,Site_Number,f1\nA,1,1\nB,2,2\n", "Metadata_Site"),
    "a label that would be a feature": ("gene,f1,Label\nA,9,1\nB,2,2\n", "Metadata_Label"),
    "a cluster that would be a feature": ("gene,f1,cluster\nA,9,1\nB,2,2\n", "Metadata_cluster"),
    "cells that would be a feature": ("gene,f1,Count_Cells\nA,9,1\nB,2,2\n", "Count_Cells"),
    "a count that would be a feature": ("gene,num_crops,f1\nA,9,1\nB,2,2\n", "Metadata_num_crops"),
    "two columns of proteins": ("gene,protein,f1\n17,A,1\n18,B,2\n", "Metadata_gene"),
    "row numbers before ids": (",gene_id,f1\n0,17,1\n1,18,2\n", "numbers the rows"),
    "ids behind the features": ("f1,f2,gene_id\n.5,1,17\n0.25,2,18\n", "holds numbers"),
    "no feature": ("gene\nA\nB\n", "feature"),
    "metadata alone": ("Metadata_Protein,Metadata_N\nA,1\nB,2\n", "feature"),
    "a column without a name in the middle": ("gene,,f1\nA,1,1\nB,2,2\n", "without a name"),
    "a row number that pandas wrote twice": ("gene,Unnamed: 0,f1\nA,1,1\nB,2,2\n", "Unnamed: 0"),
    "two columns of metadata of one name": (
        "Metadata_Protein,Metadata_protein,f1\nA,1,1\nB,2,2\n",
        "Metadata_protein",
    ),
    "a quote that opens": ('gene,f1\n"A,1\nB,2\n', "line 2"),
    "a line of nothing": ("gene,f1\nA,1\n\nB,2\n", "line 3"),
    "header alone": ("gene,f1\n", "only a header"),
    "nothing": ("", "header"),
    "UTF-16": ("gene,f1\nA,1\n".encode("utf-16"), "UTF-16"),
    "Latin-1": ("gene,f1\nA,1\n\u00e4,2\n".encode("latin-1"), "line 3"),
}


@pytest.mark.parametrize("what", REFUSED_PROFILES)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_profiles_that_are_not_clear_are_refused(tmp_path: Path, what: str, suffix: str) -> None:
    text, message = REFUSED_PROFILES[what]
    path = written(tmp_path, f"p{suffix}", text)
    with pytest.raises(ValueError, match=message) as caught:
        read_profiles(path)
    assert path.name in str(caught.value)
    with pytest.raises(ValueError, match=message):
        read_space(path)


def test_bom_line_ends_and_spaces_change_no_protein(tmp_path: Path) -> None:
    path = written(
        tmp_path, "p.csv", b"\xef\xbb\xbfgene,f1,f2\r\n AAC1, 1 ,2\r\nAAC3\xe2\x80\x8b,3,4e0\r\n"
    )
    table = read_profiles(path)
    assert table.metadata["protein"].tolist() == ["AAC1", "AAC3"]
    assert table.features.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("header", [",f1,f2", '"",f1,f2', "Unnamed: 0,f1,f2", "index,f1,f2"])
def test_the_first_column_needs_no_name(tmp_path: Path, header: str) -> None:
    table = read_profiles(written(tmp_path, "p.csv", f"{header}\nA,1,2\nB,3,4\n"))
    assert table.metadata.to_dict("list") == {"protein": ["A", "B"]}
    assert table.features.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("column", ["protein", "Gene"])
@pytest.mark.parametrize(
    "lines",
    [
        "{0},f1,f2\n17,1,2\n018,3,4\n",
        "f1,f2,{0}\n1,2,17\n3,4,018\n",
        ",{0},f1,f2\n0,17,1,2\n1,018,3,4\n",
    ],
    ids=["first", "last", "behind row numbers"],
)
def test_a_column_that_is_called_so_names_the_proteins_wherever_it_stands(
    tmp_path: Path, column: str, lines: str
) -> None:
    table = read_profiles(written(tmp_path, "p.csv", lines.format(column)))
    assert table.metadata.to_dict("list") == {"protein": ["17", "018"]}
    assert table.features.tolist() == [[1, 2], [3, 4]]
    assert table.feature_names == ("f1", "f2")


def test_features_may_be_numbered_as_pandas_does(tmp_path: Path) -> None:
    pd.DataFrame([[1, 2, 3], [4, 5, 6]], index=["A", "B"]).to_csv(tmp_path / "p.csv")
    table = read_profiles(tmp_path / "p.csv")
    assert table.metadata["protein"].tolist() == ["A", "B"]
    assert table.feature_names == ("0", "1", "2")


def test_missing_and_infinite_features_are_kept_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "gene,f1,f2\nA,NaN,1\nB,,1\nC,NA,1\nD,inf,1\nE,-Inf,1\nF,2,1\n"
    with caplog.at_level("INFO", "deeploc_tf"):
        table = read_profiles(written(tmp_path, "p.csv", text))
    found = table.features[:, 0]
    assert np.isnan(found[:3]).all()
    assert found[3:].tolist() == [np.inf, -np.inf, 2]
    assert "5 of 6" in caplog.text


def test_what_float32_makes_zero_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "deeploc_tf"):
        read_profiles(written(tmp_path, "p.csv", "gene,f1\nA,1e-300\nB,1\n"))
    assert re.search(r"1 value.*become.* 0", caplog.text)


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        (
            "Metadata_Protein,Metadata_Num_crops,f1,f2\nA,1000,1,2\nB,3,3,4\n",
            {"protein": ["A", "B"], "num_crops": ["1000", "3"]},
        ),
        (
            "Metadata_Plate,Metadata_Gene,f1,f2\n1,A,1,2\n1,B,3,4\n",
            {"protein": ["A", "B"], "plate": ["1", "1"]},
        ),
        (
            "f1,metadata_protein,f2,METADATA_Well\n1,A,2,007\n3,B,4,1E5\n",
            {"protein": ["A", "B"], "well": ["007", "1E5"]},
        ),
        (
            "Metadata_Symbol,f1,Metadata_Site,f2\nA,1,1,2\nB,3,2,4\n",
            {"protein": ["A", "B"], "site": ["1", "2"]},
        ),
        (
            "gene,f1,f2,Metadata_N\nA,1,2,5\nB,3,4,6\n",
            {"protein": ["A", "B"], "n": ["5", "6"]},
        ),
        (
            "Metadata_Gene,Metadata_Protein,f1,f2\ng,A,1,2\ng,B,3,4\n",
            {"protein": ["A", "B"], "gene": ["g", "g"]},
        ),
        (
            ",Metadata_Protein,f1,f2\n0,A,1,2\n1,B,3,4\n",
            {"protein": ["A", "B"]},
        ),
    ],
)
def test_columns_of_metadata_are_no_features(
    tmp_path: Path, text: str, metadata: dict[str, list[str]]
) -> None:
    table = read_profiles(written(tmp_path, "p.csv", text))
    assert table.features.tolist() == [[1, 2], [3, 4]]
    assert table.feature_names == ("f1", "f2")
    assert {name: table.metadata[name].tolist() for name in table.metadata} == metadata
    assert table.provenance["columns"] == dict.fromkeys(metadata, "text")


def test_a_count_of_crops_does_not_change_the_scores(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    names = [f"P{i:02}" for i in range(24)]
    features = generator.normal(size=(24, 6)) + np.repeat(np.eye(6), 4, axis=0) * 2
    frame = pd.DataFrame(features, columns=[f"f{i}" for i in range(6)])
    frame.insert(0, "Metadata_Protein", names)
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.insert(1, "Metadata_Num_crops", generator.permutation(24) * 1000)
    frame.to_csv(tmp_path / "counted.csv", index=False)
    terms = "".join(f"t{i}\t\t{TAB.join(names[4 * i : 4 * i + 4])}\n" for i in range(6))
    written(tmp_path, "s.gmt", terms)
    scores = []
    for name in ("plain", "counted"):
        words = [str(tmp_path / f"{name}.csv"), str(tmp_path / "s.gmt"), str(tmp_path / name)]
        done = run_cli("benchmark", *words)
        assert done.exit_code == 0, done.output
        scores.append(json.loads((tmp_path / name / "scores.json").read_text())["standards"]["s"])
    assert scores[0]["average_precision"] == scores[1]["average_precision"]


# --- other text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.gmt", b"t1\td\tA\tB\rt2\td\tC\tD\r"),
        ("s.gmt", b"t1\td\tA\tB\nt2\td\tC\0\tD\n"),
        ("s.tsv", b"A\tt1\rB\tt1\rC\tt2\r"),
        ("s.gmt", "t1\td\tA\tB\n".encode("utf-16")),
    ],
)
def test_standards_with_other_line_ends_are_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(StandardError, match=r"line 1|line 2|not at byte 0"):
        read_standard(written(tmp_path, name, content))


@pytest.mark.parametrize(
    "content",
    [
        b'"A"\t"t1"\n"B"\t"t1"\n',
        b'A\t"t1"\nB\tt1\n',
        b'A\tt1\nB\t"t1\n',
    ],
)
def test_quoted_names_of_standards_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(StandardError, match="quot"):
        read_standard(written(tmp_path, "s.tsv", content))
    with pytest.raises(StandardError, match="quot"):
        read_identifiers(written(tmp_path, "i.tsv", content))


def test_standards_keep_their_names_in_the_curves(tmp_path: Path) -> None:
    path = tmp_path / "function.csv"
    path.write_text("epoch,standard,average_precision\n0,NA,\n0,007,0.5\n")
    assert read_curve(path)["standard"].tolist() == ["NA", "007"]
    assert read_curve(path)["average_precision"].isna().tolist() == [True, False]


def test_classes_keep_their_names_in_the_picture(tmp_path: Path) -> None:
    names = ["001", "1E5", "NA", "True"]
    table = pd.DataFrame(np.eye(4, dtype=int), index=names, columns=names)
    (tmp_path / "confusion.csv").write_text(table.to_csv())
    drawn = picture(confusion_matrix(tmp_path), "svg").decode()
    assert all(f"<!-- {name} -->" in drawn for name in names)
