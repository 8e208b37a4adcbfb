"""Where the buffers of a column lie, read from its Arrow C stream; nothing is copied.

The format is that of the Arrow C data interface and of its PyCapsule protocol:
https://arrow.apache.org/docs/format/CDataInterface.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

_VOID = ctypes.c_void_p
_VARIADIC = ("vu", "vz")
_OFFSETS_32, _OFFSETS_64 = ("u", "z", "+l", "+m"), ("U", "Z", "+L")
_VIEW_BYTES = 16


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    pass


_Schema._fields_ = [
    ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", _VOID), ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.POINTER(_Schema)), ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))),
    ("private_data", _VOID),
]  # fmt: skip
_Array._fields_ = [
    ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64), ("buffers", ctypes.POINTER(_VOID)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))), ("dictionary", ctypes.POINTER(_Array)),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))), ("private_data", _VOID),
]  # fmt: skip
_Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))),
    ("get_last_error", _VOID), ("release", _VOID), ("private_data", _VOID),
]  # fmt: skip

_pointer_of = ctypes.PYFUNCTYPE(_VOID, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def buffers(capsule: Any) -> list[tuple[int, int]]:
    """List the buffers of all chunks of a column.

    Parameters
    ----------
    capsule : PyCapsule
        What ``__arrow_c_stream__`` gave; it is used up.

    Returns
    -------
    list of (int, int)
        Address and bytes, as far as the column shows them.

    Raises
    ------
    ValueError
        If it is no such stream, or the library fails to give one.
    """
    stream = ctypes.cast(_pointer_of(capsule, b"arrow_array_stream"), ctypes.POINTER(_Stream))
    schema, array = _Schema(), _Array()
    if stream.contents.get_schema(stream, ctypes.byref(schema)):
        raise ValueError("the stream gave no schema")
    found: list[tuple[int, int]] = []
    try:
        while True:
            if stream.contents.get_next(stream, ctypes.byref(array)):
                raise ValueError("the stream broke off")
            if not array.release:
                return found
            try:
                found += _of_array(schema, array)
            finally:
                array.release(ctypes.byref(array))
    finally:
        schema.release(ctypes.byref(schema))


def _of_array(schema: _Schema, array: _Array) -> Iterator[tuple[int, int]]:
    kind = schema.format.decode()
    count = array.length + array.offset
    listed = [array.buffers[i] or 0 for i in range(array.n_buffers)]
    for address, size in zip(listed, _sizes(kind, count, listed), strict=False):
        if address and size:
            yield address, size
    for i in range(array.n_children):
        yield from _of_array(schema.children[i].contents, array.children[i].contents)
    if array.dictionary:
        yield from _of_array(schema.dictionary.contents, array.dictionary.contents)


def _sizes(kind: str, count: int, listed: list[int]) -> list[int]:
    """Size the buffers of one array, in the order of the format's "Columnar layout"."""
    bits = (count + 7) // 8
    if kind in _OFFSETS_32 or kind in _OFFSETS_64:
        offset = ctypes.c_int32 if kind in _OFFSETS_32 else ctypes.c_int64
        table = (count + 1) * ctypes.sizeof(offset)
        if kind.startswith("+") or not listed[1]:
            return [bits, table]
        return [bits, table, int(offset.from_address(listed[1] + count * ctypes.sizeof(offset)).value)]
    if kind in _VARIADIC:
        # validity, views, data …, and the sizes of those
        data = len(listed) - 3
        lengths = (ctypes.c_int64 * data).from_address(listed[-1]) if data > 0 else ()
        return [bits, count * _VIEW_BYTES, *lengths, data * 8]
    if kind in {"+s", "n"} or kind.startswith("+w"):
        return [bits]
    return [bits, (count * _bits_of(kind) + 7) // 8]


def _bits_of(kind: str) -> int:
    """Tell the bits of one value of a kind of fixed width; 0: unknown."""
    known = {
        "b": 1,
        "c": 8,
        "C": 8,
        "s": 16,
        "S": 16,
        "e": 16,
        "i": 32,
        "I": 32,
        "f": 32,
        "l": 64,
        "L": 64,
        "g": 64,
    }
    if kind in known:
        return known[kind]
    if kind.startswith("d:"):  # decimals: precision, scale, bits if not 128
        parts = kind[2:].split(",")
        return int(parts[2]) if len(parts) > 2 else 128
    if kind.startswith("w:"):
        return 8 * int(kind[2:])
    if kind.startswith(("tdD", "tts", "ttm", "tiM")):
        return 32
    return 64 if kind.startswith("t") else 0
