"""Halves of the proteins: whole terms, about as many in each, whatever the order."""

from __future__ import annotations

from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.study.protein_halves import protein_halves

TERMS = {f"T{t}": frozenset(f"P{10 * t + i}" for i in range(10)) for t in range(40)}
PROTEINS = sorted({protein for members in TERMS.values() for protein in members} | {"alone"})


def standard(terms: dict[str, frozenset[str]]) -> Standard:
    return Standard("pathways", terms)


def test_every_protein_is_in_one_half_and_terms_are_whole() -> None:
    halves = protein_halves(PROTEINS, standard(TERMS))
    assert sorted(halves["choose"] + halves["judge"]) == PROTEINS
    for members in TERMS.values():
        assert members <= set(halves["choose"]) or members.isdisjoint(halves["choose"])
    assert abs(len(halves["choose"]) - len(halves["judge"])) <= 10


def test_the_halves_do_not_depend_on_orders() -> None:
    halves = protein_halves(PROTEINS, standard(TERMS))
    other = protein_halves(PROTEINS[::-1], standard(dict(reversed(TERMS.items()))))
    assert {half: sorted(some) for half, some in other.items()} == halves


def test_a_protein_of_two_terms_is_in_one_half() -> None:
    terms = {"A": frozenset("xyz"), "B": frozenset("zvw")}
    halves = protein_halves(list("vwxyz"), standard(terms))
    assert sorted(halves["choose"] + halves["judge"]) == list("vwxyz")
    assert {"x", "y"} in (set(halves["choose"]) - {"z"}, set(halves["judge"]) - {"z"})


def test_the_halves_stay_as_they_are() -> None:
    halves = protein_halves(list("abcdef"), standard({"A": frozenset("ab"), "B": frozenset("cd")}))
    assert halves == {"choose": ["a", "b", "f"], "judge": ["c", "d", "e"]}
