"""Which Keras is here, found out without importing it.

Keras reads its settings when it is imported, and fails there with a traceback, or comes up on
another backend than ours. So its file and its variables are looked at before.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deeploc_tf.extras import needed, pip_install

_CHOICES: dict[str, tuple[str, ...]] = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}
_DEFAULTS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
# What computes differently, or on other devices, where one of these is set.
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "XLA_FLAGS")
# Not all of TF_: Terraform keeps secrets in TF_VAR_.
_PREFIXES = (
    "DNNL_",
    "KERAS_",
    "ONEDNN_",
    *(f"TF_{word}_" for word in ("CPP", "CUDNN", "DETERMINISTIC", "DISABLE", "ENABLE", "FORCE")),
    *(f"TF_{word}_" for word in ("GPU", "NUM", "ONEDNN", "USE", "XLA")),
)


_unneeded: list[bool] = []


class KerasBackendError(ImportError, ValueError):
    """Keras is not one that networks can be made with."""


def check_keras() -> None:
    """Refuse a Keras that does not run on TensorFlow, or whose settings it cannot read itself.

    Raises:
        KerasBackendError: it is one, and not `unneeded`.
    """
    if _unneeded:
        return
    lacking = [name for name in ("tensorflow", "keras") if find_spec(name) is None]
    if lacking:
        msg = (
            "Networks need TensorFlow and Keras. Received: an installation without "
            f"{' and '.join(lacking)}. Mend it: {pip_install(needed('tensorflow', 'keras'))}"
        )
        raise KerasBackendError(msg)
    settings = _read_settings()
    if not isinstance(settings, dict):
        msg = f"keras.json must hold an object. Received: {settings!r} in {_settings_path()}."
        raise KerasBackendError(msg)
    name, origin = backend()
    if name != "tensorflow":
        msg = (
            f"Keras must run on TensorFlow. Received: backend={name!r} of {origin}. Set "
            "KERAS_BACKEND=tensorflow before Python starts."
        )
        raise KerasBackendError(msg)
    wrong = [
        name for name, choices in _CHOICES.items() if settings.get(name, choices[0]) not in choices
    ]
    if not isinstance(settings.get("epsilon", 0.0), float):
        wrong.append("epsilon")
    if wrong:
        values = ", ".join(f"{name}={settings[name]!r}" for name in wrong)
        msg = (
            f"keras.json must hold what Keras takes. Received: {values} in {_settings_path()}. "
            "Correct it, or remove the file."
        )
        raise KerasBackendError(msg)


@contextlib.contextmanager
def unneeded() -> Iterator[None]:
    """Any Keras will do, for what asks our rooms for names alone, as a help text does."""
    _unneeded.append(True)
    try:
        yield
    finally:
        _unneeded.pop()


def odd_settings() -> list[str]:
    """Sentences about what `keras.json` says though `check_keras` finds that networks can be made.

    Our networks compute alike whatever it says; other code that uses Keras does not, and the
    networks of `keras.applications` take images with channels last only.

    Raises:
        KerasBackendError: the file cannot be read.
    """
    path = _settings_path()
    try:
        settings = json.loads(_read_text(path))
    except KerasBackendError:
        raise
    except ValueError as error:
        must, received = "be JSON, or Keras passes over it", str(error)
    else:
        must = (
            "hold Keras' own defaults, or code of Keras computes otherwise; our networks do not, "
            "but backbones are refused unless images have their channels last"
        )
        received = ", ".join(
            f"{name}={settings[name]!r}"
            for name, default in _DEFAULTS.items()
            if settings.get(name, default) != default
        )
    if not received:
        return []
    return [
        f"keras.json must {must}. Received: {received} in {path}. Correct it, or remove the file."
    ]


def backend() -> tuple[str, str]:
    """The backend that Keras has, or will have once it is imported, and what says so.

    Raises:
        KerasBackendError: `keras.json` would say so, and cannot be read.
    """
    if importlib.metadata.version("keras").startswith("2."):
        return "tensorflow", "Keras 2"
    loaded = getattr(sys.modules.get("keras"), "config", None)
    if loaded is not None:
        return str(loaded.backend()), "the Keras that is imported already"
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"], "KERAS_BACKEND"
    settings = _read_settings()
    name = settings.get("backend", "tensorflow") if isinstance(settings, dict) else "tensorflow"
    return str(name), str(_settings_path())


def environment_variables() -> dict[str, str]:
    """Variables of the environment by which TensorFlow and Keras may compute differently."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in _VARIABLES or name.startswith(_PREFIXES)
    }


def _read_settings() -> Any:
    """What `keras.json` holds; nothing where Keras passes over it."""
    try:
        return json.loads(_read_text(_settings_path()))
    except KerasBackendError:
        raise
    except ValueError:
        return {}


def _read_text(path: Path) -> str:
    """What is in the file, "{}" where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "{}"
    except OSError as error:
        msg = (
            f"The folder of Keras' settings, and keras.json in it, must be readable. Received: "
            f"{error.strerror}: {path}. Make them so, or set KERAS_HOME to another folder."
        )
        raise KerasBackendError(msg) from error


def _settings_path() -> Path:
    """Where Keras looks."""
    home = os.path.expanduser("~")  # noqa: PTH111 - "~" itself where nobody knows the home
    if not os.access(home, os.W_OK):
        home = "/tmp"  # noqa: S108 - so does Keras
    folder = os.environ.get("KERAS_HOME", f"{home}/.keras")
    return Path(os.path.expanduser(folder), "keras.json")  # noqa: PTH111
