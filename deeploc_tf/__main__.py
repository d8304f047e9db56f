"""`python -m deeploc_tf` is `deeploc-tf`."""

from __future__ import annotations

from deeploc_tf.cli import main

if __name__ == "__main__":
    main(prog_name="deeploc-tf")
