"""The shape of an object, as its library or its length tells; nobody's code but a known library's runs."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from nbmem.heap.typenames import module_of

_CONTAINERS: tuple[Any, ...] = (list, tuple, dict, set, frozenset, deque, str, bytes, bytearray)
Shape = tuple[int, ...]


def shape_of(value: object) -> Shape | None:
    """Tell the shape of an array, a frame, a table or a tensor, and the length of a builtin container.

    Parameters
    ----------
    value : object

    Returns
    -------
    tuple of int or None
        None for anything else, and where a library of another version does not tell.
    """
    kind = type(value)
    for base in _CONTAINERS:
        if issubclass(kind, base):
            return (base.__len__(value),)
    for name, read in _READERS:
        library = sys.modules.get(name)
        if library is None:
            continue
        try:
            shape = read(library, value, kind)
            if shape is not None:
                return tuple(int(length) for length in shape)
        except Exception:  # noqa: BLE001  # a library in mid-import or of another version
            continue
    return None


def _is_of(library: str, kind: type) -> bool:
    return module_of(kind).partition(".")[0] == library


def _numpy(numpy: Any, value: Any, kind: type) -> Any:
    return numpy.ndarray.shape.__get__(value) if issubclass(kind, numpy.ndarray) else None


def _pandas(pandas: Any, value: Any, kind: type) -> Any:
    if issubclass(kind, (pandas.DataFrame, pandas.Series)):
        axes = object.__getattribute__(value, "_mgr").axes
        if all(_is_of("pandas", type(axis)) for axis in axes):
            return [len(axis) for axis in reversed(axes)]
        return None
    known = issubclass(kind, pandas.Index) and _is_of("pandas", kind)
    return (len(value),) if known else None


def _pyarrow(pyarrow: Any, value: Any, kind: type) -> Any:
    if not _is_of("pyarrow", kind):
        return None
    if issubclass(kind, (pyarrow.Table, pyarrow.RecordBatch)):
        return value.num_rows, value.num_columns
    return (len(value),) if issubclass(kind, (pyarrow.Array, pyarrow.ChunkedArray)) else None


def _polars(polars: Any, value: Any, kind: type) -> Any:
    known = _is_of("polars", kind) and issubclass(kind, (polars.DataFrame, polars.Series))
    return value.shape if known else None


def _torch(torch: Any, value: Any, kind: type) -> Any:
    return value.shape if _is_of("torch", kind) and issubclass(kind, torch.Tensor) else None


def _scipy(sparse: Any, value: Any, kind: type) -> Any:
    known = _is_of("scipy", kind) and issubclass(kind, (sparse.spmatrix, sparse.sparray))
    return value.shape if known else None


_READERS: tuple[tuple[str, Callable[[Any, Any, type], Any]], ...] = (
    ("numpy", _numpy),
    ("pandas", _pandas),
    ("pyarrow", _pyarrow),
    ("polars", _polars),
    ("torch", _torch),
    ("scipy.sparse", _scipy),
)
