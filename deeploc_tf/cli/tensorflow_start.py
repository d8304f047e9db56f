"""TensorFlow without the messages of its start, which look like errors and are none."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

import click


def start_tensorflow() -> None:
    """Import TensorFlow and let it look for devices; what it says meanwhile is shown if it fails.

    On a machine without a GPU it reports a failed CUDA call and more, before any setting of its own
    can silence it. With `--debug` everything is shown. See also `share_gpus`.
    """
    context = click.get_current_context(silent=True)
    shown = context is not None and getattr(context.find_root().command, "debug", False)
    refusal = None
    with contextlib.nullcontext() if shown else _stderr_held_back():
        try:
            from deeploc_tf.models.hardware import share_gpus

            share_gpus()
        except ImportError as error:
            # No network can be made with this Keras; what needs none goes on. TensorFlow imports
            # Keras, too, and cannot be imported itself where that finds no such backend, or where
            # its settings cannot be read; and there may be none.
            try:
                import tensorflow  # noqa: F401
            except (ValueError, OSError, ImportError):
                refusal = error
    if refusal is not None:
        raise refusal


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what is written to stderr, by C++ too, and show it only if the block raises."""
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        try:
            held_back = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # of a machine whose disks are all read-only
            yield
            return
        kept = os.dup(2)
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except Exception:
            held_back.seek(0)
            with contextlib.suppress(OSError):
                os.write(kept, held_back.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
