"""Channels are read by the names that files give them, however these are spelled."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

from deeploc_tf import build_records, read_table
from deeploc_tf.features.measure import measure
from deeploc_tf.sources import (
    CellTable,
    DeepLocHDF5Source,
    FieldSource,
    FolderSource,
    LabelDictionarySource,
    SourceError,
    TableSource,
)
from deeploc_tf.sources.source import RejectedCrop
from tfrecords.errors import SchemaError
from tfrecords.schema import Schema

PATTERN = "{protein}_{cell}.tif"
ONE_A_CHANNEL = "{protein}_{cell}_{channel}.tif"


def plane(seed: int, size: int = 8) -> Any:
    return np.random.default_rng(seed).integers(1, 4000, (size, size)).astype("uint16")


def write_ome(path: Path, planes: Sequence[Any], names: Sequence[str] | None) -> None:
    """An OME-TIFF file of these planes, which calls them so."""
    several = len(planes) > 1
    metadata: dict[str, Any] = {"axes": "CYX" if several else "YX"}
    if names is not None:
        metadata["Channel"] = {"Name": list(names) if several else names[0]}
    image = np.stack(planes) if several else planes[0]
    tifffile.imwrite(path, image, photometric="minisblack", ome=True, metadata=metadata)


def write_imagej(path: Path, planes: Sequence[Any], labels: Sequence[str] | None) -> None:
    metadata = {"axes": "CYX", **({} if labels is None else {"Labels": list(labels)})}
    tifffile.imwrite(path, np.stack(planes), imagej=True, metadata=metadata)


def listed(source: Any) -> Any:
    """The source, its index made."""
    source.index()
    return source


def crop_of(source: Any, position: int = 0) -> Any:
    """The image of a crop, channels first."""
    return np.moveaxis(listed(source).read(position)[0], -1, 0)


SPELLINGS = pytest.mark.parametrize(
    ("of_file", "of_user"),
    [
        (("RFP", "GFP"), ("gfp", "rfp")),
        (("rfp", "gfp "), ("GFP", "RFP")),
        (("\uff32\uff26\uff30", "GFP\u200b"), ("gfp", "rfp")),
        (("dic", "g\u00e9"), (unicodedata.normalize("NFD", "G\u00e9"), "DIC")),
    ],
)


@SPELLINGS
@pytest.mark.parametrize("write", [write_ome, write_imagej])
def test_channels_of_a_stack_are_read_by_name(
    tmp_path: Path, of_file: Any, of_user: Any, write: Any
) -> None:
    first, second = plane(1), plane(2)
    write(tmp_path / "P_1.tif", [first, second], of_file)
    source = FolderSource(tmp_path, PATTERN, of_user)
    np.testing.assert_array_equal(crop_of(source), [second, first])
    assert source.channels == of_user
    (tmp_path / "cells.csv").write_text("path\nP_1.tif\n")
    table = TableSource(tmp_path / "cells.csv", "path", channels=of_user)
    np.testing.assert_array_equal(crop_of(table), [second, first])


def write_cells(folder: Path, images: Sequence[str], size: int = 8) -> CellTable:
    lines = [f"{image},{size // 2},{size // 2}" for image in images]
    (folder / "cells.csv").write_text("\n".join(["image,x,y", *lines, ""]))
    return CellTable(folder / "cells.csv")


def write_zarr(path: Path, planes: Sequence[Any], labels: Sequence[Any], **omero: Any) -> None:
    zarr = pytest.importorskip("zarr")
    pixels = np.stack(planes)
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=pixels.shape)[...] = (
        pixels
    )
    axes = [{"name": axis} for axis in "cyx"]
    levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}]
    group.attrs.update(
        {
            "multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}],
            "omero": {"channels": [{"label": label} for label in labels], **omero},
        }
    )


@SPELLINGS
def test_channels_of_ome_zarr_and_of_fields_are_read_by_name(
    tmp_path: Path, of_file: Any, of_user: Any
) -> None:
    first, second = plane(1), plane(2)
    write_zarr(tmp_path / "a.zarr", [first, second], of_file)
    write_ome(tmp_path / "a.tif", [first, second], of_file)
    for name in ("a.zarr", "a.tif"):
        cells = write_cells(tmp_path, [name])
        pattern = "{field}" + Path(name).suffix
        source = FieldSource(tmp_path, pattern, of_user, cells=cells, crop_size=8)
        np.testing.assert_array_equal(crop_of(source), [second, first])


def test_a_later_file_is_read_by_its_own_names(tmp_path: Path) -> None:
    first, second = plane(1), plane(2)
    write_imagej(tmp_path / "P_1.tif", [first, second], None)
    write_ome(tmp_path / "P_2.tif", [second, first], ["rfp", "gfp"])
    write_imagej(tmp_path / "P_3.tif", [second, first], ["rfp", "gfp"])
    source = listed(FolderSource(tmp_path, PATTERN, ["gfp", "rfp"]))
    for position in range(3):
        np.testing.assert_array_equal(crop_of(source, position), [first, second])


@pytest.mark.parametrize(
    "names", [("gfp", "DAPI"), ("GFP", "gfp"), ("DAPI", "FITC"), ("gfp", "gfp"), ("gfp", "")]
)
def test_a_later_file_with_other_names_is_set_aside(tmp_path: Path, names: Any) -> None:
    planes = [plane(1), plane(2)]
    write_imagej(tmp_path / "P_1.tif", planes, None)
    write_ome(tmp_path / "P_2.tif", planes, names)
    source = listed(FolderSource(tmp_path, PATTERN, ["gfp", "rfp"]))
    source.read(0)
    with pytest.raises(RejectedCrop, match=r"P_2\.tif") as caught:
        source.read(1)
    assert caught.value.reason == "channels differ"


@pytest.mark.parametrize("names", [("gfp", "DAPI"), ("GFP", "gfp"), ("gfp", ""), ("gfp", "gfp")])
def test_a_name_that_the_files_lack_is_refused_with_theirs(tmp_path: Path, names: Any) -> None:
    write_ome(tmp_path / "P_1.tif", [plane(1), plane(2)], names)
    with pytest.raises(SourceError, match=f"{names[0]}, {names[1]}"):
        FolderSource(tmp_path, PATTERN, ["gfp", "rfp"]).index()


def test_new_names_by_position_are_said_once_and_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planes = [plane(1), plane(2)]
    for number in range(3):
        write_ome(tmp_path / f"P_{number}.tif", planes, ["Channel:0", "Channel:1"])
    write_ome(tmp_path / "P_3.tif", planes, ["Channel:1", "Channel:0"])
    write_ome(tmp_path / "P_4.tif", planes[::-1], ["RFP", "GFP"])
    caplog.set_level(logging.INFO, "deeploc_tf")
    source = FolderSource(tmp_path, PATTERN, ["gfp", "rfp"])
    np.testing.assert_array_equal(crop_of(source), planes)
    np.testing.assert_array_equal(crop_of(source, 4), planes)
    with pytest.raises(RejectedCrop, match="Channel:1, Channel:0 in P_3"):
        source.read(3)
    said = [r.getMessage() for r in caplog.records if "order" in r.getMessage()]
    assert len(said) == 1
    assert "'Channel:0' is 'gfp', 'Channel:1' is 'rfp'" in said[0]


def test_new_names_by_position_are_shown_by_the_command(tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for number in range(2):
        write_ome(crops / f"P_{number}.tif", [plane(number), plane(9)], ["DAPI", "FITC"])
    options = ["--pattern", PATTERN, "--channels", "gfp,rfp"]
    done = run_cli("build-records", crops, tmp_path / "records", *options)
    assert done.exit_code == 0, done.output
    assert "'DAPI' is 'gfp', 'FITC' is 'rfp'" in done.output


def test_labels_of_imagej_slices_that_are_no_channels_count_for_nothing(tmp_path: Path) -> None:
    planes = [plane(1), plane(2)]
    for number in range(2):
        labels = [f"c:{c}/2 - P_{number}" for c in (1, 2)]
        write_imagej(tmp_path / f"P_{number}.tif", planes, labels)
    source = listed(FolderSource(tmp_path, PATTERN, ["gfp", "rfp"]))
    for position in range(2):
        np.testing.assert_array_equal(crop_of(source, position), planes)


def test_a_file_of_one_channel_is_known_by_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "deeploc_tf")
    write_ome(tmp_path / "P_1.tif", [plane(1)], ["GFP"])
    write_ome(tmp_path / "P_2.tif", [plane(2)], ["RFP"])
    write_ome(tmp_path / "P_3.tif", [plane(3)], None)
    for channels in ([], ["gfp"]):
        source = listed(FolderSource(tmp_path, PATTERN, channels))
        assert [name.lower() for name in source.channels] == ["gfp"]
        source.read(0)
        source.read(2)  # it says nothing else
        with pytest.raises(RejectedCrop, match=r"RFP in P_2\.tif"):
            source.read(1)
    assert not caplog.records
    renamed = listed(FolderSource(tmp_path, PATTERN, ["dapi"]))
    assert "'GFP' is 'dapi'" in caplog.text
    with pytest.raises(RejectedCrop, match=r"RFP in P_2\.tif"):
        renamed.read(1)


@pytest.mark.parametrize("kind", ["folder", "table", "fields"])
def test_a_file_that_calls_itself_another_of_the_channels_is_set_aside(
    tmp_path: Path, kind: str
) -> None:
    for number, names in enumerate((("GFP", "RFP"), ("RFP", "GFP"))):
        for channel, name in zip(("gfp", "rfp"), names, strict=True):
            write_ome(tmp_path / f"P_{number}_{channel}.tif", [plane(number)], [name])
    channels = ["gfp", "rfp"]
    source: Any = FolderSource(tmp_path, ONE_A_CHANNEL, channels)
    if kind == "table":
        columns = {c: [f"P_{number}_{c}.tif" for number in range(2)] for c in channels}
        pd.DataFrame(columns).to_csv(tmp_path / "crops.csv", index=False)
        source = TableSource(tmp_path / "crops.csv", {c: c for c in channels})
    if kind == "fields":
        cells = write_cells(tmp_path, [f"P_{number}_gfp.tif" for number in range(2)])
        source = FieldSource(tmp_path, ONE_A_CHANNEL, channels, cells=cells, crop_size=8)
    source.index()
    source.read(0)
    with pytest.raises(RejectedCrop, match=r"RFP in P_1_gfp\.tif") as caught:
        source.read(1)
    assert caught.value.reason == "channels differ"


def test_files_that_all_call_themselves_each_other_are_set_aside(tmp_path: Path) -> None:
    for number in range(2):
        for channel, name in (("gfp", "RFP"), ("rfp", "GFP")):
            write_ome(tmp_path / f"P_{number}_{channel}.tif", [plane(number)], [name])
    source = listed(FolderSource(tmp_path, ONE_A_CHANNEL, ["gfp", "rfp"]))
    for position in range(2):
        with pytest.raises(RejectedCrop, match="channel RFP"):
            source.read(position)


def test_other_names_in_files_of_one_channel_are_said_and_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("FITC", "FITC", "TRITC")):
        write_ome(tmp_path / f"P_{number}_gfp.tif", [plane(number)], [name])
    caplog.set_level(logging.INFO, "deeploc_tf")
    source = listed(FolderSource(tmp_path, ONE_A_CHANNEL, ["gfp"]))
    assert "'FITC' is 'gfp'" in caplog.text
    source.read(1)
    with pytest.raises(RejectedCrop, match=r"TRITC in P_2_gfp\.tif"):
        source.read(2)


@pytest.mark.parametrize("mask", ["mask", "Mask"])
def test_channels_in_paths_are_found_whatever_their_case(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mask: str
) -> None:
    images = {"GFP": plane(1), "Rfp": plane(2), "MASK": np.eye(8, dtype=np.uint8)}
    for channel, image in images.items():
        tifffile.imwrite(tmp_path / f"P_1_{channel}.tif", image)
    tifffile.imwrite(tmp_path / "P_2_gfp.tif", plane(3))
    tifffile.imwrite(tmp_path / "P_2_RFP.tif", plane(4))
    tifffile.imwrite(tmp_path / "P_2_mask.tif", images["MASK"])
    caplog.set_level(logging.INFO, "deeploc_tf")
    source = FolderSource(tmp_path, ONE_A_CHANNEL, ["gfp", "rfp"], mask_channel=mask)
    np.testing.assert_array_equal(crop_of(source), [plane(1), plane(2)])
    np.testing.assert_array_equal(crop_of(source, 1), [plane(3), plane(4)])
    assert source.read(0)[1].sum() == 8
    assert source.index()["key"].tolist() == ["P_1", "P_2"]
    assert source.channels == ("gfp", "rfp")
    assert "'GFP' is 'gfp'" in caplog.text


def test_channels_in_folders_are_found_whatever_their_case(tmp_path: Path) -> None:
    (tmp_path / "GFP").mkdir()
    tifffile.imwrite(tmp_path / "GFP" / "P_1_gfp.tif", plane(1))
    source = FolderSource(tmp_path, "{channel}/{protein}_{cell}_{channel}.tif", ["gfp"])
    np.testing.assert_array_equal(crop_of(source), [plane(1)])


def test_channels_in_paths_are_found_in_either_unicode_form(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "g\u00e9")
    tifffile.imwrite(tmp_path / f"P_1_{name}.tif", plane(1))
    source = FolderSource(tmp_path, ONE_A_CHANNEL, ["G\u00e9"])
    np.testing.assert_array_equal(crop_of(source), [plane(1)])


def test_two_files_of_one_channel_set_the_cell_aside(tmp_path: Path) -> None:
    for name in ("P_1_gfp.tif", "P_1_GFP.tif", "P_2_gfp.tif"):
        tifffile.imwrite(tmp_path / name, plane(1))
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this disk does not tell the names apart")
    source = FolderSource(tmp_path, ONE_A_CHANNEL, ["gfp"])
    assert source.index()["key"].tolist() == ["P_2"]
    assert [reject.reason for reject in source.rejects] == ["two files of a channel"]


@pytest.mark.parametrize("channels", [("gfp", "GFP"), ("gfp", "gfp\u200b")])
def test_channels_that_differ_in_case_only_are_refused(tmp_path: Path, channels: Any) -> None:
    np.save(tmp_path / "P_1.npy", np.stack([plane(1), plane(2)]))
    (tmp_path / "crops.csv").write_text("a,b\nP_1.npy,P_1.npy\n")
    cells = write_cells(tmp_path, ["P_1.npy"])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data1"] = np.zeros((2, 128), "uint8")
    np.save(tmp_path / "labels.npy", np.array({"ER": {"train": ["P_1_gfp.tif"]}}, object))
    for make in (
        lambda: FolderSource(tmp_path, "{protein}_{cell}.npy", channels, axes="CYX"),
        lambda: FolderSource(tmp_path, "{protein}_{channel}.npy", channels),
        lambda: FolderSource(tmp_path, "{c}_{channel}.npy", channels[:1], mask_channel=channels[1]),
        lambda: FieldSource(tmp_path, "{field}.npy", channels, cells=cells, axes="CYX"),
        lambda: FieldSource(tmp_path, "{field}_{channel}.npy", channels, cells=cells),
        lambda: TableSource(tmp_path / "crops.csv", dict(zip(channels, "ab", strict=True))),
        lambda: TableSource(tmp_path / "crops.csv", "a", channels=channels, axes="CYX"),
        lambda: DeepLocHDF5Source(tmp_path / "a.h5", channels),
        lambda: LabelDictionarySource(tmp_path / "labels.npy", channels),
    ):
        with pytest.raises(SourceError, match="different names"):
            make().index()


def test_channels_of_a_label_dictionary_are_known_whatever_their_case(tmp_path: Path) -> None:
    for channel, seed in (("gfp", 1), ("rfp", 2)):
        tifffile.imwrite(tmp_path / f"P_1_{channel}.tif", plane(seed))
    tifffile.imwrite(tmp_path / "P_1_mask.tif", np.eye(8, dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.array({"ER": {"train": ["P_1_gfp.tif"]}}, object))
    source = LabelDictionarySource(tmp_path / "labels.npy", ["RFP", "GFP"], mask_channel="Mask")
    np.testing.assert_array_equal(crop_of(source), [plane(2), plane(1)])
    assert source.channels == ("RFP", "GFP")
    assert source.read(0)[1] is not None


@pytest.mark.parametrize("holder", ["/", "data1"])
def test_channels_that_a_deeploc_file_names_are_read_by_name(tmp_path: Path, holder: str) -> None:
    first, second = plane(1), plane(2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data1"] = np.concatenate([first.ravel(), second.ravel()])[np.newaxis]
        file["Index1"] = np.array([[1, 0]], "uint8")
        file["Index1"].attrs["classes"] = ["ER", "Golgi"]
        file[holder].attrs["channels"] = ["RFP", "GFP"]
    source = DeepLocHDF5Source(tmp_path / "a.h5", ["gfp", "rfp"])
    np.testing.assert_array_equal(crop_of(source), [second, first])
    assert source.index()["label"].tolist() == ["ER"]
    one = DeepLocHDF5Source(tmp_path / "a.h5", ["gfp"], side=8)
    np.testing.assert_array_equal(crop_of(one), [second])
    with pytest.raises(SourceError, match="RFP, GFP"):
        DeepLocHDF5Source(tmp_path / "a.h5", ["gfp", "dapi"]).index()
    with pytest.raises(SourceError, match="RFP, GFP"):
        DeepLocHDF5Source(tmp_path / "a.h5", ["gfp", "rfp"], blocks=[0, 1]).index()


def schema_of(*channels: str) -> Schema:
    return Schema((8, 8, len(channels)), "uint16", channels)


def test_a_model_knows_its_channels_whatever_their_case() -> None:
    """What embed, evaluate, fit --from and predict ask of records and fields."""
    from deeploc_tf.models.trained import TrainedModel

    model = SimpleNamespace(inputs=[])
    trained = TrainedModel(model, schema_of("gfp", "rfp"), "", "")
    assert trained.check_schema(schema_of("gfp", "rfp")) == []
    assert trained.check_schema(schema_of("GFP", "rfp ")) == [
        "Channels are matched whatever their case: 'GFP' is 'gfp', 'rfp ' is 'rfp'."
    ]
    for others in (("rfp", "gfp"), ("RFP", "GFP"), ("gfp", "dapi")):
        with pytest.raises(SchemaError, match="channels="):
            trained.check_schema(schema_of(*others))


def test_fields_are_known_to_a_model_whatever_the_case_of_their_channels(tmp_path: Path) -> None:
    from deeploc_tf.serving.inputs import check_source

    def fields(*channels: str) -> FieldSource:
        cells = CellTable(tmp_path / "cells.csv")
        return FieldSource(tmp_path, "{field}_{channel}.tif", channels, cells=cells)

    described: Any = SimpleNamespace(channels=("gfp", "rfp"), pixel_size=None)
    assert check_source(fields("GFP", "rfp"), described) == [
        "Channels are matched whatever their case: 'GFP' is 'gfp'."
    ]
    for others in (("rfp", "gfp"), ("RFP", "GFP"), ("gfp",)):
        with pytest.raises(SchemaError, match="channels="):
            check_source(fields(*others), described)


def test_the_channel_of_masks_is_known_whatever_its_case(tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for number in range(4):
        write_ome(crops / f"P_{number}.tif", [plane(number, 16), plane(9, 16)], ["GFP", "RFP"])
    build_records(FolderSource(crops, PATTERN), tmp_path / "records")
    done = measure(
        tmp_path / "records", tmp_path / "a.h5", "intensity", splits=["train"], mask_channel="gfp "
    )
    again = measure(
        tmp_path / "records", tmp_path / "b.h5", "intensity", splits=["train"], mask_channel="GFP"
    )
    tables = [read_table(tmp_path / name) for name in ("a.h5", "b.h5")]
    np.testing.assert_array_equal(tables[0].features, tables[1].features)
    assert (done.num_crops, done.num_features) == (again.num_crops, again.num_features)
