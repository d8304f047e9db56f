"""Two halves of the proteins: a method is chosen on one, and judged on the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from deeploc_tf.benchmark.standards import Standard, met

HALVES = ("choose", "judge")


def protein_halves(
    proteins: Sequence[str], standard: Standard, *, distinct_case: bool = False
) -> dict[str, list[str]]:
    """Divide proteins into `HALVES`, such that those of a term stay together.

    Terms go to the one and the other half in turn, in an order fixed by a hash of their names. A
    protein of several terms goes with the first of them in that order; one of none counts as a
    term of its own.

    Args:
        proteins: names.
        standard: whose terms hold together; with pathways, hardly a pair of partners is cut.
        distinct_case: let proteins whose names differ in case alone be two.

    Returns:
        Half -> its proteins, in the given order.
    """
    order = sorted(standard.terms, key=_hash)
    profile_of = met(standard, proteins, distinct_case=distinct_case).data_of
    of: dict[str, str] = {}
    for term in order:
        for protein in standard.terms[term]:
            if protein in profile_of:
                of.setdefault(profile_of[protein], term)
    groups = sorted({of.get(protein, protein) for protein in proteins}, key=_hash)
    half_of = {group: HALVES[number % 2] for number, group in enumerate(groups)}
    return {
        half: [protein for protein in proteins if half_of[of.get(protein, protein)] == half]
        for half in HALVES
    }


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()
