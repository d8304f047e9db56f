"""What a crop is to be told from other crops by: its labels, or the protein that it shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from deeploc_tf.names import same_form
from deeploc_tf.pipeline.targets import Kind
from tfrecords.errors import SplitError
from tfrecords.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a split and how many of its crops belong to each.

    Attributes:
        kind: "label" or "protein": the feature of a record that tells its class.
        names: in the order of their indices.
        counts: crops of each class; with several labels a crop they add up to more than the crops.
        num_crops: of the split.
        multi_label: a crop may belong to several of them.
    """

    kind: Kind
    names: tuple[str, ...]
    counts: tuple[int, ...]
    num_crops: int
    multi_label: bool = False


def count_classes(manifest: Manifest, kind: Kind = "label", split: str = "train") -> Classes:
    """The classes of a split, from the manifest alone.

    Labels are those of the schema, in its order. Proteins are those of the split, sorted.

    Raises:
        SplitError: there is no such split, a label has no crop in it, a crop has no protein, or two
            classes are one name in two spellings.
    """
    num_crops = manifest.num_crops(split)  # names the splits there are, if this one is not
    counts = manifest.counts[split][kind]
    if kind == "label":
        empty = [name for name in manifest.schema.label_names if not counts.get(name)]
        if empty or not manifest.schema.label_names:
            msg = (
                f"Every class must have crops in the {split} split. Received: "
                f"{'none of ' + ', '.join(empty) if empty else 'no labels at all'}. "
                "Rebuild the records with other labels or another split."
            )
            raise SplitError(msg)
        names = manifest.schema.label_names
    elif sum(counts.values()) < num_crops:
        msg = (
            f"Every crop of the {split} split must name its protein. Received: "
            f"{num_crops - sum(counts.values())} of {num_crops} crops without one. "
            "Rebuild the records without them."
        )
        raise SplitError(msg)
    else:
        names = tuple(sorted(counts))
    _check_different(names, kind)
    multi_label = kind == "label" and manifest.schema.multi_label
    return Classes(kind, names, tuple(counts[name] for name in names), num_crops, multi_label)


def _check_different(names: Sequence[str], kind: Kind) -> None:
    """Raise `SplitError` for classes that nobody can tell apart, as older records may have."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(same_form(name, kind), name)
        if other != name:
            msg = (
                f"Classes must be different names. Received: {other!a} and {name!a}, "
                "which are one. Rebuild the records: it matches them."
            )
            raise SplitError(msg)


def class_index(kind: Kind, names: Sequence[str]) -> Callable[[dict[str, Any]], Any]:
    """A function from a parsed batch to the class of each crop.

    Call this outside of `tf.data` functions: it makes a table, which they may use.

    Args:
        kind: "label" or "protein".
        names: of the classes.

    Returns:
        A function that gives int64 `(batch_size,)`, -1 for a protein that is none of `names`; for
        crops with several labels float32 `(batch_size, num_classes)`, 0 and 1.
    """
    if kind == "label":
        return lambda batch: batch["label"]
    with tf.init_scope(), tf.device("CPU:0"):
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(names)), tf.range(len(names), dtype=tf.int64)
            ),
            default_value=-1,
        )
    return lambda batch: table.lookup(batch["protein"])
