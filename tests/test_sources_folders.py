"""Folders: what a pattern means, which cells come out, and what is refused."""

from __future__ import annotations

import os
import pickle
import string
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from deeploc_tf.sources import FolderSource, SourceError
from deeploc_tf.sources.patterns import FolderPattern
from deeploc_tf.sources.source import RejectedCrop

PATTERN = "{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
CHANNELS = ("gfp", "rfp")


def test_only_the_suffix_names_the_channel(write_crops: Callable[..., Path]) -> None:
    root = write_crops(proteins=("AAC1",), fields=(1,), cells=10)
    source = FolderSource(root, PATTERN, CHANNELS)
    index = source.index()
    assert set(index["key"]) == {f"AAC1/AAC1_1_rfp_{cell}" for cell in range(1, 11)}
    assert list(index.columns) == ["key", "protein", "field", "cell"]
    position = index["cell"].tolist().index("10")
    assert source.files(position) == ("AAC1/AAC1_1_rfp_10_gfp.tif", "AAC1/AAC1_1_rfp_10_rfp.tif")
    image, mask = source.read(position)
    assert mask is None
    for number, name in enumerate(source.files(position)):
        np.testing.assert_array_equal(image[..., number], tifffile.imread(root / name))


def test_channels_come_in_the_order_that_was_asked_for(write_crops: Callable[..., Path]) -> None:
    root = write_crops()
    forth = FolderSource(root, PATTERN, CHANNELS)
    back = FolderSource(root, PATTERN, CHANNELS[::-1])
    assert forth.index().equals(back.index())
    np.testing.assert_array_equal(forth.read(3)[0], back.read(3)[0][..., ::-1])


def test_repeated_field_must_be_the_same_text(write_crops: Callable[..., Path]) -> None:
    root = write_crops()
    for name in CHANNELS:
        (root / "AAC1" / f"AAC1_1_rfp_1_{name}.tif").rename(
            root / "AAC1" / f"AAC2_1_rfp_1_{name}.tif"
        )
    source = FolderSource(root, PATTERN, CHANNELS)
    assert len(source.index()) == 15
    assert source.passed_over == {"file does not match the pattern": 2}
    assert source.rejects == ()


def test_files_of_channels_that_are_not_wanted_are_passed_over(
    write_crops: Callable[..., Path],
) -> None:
    source = FolderSource(write_crops(), PATTERN, ["gfp"])
    assert len(source.index()) == 16
    assert source.passed_over == {"file of another channel": 16}


def test_mask_is_a_channel_of_its_own(write_crops: Callable[..., Path]) -> None:
    root = write_crops(channels=(*CHANNELS, "mask"))
    for path in root.rglob("*_mask.tif"):
        tifffile.imwrite(path, np.full((6, 5), 255, np.uint8))
    source = FolderSource(root, PATTERN, CHANNELS, mask_channel="mask")
    assert len(source.index()) == 16
    image, mask = source.read(0)
    assert image.shape == (6, 5, 2)
    assert mask is not None
    assert mask.dtype == np.uint8
    assert mask.all()
    tifffile.imwrite(root / source.files(1)[2], np.full((5, 6), 255, np.uint8))
    with pytest.raises(RejectedCrop, match=r"\(5, 6\) for an image of \(6, 5\)"):
        source.read(1)


def test_one_file_may_hold_all_channels(tmp_path: Path) -> None:
    stack = np.arange(60, dtype=np.uint16).reshape(2, 6, 5)
    tifffile.imwrite(tmp_path / "A_1.tif", stack, photometric="minisblack")
    source = FolderSource(tmp_path, "{protein}_{cell}.tif", CHANNELS, axes="CYX")
    assert source.index()["key"].tolist() == ["A_1"]
    np.testing.assert_array_equal(source.read(0)[0], np.moveaxis(stack, 0, -1))
    with pytest.raises(SourceError, match="`axes`"):
        FolderSource(tmp_path, "{protein}_{cell}.tif", CHANNELS).index()


