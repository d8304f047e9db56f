"""How experiments/labels_needed.py asks its annotator: on cells made for it."""

from __future__ import annotations

import labels_needed
import numpy as np
import pytest


def test_labels_that_the_goal_needs() -> None:
    assert labels_needed.needed({10: 0.96, 20: 0.9, 30: 0.95, 40: 0.99}) == 30
    assert labels_needed.needed({10: 0.96}) == 10
    assert labels_needed.needed({10: 0.96, 20: 0.9}) == np.inf


@pytest.mark.parametrize("order", labels_needed.ORDERS)
def test_what_can_be_told_is_learnt_and_noise_is_not(order: str) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 300)
    train = np.tile([True, True, False], 200)
    noise = random.normal(size=(600, 3))
    told = noise + 6 * (labels == "b")[:, None]
    found = labels_needed.curve(told, labels, train, order, 1)
    assert list(found) == list(range(10, 401, 10))
    assert labels_needed.needed(found) <= 100
    blind = labels_needed.curve(noise, labels, train, order, 1)
    assert labels_needed.needed(blind) == np.inf
