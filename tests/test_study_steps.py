"""Steps of a study: made once, gone on with after a stop, made again when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeploc_tf.study.steps import Step, Steps


class Kitchen:
    """Makes steps of text files, and remembers which it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.made: list[str] = []
        self.steps = Steps(folder)

    def cook(self, name: str, after: tuple[Step, ...] = (), **settings: object) -> Step:
        def make(folder: Path) -> None:
            self.made.append(name)
            (folder / "sub").mkdir(exist_ok=True)
            (folder / "sub" / "dish.txt").write_text(f"{name} {settings}")

        return self.steps.made(name, settings, make, after=after)


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "steps")


def test_a_step_is_made_once(kitchen: Kitchen) -> None:
    first, second = (kitchen.cook("fit DeepLoc 1", seed=1) for _ in range(2))
    assert first == second
    assert kitchen.made == ["fit DeepLoc 1"]
    assert (second / "sub/dish.txt").read_text() == "fit DeepLoc 1 {'seed': 1}"
    assert first.folder.name.startswith("fit-DeepLoc-1-")


def test_what_a_step_depends_on_decides_which_it_is(kitchen: Kitchen) -> None:
    steps = [
        kitchen.cook("soup", seed=1),
        kitchen.cook("soup", seed=2),
        kitchen.cook("stew", seed=1),
        kitchen.cook("soup", after=(kitchen.cook("soup", seed=2),), seed=1),
        kitchen.cook("soup", after=(kitchen.cook("stew", seed=1),), seed=1),
    ]
    assert len({step.folder for step in steps}) == len(kitchen.made) == 5


def test_an_unfinished_step_is_called_again_on_its_folder(kitchen: Kitchen) -> None:
    seen: list[list[str]] = []

    def make(folder: Path) -> None:
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / f"part-{len(seen)}").touch()
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kitchen.steps.made("fit", {}, make)
    step = kitchen.steps.made("fit", {}, make)
    kitchen.steps.made("fit", {}, make)
    assert seen == [[], ["part-1"]]
    assert (step / "part-2").exists()


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "step", "step-of-others"])
def test_a_damaged_step_is_told_and_made_again(
    notes: list[str], kitchen: Kitchen, damage: str
) -> None:
    step = kitchen.cook("soup")
    dish = step / "sub/dish.txt"
    if damage == "changed":
        dish.write_text("soup {.}")
    elif damage == "removed":
        dish.unlink()
    elif damage == "added":
        (step / "fly").touch()
    else:
        (step / "step.json").write_text("{" if damage == "step" else "[1]")
    notes.clear()
    kitchen.cook("soup")
    assert kitchen.made == ["soup", "soup"]
    name = {"added": "fly"}.get(damage, "step.json" if "step" in damage else "sub/dish.txt")
    aside = f"{step.folder}-damaged-1"
    assert notes == [
        f"soup: {name} is not as it was written; made again, in {step.folder}. What was there is "
        f"now in {aside}"
    ]
    assert dish.read_text() == "soup {}"
    assert (Path(aside) / "fly").exists() == (damage == "added")  # it may be somebody's own


def test_steps_of_earlier_settings_are_named(kitchen: Kitchen, tmp_path: Path) -> None:
    old = kitchen.cook("soup", salt=1)
    later = Kitchen(tmp_path / "steps")
    later.cook("soup", salt=2)
    assert later.steps.unused() == [old.folder]
