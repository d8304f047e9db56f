"""Who works with whom in the simulated cell, and how that shows in a protein's looks.

Proteins belong to complexes, these to pathways, these to processes, and these to a compartment.
Every level adds its share to the looks of its proteins, so that partners in a complex look more
alike than partners in a pathway only, and so on: nearness in function is nearness in appearance,
by degrees and not by classes. A protein that moonlights works in a second complex, too, anywhere in
the cell, and looks like something between the two. Processes that cross compartments have members
in several; these share the rest of their looks, and some of their light is in a place in common.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deeploc_tf.simulation.compartments import COMPARTMENTS

MEMBER_WEIGHT = 0.2
"""A protein is a member of each compartment that holds at least this share of its light."""

STANDARDS = ("compartments", "processes", "pathways", "complexes")
LEVELS = ("process", "pathway", "complex", "protein")
_SPREAD = {"process": 0.65, "pathway": 0.5, "complex": 0.45, "protein": 0.12}  # squares sum to 0.89
_SIZES = {"complex": (2, 3), "pathway": (1, 3), "process": (1, 3)}
_MOST_ELSEWHERE = 0.44  # of a protein's light; below a half, so that the label is where most is
_CROSSING = 20  # stream of random numbers; 18 and 19 are those of plates
_LEAST_ELSEWHERE = 0.3  # of one whose process crosses compartments


@dataclasses.dataclass(frozen=True)
class Protein:
    """A protein, its place in the hierarchy, and what decides how its cells look.

    Attributes:
        name: unique.
        compartment: where most of it is: the label.
        process: name of its process, after the compartment in which it began; pathway and complex
            likewise.
        pathway: name of its pathway.
        complex: name of its complex.
        weights: share of its light in each compartment, `(17,)`, sums to 1.
        abundance: light of a cell against the mean protein's, on a natural logarithmic scale.
        granularity: how unevenly it fills its compartments, 0 to 1.
        cycle: how much more of it there is at `phase` of the cell cycle than opposite, 0 to 1.
        phase: in [0, 1).
        polarity: preference of the bud (positive) or the mother (negative), -1 to 1.
        second_process: of the second complex, if there is one; "" otherwise, as in the next two.
        second_pathway: likewise.
        second_complex: where it moonlights.
    """

    name: str
    compartment: str
    process: str
    pathway: str
    complex: str
    weights: NDArray[np.float64]
    abundance: float
    granularity: float
    cycle: float
    phase: float
    polarity: float
    second_process: str = ""
    second_pathway: str = ""
    second_complex: str = ""


Place: TypeAlias = tuple[str, str, str]
"""Names of a process, a pathway in it, and a complex in that."""


def make_proteins(
    num_proteins: int,
    difficulty: float,
    seed: int,
    moonlighting: float = 0.0,
    crossing: float = 0.0,
) -> list[Protein]:
    """Proteins of all 17 compartments, the same number in each as far as it goes.

    Args:
        num_proteins: at least 34, so that every compartment has a complex.
        difficulty: in [0, 1]; the higher, the less brightness tells of function.
        seed: of everything that is drawn.
        moonlighting: share of the proteins that have a second complex, in [0, 1].
        crossing: share of the processes that lie in several compartments, in [0, 1].

    Returns:
        The proteins, compartment after compartment in which their processes began.
    """
    proteins: list[Protein] = []
    for index, compartment in enumerate(COMPARTMENTS):
        generator = np.random.default_rng([seed, index])
        count = len(range(index, num_proteins, len(COMPARTMENTS)))
        tree = _hierarchy(compartment, count, generator)
        traits = _Traits(index, difficulty, generator)
        proteins += [
            traits.of(f"SIM{number:04d}", place)
            for number, place in enumerate(tree, len(proteins) + 1)
        ]
    proteins = _cross(proteins, crossing, np.random.default_rng([seed, _CROSSING]))
    return _moonlight(proteins, moonlighting, np.random.default_rng([seed, len(COMPARTMENTS)]))


def standards(proteins: Sequence[Protein]) -> Mapping[str, Mapping[str, list[str]]]:
    """The true answer: standard -> term -> its proteins, of terms with two or more."""
    compartments = {
        name: [p.name for p in proteins if p.weights[index] >= MEMBER_WEIGHT]
        for index, name in enumerate(COMPARTMENTS)
    }
    terms: dict[str, Mapping[str, list[str]]] = {STANDARDS[0]: compartments}
    for standard, level in zip(STANDARDS[1:], LEVELS, strict=False):
        members: dict[str, list[str]] = {}
        for protein in proteins:
            terms_of_it = {getattr(protein, level), getattr(protein, f"second_{level}")} - {""}
            for term in sorted(terms_of_it):
                members.setdefault(term, []).append(protein.name)
        terms[standard] = members
    return {
        standard: {term: names for term, names in members.items() if len(names) > 1}
        for standard, members in terms.items()
    }


def _cross(proteins: list[Protein], share: float, generator: np.random.Generator) -> list[Protein]:
    """Let some processes, with their pathways, have members in several compartments.

    All members get more of their light where the process and the pathway are found, too. The
    largest complex of a pathway stays, and the others go elsewhere as a whole; of one that is all
    of its pathway, a protein stays. They change places with others of the same size, so that no
    compartment has more proteins than before.
    """
    names = list(dict.fromkeys(protein.process for protein in proteins))
    chosen = {names[i] for i in generator.permutation(len(names))[: round(share * len(names))]}
    pathways: dict[str, dict[str, list[int]]] = {}
    for index, protein in enumerate(proteins):
        if protein.process in chosen:
            complexes = pathways.setdefault(protein.pathway, {})
            complexes.setdefault(protein.complex, []).append(index)
    by_size: dict[int, list[list[int]]] = {}
    for complexes in pathways.values():
        units = sorted(complexes.values(), key=len, reverse=True)
        for unit in units[1:] or [[index] for index in units[0][1:]]:
            by_size.setdefault(len(unit), []).append(unit)
    moved = [p if p.process not in chosen else _moved(p, p.compartment) for p in proteins]
    for units in by_size.values():
        homes = [proteins[unit[0]].compartment for unit in units]
        for unit, compartment in zip(units, _elsewhere(homes, generator), strict=True):
            for index in unit:
                moved[index] = _moved(proteins[index], compartment)
    return moved


def _elsewhere(homes: list[str], generator: np.random.Generator) -> list[str]:
    """The same compartments in another order, none at its old place as far as that can be."""
    found = [homes[i] for i in generator.permutation(len(homes))]
    for i in range(len(found)):
        others = [j for j, home in enumerate(homes) if homes[i] not in (home, found[j])]
        if found[i] == homes[i] and others:
            j = others[generator.integers(len(others))]
            found[i], found[j] = found[j], found[i]
    return found


def _moved(protein: Protein, compartment: str) -> Protein:
    """The protein with most of its light in another compartment, and much of it elsewhere."""
    weights = protein.weights.copy()
    weights[COMPARTMENTS.index(protein.compartment)] = 0
    mixed = weights.sum()
    room = (_MOST_ELSEWHERE - _LEAST_ELSEWHERE) / _MOST_ELSEWHERE
    elsewhere = _LEAST_ELSEWHERE + room * mixed
    weights *= elsewhere / mixed
    weights[COMPARTMENTS.index(compartment)] += 1 - elsewhere
    return dataclasses.replace(protein, compartment=compartment, weights=weights)


def _moonlight(
    proteins: list[Protein], share: float, generator: np.random.Generator
) -> list[Protein]:
    """Give some proteins a second complex: their looks move to the middle of a member's of it."""
    chosen = generator.permutation(len(proteins))[: round(share * len(proteins))]
    moved = list(proteins)
    for index in chosen:
        own = proteins[index]
        others = [
            p
            for p in proteins
            if p.complex != own.complex
            and COMPARTMENTS[_between(own, p).argmax()] == own.compartment
        ]
        other = others[generator.integers(len(others))]
        numbers = ("abundance", "granularity", "cycle", "phase", "polarity")
        moved[index] = dataclasses.replace(
            own,
            weights=_between(own, other),
            second_process=other.process,
            second_pathway=other.pathway,
            second_complex=other.complex,
            **{name: (getattr(own, name) + getattr(other, name)) / 2 for name in numbers},
        )
    return moved


