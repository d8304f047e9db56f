"""The dictionary in a `.npy` file, without running what a pickle may ask to be run."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from deeploc_tf.sources.source import SourceError

_MAX_BYTES = 1 << 31  # ten million paths are a fifth of it
_MAX_TUPLES = 32  # numpy makes five; Python breaks over the hash of very deep ones

# what a pickle of dict, list, str and int says, and what numpy says before and after it
_OPCODES = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
        *("BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINBYTES"),
        *("MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    }
)
_NAMES = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # bytes of older pickles
    }
)


def read_pickled_dictionary(path: Path) -> dict[Any, Any]:
    """What `numpy.save` wrote when it was given a dictionary of dict, list, str and int.

    A pickle is a program. This one may build such values and nothing else: its instructions are
    looked through before the first is followed, and the functions of numpy that it names are never
    called.

    Raises:
        SourceError: the file is something else, too large, or damaged.
        OSError: the file cannot be read.
    """
    size, is_file = path.stat().st_size, path.is_file()
    if not is_file or size > _MAX_BYTES:
        msg = (
            f"A label dictionary must be a file of at most {_MAX_BYTES} bytes. Received: {path}: "
            f"{f'{size} bytes' if is_file else 'not a regular file'}."
        )
        raise SourceError(msg)
    file = io.BytesIO(path.read_bytes())
    try:
        _read_header(file)
        return _load(file)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises all sorts
        problem = str(error)[:200] or type(error).__name__
        msg = (
            "A label dictionary must be a .npy file of a dictionary of dict, list, str and int, as "
            f"`numpy.save` writes it. Received: {path}: {problem}."
        )
        raise SourceError(msg) from error


class _StandIn:
    """In the place of whatever numpy names: does nothing, and keeps what it is given."""

    state: Any = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """No name but those of numpy, and these only as stand-ins."""
        if (module, name) not in _NAMES:
            msg = f"it asks for {module}.{name}, which is neither dict, list, str nor int"
            raise pickle.UnpicklingError(msg)
        return _StandIn


def _read_header(file: io.BytesIO) -> None:
    if np.lib.format.read_magic(file) != (1, 0):
        msg = "it is of another version of .npy"
        raise ValueError(msg)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape != () or dtype.kind != "O":
        msg = f"it holds an array of {dtype} {shape}"
        raise ValueError(msg)


def _load(file: io.BytesIO) -> dict[Any, Any]:
    start = file.tell()
    _check_instructions(file)
    file.seek(start)
    array = _Unpickler(file).load()
    # the state of an array: version, shape, dtype, order, and the list of its items
    items = array.state[-1] if isinstance(array, _StandIn) else None
    if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], dict):
        msg = "it holds no dictionary"
        raise ValueError(msg)
    return dict(items[0])


def _check_instructions(file: io.BytesIO) -> None:
    """Refuse what is not needed, and what makes Python use memory that the file does not have."""
    tuples = memos = 0
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name not in _OPCODES:
            msg = f"it has the instruction {opcode.name}"
            raise pickle.UnpicklingError(msg)
        tuples += "TUPLE" in opcode.name
        memos += opcode.name == "MEMOIZE" or "PUT" in opcode.name
        if tuples > _MAX_TUPLES:
            msg = "it has tuples, which are neither dict, list, str nor int"
            raise pickle.UnpicklingError(msg)
        # a value is kept under a number, in a table as long as the largest
        if "PUT" in opcode.name and (argument or 0) > memos:
            msg = f"it keeps {memos} values and numbers one {argument}"
            raise pickle.UnpicklingError(msg)
