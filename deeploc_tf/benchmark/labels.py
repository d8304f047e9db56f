"""What is known of each protein, such as its compartment: read, compared, and taken for a profile.

Labels are a standard whose terms are labels. A protein may have several; two proteins have the same
label if all of theirs are.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.shared_terms import SharedTerms
from deeploc_tf.benchmark.standards import Standard, StandardError, met, read_standard
from deeploc_tf.names import matched, same_form, tidy
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.text_tables import DELIMITERS, EXCEL, PARQUET, TableError, read_table, suffix_of
from tfrecords.errors import did_you_mean

Labels = Standard | str | Path | Mapping[str, str | Collection[str]]
"""Labels of proteins: a standard, the file of one or of a table, or label or labels by protein."""

PROTEIN_COLUMNS = ("protein", "gene", "orf")
LABEL_COLUMNS = ("label", "labels", "localization", "localisation", "compartment", "class")


def read_labels(
    source: Labels, identifiers: IdentifierMap | None = None, **reading: Any
) -> Standard:
    """Labels of proteins as a standard.

    Args:
        source: a standard; a file of one, such as two columns, protein and label; a table with
            a header (CSV, TSV, Excel, Parquet) that names a column `protein` or `gene` and one
            `label`, `localization`, `compartment` or `class`, in which a protein may have several
            rows; or a mapping from proteins to a label each, or several.
        identifiers: gives each protein of a file or mapping the name to use.
        reading: further keywords of `read_standard`; with any of them a file is one of a standard.

    Raises:
        StandardError: the file is neither, has several aspects, or no protein has a label.
        OSError: the file cannot be read.
    """
    if isinstance(source, Standard):
        return source
    if isinstance(source, Mapping):
        pairs = [
            (str(protein), str(label))
            for protein, own in source.items()
            for label in ([own] if isinstance(own, str) or not isinstance(own, Collection) else own)
        ]
        return _of_pairs("labels", pairs, identifiers, {"format": "mapping"})
    path = Path(source)
    given = {name: value for name, value in reading.items() if value}
    found = None if given else _from_table(path)
    if found is None:
        return read_standard(path, identifiers=identifiers, **given)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    report = {"file": path.name, "sha256": digest, "format": "table"}
    return _of_pairs(path.name.split(".")[0], found, identifiers, report)


def codes_of(
    labels: Standard, proteins: Sequence[str], *, distinct_case: bool = False
) -> NDArray[np.int64]:
    """A number for the label, or the set of labels, of each protein; -1 where none is known.

    Raises:
        StandardError: no protein has a label, or one may or may not be a protein of the labels.
    """
    found = _of_each(labels, proteins, distinct_case=distinct_case)
    sets = sorted({tuple(sorted(own)) for own in found.values()})
    code_of = {own: code for code, own in enumerate(sets)}
    codes = [code_of[tuple(sorted(found[name]))] if name in found else -1 for name in proteins]
    return np.array(codes, np.int64)


@dataclasses.dataclass(frozen=True)
class ProteinLabels:
    """What a standard says of proteins, as a label table has it.

    Attributes:
        labels: protein -> label, or labels with a separator between; in alphabetical order.
        several: proteins that are left out, since they have several labels.
        without: those that have none.
    """

    labels: Mapping[str, str]
    several: tuple[str, ...]
    without: tuple[str, ...]


def labels_by_protein(
    labels: Standard,
    proteins: Collection[str],
    *,
    classes: Collection[str] = (),
    separator: str | None = None,
    identifiers: IdentifierMap | None = None,
    distinct_case: bool = False,
) -> ProteinLabels:
    """The label of each protein: the term that it is in, by its description if that is its own.

    Args:
        labels: as `read_labels` gives them.
        proteins: their names.
        classes: terms to take; all by default.
        separator: text between the terms of a protein that has several; None leaves it out.
        identifiers: that the labels were read with.
        distinct_case: let proteins differ in case.

    Raises:
        StandardError: no protein has a label; a class is no term; a term holds the separator; or a
            protein may or may not be one of the standard.
    """
    names = sorted({tidy(name) for name in proteins} - {""})
    known = names if identifiers is None else identifiers.map(names)[0]
    shared = SharedTerms([labels], known, distinct_case=distinct_case)
    found = {name: shared.of(key)[labels.name] for name, key in zip(names, known, strict=True)}
    terms = {same_form(term, "label") for own in found.values() for term in own}
    wanted = {same_form(name, "label"): name for name in classes}
    if unknown := [name for form, name in wanted.items() if form not in terms]:
        every = sorted({term for own in found.values() for term in own})
        msg = (
            f"`classes` must be terms of {labels.name!r} that a protein has. Received: "
            f"{unknown[0]!r}.{did_you_mean(unknown[0], every)}"
        )
        raise StandardError(msg)
    if wanted:
        found = {
            name: [wanted[form] for term in own if (form := same_form(term, "label")) in wanted]
            for name, own in found.items()
        }
    if separator is not None and any(separator in term for own in found.values() for term in own):
        term = next(term for own in found.values() for term in own if separator in term)
        msg = (
            "The separator must be in no label. Received: "
            f"separator={separator!r} and {term!r}. Choose another (--label-separator)."
        )
        raise StandardError(msg)
    taken = {
        name: own[0] if separator is None else separator.join(own)
        for name, own in found.items()
        if own and (len(own) == 1 or separator is not None)
    }
    several = tuple(name for name, own in found.items() if own and name not in taken)
    if not taken:
        msg = (
            f"Some protein must have one label of {labels.name!r}. Received: {len(several)} with "
            f"several and {len(found) - len(several)} with none. Choose terms (--classes), or take "
            "several for each (--label-separator)."
        )
        raise StandardError(msg)
    return ProteinLabels(taken, several, tuple(name for name, own in found.items() if not own))


def label_profiles(labels: Standard) -> VectorTable:
    """Labels as profiles: a number a label, 1 where the protein has it, else 0.

    Proteins with the same labels are equally similar to all others, so that rankings have ties.
    """
    terms = tuple(sorted(labels.terms))
    proteins = sorted(frozenset().union(*labels.terms.values()))
    row_of = {protein: row for row, protein in enumerate(proteins)}
    features = np.zeros((len(proteins), len(terms)), np.float32)
    for column, term in enumerate(terms):
        features[[row_of[protein] for protein in labels.terms[term]], column] = 1
    known = {name: labels.report[name] for name in ("file", "sha256") if name in labels.report}
    metadata = pd.DataFrame({"protein": proteins})
    return VectorTable(features, metadata, {"kind": "labels", **known}, terms)


def _of_each(
    labels: Standard, proteins: Sequence[str], *, distinct_case: bool
) -> dict[str, set[str]]:
    """Labels of each protein that has some."""
    meeting = met(labels, proteins, distinct_case=distinct_case)
    meeting.check(None, error=StandardError)
    found: dict[str, set[str]] = {}
    for term, members in labels.terms.items():
        for member in members:
            if (name := meeting.data_of.get(member)) is not None:
                found.setdefault(name, set()).add(term)
    return found


def _from_table(path: Path) -> list[tuple[str, str]] | None:
    """Protein and label of each row, or None where the file is rather a standard."""
    suffix = suffix_of(path)
    surely = suffix == ".csv" or suffix in (*PARQUET, *EXCEL)
    if not surely and suffix not in DELIMITERS:
        return None
    try:
        frame = read_table(path)
    except TableError as error:
        if surely:
            raise StandardError(str(error)) from error
        return None
    columns = {_plain(str(name)): name for name in reversed(frame.columns)}
    protein = next((columns[name] for name in PROTEIN_COLUMNS if name in columns), None)
    label = next((columns[name] for name in LABEL_COLUMNS if name in columns), None)
    if protein is None or label is None:
        if not surely:
            return None
        msg = (
            f"A table of labels must have a column {' or '.join(PROTEIN_COLUMNS)}, and one "
            f"{' or '.join(LABEL_COLUMNS)}. Received: {', '.join(map(str, frame.columns))} in "
            f"{path}. Name the columns so."
        )
        raise StandardError(msg)
    rows = frame[[protein, label]].dropna().astype(str)
    return list(rows.itertuples(index=False, name=None))


def _plain(column: str) -> str:
    return tidy(column).lower().removeprefix("metadata_")


def _of_pairs(
    name: str,
    pairs: Sequence[tuple[str, str]],
    identifiers: IdentifierMap | None,
    report: dict[str, Any],
) -> Standard:
    """A standard of proteins and their labels; names that differ in spaces alone are one."""
    named = [(tidy(protein), tidy(label)) for protein, label in pairs]
    known = [(protein, label) for protein, label in named if protein and label]
    empty = len(named) - len(known)
    report |= {
        "options": {},
        "left_out": {"row without a protein or a label": empty} if empty else {},
        "notes": {},
    }
    if not known:
        msg = f"Some protein must have a label. Received: none in {name!r}. Name another table."
        raise StandardError(msg)
    proteins = [protein for protein, _ in known]
    labels = [label for _, label in known]
    spelling = matched(labels, "label", "Labels")
    if identifiers is not None:
        proteins, report["identifiers"] = identifiers.map(proteins)
    terms: dict[str, set[str]] = {}
    for protein, label in zip(proteins, labels, strict=True):
        terms.setdefault(spelling[label], set()).add(protein)
    return Standard(name, {t: frozenset(members) for t, members in terms.items()}, {}, report)
