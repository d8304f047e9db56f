from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfrecords
from deeploc_tf.pipeline.batches import batches
from deeploc_tf.pipeline.cell_pairs import Pairs, evaluation_pairs, pair_columns, training_pairs
from deeploc_tf.pipeline.random_access import RandomAccess
from tfrecords.errors import DamagedRecordsError, SchemaError, SplitError
from tfrecords.framing import frame, records
from tfrecords.manifest import Manifest, ShardInfo, read_manifest
from tfrecords.schema import Crop, Schema

# One batch that must come on every machine and stack: a resumed training depends on it.
GOLDEN_SOURCES = [3, 13, 12, 5, 19, 23]
GOLDEN_TARGETS = [9, 4, 7, 12, 2, 1]

# protein, field -> cells of the train split
SIZES = {("A", 1): 7, ("A", 2): 5, ("B", 1): 4, ("B", 3): 2, ("C", 1): 1, ("D", 2): 6}


def write(
    folder: Path,
    sizes: dict[tuple[str, int], int] | None = None,
    *,
    dtype: str = "uint16",
    channels: tuple[str, ...] = ("gfp", "rfp"),
    metadata: dict[str, str] | None = None,
    group_by: tuple[str, ...] = ("field",),
    crops_of_a_shard: int = 6,
) -> Manifest:
    schema = Schema(
        image_shape=(4, 8, len(channels)),
        dtype=dtype,
        channels=channels,
        has_mask=True,
        label_names=("one", "two"),
        metadata={"field": "int64", "plate": "text"} if metadata is None else metadata,  # type: ignore[arg-type]
    )
    random = np.random.default_rng(1)
    crops = []
    for (protein, field), cells in (SIZES if sizes is None else sizes).items():
        for cell in range(cells):
            values: dict[str, Any] = {"field": field, "plate": "p1"}
            crops.append(
                Crop(
                    key=f"{protein}/{field}/{'x' * (cell % 4)}{cell}",  # records differ in length
                    image=random.integers(0, 255, schema.image_shape).astype(dtype),
                    mask=np.ones((4, 8), np.uint8),
                    labels=(cell % 2,),
                    protein=protein,
                    metadata={name: values[name] for name in schema.metadata},
                )
            )
    size = len(tfrecords.encode(crops[0], schema)) + 16
    return tfrecords.write_records(
        folder,
        schema,
        [tfrecords.Entry(crop.key, "train", crop.labels, crop.protein) for crop in crops],
        crops,
        group_by=group_by,
        shard_bytes=crops_of_a_shard * size,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("pairs") / "records"
    write(path)
    return path


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Pairs:
    return Pairs(folder, "train", min_cells=4)


def drawn(dataset: Any) -> Iterator[tuple[Any, Any]]:
    """Sources and targets of all batches, as arrays."""
    for inputs, zeros in dataset:
        assert zeros.shape == (len(inputs["image"]), 1, 1, 1)
        assert not zeros.numpy().any()
        yield inputs["image"].numpy(), inputs["target"].numpy()


def truth(folder: Path) -> dict[bytes, tuple[str, int, str]]:
    """Protein, field and key by pixels: read in order, by the ordinary reader."""
    return {
        image.tobytes(): (protein.decode(), field, key.decode())
        for batch in batches(folder, "train").as_numpy_iterator()
        for image, protein, field, key in zip(
            batch["image"], batch["protein"], batch["meta/field"].tolist(), batch["key"],
            strict=True,
        )
    }  # fmt: skip


def test_an_epoch_pairs_each_cell_once_with_another_one_of_its_protein_and_field(
    folder: Path, pairs: Pairs
) -> None:
    known = truth(folder)
    assert len(known) == sum(SIZES.values())
    kept = {group for group, cells in SIZES.items() if cells >= 4}
    expected = sorted(key for *group, key in known.values() if tuple(group) in kept)
    assert pairs.num_pairs == len(expected)
    steps = pairs.steps_per_epoch(1)
    dataset = training_pairs(pairs, batch_size=1, epochs=3, seed=5)
    assert int(dataset.cardinality()) == 3 * steps
    both = [
        (known[source.tobytes()], known[target.tobytes()])
        for sources, targets in drawn(dataset)
        for source, target in zip(sources, targets, strict=True)
    ]
    for source, target in both:
        assert source[:2] == target[:2]
        assert source[2] != target[2]
    for epoch in range(3):
        of_epoch = both[epoch * steps : (epoch + 1) * steps]
        assert sorted(source[2] for source, _ in of_epoch) == expected
        assert sorted(target[2] for _, target in of_epoch) == expected
    assert both[:steps] != both[steps : 2 * steps]
    assert set(both[:steps]) != set(both[steps : 2 * steps])  # other partners, too


def test_every_partner_is_as_likely_as_the_others(pairs: Pairs) -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for epoch in range(600):
        sources, targets = pairs.batch(pairs.num_pairs, epoch=epoch, step=0)
        counts.update(zip(sources.tolist(), targets.tolist(), strict=True))
    of_source: dict[int, list[int]] = {}
    for (source, _), count in counts.items():
        of_source.setdefault(source, []).append(count)
    sizes = sorted(len(partners) + 1 for partners in of_source.values())
    assert sizes == [4] * 4 + [5] * 5 + [6] * 6 + [7] * 7
    for partners in of_source.values():
        mean = 600 / len(partners)
        deviation = np.sqrt(mean * (1 - 1 / len(partners)))
        assert max(abs(count - mean) for count in partners) < 5 * deviation


def test_pairs_are_the_same_on_every_machine_and_stack(pairs: Pairs) -> None:
    sources, targets = pairs.batch(6, epoch=2, step=1, seed=7)
    assert sources.tolist() == GOLDEN_SOURCES
    assert targets.tolist() == GOLDEN_TARGETS
    assert pairs.batch(6, epoch=2, step=1, seed=8)[0].tolist() != GOLDEN_SOURCES


def test_windows_mix_anew_in_every_epoch(folder: Path) -> None:
    pairs = Pairs(folder, "train", min_cells=2, window_bytes=5 * 128)  # 5 crops
    blocks = []
    for epoch in range(8):
        sources, _ = pairs.batch(100, epoch=epoch, step=0)
        assert sorted(sources.tolist()) == sorted(pairs.batch(100, epoch=0, step=0)[0].tolist())
        # neighbors in an epoch's order are mostly neighbors on the disk
        steps = np.abs(np.diff(sources))
        assert np.median(np.minimum(steps, 25 - steps)) <= 4
        blocks.append(frozenset(sources[:5].tolist()))
    assert len(set(blocks)) > 4


def test_a_training_that_resumes_sees_what_an_uninterrupted_one_would_have_seen(
    pairs: Pairs,
) -> None:
    whole = list(drawn(training_pairs(pairs, batch_size=5, epochs=3, seed=2)))
    steps = pairs.steps_per_epoch(5)
    assert len(whole) == 3 * steps == 12
    for epoch, step in itertools.product(range(3), range(steps)):
        rest = list(
            drawn(
                training_pairs(
                    pairs, batch_size=5, epochs=3, first_epoch=epoch, first_step=step, seed=2
                )
            )
        )
        assert len(rest) == len(whole) - epoch * steps - step
        for found, expected in zip(rest, whole[epoch * steps + step :], strict=True):
            np.testing.assert_array_equal(found, expected)
    assert not list(training_pairs(pairs, batch_size=5, epochs=3, first_epoch=3))


def test_evaluation_sees_every_pair_and_always_the_same(pairs: Pairs) -> None:
    once = list(drawn(evaluation_pairs(pairs, batch_size=5)))
    again = list(drawn(evaluation_pairs(pairs, batch_size=pairs.num_pairs)))
    assert [len(sources) for sources, _ in once] == [5, 5, 5, 5, 2]
    for side in (0, 1):
        np.testing.assert_array_equal(
            np.concatenate([batch[side] for batch in once]), again[0][side]
        )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("crops_of_a_shard", [4, 1000])
def test_pixels_come_from_where_they_lie(tmp_path: Path, dtype: str, crops_of_a_shard: int) -> None:
    manifest = write(tmp_path / "records", dtype=dtype, crops_of_a_shard=crops_of_a_shard)
    assert (len(manifest.shards("train")) > 1) is (crops_of_a_shard == 4)
    access = RandomAccess(tmp_path / "records", "train", manifest)
    (batch,) = batches(tmp_path / "records", "train").as_numpy_iterator()
    chosen = np.random.default_rng(0).integers(0, 25, 60)
    found = access.images(chosen)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, batch["image"][chosen])
    assert [access.crop(n).key.encode() for n in range(25)] == batch["key"].tolist()


