"""Keras' global settings are the user's, and our networks do not depend on them.

`keras.json`, variables of the environment and calls such as `keras.config.set_floatx` change what a
layer, a loss or `fit` of Keras does where nobody says it. Layers on images state their data format;
for the rest, our functions set what they need while they run, and put back what was there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras

from deeploc_tf.backend import backend
from deeploc_tf.models.keras_compat import POLICY, owner_of_setting

_OURS: dict[str, Any] = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "max_epochs": None,
    "max_steps_per_epoch": None,
}

_policy: ContextVar[str] = ContextVar("policy", default="float32")
_callers: ContextVar[dict[str, Any] | None] = ContextVar("callers", default=None)


@contextlib.contextmanager
def our_settings(policy: str | None = None) -> Iterator[None]:
    """Let Keras compute as if nobody had set anything; also a decorator of functions.

    Args:
        policy: dtype policy of the layers that are made meanwhile and state none; None: that of the
            `our_settings` around this one, else float32.
    """
    before = _read()
    tokens = _policy.set(policy or _policy.get()), _callers.set(_callers.get() or before)
    _write({**_OURS, POLICY: _policy.get()})
    try:
        yield
    finally:
        _write(before)
        _policy.reset(tokens[0])
        _callers.reset(tokens[1])


def keras_settings() -> dict[str, Any]:
    """The settings that the user has made, as JSON values, whatever ours are meanwhile."""
    found = _callers.get() or _read()
    return {
        "backend": backend()[0],
        "image_data_format": keras.backend.image_data_format(),
        "floatx": found["floatx"],
        "epsilon": found["epsilon"],
        "dtype_policy": found[POLICY].name,
    }


def _read() -> dict[str, Any]:
    names = (*_OURS, POLICY)
    return {
        name: getattr(owner_of_setting(name), name)()
        for name in names
        if hasattr(owner_of_setting(name), name)
    }


def _write(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if hasattr(owner_of_setting(name), name):
            getattr(owner_of_setting(name), f"set_{name}")(value)
