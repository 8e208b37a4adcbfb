"""The shallow size of an object: what it and the buffers that it owns occupy, as the allocators count.

No code of the user's runs here: no property, no ``__getattr__``, no ``__sizeof__`` written in Python, no
``__class__`` that lies. Optional libraries are read only if they are loaded.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from types import MethodDescriptorType, WrapperDescriptorType
from typing import Any

_HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC (object.h)
_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT, 3.11+
_PYMALLOC_LARGEST = 512
_C_METHODS = (MethodDescriptorType, WrapperDescriptorType)
_type_flags = type.__dict__["__flags__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_dict = type.__dict__["__dict__"].__get__


def block_bytes(size: int) -> int:
    """Round a request up to the block that the allocator hands out for it.

    pymalloc rounds up to 16 bytes; glibc adds 8 and rounds up to 16, at least 32; from 128 KiB on (where
    its threshold starts) a block is a mapping of whole pages.
    """
    if size <= 0:
        return 0
    if size <= _PYMALLOC_LARGEST:
        return (size + 15) & ~15
    if size < 128 * 1024:
        return (size + 8 + 15) & ~15
    return (size + 16 + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)


def shallow_bytes(value: object) -> int:
    """Size one object without the buffers of other libraries: header, fields, its own tables."""
    kind = type(value)
    for base in _type_mro(kind):
        method = _type_dict(base).get("__sizeof__")
        if method is not None:
            break
    else:
        method = None
    if not isinstance(method, _C_METHODS):
        # A __sizeof__ in Python is somebody's code (pandas': minutes on object columns): not run.
        method = object.__sizeof__
    try:
        size = int(method(value))
    except Exception:  # noqa: BLE001  # an extension type may raise what it likes; the basic size is certain
        size = object.__sizeof__(value)
    flags = _type_flags(kind)
    if flags & _HAVE_GC:
        size += 16  # PyGC_Head
        if flags & _MANAGED_DICT:
            size += 16 if sys.version_info < (3, 13) else 8
    # The parts of a list, dict or set are blocks of their own; one block would round up at most as much.
    return block_bytes(size)


def owned_bytes(value: object) -> int:
    """Size an object and the buffers that it owns: what goes away with it if nobody shares them.

    Parameters
    ----------
    value : object
        Anything. Elements of a container are not counted; numpy arrays, pandas objects (Arrow-backed
        too), pyarrow, polars and torch tensors are counted with their data. A view that shows only a
        part of another's buffer owns none of it.

    Returns
    -------
    int
        Bytes.
    """
    shallow = shallow_bytes(value)
    kind = type(value)
    for name, measure in _MEASURES:
        library = sys.modules.get(name)
        if library is None:
            continue
        try:
            size = measure(library, value, kind)
        except Exception:  # noqa: BLE001  # a library in mid-import or of another version: shallow is still true
            continue
        if size is not None:
            return shallow + size
    return shallow


def _numpy_bytes(numpy: Any, value: Any, kind: type) -> int | None:
    if not issubclass(kind, numpy.ndarray):
        return None
    # An owning array's __sizeof__ has its data already; a whole view of one keeps all of it.
    return 0 if numpy.ndarray.flags.__get__(value).owndata else _whole_view_bytes(numpy, value)


def _whole_view_bytes(numpy: Any, array: Any) -> int:
    """Give the bytes of the buffer under an array if the array shows all of it, else 0."""
    ndarray = numpy.ndarray
    base = ndarray.base.__get__(array)
    size = int(ndarray.nbytes.__get__(array))
    while base is not None and issubclass(type(base), ndarray):
        if int(ndarray.nbytes.__get__(base)) > size:
            return 0
        base = ndarray.base.__get__(base)
    return block_bytes(size)


def _pandas_bytes(pandas: Any, value: Any, kind: type) -> int | None:
    if issubclass(kind, (pandas.DataFrame, pandas.Series)):
        for base in _type_mro(kind):
            if base is pandas.DataFrame or base is pandas.Series:
                break
            if "_mgr" in _type_dict(base) or "__dict__" in _type_dict(base):
                return None  # a subclass put something in front of it
        manager = object.__getattribute__(value, "_mgr")
        arrays = [block.values for block in manager.blocks]
        total = sum(_index_bytes(pandas, axis) for axis in manager.axes)
    elif issubclass(kind, pandas.Index):
        return _index_bytes(pandas, value)
    else:
        return None
    return total + sum(_array_bytes(array) for array in arrays)


def _index_bytes(pandas: Any, index: Any) -> int:
    if isinstance(index, pandas.RangeIndex):
        return 0
    if isinstance(index, pandas.MultiIndex):
        return sum(_array_bytes(codes) for codes in index.codes) + sum(
            _index_bytes(pandas, level) for level in index.levels
        )
    return _array_bytes(index._data)


def _array_bytes(array: Any) -> int:
    """Size one column's array: numpy's, or an extension array over numpy or Arrow."""
    numpy = sys.modules["numpy"]
    if isinstance(array, numpy.ndarray):
        return block_bytes(int(array.nbytes)) if array.flags.owndata else _whole_view_bytes(numpy, array)
    if str(_type_dict(type(array)).get("__module__", "")).partition(".")[0] != "pandas":
        return 0  # somebody's extension array: its attributes are somebody's code
    arrow = getattr(array, "_pa_array", None)
    if arrow is not None:
        return int(arrow.get_total_buffer_size())
    # a categorical's _codes is its _ndarray under another name: each buffer once
    parts = {}
    for name in ("_ndarray", "_data", "_mask", "_codes", "_left", "_right"):
        part = getattr(array, name, None)
        if isinstance(part, numpy.ndarray):
            parts[part.__array_interface__["data"][0]] = part
    return sum(_array_bytes(part) for part in parts.values())


def _pyarrow_bytes(pyarrow: Any, value: Any, kind: type) -> int | None:
    if issubclass(kind, (pyarrow.Array, pyarrow.ChunkedArray, pyarrow.Table, pyarrow.RecordBatch)):
        return int(value.get_total_buffer_size())
    return int(value.size) if issubclass(kind, pyarrow.Buffer) else None


def _polars_bytes(polars: Any, value: Any, kind: type) -> int | None:
    return int(value.estimated_size()) if issubclass(kind, (polars.DataFrame, polars.Series)) else None


def _torch_bytes(torch: Any, value: Any, kind: type) -> int | None:
    if not issubclass(kind, torch.Tensor) or value.device.type != "cpu":
        return None
    storage = value.untyped_storage()
    shown = value.numel() * value.element_size()
    return block_bytes(int(storage.nbytes())) if storage.nbytes() == shown else 0


def _scipy_bytes(sparse: Any, value: Any, kind: type) -> int | None:
    if not issubclass(kind, (sparse.spmatrix, sparse.sparray)):
        return None
    parts = [vars(value).get(name) for name in ("data", "indices", "indptr", "row", "col", "offsets")]
    return sum(_array_bytes(part) for part in parts if part is not None)


_MEASURES: tuple[tuple[str, Callable[[Any, Any, type], int | None]], ...] = (
    ("numpy", _numpy_bytes),
    ("pandas", _pandas_bytes),
    ("pyarrow", _pyarrow_bytes),
    ("polars", _polars_bytes),
    ("torch", _torch_bytes),
    ("scipy.sparse", _scipy_bytes),
)
