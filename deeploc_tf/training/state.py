"""The state of a training after some step, in one file that is whole or not there.

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

from deeploc_tf.models.keras_compat import optimizer_variables
from deeploc_tf.training.run_folder import Run
from tfrecords.publishing import publishing

_STATE_FILE = re.compile(r"epoch-\d{5}-step-\d{7}\.npz")
_NUM_KEPT = 2  # the newest, and one to fall back to


@dataclasses.dataclass
class TrainingState:
    """What a training must remember besides its variables.

    Attributes:
        epoch: number of finished epochs.
        history: one row an epoch.
        best_loss: lowest validation loss so far, and the epoch it belongs to.
        best_epoch: 0 before there is one.
        step: number of finished steps of the epoch after the finished ones.
        running_metrics: variables of the metrics that are summed up over that epoch.
        passes_per_epoch: see `deeploc_tf.training.duration.Duration`.
    """

    epoch: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best_loss: float | None = None
    best_epoch: int = 0
    step: int = 0
    running_metrics: list[float] = dataclasses.field(default_factory=list)
    passes_per_epoch: int = 1


class NotFiniteError(ValueError):
    """A loss or a weight has become NaN or infinite."""


class TrainingStoppedError(RuntimeError):
    """A training was asked to stop, and has saved its state: started again, it goes on."""


def save_state(folder: Path, state: TrainingState, model: keras.Model) -> None:
    """Write the state of a compiled model; older ones but the last are removed afterwards.

    Raises:
        NotFiniteError: a variable is NaN or infinite; nothing is written or removed then.
    """
    folder.mkdir(exist_ok=True)
    arrays = {f"variable_{i:04d}": v.numpy() for i, v in enumerate(_variables(model))}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        msg = (
            "Weights must stay finite. Received: NaN or infinity after epoch "
            f"{state.epoch}, step {state.step}. The last checkpoint is from before. Train in "
            "another folder with a lower learning rate."
        )
        raise NotFiniteError(msg)
    save_arrays(
        folder / f"epoch-{state.epoch:05d}-step-{state.step:07d}.npz",
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
                raise ValueError("the variables are those of another model or optimizer")  # noqa: EM101
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
    return [*model.variables, *optimizer_variables(model.optimizer)]


def best_weights_path(run: Run, epoch: int) -> Path:
    """Where the averaged weights of the best epoch lie while the training runs."""
    return run.path / "checkpoint" / f"best-{epoch:05d}.npz"


def load_best_weights(run: Run, epoch: int) -> list[np.ndarray[Any, Any]]:
    """The averaged weights that `EndOfEpoch` kept for an epoch, in the order of `model.weights`."""
    arrays = load_arrays(best_weights_path(run, epoch))
    return [arrays[name] for name in sorted(arrays)]
