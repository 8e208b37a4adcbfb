"""The shallow size of an object: what it and the buffers that it owns occupy, as the allocators count.

No code of the user's runs here: no property, no ``__getattr__``, no ``__sizeof__`` written in Python, no
``__class__`` that lies. Optional libraries are read only if they are loaded.
"""

from __future__ import annotations

import mmap
import sys
import weakref
from collections.abc import Callable
from types import FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

_HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC (object.h)
_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT, 3.11+
_PYMALLOC_LARGEST = 512
_MOST_PLANS = 5000
# Types whose __sizeof__ is plain arithmetic, and of these those whose objects are all alike.
_WELL_KNOWN = (int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset, type(None), FunctionType)
_OF_ONE_SIZE = (float, type(None), FunctionType)
_C_METHODS = (MethodDescriptorType, WrapperDescriptorType)
_type_flags = type.__dict__["__flags__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_module = type.__dict__["__module__"].__get__
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
    return _shallow(value, *_shallow_plan(type(value)))


def _shallow_plan(kind: type) -> tuple[Callable[[Any], Any], int]:
    """Tell which method sizes objects of a type, and what the collector's header and the like add."""
    method: Any = None
    for base in _type_mro(kind):
        method = _type_dict(base).get("__sizeof__")
        if method is not None:
            break
    if not isinstance(method, _C_METHODS):
        # A __sizeof__ in Python is somebody's code (pandas': minutes on object columns): not run.
        method = object.__sizeof__
    flags = _type_flags(kind)
    extra = 0
    if flags & _HAVE_GC:
        extra = 16  # PyGC_Head
        if flags & _MANAGED_DICT:
            extra += 16 if sys.version_info < (3, 13) else 8
    return method, extra


def _shallow(value: object, method: Callable[[Any], Any], extra: int) -> int:
    try:
        size = extra + int(method(value))
    except Exception:  # noqa: BLE001  # an extension type may raise what it likes; the basic size is certain
        size = extra + object.__sizeof__(value)
    # The parts of a list, dict or set are blocks of their own; one block would round up at most as much.
    return block_bytes(size)


class Sizer:
    """Size many objects: what is found out about a type is kept for the next object of it.

    The types themselves are not kept alive.
    """

    def __init__(self) -> None:
        # by address: a type's hash and equality may be its metaclass's code; the reference tells whether it
        # is still that type
        self._plans: dict[int, tuple[Callable[[], Any], Callable[[Any], Any], int, Any, Any]] = {}

    def _plan(self, kind: type) -> tuple[Callable[[], Any], Callable[[Any], Any], int, Any, Any]:
        plan = self._plans.get(id(kind))
        if plan is None or plan[0]() is not kind:
            plan = (weakref.ref(kind), *_shallow_plan(kind), *_foreign_plan(kind))
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[id(kind)] = plan
        return plan

    def plain_plan(self, kind: type) -> tuple[Callable[[Any], Any] | None, int, int]:
        """Tell how objects of a type are sized: method and header bytes; bytes, where all have the same.

        The method is None where :meth:`owned_bytes` is to be asked.
        """
        _, method, extra, measure, _ = self._plan(kind)
        if measure is not None or not any(kind is known for known in _WELL_KNOWN):
            return None, 0, 0
        alike = any(kind is known for known in _OF_ONE_SIZE)
        return method, extra, block_bytes(kind.__basicsize__ + extra) if alike else 0

    def counts_buffers(self, value: object) -> bool:
        """Tell whether the bytes of an object include those of other objects that it refers to."""
        return self._plan(type(value))[3] is not None

    def owned_bytes(self, value: object) -> int:
        """Size an object and the buffers that it owns; see :func:`owned_bytes`."""
        _, method, extra, measure, library = self._plan(type(value))
        # Written out here once more: a namespace has thousands of names, and each call would count.
        try:
            size = (method(value) + extra + 15) & ~15
            if size > _PYMALLOC_LARGEST:
                size = block_bytes(method(value) + extra)
        except Exception:  # noqa: BLE001  # an extension type may raise what it likes
            size = _shallow(value, method, extra)
        if measure is not None:
            try:
                size += measure(library, value)
            except Exception:  # noqa: BLE001  # a library in mid-import or of another version: shallow is still true
                return int(size)
        return int(size)


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
    return Sizer().owned_bytes(value)


def _foreign_plan(kind: type) -> tuple[Callable[[Any, Any], int] | None, Any]:
    """Find what measures the buffers of another library's type, and that library."""
    for name, is_kind, measure in _MEASURES:
        library = sys.modules.get(name)
        if library is None:
            continue
        try:
            if is_kind(library, kind):
                return measure, library
        except Exception:  # noqa: BLE001  # a library in mid-import or of another version
            continue
    return None, None


def _is_of(library: str, kind: type) -> bool:
    """Tell whether a type is a library's own: a subclass in somebody's code may have methods of its own."""
    try:
        module = _type_module(kind)
    except AttributeError:  # a class may delete it
        return False
    return type(module) is str and module.partition(".")[0] == library


def _is_numpy(numpy: Any, kind: type) -> bool:
    return issubclass(kind, numpy.ndarray)


def _numpy_bytes(numpy: Any, value: Any) -> int:
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


def _is_pandas(pandas: Any, kind: type) -> bool:
    if issubclass(kind, pandas.Index):
        return True
    if not issubclass(kind, (pandas.DataFrame, pandas.Series)):
        return False
    for base in _type_mro(kind):
        if base is pandas.DataFrame or base is pandas.Series:
            break
        if "_mgr" in _type_dict(base) or "__dict__" in _type_dict(base):
            return False  # a subclass put something in front of it
    return True


def _pandas_bytes(pandas: Any, value: Any) -> int:
    if issubclass(type(value), pandas.Index):
        return _index_bytes(pandas, value)
    manager = object.__getattribute__(value, "_mgr")
    numpy, plain = sys.modules["numpy"], pandas.RangeIndex
    total = 0
    for axis in manager.axes:
        if type(axis) is not plain:
            total += _index_bytes(pandas, axis)
    for block in manager.blocks:
        array = block.values
        if type(array) is numpy.ndarray:
            # of a block that owns its data, the usual one, without a call
            size = int(array.nbytes)
            total += block_bytes(size) if array.base is None else _array_bytes(array)
        else:
            total += _array_bytes(array)
    return total


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


def _is_pyarrow(pyarrow: Any, kind: type) -> bool:
    if not _is_of("pyarrow", kind):
        return False
    known = (pyarrow.Array, pyarrow.ChunkedArray, pyarrow.Table, pyarrow.RecordBatch, pyarrow.Buffer)
    return issubclass(kind, known)


def _pyarrow_bytes(pyarrow: Any, value: Any) -> int:
    return int(value.size if issubclass(type(value), pyarrow.Buffer) else value.get_total_buffer_size())


def _is_polars(polars: Any, kind: type) -> bool:
    return _is_of("polars", kind) and issubclass(kind, (polars.DataFrame, polars.Series))


def _polars_bytes(polars: Any, value: Any) -> int:
    return int(value.estimated_size())


def _is_torch(torch: Any, kind: type) -> bool:
    return _is_of("torch", kind) and issubclass(kind, torch.Tensor)


def _torch_bytes(torch: Any, value: Any) -> int:
    if value.device.type != "cpu":
        return 0
    storage = value.untyped_storage()
    shown = value.numel() * value.element_size()
    return block_bytes(int(storage.nbytes())) if storage.nbytes() == shown else 0


def _is_scipy(sparse: Any, kind: type) -> bool:
    return _is_of("scipy", kind) and issubclass(kind, (sparse.spmatrix, sparse.sparray))


def _scipy_bytes(sparse: Any, value: Any) -> int:
    parts = [vars(value).get(name) for name in ("data", "indices", "indptr", "row", "col", "offsets")]
    return sum(_array_bytes(part) for part in parts if part is not None)


_MEASURES: tuple[tuple[str, Callable[[Any, type], bool], Callable[[Any, Any], int]], ...] = (
    ("numpy", _is_numpy, _numpy_bytes),
    ("pandas", _is_pandas, _pandas_bytes),
    ("pyarrow", _is_pyarrow, _pyarrow_bytes),
    ("polars", _is_polars, _polars_bytes),
    ("torch", _is_torch, _torch_bytes),
    ("scipy.sparse", _is_scipy, _scipy_bytes),
)
