"""From a source of crops to records: labels, splits, and the build."""

from __future__ import annotations

from deeploc_tf.ingest.build_records import build_records, read_part
from deeploc_tf.ingest.plan import plan_records
from deeploc_tf.ingest.records_plan import RecordsPlan
from deeploc_tf.ingest.splits import check_groups, split_by_conditions, split_by_fractions
from deeploc_tf.sources.quality import Quality

__all__ = [
    "Quality",
    "RecordsPlan",
    "build_records",
    "check_groups",
    "plan_records",
    "read_part",
    "split_by_conditions",
    "split_by_fractions",
]
