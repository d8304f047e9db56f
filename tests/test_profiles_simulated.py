"""Two simulated screens, drawn as images, in which known proteins moved."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import change_study
import pytest

from deeploc_tf.profiles.change import ChangeSettings, change


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # small, with little noise and with nearly all of the light moved
    for name, value in {"NUM_FIELDS": 2, "CELLS_OF_A_FIELD": 4, "DIFFICULTY": 0.1}.items():
        monkeypatch.setattr(change_study, name, value)
    monkeypatch.setattr(change_study, "MOVED_SHARE", 0.9)
    return change_study


@pytest.mark.long
def test_a_protein_that_moved_in_the_images_is_found(study: ModuleType, tmp_path: Path) -> None:
    proteins = study.make_proteins(34, study.DIFFICULTY, 0)[::2]
    moved = [proteins[3].name, proteins[11].name]
    names = (*study.SCREENS, *study.TREATED)
    paths = {name: tmp_path / f"{name}.h5" for name in ("untreated-1", "untreated-2", "treated-1")}
    for name, path in paths.items():
        study.draw_screen((path, proteins, moved, 1, names.index(name)))
    settings = ChangeSettings(num_dimensions=8)
    before, again, after = paths.values()
    table = change(before, after, settings=settings).table
    assert sorted(table["protein"][:2]) == sorted(moved)
    assert table["moved"][:2].all()
    # fields are two, so that cells are what is permuted, and they are not quite independent
    assert table["moved"].sum() <= 3
    assert change(before, again, settings=settings).table["moved"].sum() <= 1
