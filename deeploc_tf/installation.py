"""Whether this installation can work, and how to mend what cannot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeploc_tf.backend import (
    KerasBackendError,
    backend,
    check_keras,
    environment_variables,
    odd_settings,
)
from deeploc_tf.extras import (
    INSTALL_AGAIN,
    extras,
    install,
    installed_version,
    missing,
    needed,
    pip_install,
)
from deeploc_tf.registry import installed_parts
from deeploc_tf.version import __version__

PACKAGES = (
    "tensorflow",
    "keras",
    "tensorflow-addons",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "scikit-learn",
    "h5py",
    "click",
    "pydantic",
    "rich",
    "tifffile",
    "imagecodecs",
)
OPTIONAL = ("tensorflow-addons",)
# The packages of `gpu` are parts of TensorFlow, `addons` is an environment of its own; the others
# are for those who change this package.
_NOT_LISTED = ("gpu", "addons", "test", "oracles", "docs", "dev")


def doctor() -> dict[str, Any]:
    """Versions, settings, extensions, devices and problems of this installation, as plain JSON.

    TensorFlow is imported, if it is there; nothing is raised where it cannot be.

    Example:
        doctor()["problems"]  # sentences, each with its remedy
    """
    packages = {name: installed_version(name) for name in PACKAGES}
    problems = [
        f"{name} is not installed: {pip_install(needed(name))}"
        for name, version in packages.items()
        if version is None and name not in OPTIONAL
    ]
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        problems.append(f"Python must be 3.11 to 3.13. Received: {platform.python_version()}.")
    problems += clashes(_distributions("tfrecords"), _distributions("deeploc_tf"))
    is_whole = all(packages.get(name) for name in ("tensorflow", "keras"))
    devices, trouble = _devices() if is_whole else ([], [])
    settings, refusals = _keras_settings() if is_whole else ({}, [])
    if is_whole and not trouble + refusals:
        trouble = [*odd_settings(), *_unseen()]
    return {
        "deeploc-tf": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "extras": {
            extra: not missing(requirements)
            for extra, requirements in extras().items()
            if extra not in _NOT_LISTED
        },
        "keras": settings,
        "variables": environment_variables(),
        "extensions": [
            f"{group}: {name} = {' and '.join(places)}"
            for group, names in sorted(installed_parts().items())
            for name, places in names.items()
        ],
        "devices": devices,
        "memory_bytes": _memory(),
        "disk_bytes": {place: shutil.disk_usage(place).free for place in _places()},
        "problems": problems + trouble + refusals,
    }


def clashes(tfrecords: Sequence[str], deeploc_tf: Sequence[str]) -> list[str]:
    """Sentences about other distributions that install packages under our import names.

    Args:
        tfrecords: distributions that install a package `tfrecords`.
        deeploc_tf: distributions that install a package `deeploc_tf`.
    """
    others = sorted({name for name in [*tfrecords, *deeploc_tf] if name != "deeploc-tf"})
    return [
        f"The distribution {name!r} installs a package of our name over ours: pip uninstall "
        f"{name}, then {INSTALL_AGAIN}"
        for name in others
    ]


def _distributions(package: str) -> list[str]:
    found = importlib.metadata.packages_distributions().get(package, [])
    return sorted({name.lower().replace("_", "-") for name in found})


def _memory() -> dict[str, int]:
    """Memory of this machine, and what is free, in bytes, where the system tells."""
    names = {"total": "SC_PHYS_PAGES", "free": "SC_AVPHYS_PAGES"}
    known = getattr(os, "sysconf_names", {})
    page = os.sysconf("SC_PAGE_SIZE") if "SC_PAGE_SIZE" in known else 0
    return {name: os.sysconf(key) * page for name, key in names.items() if key in known and page}


def _places() -> list[str]:
    """Where files are written: the working folder, and that of temporary files."""
    return list(dict.fromkeys((str(Path.cwd()), tempfile.gettempdir())))


def _devices() -> tuple[list[str], list[str]]:
    """Devices that TensorFlow sees, and a sentence where it cannot be imported."""
    try:
        import tensorflow as tf
    except Exception as error:
        try:
            check_keras()
        except KerasBackendError:  # told with the settings
            return [], []
        return [], [f"TensorFlow cannot be imported: {type(error).__name__}: {error}"]
    devices = [
        f"{device.device_type} {device.name}" for device in tf.config.list_physical_devices()
    ]
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        devices.append(f"GPU {device.name}: {details.get('device_name', 'unknown model')}")
    return devices, []


def _keras_settings() -> tuple[dict[str, Any], list[str]]:
    """Keras' global settings, and a sentence where no network can be made with it."""
    found = {}
    try:
        found["backend"] = backend()[0]
        check_keras()
        from deeploc_tf.models.keras_settings import keras_settings
    except KerasBackendError as error:
        return found, [str(error)]
    except Exception as error:
        return {}, [f"Keras cannot be imported: {type(error).__name__}: {error}"]
    return keras_settings(), []


def _unseen() -> list[str]:
    """A sentence where TensorFlow misses a device."""
    from deeploc_tf.training.devices import invisible_nvidia_device

    if not invisible_nvidia_device():
        return []
    return [f"There is an NVIDIA device that TensorFlow cannot see: {install('gpu')}"]
