"""What ``gc.get_referents`` leaves out of classes, code, ranges, arrays and the like, for the twin."""

from __future__ import annotations

import gc
from collections.abc import Callable
from operator import attrgetter
from types import (
    ClassMethodDescriptorType,
    CodeType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE (object.h)
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_mro_or_none: Callable[[type], tuple[type, ...] | None] = type.__dict__["__mro__"].__get__
_dict: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_name = type.__dict__["__name__"].__get__
_qualname = type.__dict__["__qualname__"].__get__
_bases = type.__dict__["__bases__"].__get__
# Not co_code, co_varnames and the like: these are made when they are asked for, and some are kept.
_code_parts = attrgetter(
    "co_consts", "co_names", "co_exceptiontable", "co_filename", "co_name", "co_qualname", "co_linetable"
)  # fmt: skip
_DESCRIPTORS = (
    MethodDescriptorType,
    WrapperDescriptorType,
    MemberDescriptorType,
    GetSetDescriptorType,
    ClassMethodDescriptorType,
)


def is_heap_type(kind: type) -> bool:
    """Tell whether a type was made at run time."""
    return bool(_flags(kind) & _HEAP_TYPE)


def any_is(kind: Any, mro: tuple[type, ...]) -> bool:
    """Tell whether a type is among some; ``issubclass`` would ask the metaclass."""
    return any(each is kind for each in mro)


def parts_of(kind: type, mro: tuple[type, ...], ndarray: Any) -> Callable[[Any], Any] | None:
    """Choose what lists what an object of a type refers to and ``gc.get_referents`` does not tell."""
    if any_is(type, mro):
        return _type_parts
    if kind is CodeType:
        return _code_parts
    if any(kind is each for each in _DESCRIPTORS):
        return _descriptor_parts
    if kind is range:
        return _range_parts
    if ndarray is not None and any_is(ndarray, mro):
        return _array_parts
    return _record_parts if any_is(np.void, mro) else _flat_parts if kind is np.flatiter else None


def _type_parts(kind: Any) -> list[Any]:
    if is_heap_type(kind):
        return [_name(kind), _qualname(kind)]
    # nothing of a static type is reported; its namespace is seen through a proxy
    if not _mro_or_none(kind):
        return []  # PyType_Ready was not called: to ask for its bases would end the process
    return [*gc.get_referents(_dict(kind)), _bases(kind), _mro_or_none(kind)]


def _range_parts(value: Any) -> tuple[Any, ...]:
    return value.start, value.stop, value.step


def _descriptor_parts(descriptor: Any) -> tuple[Any, ...]:
    return (descriptor.__name__,)


_array_base = np.ndarray.base.__get__
_array_dtype = np.ndarray.dtype.__get__
_array_flags = np.ndarray.flags.__get__
_array_flat = np.ndarray.flat.__get__
_nbytes = np.ndarray.nbytes.__get__
_interface = np.ndarray.__array_interface__.__get__


def data_address(array: Any) -> int:
    """Tell where the elements of a numpy array begin."""
    return int(_interface(array)["data"][0])


def data_bytes(array: Any) -> int:
    """Tell how many bytes the elements of a numpy array take."""
    return int(_nbytes(array))


def owns_data(array: Any) -> bool:
    """Tell whether a numpy array has its elements itself."""
    return bool(_array_flags(array).owndata)


def _array_parts(array: Any) -> list[Any]:
    base, dtype = _array_base(array), _array_dtype(array)
    found = [dtype] if base is None else [base, dtype]
    if dtype.hasobject and _array_flags(array).owndata:
        if dtype.kind == "O":
            found += _array_flat(array)
        elif dtype.kind == "V":
            for element in _array_flat(array):
                _add_objects(dtype, element.item(), found)
    return found


_record_base = np.void.base.__get__
_record_dtype = np.void.dtype.__get__
_record_flags = np.void.flags.__get__


def owns_value(record: Any) -> bool:
    """Tell whether a scalar of a structured dtype has its value itself, not in an array."""
    return bool(_record_flags(record).owndata)


def _record_parts(record: Any) -> list[Any]:
    base, dtype = _record_base(record), _record_dtype(record)
    found = [dtype] if base is None else [base, dtype]
    if dtype.hasobject and owns_value(record):
        _add_objects(dtype, np.generic.item(record), found)
    return found


_flat_base = np.flatiter.base.__get__


def _flat_parts(flat: Any) -> tuple[Any, ...]:
    return (_flat_base(flat),)


def _add_objects(dtype: Any, value: Any, found: list[Any]) -> None:
    """Pick the objects out of an element of a structured array; ``value`` is a tuple of its fields."""
    if not dtype.hasobject:
        return
    if dtype.subdtype is not None:
        base, _ = dtype.subdtype
        for each in value.flat:
            _add_objects(base, each.item() if base.names is not None else each, found)
    elif dtype.names is not None:
        for name, each in zip(dtype.names, value, strict=True):
            _add_objects(dtype.fields[name][0], each, found)
    else:
        found.append(value)