def write_ome(folder: Path, cells: int = 3) -> list[np.ndarray]:
    """Crops of three named channels, each in one OME-TIFF file."""
    stacks = [np.random.default_rng(i).integers(0, 999, (3, 6, 5), "uint16") for i in range(cells)]
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["GFP", "RFP", "DIC"]},
        "PhysicalSizeX": 0.1,
        "PhysicalSizeY": 0.1,
    }
    for number, stack in enumerate(stacks):
        path = folder / f"A_{number}.ome.tif"
        tifffile.imwrite(path, stack, photometric="minisblack", metadata=metadata)
    return stacks


def test_channels_and_pixel_size_come_from_ome_metadata(tmp_path: Path) -> None:
    stacks = write_ome(tmp_path)
    source = FolderSource(tmp_path, "{protein}_{cell}.ome.tif")
    assert len(source.index()) == 3
    assert source.channels == ("GFP", "RFP", "DIC")
    assert source.description["channels"] == ["GFP", "RFP", "DIC"]
    assert source.pixel_size == pytest.approx(0.1)
    np.testing.assert_array_equal(source.read(1)[0], np.moveaxis(stacks[1], 0, -1))
    chosen = FolderSource(tmp_path, "{protein}_{cell}.ome.tif", ["DIC", "GFP"])
    chosen.index()
    np.testing.assert_array_equal(chosen.read(2)[0], np.moveaxis(stacks[2][[2, 0]], 0, -1))


def test_first_file_that_is_damaged_does_not_hide_the_channels(tmp_path: Path) -> None:
    stacks = write_ome(tmp_path)
    (tmp_path / "A_0.ome.tif").write_bytes(b"II*\0")
    source = FolderSource(tmp_path, "{protein}_{cell}.ome.tif")
    assert len(source.index()) == 3
    with pytest.raises(RejectedCrop, match=r"A_0\.ome\.tif"):
        source.read(0)
    np.testing.assert_array_equal(source.read(1)[0], np.moveaxis(stacks[1], 0, -1))
    for path in tmp_path.iterdir():
        path.write_bytes(b"II*\0")
    with pytest.raises(RejectedCrop, match=r"A_0\.ome\.tif"):
        FolderSource(tmp_path, "{protein}_{cell}.ome.tif").index()


@pytest.mark.parametrize("dtype", [None, "uint16"])
def test_types_are_converted_only_where_it_was_asked_for(
    write_crops: Callable[..., Path], dtype: str | None
) -> None:
    source = FolderSource(write_crops(dtype=np.int32), PATTERN, CHANNELS, dtype=dtype)
    source.index()
    if dtype is None:
        with pytest.raises(RejectedCrop, match=r"int32 in AAC1/AAC1_1_rfp_1_gfp\.tif"):
            source.read(0)
    else:
        assert source.read(0)[0].dtype == np.uint16
        assert source.description["dtype"] == "uint16"


@pytest.mark.parametrize("suffix", ["npy", "png"])
def test_crops_of_other_formats(tmp_path: Path, suffix: str) -> None:
    images = [np.random.default_rng(i).integers(0, 999, (6, 5), "uint16") for i in range(2)]
    for channel, image in zip(CHANNELS, images, strict=True):
        if suffix == "npy":
            np.save(tmp_path / f"1_{channel}.npy", image)
        else:
            (tmp_path / f"1_{channel}.png").write_bytes(imagecodecs.png_encode(image))
    source = FolderSource(tmp_path, f"{{cell}}_{{channel}}.{suffix}", CHANNELS)
    source.index()
    np.testing.assert_array_equal(source.read(0)[0], np.stack(images, axis=-1))


def test_a_worker_reads_with_a_copy(write_crops: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "ome").mkdir()
    write_ome(tmp_path / "ome")
    for source in (
        FolderSource(write_crops(), PATTERN, CHANNELS),
        FolderSource(tmp_path / "ome", "{protein}_{cell}.ome.tif"),
    ):
        source.index()
        copy = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(copy.read(2)[0], source.read(2)[0])
        assert copy.files(2) == source.files(2)
        assert copy.paths(2) == tuple(str(source.root / name) for name in source.files(2))
        assert copy.channels == source.channels