def _between(own: Protein, other: Protein) -> NDArray[np.float64]:
    return 0.6 * own.weights + 0.4 * other.weights


def _hierarchy(compartment: str, count: int, generator: np.random.Generator) -> list[Place]:
    """Process, pathway and complex of each of `count` proteins."""

    def groups(items: list[int], level: str) -> list[list[int]]:
        low, high = _SIZES[level]
        found = []
        while items:
            size = int(generator.integers(low, high + 1))
            if len(items) - size < low:
                size = len(items)
            found.append(items[:size])
            items = items[size:]
        return found

    complexes = groups(list(range(count)), "complex")
    pathways = groups(list(range(len(complexes))), "pathway")
    processes = groups(list(range(len(pathways))), "process")
    named = []
    for i, process in enumerate(processes, 1):
        for j, pathway in enumerate(process, 1):
            for k, complex_index in enumerate(pathways[pathway], 1):
                names = (
                    f"{compartment} process {i}",
                    f"{compartment} pathway {i}.{j}",
                    f"{compartment} complex {i}.{j}.{k}",
                )
                named += [names] * len(complexes[complex_index])
    return named


class _Traits:
    """Looks that are sums over the levels of the hierarchy: one draw a name, remembered."""

    def __init__(self, compartment: int, difficulty: float, generator: np.random.Generator) -> None:
        self._compartment = compartment
        self._brightness = (1 - difficulty) ** 1.5  # share of function in brightness and grain
        self._generator = generator
        self._draws: dict[str, NDArray[np.float64]] = {}
        self._partners: dict[str, int] = {}

    def of(self, name: str, place: Place) -> Protein:
        process, pathway, complex_name = place
        path = dict(zip(LEVELS, (*place, name), strict=True))
        shares = [_SPREAD[level] * self._draw(term) for level, term in path.items()]
        trait = np.sum(shares, axis=0)
        chance = self._generator.normal(size=2)
        mixed = _logistic(1.8 * trait[0] - 0.4) * _MOST_ELSEWHERE
        share = _logistic(2.0 * trait[1])
        weights = np.zeros(len(COMPARTMENTS))
        weights[self._compartment] = 1 - mixed
        weights[self._partner(process)] += mixed * share
        weights[self._partner(pathway)] += mixed * (1 - share)
        function = self._brightness
        other = np.sqrt(1 - function**2)
        return Protein(
            name=name,
            compartment=COMPARTMENTS[self._compartment],
            process=process,
            pathway=pathway,
            complex=complex_name,
            weights=weights,
            abundance=0.6 * (function * trait[2] + other * chance[0]),
            granularity=_logistic(1.5 * (function * trait[3] + other * chance[1])),
            cycle=_logistic(2.0 * trait[4] - 0.5),
            phase=float((0.35 * trait[5]) % 1.0),
            polarity=float(np.tanh(1.2 * trait[6])),
        )

    def _draw(self, term: str) -> NDArray[np.float64]:
        if term not in self._draws:
            self._draws[term] = self._generator.normal(size=7)
        return self._draws[term]

    def _partner(self, term: str) -> int:
        """The other compartment in which the proteins of a process or pathway are found too."""
        if term not in self._partners:
            others = [i for i in range(len(COMPARTMENTS)) if i != self._compartment]
            self._partners[term] = int(self._generator.choice(others))
        return self._partners[term]


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
