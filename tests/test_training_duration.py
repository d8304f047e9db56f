"""How long a training is: the number of steps follows the number of crops, down to a floor."""

from __future__ import annotations

from typing import Any

import pytest

from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.duration import Duration


@pytest.mark.parametrize(
    ("settings", "steps_per_epoch", "epochs", "steps"),
    [
        ({}, 156, 40, 6240),  # 10,000 crops
        ({}, 25, 40, 1000),
        ({}, 24, 42, 1008),
        ({}, 2, 500, 1000),  # 136 crops
        ({"min_steps": 301}, 100, 40, 4000),
        ({"min_steps": 301}, 3, 101, 303),
        ({"epochs": 9}, 2, 9, 18),  # what is given wins
        ({"epochs": 9, "min_steps": 20}, 2, 10, 20),
        ({"epochs": 0}, 2, 0, 0),
        ({"steps": 7}, 2, 4, 7),
        ({"preset": "kraus2017"}, 2, 5000, 10_000),
        ({"preset": "razdaibiedina2022"}, 2, 30, 60),  # as published
        ({"method": "inpainting"}, 2, 30, 60),
    ],
)
def test_few_crops_are_trained_for_more_epochs_unless_their_number_is_given(
    settings: dict[str, Any], steps_per_epoch: int, epochs: int, steps: int
) -> None:
    config = FitConfig(**settings)
    for stored in (config, FitConfig(**config.model_dump(mode="json"))):
        duration = Duration.of(stored, steps_per_epoch)
        assert (duration.epochs, duration.steps) == (epochs, steps)
