"""`python cli.py` in a bare clone is `deeploc-tf`; this file is never installed."""

from __future__ import annotations

from deeploc_tf.__main__ import main

if __name__ == "__main__":
    main()
