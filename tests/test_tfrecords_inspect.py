from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfrecords.errors import RecordsError
from tfrecords.inspect import summarize


def test_a_summary_says_what_is_there(tiny_records: Any, tmp_path: Path) -> None:
    manifest = tiny_records.write(tmp_path / "records", rejects={"empty": 2})
    summary = summarize(tmp_path / "records")
    assert summary.schema == tiny_records.schema
    assert summary.num_crops == 12
    assert {name: split.num_crops for name, split in summary.splits.items()} == {
        "test": 4,
        "train": 8,
    }
    assert summary.splits["train"].num_shards == 2
    assert summary.num_bytes == sum(
        path.stat().st_size for path in (tmp_path / "records").glob("*.tfrecord*")
    )
    assert summary.counts == manifest.counts
    assert summary.digest == manifest.digest
    assert summary.group_by == ("field",)
    assert summary.rejects == {"empty": 2}


def test_a_summary_is_plain_json(tiny_records: Any, tmp_path: Path) -> None:
    manifest = tiny_records.write(tmp_path / "records")
    values = json.loads(json.dumps(summarize(str(tmp_path / "records")).to_json()))
    assert values["num_crops"] == 12
    assert values["splits"]["test"] == {
        "num_crops": 4,
        "num_shards": 1,
        "num_bytes": manifest.shards("test")[0].num_bytes,
    }
    assert values["schema"]["channels"] == ["gfp", "rfp"]
    assert values["counts"]["test"]["protein"] == dict(manifest.counts["test"]["protein"])
    assert values["digest"] == manifest.digest


def test_shards_are_not_needed(tiny_records: Any, tmp_path: Path) -> None:
    tiny_records.write(tmp_path / "records")
    for path in (tmp_path / "records").glob("*.tfrecord*"):
        path.unlink()
    assert summarize(tmp_path / "records").num_crops == 12


def test_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="build interrupted"):
        summarize(tmp_path)
