"""How long a training is: the number of steps follows the number of crops, down to a floor."""

from __future__ import annotations

from typing import Any

import pytest

from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.duration import Duration


@pytest.mark.parametrize(
    ("settings", "steps_per_pass", "passes_per_epoch", "epochs", "steps"),
    [
        ({}, 156, 1, 40, 6240),  # 10,000 crops
        ({}, 25, 1, 40, 1000),
        ({}, 24, 1, 42, 1008),
        ({}, 13, 1, 77, 1001),
        ({}, 12, 2, 42, 1008),
        ({}, 2, 7, 72, 1000),  # 136 crops: the last epoch has 3 passes
        ({}, 1, 13, 77, 1000),
        ({"min_steps": 301}, 100, 1, 40, 4000),
        ({"min_steps": 301}, 3, 2, 51, 303),
        ({"epochs": 9}, 2, 1, 9, 18),  # what is given wins
        ({"epochs": 500}, 2, 1, 500, 1000),
        ({"epochs": 9, "min_steps": 20}, 2, 1, 10, 20),
        ({"epochs": 100, "min_steps": 201}, 2, 2, 51, 202),
        ({"epochs": 0}, 2, 1, 0, 0),
        ({"epochs": 0, "min_steps": 20}, 2, 1, 0, 0),
        ({"steps": 7}, 2, 1, 4, 7),
        ({"steps": 161}, 2, 2, 41, 161),
        ({"preset": "kraus2017"}, 2, 63, 80, 10_000),
        ({"preset": "razdaibiedina2022"}, 2, 1, 30, 60),  # as published
        ({"method": "inpainting"}, 2, 1, 30, 60),
    ],
)
def test_few_crops_are_trained_for_more_steps_in_epochs_of_several_passes(
    settings: dict[str, Any], steps_per_pass: int, passes_per_epoch: int, epochs: int, steps: int
) -> None:
    config = FitConfig(**settings)
    for stored in (config, FitConfig(**config.model_dump(mode="json"))):
        found = Duration.of(stored, steps_per_pass)
        assert (found.passes_per_epoch, found.epochs, found.steps) == (
            passes_per_epoch,
            epochs,
            steps,
        )
        assert found.steps == sum(map(found.steps_of, range(found.epochs)))


def test_a_step_of_an_epoch_lies_in_one_of_its_passes() -> None:
    duration = Duration(steps_per_pass=2, steps=1000, passes_per_epoch=7)
    assert duration.place(0, 3) == (1, 1)
    assert duration.place(2) == (14, 0)
    assert duration.place(71, 5) == (499, 1)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (Duration(2, 1000, 7), "1,000 steps, 500 passes over 136 crops, evaluated every 7: 72 "),
        (Duration(156, 6240), "6,240 steps, 40 passes over 136 crops, evaluated after each."),
        (Duration(4, 7), "7 steps, 1.75 passes over 136 crops, evaluated after each."),
        (Duration(1, 1), "1 step, 1 pass over 136 crops, evaluated after each."),
        (
            Duration(2, 20_000, 125),
            "20,000 steps, 10,000 passes over 136 crops, evaluated every 125",
        ),
    ],
)
def test_the_length_of_a_training_is_said(duration: Duration, expected: str) -> None:
    assert expected in duration.describe(136)
    assert "saved" in duration.describe(136, evaluated=False)


@pytest.mark.parametrize("settings", [{"steps": 5}, {"preset": "kraus2017"}])
def test_fewer_steps_than_the_least_are_refused(settings: dict[str, Any]) -> None:
    assert FitConfig(**settings, min_steps=5).min_steps == 5
    with pytest.raises(ValueError, match=r"steps=\d+, min_steps=10001. Say one of them"):
        FitConfig(**settings, min_steps=10_001)