@pytest.mark.parametrize(
    ("pattern", "path", "key"),
    [
        ("{channel}/{cell}.tif", "gfp/7.tif", "7"),
        ("{plate}/{channel}/{cell}.tif", "p/gfp/7.tif", "p/7"),
        ("{plate}/{channel}.tif", "p/gfp.tif", "p"),
        ("{cell}-{channel}.ome.tif", "7-gfp.ome.tif", "7.ome"),
        ("{channel}_{cell}", "gfp_7", "7"),
        ("{channel}/{cell}_{channel}.tif", "gfp/7_gfp.tif", "7"),
    ],
)
def test_keys(tmp_path: Path, pattern: str, path: str, key: str) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / path).touch()
    assert FolderSource(tmp_path, pattern, ["gfp"]).index()["key"].tolist() == [key]


def test_a_missing_channel_names_cell_and_channel(write_crops: Callable[..., Path]) -> None:
    root = write_crops()
    (root / "AAH1" / "AAH1_2_rfp_1_rfp.tif").unlink()
    source = FolderSource(root, PATTERN, CHANNELS)
    assert "AAH1/AAH1_2_rfp_1" not in source.index()["key"].tolist()
    assert len(source.index()) == 15
    (reject,) = source.rejects
    assert (reject.reason, reject.key) == ("channel is missing", "AAH1/AAH1_2_rfp_1")
    assert reject.files == ("AAH1/AAH1_2_rfp_1_gfp.tif", "AAH1/AAH1_2_rfp_1_rfp.tif")
    assert "without channel rfp (AAH1/AAH1_2_rfp_1_rfp.tif is missing); 1 of 16" in reject.detail
    # what follows is not shifted
    for position, key in enumerate(source.index()["key"]):
        image = source.read(position)[0]
        np.testing.assert_array_equal(image[..., 0], tifffile.imread(root / f"{key}_gfp.tif"))


def test_a_channel_that_no_cell_has_is_an_error(write_crops: Callable[..., Path]) -> None:
    with pytest.raises(SourceError, match=r"without channel dic .*16 of 16 cells"):
        FolderSource(write_crops(), PATTERN, ["gfp", "dic"]).index()


def test_pattern_that_matches_nothing_shows_a_file(write_crops: Callable[..., Path]) -> None:
    root = write_crops()
    with pytest.raises(SourceError, match=r"\{cell\}\.png.* such as 'AAC1/AAC1_1_rfp_1_gfp\.tif'"):
        FolderSource(root, "{protein}/{cell}.png", ["gfp"]).index()
    with pytest.raises(SourceError, match="With channels gfp, rfp it would match"):
        FolderSource(root, PATTERN, ["DAPI", "DIC"]).index()


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds none"):
        FolderSource(tmp_path, PATTERN, CHANNELS).index()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FolderSource(tmp_path / "nowhere", PATTERN, CHANNELS).index()


def test_path_that_leaves_its_channel_open_is_refused(tmp_path: Path) -> None:
    (tmp_path / "abcd.tif").touch()
    source = FolderSource(tmp_path, "{plate}{channel}{cell}.tif", ["b", "c"])
    with pytest.raises(SourceError, match="leave one channel for a path"):
        source.index()


@pytest.mark.parametrize(
    ("pattern", "channels", "options"),
    [
        ("/abs/{cell}_{channel}.tif", ["gfp"], {}),
        ("{*}_{channel*}.tif", ["gfp"], {}),
        ("{cell_{channel}.tif", ["gfp"], {}),
        ("{1cell}_{channel}.tif", ["gfp"], {}),
        ("{key}_{channel}.tif", ["gfp"], {}),
        ("{cell}.tif", ["gfp"], {"mask_channel": "mask"}),
        ("{cell}_{channel}.tif", ["gfp"], {"axes": "CYX"}),
        ("{cell}_{channel}.tif", ["gfp", "gfp"], {}),
        ("{cell}_{channel}.tif", [], {}),
    ],
)
def test_descriptions_that_cannot_be_are_refused(
    tmp_path: Path, pattern: str, channels: list[str], options: dict[str, str]
) -> None:
    with pytest.raises(SourceError, match="Received"):
        FolderSource(tmp_path, pattern, channels, **options)  # type: ignore[arg-type]


