"""`python -m deeploc_tf` is `deeploc-tf`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run `deeploc-tf`; Ctrl-C while its libraries are imported shows no traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # ignored in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing to clean up yet

    from deeploc_tf.cli import main as group

    group(prog_name="deeploc-tf")


if __name__ == "__main__":
    main()
