"""What `--overwrite` may replace: what we wrote, and nothing that somebody has put there."""

from __future__ import annotations

import contextlib
from pathlib import Path

from deeploc_tf.lineage.things import SEALED, NoDigestError, read_thing
from deeploc_tf.provenance import HEADS, json_of, seal_of
from deeploc_tf.serving.digests import DIGESTS_NAME
from deeploc_tf.text_tables import suffix_of
from tfrecords.errors import OutputExistsError

_TEXTS = (".csv", ".tsv", ".txt", ".gmt")  # which say nothing of themselves
_NAMED = 3


def check_replaceable(path: Path, kind: str | None = None) -> None:
    """Refuse to replace what is no output of ours, or holds files of somebody else.

    Args:
        path: of what is there.
        kind: of the folder that the command writes; None: it writes files.

    Raises:
        OutputExistsError: it is a link, another kind of file, or a folder with other files.
    """
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        problem = "a link or no file"
    elif path.is_file():
        problem = "" if _is_ours(path) else "a file that deeploc-tf did not write"
    else:
        foreign = _foreign(path)
        names = ", ".join(foreign[:_NAMED]) + (" ..." if len(foreign) > _NAMED else "")
        problem = f"a folder with {names}, which deeploc-tf did not write" if foreign else ""
        if not problem and any(path.iterdir()) and (found := read_thing(path).kind) != kind:
            problem = f"a folder of another kind ({found})"
    if problem:
        msg = (
            "Only what deeploc-tf wrote is overwritten. Received: "
            f"{str(path)!r}, {problem}. Name another output, or move this one."
        )
        raise OutputExistsError(msg)


def _is_ours(path: Path) -> bool:
    """Whether a file says so; of text, which cannot, its name is enough."""
    if suffix_of(path) in _TEXTS:
        return True
    try:
        return bool(read_thing(path).said)
    except (ValueError, OSError):
        return False


def _foreign(folder: Path) -> list[str]:
    """Files in a folder of ours that no list of ours names; where it is none of ours, all."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    known: set[str] = set()
    with contextlib.suppress(NoDigestError, ValueError, OSError):
        read_thing(folder)
        for name, path in files.items():
            within = name.rpartition("/")[0]
            if path.is_symlink() or path.name not in (*HEADS, DIGESTS_NAME):
                continue
            listed = json_of(path).get("files", {})
            known |= {name, *(f"{within}/{one}".lstrip("/") for one in listed)}
    return [
        name
        for name, path in files.items()
        if name not in known
        and not (path.suffix in SEALED and not path.is_symlink() and seal_of(path) is not None)
    ]