def test_links_out_of_the_folder_are_refused(
    write_crops: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_crops()
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = root / "AAC1" / "AAC1_1_rfp_1_rfp.tif"
    inside.rename(outside / "secret.tif")
    inside.symlink_to(outside / "secret.tif")
    source = FolderSource(root, PATTERN, CHANNELS)
    source.index()
    with pytest.raises(SourceError, match=r"AAC1_1_rfp_1_rfp\.tif, a link to .*secret\.tif"):
        source.read(0)
    inside.unlink()
    (root / "linked").symlink_to(outside, target_is_directory=True)
    with pytest.raises(SourceError, match=r"linked, a link to .*outside"):
        FolderSource(root, PATTERN, CHANNELS).index()


def test_a_file_that_became_a_link_after_it_was_listed_is_refused(
    write_crops: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_crops()
    source = FolderSource(root, PATTERN, CHANNELS)
    source.index()
    path = root / "AAC1" / "AAC1_1_rfp_1_rfp.tif"
    path.rename(tmp_path / "secret.tif")
    path.symlink_to(tmp_path / "secret.tif")
    with pytest.raises(SourceError, match=r"AAC1_1_rfp_1_rfp\.tif, a link to .*secret\.tif"):
        source.read(0)


def test_links_inside_the_folder_and_to_it_are_followed(
    write_crops: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_crops()
    path = root / "AAC1" / "AAC1_1_rfp_1_gfp.tif"
    path.rename(root / "first.tif")
    path.symlink_to(root / "first.tif")
    (tmp_path / "door").symlink_to(root, target_is_directory=True)
    source = FolderSource(tmp_path / "door", PATTERN, CHANNELS)
    assert len(source.index()) == 16
    np.testing.assert_array_equal(source.read(0)[0][..., 0], tifffile.imread(root / "first.tif"))


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode on this system")
def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff_gfp.tif"
    try:
        os.close(os.open(name, os.O_CREAT))
    except OSError:
        pytest.skip("the file system takes no such names")
    with pytest.raises(SourceError, match="UTF-8"):
        FolderSource(tmp_path, "{cell}_{channel}.tif", ["gfp"]).index()


_names = st.text(string.ascii_letters + string.digits + " .+()[]", min_size=1, max_size=8)


@settings(deadline=None)
@given(protein=_names, field=_names, cell=_names, channel=st.sampled_from(CHANNELS))
def test_what_goes_into_a_path_comes_out(protein: str, field: str, cell: str, channel: str) -> None:
    path = f"{protein}/{protein}_{field}_rfp_{cell}_{channel}.tif"
    stem, found, fields = FolderPattern(PATTERN, CHANNELS).match(path) or ("", "", {})
    assert fields == {"protein": protein, "field": field, "cell": cell}
    assert found == channel
    assert stem.replace("\0", channel) == path


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{a}{b}{c}{d}{e}{f}.tif", "x" * 80 + ".png"),
        ("{a}_{b}_{c}_{d}_{e}_{f}_{g}.tif", "_" * 200),
        ("{*}{*}{*}{*}{*}{*}.tif", "x" * 200),
        ("{a}{a}{b}{c}{d}{e}x.tif", "x" * 150),
        ("{a}/{b}{c}{d}{e}{f}{g}{h}_{channel}.tif", "p/" + "x" * 100),
    ],
)
def test_a_path_that_does_not_match_takes_no_time(pattern: str, path: str) -> None:
    # each would take from minutes to the age of the universe, by trying all ways to cut it
    matcher = FolderPattern(pattern, ["gfp"])
    assert matcher.match(path) is None
    assert matcher.other_channel(path) is None
    assert matcher.nearest([path])[0] == path


def test_a_path_with_too_many_readings_is_refused() -> None:
    matcher = FolderPattern("{a}{b}{c}{d}{a}{e}{f}.tif", [])
    with pytest.raises(SourceError, match=r"few ways to read a path.*Put more fixed text"):
        matcher.match("xyzw" * 30 + ".tif")
    assert FolderPattern("{a}{b}{c}{d}.tif", []).match("x" * 60 + ".tif") is not None
