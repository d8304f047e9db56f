"""Disks of a network fail for a moment: what is read from them is asked for again, a few times."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET)
_WAITS = (0.1, 0.4, 1.6)  # seconds before each further try


def retried(action: Callable[..., _Result], *arguments: Any) -> _Result:
    """What `action` returns; it is tried four times where the error is one that may pass.

    Raises:
        OSError: it did not pass, or is one that never does, such as a missing file.
    """
    for wait in _WAITS:
        try:
            return action(*arguments)
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            time.sleep(wait)
    return action(*arguments)
