"""The state of a training at the end of an epoch, in one file that is whole or not there.

A state is every variable of the model and of the optimizer (weights, moments, averages, counters
of the random layers) and a JSON object for the rest. It is a `.npz`: no pickle, a CRC for each
array, and readable without Keras; both Keras versions' own checkpoints lack one or the other.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tfrecords.publishing import publishing

_STATE_FILE = re.compile(r"epoch-(\d{5})\.npz")
_NUM_KEPT = 2  # the newest, and one to fall back to


@dataclasses.dataclass
class TrainingState:
    """What a training must remember besides its variables.

    Attributes:
        epoch: number of finished epochs.
        history: one row an epoch.
        best_loss: lowest validation loss so far, and the epoch it belongs to.
        best_epoch: 0 before there is one.
    """

    epoch: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best_loss: float | None = None
    best_epoch: int = 0


def save_state(folder: Path, state: TrainingState, model: keras.Model) -> None:
    """Write the state of a compiled model; older ones but the last are removed afterwards."""
    folder.mkdir(exist_ok=True)
    arrays = {f"variable_{i:04d}": v.numpy() for i, v in enumerate(_variables(model))}
    save_arrays(
        folder / f"epoch-{state.epoch:05d}.npz",
        {**arrays, "state": np.array(json.dumps(dataclasses.asdict(state)))},
    )
    for path in _state_files(folder)[_NUM_KEPT:]:
        path.unlink()


def restore_state(folder: Path, model: keras.Model) -> tuple[TrainingState, list[str]]:
    """Bring a compiled model back to the newest state that is whole.

    Returns:
        The state (a fresh one where there is none), and a sentence about each damaged file that
        was passed over.

    Raises:
        ValueError: there are states, but none is whole.
    """
    damages = []
    files = _state_files(folder) if folder.is_dir() else []
    variables = _variables(model)
    for path in files:
        try:
            arrays = load_arrays(path)
            state = TrainingState(**json.loads(str(arrays.pop("state"))))
            values = [arrays[f"variable_{i:04d}"] for i in range(len(variables))]
            if len(arrays) != len(variables) or any(
                tuple(v.shape) != a.shape for v, a in zip(variables, values, strict=True)
            ):
                raise ValueError("the variables are those of another model")  # noqa: EM101
        except (OSError, ValueError, KeyError, TypeError) as error:
            damages.append(f"{path.name} is damaged ({error}); falling back to the one before")
            continue
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return state, damages
    if files:
        msg = (
            f"A resumed run needs a whole checkpoint. Received: {'; '.join(damages)} in "
            f"{str(folder)!r}. "
            "Restore the folder from a copy, or train in a new one."
        )
        raise ValueError(msg)
    return TrainingState(), damages


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Publish arrays as one `.npz`."""
    with publishing(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type,unused-ignore]


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a `.npz`, every one checked against its CRC.

    Raises:
        FileNotFoundError: it is gone.
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # which one depends on the byte that is wrong, even MemoryError
        msg = f"Arrays must be a whole .npz file. Received: {str(path)!r} ({error})."
        raise ValueError(msg) from error


def _state_files(folder: Path) -> list[Path]:
    """Newest first."""
    files = [path for path in folder.iterdir() if _STATE_FILE.fullmatch(path.name)]
    return sorted(files, reverse=True)


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]
