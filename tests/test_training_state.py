from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from deeploc_tf.models.randomness import Dropout
from deeploc_tf.training.state import (
    TrainingState,
    load_arrays,
    restore_state,
    save_arrays,
    save_state,
)


def make_model(units: int = 3) -> keras.Model:
    x = keras.Input((4,))
    hidden = Dropout(0.5, name="dropout")(keras.layers.BatchNormalization()(x))
    model = keras.Model(x, keras.layers.Dense(units)(hidden))
    model.compile(keras.optimizers.Adam(0.1, use_ema=True), "mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def train(model: keras.Model, steps: int = 1) -> None:
    random = np.random.default_rng(0)
    for _ in range(steps):
        model.train_on_batch(random.random((6, 4)), random.random((6, model.output.shape[-1])))


def variables(model: keras.Model) -> list[np.ndarray]:
    return [v.numpy() for v in [*model.weights, *model.optimizer.variables]]


def assert_equal(first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """States of the epochs 1 to 4, of which the last two are kept."""
    model = make_model()
    for epoch in range(1, 5):
        train(model)
        history: list[dict[str, float]] = [{"epoch": i + 1, "loss": 0.5} for i in range(epoch)]
        save_state(tmp_path / "states", TrainingState(epoch, history, 0.25, 2), model)
    return tmp_path / "states"


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    model = make_model()
    train(model, 3)
    state = TrainingState(3, [{"epoch": 1, "loss": 0.1 + 0.2}], 1 / 3, 1)
    save_state(tmp_path / "states", state, model)
    saved = variables(model)
    assert any(v.dtype == np.int64 and v == 3 for v in saved if v.ndim == 0)  # the counters
    other = make_model()
    train(other, 1)
    restored, damages = restore_state(tmp_path / "states", other)
    assert (restored, damages) == (state, [])
    assert_equal(variables(other), saved)
    train(model, 2)
    train(other, 2)
    assert_equal(variables(other), variables(model))


def test_there_is_a_fresh_state_where_there_is_none(tmp_path: Path) -> None:
    model = make_model()
    before = variables(model)
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        assert restore_state(tmp_path / name, model) == (TrainingState(), [])
    assert_equal(variables(model), before)


def test_two_states_are_kept_and_the_newest_is_taken(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-00003-step-0000000.npz",
        "epoch-00004-step-0000000.npz",
    ]
    state, damages = restore_state(folder, make_model())
    assert state.epoch == 4
    assert len(state.history) == 4
    assert damages == []


def damaged_copies(content: bytes) -> list[bytes]:
    cut = [content[:n] for n in (0, 1, 100, len(content) // 2, len(content) - 1)]
    places = [*range(0, len(content), 37), *range(len(content) - 120, len(content))]
    flipped = [content[:i] + bytes([content[i] ^ 255]) + content[i + 1 :] for i in places]
    return cut + flipped


def test_a_damaged_state_never_passes_and_never_stops_the_run(folder: Path) -> None:
    newest = folder / "epoch-00004-step-0000000.npz"
    content = newest.read_bytes()
    model, reference = make_model(), make_model()
    restore_state(folder, reference)
    fourth = variables(reference)
    newest.unlink()
    restore_state(folder, reference)
    third = variables(reference)
    passed_over = 0
    for damaged in damaged_copies(content):
        newest.write_bytes(damaged)
        state, damages = restore_state(folder, model)
        if state.epoch == 3:
            passed_over += 1
            assert "epoch-00004-step-0000000.npz is damaged" in damages[0]
            assert_equal(variables(model), third)
        else:  # a byte that means nothing, such as a time in the archive
            assert_equal(variables(model), fourth)
            assert state.epoch == 4
    assert passed_over > 0.5 * len(damaged_copies(content))


def test_no_whole_state_is_an_error_that_changes_nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:200])
    model = make_model()
    before = variables(model)
    with pytest.raises(
        ValueError,
        match=r"needs a whole checkpoint.*epoch-00004-step-0000000.*epoch-00003-step-0000000",
    ):
        restore_state(folder, model)
    assert_equal(variables(model), before)


def test_a_state_of_another_model_is_not_taken(folder: Path) -> None:
    with pytest.raises(ValueError, match="those of another model"):
        restore_state(folder, make_model(units=5))


def test_an_interrupted_save_leaves_the_old_states(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(file: Any, **arrays: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_state(folder, TrainingState(5), make_model())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_arrays_come_back_with_their_types(tmp_path: Path) -> None:
    arrays = {"a": np.float32([1.5, np.nan]), "b": np.int64(7), "c": np.zeros((0, 3))}
    save_arrays(tmp_path / "arrays.npz", arrays)
    found = load_arrays(tmp_path / "arrays.npz")
    assert sorted(found) == sorted(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
