"""From a source of crops to records: labels, splits, and the build."""

from __future__ import annotations

from deeploc_tf.ingest.build_records import build_records
from deeploc_tf.ingest.splits import check_groups, split_by_conditions, split_by_fractions

__all__ = ["build_records", "check_groups", "split_by_conditions", "split_by_fractions"]
