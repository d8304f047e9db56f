"""Fields that a table lists, by columns of paths."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

from deeploc_tf.sources import CellTable, FieldSource, FieldTable, SourceError
from deeploc_tf.text_tables import TableError

CHANNELS = {"gfp": "path_gfp", "rfp": "path_rfp"}


def write_fields(root: Path) -> pd.DataFrame:
    """Three fields in folders of their channels, and the table that lists them."""
    labels = np.zeros((40, 50), np.uint16)
    labels[18:23, 20:26], labels[10:14, 30:34] = 2, 5
    rows = []
    for number, (plate, well) in enumerate([("P1", "A01"), ("P1", "A02"), ("P2", "A01")]):
        row = {"plate": plate, "well": well}
        for channel in ("gfp", "rfp"):
            image = np.random.default_rng((number, len(channel + plate))).integers(1, 999, (40, 50))
            name = f"{channel}/img_{number:03d}.tif"
            (root / channel).mkdir(exist_ok=True)
            tifffile.imwrite(root / name, (image + (channel == "rfp")).astype("uint16"))
            row[f"path_{channel}"] = name
        (root / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(root / "masks" / f"{number}.tif", labels)
        rows.append({**row, "mask": str(root / "masks" / f"{number}.tif")})
    frame = pd.DataFrame(rows)
    frame.to_csv(root / "fields.csv", index=False)
    return frame


def source_of(root: Path, **options: Any) -> FieldSource:
    label_image = options.pop("label_image", "mask")
    table = FieldTable(root / "fields.csv", CHANNELS, label_image)
    return FieldSource(root, table, tuple(CHANNELS), crop_size=16, **options)


def test_objects_of_listed_fields(tmp_path: Path) -> None:
    frame = write_fields(tmp_path)
    source = source_of(tmp_path)
    index = source.index()
    assert list(index.columns) == ["key", "plate", "well", "x", "y", "object"]
    assert index["key"].tolist()[:3] == ["gfp/img_000:2", "gfp/img_000:5", "gfp/img_001:2"]
    assert index["plate"].tolist() == ["P1"] * 4 + ["P2"] * 2
    assert source.description["field_table"] == ["path_gfp", "path_rfp", "mask"]
    image, mask = pickle.loads(pickle.dumps(source)).read(4)
    assert mask is not None
    assert mask.sum() == 30
    for channel, name in enumerate(frame.loc[2, ["path_gfp", "path_rfp"]]):
        whole = tifffile.imread(tmp_path / name)
        np.testing.assert_array_equal(image[..., channel], whole[12:28, 15:31])
    assert source.files(4)[:3] == ("gfp/img_002.tif", "rfp/img_002.tif", "masks/2.tif")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("image,x,y\nrfp/img_001.tif,22,20\n", ["gfp/img_001:22,20"]),
        ("image,x,y\ngfp/img_002,22,20\n", ["gfp/img_002:22,20"]),
        ("plate,well,x,y\nP2,A1,22,20\nP1,a02,22,20\n", ["gfp/img_001:22,20", "gfp/img_002:22,20"]),
    ],
)
def test_a_table_of_cells_names_listed_fields(tmp_path: Path, text: str, keys: list[str]) -> None:
    write_fields(tmp_path)
    (tmp_path / "cells.csv").write_text(text)
    source = source_of(tmp_path, cells=CellTable(tmp_path / "cells.csv"), label_image=None)
    assert source.index()["key"].tolist() == keys


def test_what_does_not_fit_is_refused_or_set_aside(tmp_path: Path) -> None:
    frame = write_fields(tmp_path)
    (tmp_path / "cells.csv").write_text("well,x,y\nA1,22,20\n")
    cells = CellTable(tmp_path / "cells.csv")
    with pytest.raises(SourceError, match=r"must name each field once.*A01"):
        source_of(tmp_path, cells=cells).index()
    (tmp_path / "cells.csv").write_text("x,y\n22,20\n")
    with pytest.raises(TableError, match="column of the field"):
        source_of(tmp_path, cells=cells).index()
    frame.assign(path_rfp="rfp/none.tif").to_csv(tmp_path / "fields.csv", index=False)
    with pytest.raises(SourceError, match=r"'rfp/none\.tif' \(fields\.csv, line 2\)"):
        source_of(tmp_path).index()
    frame.loc[1, "path_rfp"] = "rfp/none.tif"
    frame.to_csv(tmp_path / "fields.csv", index=False)
    source = source_of(tmp_path)
    assert set(source.index()["key"]) == {
        f"gfp/img_{n}:{o}" for n in ("000", "002") for o in (2, 5)
    }
    assert [(r.reason, r.key) for r in source.rejects] == [("file is missing", "gfp/img_001")]
    frame.assign(path_gfp="gfp/img_000.tif").to_csv(tmp_path / "fields.csv", index=False)
    with pytest.raises(SourceError, match="one row a field"):
        source_of(tmp_path).index()


def test_the_command_takes_a_table_of_fields(tmp_path: Path) -> None:
    write_fields(tmp_path)
    columns = [word for c, p in CHANNELS.items() for word in ("--image-column", f"{c}={p}")]
    words = ("build-records", tmp_path / "fields.csv", tmp_path / "records", *columns)
    made = run_cli(*words, "--label-image", "mask", "--crop-size", 16, "--group", "well")
    assert made.exit_code == 0, made.output
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["schema"]["channels"] == ["gfp", "rfp"]
    assert manifest["schema"]["has_mask"]
    wrong = run_cli(*words, "--label-image", "mask", "--pattern", "{field}.tif")
    assert wrong.exit_code == 2
