"""The simulated screen: a picture of cells, a truth that holds, and files as a laboratory has."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.stats import f_oneway

from deeploc_tf.benchmark.standards import read_standard
from deeploc_tf.simulation.cell import WINDOW, draw_cell
from deeploc_tf.simulation.compartments import COMPARTMENTS, DRAWINGS
from deeploc_tf.simulation.field import CROP_SIZE, draw_field
from deeploc_tf.simulation.function import (
    MEMBER_WEIGHT,
    Protein,
    make_proteins,
    standards,
)
from deeploc_tf.simulation.simulate import (
    GENERATOR_VERSION,
    Screen,
    check_same_screen,
    simulate,
    truth_digest,
)
from tfrecords.errors import OutputExistsError

SMALL = Screen(num_proteins=34, num_fields=2, cells_per_field=2, seed=3)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulation") / "screen"
    simulate(folder, SMALL, fields=True)
    return folder


@pytest.fixture(scope="module")
def proteins() -> list[Protein]:
    return make_proteins(272, 0.5, seed=0)


@pytest.mark.parametrize("compartment", COMPARTMENTS)
def test_each_localization_shines_inside_the_cell(compartment: str) -> None:
    for seed in range(12):
        generator = np.random.default_rng(seed)
        cell = draw_cell(generator)
        light = DRAWINGS[compartment](cell, generator)
        assert light.shape == (WINDOW, WINDOW)
        assert np.isfinite(light).all()
        assert light.min() >= 0
        assert light[cell.depth > -3].sum() > 0.97 * light.sum() > 0


def test_nuclear_localizations_are_in_the_nucleus_and_the_vacuolar_ones_are_not() -> None:
    def share(compartment: str, seed: int) -> float:
        generator = np.random.default_rng(seed)
        cell = draw_cell(generator)
        nuclear = np.maximum.reduce([part.depth for part in cell.nuclei]) > -1.5
        light = DRAWINGS[compartment](cell, generator)
        return float(light[nuclear].sum() / light.sum())

    for seed in range(10):
        assert min(share(name, seed) for name in ("nucleus", "nucleolus", "spindle pole")) > 0.6
        assert max(share(name, seed) for name in ("vacuole", "cell periphery")) < 0.4


def test_cells_bud_and_divide_in_the_course_of_the_cycle() -> None:
    cells = [draw_cell(np.random.default_rng(seed)) for seed in range(300)]
    assert all((cell.bud is None) == (cell.stage < 0.3) for cell in cells)
    assert all((len(cell.nuclei) == 2) == (cell.stage >= 0.8) for cell in cells)
    budded = [cell for cell in cells if cell.bud is not None]
    sizes = [cell.bud.long / cell.mother.long for cell in budded if cell.bud is not None]
    assert np.corrcoef([cell.stage for cell in budded], sizes)[0, 1] > 0.9


def test_complexes_lie_in_pathways_these_in_processes_and_these_in_a_localization(
    proteins: list[Protein],
) -> None:
    for inner, outer in itertools.pairwise(("complex", "pathway", "process", "compartment")):
        of_inner: dict[str, set[str]] = {}
        for protein in proteins:
            of_inner.setdefault(getattr(protein, inner), set()).add(getattr(protein, outer))
        assert all(len(outers) == 1 for outers in of_inner.values())
        assert len(of_inner) > len({getattr(protein, outer) for protein in proteins})


def test_every_localization_has_its_share_of_proteins(proteins: list[Protein]) -> None:
    counts = pd.Series([protein.compartment for protein in proteins]).value_counts()
    assert set(counts.index) == set(COMPARTMENTS)
    assert set(counts) == {16}
    assert len({protein.name for protein in proteins}) == 272


def test_most_of_the_light_is_where_the_label_says(proteins: list[Protein]) -> None:
    weights = np.array([protein.weights for protein in proteins])
    assert np.allclose(weights.sum(axis=1), 1)
    labels = [COMPARTMENTS.index(protein.compartment) for protein in proteins]
    assert (weights.argmax(axis=1) == labels).all()
    assert (weights > 0).sum(axis=1).max() == 3


def test_the_nearer_in_function_the_nearer_in_looks(proteins: list[Protein]) -> None:
    weights = np.array([protein.weights for protein in proteins])
    distances = np.linalg.norm(weights[:, None] - weights[None], axis=-1)
    levels = ("complex", "pathway", "process", "compartment")
    nearest: dict[str, list[float]] = {}
    for i, j in itertools.combinations(range(len(proteins)), 2):
        a, b = proteins[i], proteins[j]
        shared = next((x for x in levels if getattr(a, x) == getattr(b, x)), "nothing")
        nearest.setdefault(shared, []).append(distances[i, j])
    means = [float(np.mean(nearest[level])) for level in (*levels, "nothing")]
    assert means == sorted(means)
    assert all(b > 1.15 * a for a, b in itertools.pairwise(means))


def test_the_higher_the_difficulty_the_less_brightness_tells() -> None:
    def explained(difficulty: float) -> float:
        """Share of the variance in brightness that complexes explain."""
        table = pd.DataFrame(
            [(p.complex, p.abundance) for p in make_proteins(600, difficulty, 0)],
            columns=["complex", "abundance"],
        )
        means = table.groupby("complex")["abundance"].transform("mean")
        return float(means.var() / table["abundance"].var())

    assert explained(0.0) > 0.9 > explained(0.5) > explained(1.0)


def test_standards_say_what_the_proteins_are(proteins: list[Protein]) -> None:
    truth = standards(proteins)
    assert list(truth) == ["compartments", "processes", "pathways", "complexes"]
    assert all(len(members) > 1 for terms in truth.values() for members in terms.values())
    by_name = {protein.name: protein for protein in proteins}
    for term, members in truth["complexes"].items():
        assert all(by_name[name].complex == term for name in members)
    for term, members in truth["compartments"].items():
        index = COMPARTMENTS.index(term)
        expected = {p.name for p in proteins if p.weights[index] >= MEMBER_WEIGHT}
        assert set(members) == expected
    several = sum(len(members) for members in truth["compartments"].values())
    assert several > len(proteins)  # some are in two localizations


def test_some_proteins_moonlight_and_look_like_something_between() -> None:
    plain, moved = (make_proteins(272, 0.5, 0, moonlighting=share) for share in (0.0, 0.25))
    changed = [(a, b) for a, b in zip(plain, moved, strict=True) if b.second_complex]
    assert len(changed) == 68
    assert [repr(a) for a, b in zip(plain, moved, strict=True) if not b.second_complex] == [
        repr(b) for b in moved if not b.second_complex
    ]
    by_complex: dict[str, list[Protein]] = {}
    for protein in plain:
        by_complex.setdefault(protein.complex, []).append(protein)
    terms = standards(moved)
    for before, after in changed:
        assert COMPARTMENTS[after.weights.argmax()] == after.compartment
        assert after.second_complex != after.complex
        partners = by_complex[after.second_complex]
        middles = [(before.abundance + partner.abundance) / 2 for partner in partners]
        assert any(after.abundance == pytest.approx(middle) for middle in middles)
        assert after.name in terms["complexes"][after.second_complex]
        assert after.name in terms["pathways"][after.second_pathway]
        assert after.name in terms["processes"][after.second_process]


def compartments_of(proteins: Sequence[Protein], level: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for protein in proteins:
        found.setdefault(getattr(protein, level), set()).add(protein.compartment)
    return found


def test_a_share_of_terms_crosses_compartments() -> None:
    plain, moved = (make_proteins(612, 0.5, 0, crossing=share) for share in (0.0, 0.33))
    for level, low, high in (
        ("process", 0.28, 0.38),
        ("pathway", 0.28, 0.38),
        ("complex", 0.05, 0.15),
    ):
        several = [len(places) > 1 for places in compartments_of(moved, level).values()]
        assert low < np.mean(several) < high, level
    counts = (Counter(p.compartment for p in proteins) for proteins in (plain, moved))
    assert next(counts) == next(counts)
    crossing = {name for name, n in compartments_of(moved, "process").items() if len(n) > 1}
    for before, after in zip(plain, moved, strict=True):
        assert COMPARTMENTS[after.weights.argmax()] == after.compartment
        assert after.weights.sum() == pytest.approx(1)
        if after.process not in crossing:
            assert repr(before) == repr(after)


def test_light_tells_of_terms_that_cross_compartments_where_labels_do_not() -> None:
    moved = make_proteins(612, 0.5, 0, crossing=0.33)
    weights = np.array([protein.weights for protein in moved])
    distances = np.linalg.norm(weights[:, None] - weights[None], axis=-1)
    apart: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.combinations(range(len(moved)), 2):
        if moved[i].compartment != moved[j].compartment:
            apart[moved[i].process == moved[j].process].append(distances[i, j])
    assert np.mean(apart[True]) < 0.85 * np.mean(apart[False])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_proteins", [34, 51, 103])
def test_few_proteins_cross_and_moonlight_as_well(num_proteins: int, seed: int) -> None:
    for crossing in (0.01, 0.33, 1.0):
        moved = make_proteins(num_proteins, 0.5, seed, moonlighting=1.0, crossing=crossing)
        plain = make_proteins(num_proteins, 0.5, seed)
        assert Counter(p.compartment for p in moved) == Counter(p.compartment for p in plain)
        assert all(COMPARTMENTS[p.weights.argmax()] == p.compartment for p in moved)


def test_plates_differ_whatever_is_on_them(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", Screen(34, 1, 1, seed=3))
    three = simulate(tmp_path / "three", Screen(34, 1, 1, seed=3, plates=3))
    assert set(one["plate"]) == {1}
    assert sorted(three["plate"].value_counts()) == [11, 11, 12]
    # Cells are the same, only imaged otherwise: on each plate all of them in the same way.
    light, plain = (
        np.array([tifffile.imread(folder / path).max() - 105.0 for path in one["gfp"]])
        for folder in (tmp_path / "three", tmp_path / "one")
    )
    groups = [(light / plain)[three["plate"] == plate] for plate in (1, 2, 3)]
    assert f_oneway(*groups).pvalue < 1e-3


def test_a_field_has_a_light_cell_at_every_center(proteins: list[Protein]) -> None:
    cytosolic = next(p for p in proteins if p.compartment == "cytoplasm")
    field = draw_field(cytosolic, 9, 0.5, np.random.default_rng(0))
    height, width, channels = field.image.shape
    assert (channels, field.image.dtype, field.labels.shape) == (2, np.uint16, (height, width))
    assert field.whole[:9].all()
    assert not field.whole[9:].any()
    found = [field.labels[row, column] for row, column in field.centers[:9]]
    assert sum(label == i for i, label in enumerate(found, 1)) >= 8  # a bud may lie on the middle
    outside = field.labels == 0
    assert field.image[~outside].mean() > 2 * field.image[outside].mean()


def test_a_crop_is_a_piece_of_its_field(proteins: list[Protein]) -> None:
    field = draw_field(proteins[0], 4, 0.5, np.random.default_rng(1))
    for cell in range(4):
        row, column = field.centers[cell]
        crop = field.crop(cell)
        assert crop.shape == (CROP_SIZE, CROP_SIZE, 2)
        assert (crop[32, 32] == field.image[row, column]).all()


def test_difficulty_takes_light_away(proteins: list[Protein]) -> None:
    def signal(difficulty: float) -> float:
        fields = [
            draw_field(proteins[i], 4, difficulty, np.random.default_rng(i)).image[..., 1]
            for i in range(0, 272, 30)
        ]
        return float(np.mean([np.percentile(field, 95) - np.median(field) for field in fields]))

    assert signal(0.1) > 1.5 * signal(0.5) > 2.25 * signal(0.9)


def test_a_screen_is_crops_a_table_and_the_truth(screen: Path) -> None:
    cells = pd.read_csv(screen / "cells.csv")
    columns = ["key", "protein", "localization", "plate", "field", "cell", "gfp", "rfp"]
    assert list(cells) == columns
    assert len(cells) == 34 * 2 * 2
    assert cells["key"].is_unique
    for path in [*cells["gfp"], *cells["rfp"]]:
        pixels = tifffile.imread(screen / path)
        assert (pixels.shape, pixels.dtype) == ((CROP_SIZE, CROP_SIZE), np.uint16)
    truth = pd.read_csv(screen / "proteins.csv").set_index("name")
    labels = cells.drop_duplicates("protein").set_index("protein")["localization"]
    assert (labels == truth.loc[labels.index, "compartment"]).all()
    for name in ("compartments", "processes", "pathways", "complexes"):
        standard = read_standard(screen / "standards" / f"{name}.gmt")
        assert {p for members in standard.terms.values() for p in members} <= set(cells["protein"])
    check_same_screen(screen, SMALL)


def test_whole_fields_hold_the_crops(screen: Path) -> None:
    cells = pd.read_csv(screen / "cells.csv").set_index("key")
    centers = pd.read_csv(screen / "fields.csv")
    assert set(cells.index) <= set(centers["key"][centers["whole"]])
    for row in centers[centers["key"].isin(cells.index)].head(8).itertuples():
        field = tifffile.imread(screen / row.gfp)
        crop = tifffile.imread(screen / cells.loc[row.key, "gfp"])
        assert (field[row.y - 32 : row.y + 32, row.x - 32 : row.x + 32] == crop).all()
        labels = tifffile.imread(screen / row.labels)
        assert labels.shape == field.shape
        assert labels.max() >= row.cell


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_settings_give_the_same_files_whatever_the_workers(
    screen: Path, tmp_path: Path
) -> None:
    simulate(tmp_path / "again", SMALL, fields=True, workers=2)
    assert digests(tmp_path / "again") == digests(screen)
    simulate(tmp_path / "other", Screen(34, 2, 2, seed=4), fields=True)
    same = digests(tmp_path / "other").items() & digests(screen).items()
    assert not any(name.endswith(".tif") for name, _ in same)


def test_the_generator_has_not_changed_unnoticed() -> None:
    """If this fails on purpose, `GENERATOR_VERSION` goes up: published numbers depend on it."""
    protein = make_proteins(34, 0.5, seed=0)[7]
    assert (protein.name, protein.compartment) == ("SIM0008", "cytoplasm")
    field = draw_field(protein, 4, 0.5, np.random.default_rng(0))
    assert protein.abundance == pytest.approx(ABUNDANCE, abs=1e-6)
    # Not a digest: the last bit of an exponential differs between processors.
    assert field.image.mean(axis=(0, 1)) == pytest.approx(MEANS, rel=1e-3)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"difficulty": 0.4}, {"plates": 2}, {"moonlighting": 0.1}, {"crossing": 0.3}],
)
def test_the_digest_of_the_truth_is_that_of_the_settings(change: dict[str, float]) -> None:
    plain = Screen(34, 2, 2)
    assert truth_digest(plain) == truth_digest(Screen(34, 2, 2))
    assert truth_digest(plain) != truth_digest(dataclasses.replace(plain, **change))  # type: ignore[arg-type]


def test_the_digest_of_the_truth_is_that_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    before = truth_digest(SMALL)
    monkeypatch.setattr("deeploc_tf.simulation.simulate.GENERATOR_VERSION", GENERATOR_VERSION + 1)
    assert truth_digest(SMALL) != before


ABUNDANCE, MEANS = -0.300638, (156.400, 248.383)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_proteins": 33}, "num_proteins=33"),
        ({"num_fields": 0}, "num_fields=0"),
        ({"cells_per_field": 0}, "cells_per_field=0"),
        ({"difficulty": 1.5}, "difficulty=1.5"),
        ({"difficulty": float("nan")}, "difficulty=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"crossing": 1.5}, "crossing=1.5"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_drawn(
    settings: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "screen", Screen(**settings))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_there_is_refused(screen: Path) -> None:
    before = digests(screen)
    with pytest.raises(OutputExistsError, match="must not exist"):
        simulate(screen, SMALL)
    assert digests(screen) == before


def test_a_screen_that_was_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, _: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "screen", SMALL, progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_screen_of_other_settings_is_told_apart(screen: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed=3"):
        check_same_screen(screen, Screen(34, 2, 2, seed=4))
    with pytest.raises(ValueError, match="generator_version=None"):
        check_same_screen(tmp_path, SMALL)