def test_pixels_are_found_wherever_a_writer_put_them(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    shards = []
    for number, shard in enumerate(manifest.shards("train")):
        content = (folder / shard.name).read_bytes()
        framed = b"".join(
            # every second record as it is: positions differ from record to record
            frame(content[start:stop] if i % 2 else backwards(content[start:stop]))
            for i, (start, stop) in enumerate(records(content), start=number)
        )
        (tmp_path / shard.name).write_bytes(framed)
        shards.append(ShardInfo(shard.name, shard.num_crops, len(framed), shard.sha256))
    foreign = dataclasses.replace(manifest, splits={"train": tuple(shards)})
    (batch,) = batches(folder, "train").as_numpy_iterator()
    found = RandomAccess(tmp_path, "train", foreign).images(np.arange(25))
    np.testing.assert_array_equal(found, batch["image"])


def backwards(record: bytes) -> bytes:
    """An Example with its features in the other order, which protocol buffers allow."""
    entries, place = [], 1
    while record[place] & 0x80:
        place += 1
    place += 1
    while place < len(record):
        begin, size, shift = place, 0, 0
        place += 1
        while True:
            size |= (record[place] & 0x7F) << shift
            shift += 7
            place += 1
            if not record[place - 1] & 0x80:
                break
        place += size
        entries.append(record[begin:place])
    head = record[: len(record) - sum(map(len, entries))]
    return head + b"".join(reversed(entries))


def test_python_runs_once_a_batch(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    images = RandomAccess.images

    def counting(self: RandomAccess, crops: Any) -> Any:
        sizes.append(len(crops))
        return images(self, crops)

    monkeypatch.setattr(RandomAccess, "images", counting)
    assert len(list(training_pairs(pairs, batch_size=11, epochs=2))) == 4
    assert sizes == [11] * 8


def test_what_is_left_out_is_counted(folder: Path) -> None:
    assert Pairs(folder, "train", min_cells=5).describe() == (
        "18 pairs of cells of one protein, plate, field, in 3 groups. Left out: 3 groups with "
        "fewer than 5 cells, together 7 cells, of which 1 have no partner at all. Proteins in one "
        "group only: 1. Nothing shows the network what of their looks belongs to the field."
    )
    coarse = Pairs(folder, "train", min_cells=2, pair_by=("protein",))
    assert coarse.describe() == (
        "24 pairs of cells of one protein, in 3 groups. Left out: 1 groups with fewer than 2 "
        "cells, together 1 cells, of which 1 have no partner at all."
    )


def test_a_message_can_name_the_cells_of_a_batch(folder: Path, pairs: Pairs) -> None:
    keys = {key: (protein, field) for protein, field, key in truth(folder).values()}
    named = pairs.keys(5, epoch=1, step=2, seed=3)
    assert len(named) == 5
    for text in named:
        source, target = text.split(" with ")
        assert keys[source] == keys[target]
        assert source != target


def test_both_cells_are_of_the_groups_of_the_records(tmp_path: Path) -> None:
    manifest = write(tmp_path / "both", group_by=("protein", "plate"))
    assert pair_columns(manifest) == ("protein", "plate", "field")
    assert pair_columns(manifest, ("plate", "protein", "plate")) == ("plate", "protein")
    with pytest.raises(SplitError, match=r"'platte'.*Did you mean 'plate'"):
        pair_columns(manifest, ("platte",))
    plain = write(tmp_path / "plain", group_by=())
    assert pair_columns(plain) == ("protein", "plate", "field")


def test_records_without_fields_or_structure_are_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path / "no-field", metadata={}, group_by=("protein",))
    with pytest.raises(SplitError, match=r"from one field.*group_by=\['protein'\].*--group field"):
        Pairs(tmp_path / "no-field", "train")
    assert pair_columns(manifest, ("protein",)) == ("protein",)
    write(tmp_path / "no-structure", channels=("gfp",))
    with pytest.raises(SchemaError, match=r"structural channel.*channels=gfp"):
        Pairs(tmp_path / "no-structure", "train")


def test_cells_without_partners_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"min_cells=30.*7 cells \(protein A, plate p1, field 1\)"):
        Pairs(folder, "train")
    with pytest.raises(ValueError, match="min_cells=1"):
        Pairs(folder, "train", min_cells=1)
    write(tmp_path / "alone", {("A", 1): 1, ("B", 1): 1, ("B", 2): 1})
    with pytest.raises(SplitError, match="no cell has a partner"):
        Pairs(tmp_path / "alone", "train", min_cells=2)
    write(tmp_path / "nameless", {("", 1): 3, ("B", 1): 3})
    with pytest.raises(SplitError, match=r"must name its protein.*3 of 6"):
        Pairs(tmp_path / "nameless", "train", min_cells=2)
    with pytest.raises(SplitError, match="Did you mean 'train'"):
        Pairs(folder, "trian")


def test_batches_that_do_not_exist_are_refused(pairs: Pairs) -> None:
    with pytest.raises(SplitError, match=r"batch_size=23.*of 22 pairs.*`min_cells` below 4"):
        training_pairs(pairs, batch_size=23)
    with pytest.raises(ValueError, match="batch_size=0"):
        training_pairs(pairs, batch_size=0)
    for place in ({"first_epoch": 3}, {"first_step": 4}, {"first_epoch": -1}):
        with pytest.raises(ValueError, match=re.escape(next(iter(place)))):
            training_pairs(pairs, batch_size=5, epochs=2, **place)  # type: ignore[arg-type]


def test_a_damaged_record_is_found_before_the_first_batch(tmp_path: Path) -> None:
    manifest = write(tmp_path / "records")
    shard = tmp_path / "records" / manifest.shards("train")[1].name
    content = bytearray(shard.read_bytes())
    content[200] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DamagedRecordsError, match=f"Place: shard {shard.name}, record 0, byte 0"):
        Pairs(tmp_path / "records", "train", min_cells=4)
