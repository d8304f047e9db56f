"""Image formats, one a file: pixels come out, and what the metadata say; no axis is guessed."""
