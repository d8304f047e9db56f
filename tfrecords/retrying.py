"""Disks of a network fail for a moment: what is read from them is asked for again, a few times.

What reads by `tf.data` cannot ask for a block again: the function that does it is called again, and
goes on where it stopped, or begins anew.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Result = TypeVar("_Result")
_Given = ParamSpec("_Given")

logger = logging.getLogger(__name__)

_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET)
_WAITS = (0.1, 0.4, 1.6)  # seconds before each further try


def retried(
    action: Callable[_Given, _Result], *arguments: _Given.args, **named: _Given.kwargs
) -> _Result:
    """What `action` returns; it is tried four times where the error is one that may pass.

    Raises:
        OSError: it did not pass, or is one that never does, such as a missing file.
    """
    for wait in _WAITS:
        try:
            return action(*arguments, **named)
        except Exception as error:
            if not _may_pass(error):
                raise
            logger.warning("Reading failed, and is tried again: %s", str(error).split("\n")[0])
            time.sleep(wait)
    return action(*arguments, **named)


def retrying(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Decorate a function that reads by `tf.data`, and may be called again; see `retried`."""

    @functools.wraps(function)
    def tried(*arguments: _Given.args, **named: _Given.kwargs) -> _Result:
        return retried(function, *arguments, **named)

    return tried


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _PASSING
    # TensorFlow has the system's words, but not its number.
    is_tensorflow = type(error).__module__.startswith("tensorflow.")
    return is_tensorflow and any(os.strerror(number) in str(error) for number in _PASSING)
