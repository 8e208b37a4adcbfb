"""What an object leads to, counted up to a bound; for moments when there is no memory for more."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from nbmem.heap.sizes import Sizer, shallow_bytes

#: What these lead to is everybody's: code, globals, classes.
_ENDS = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, CodeType, FrameType)


def reached_bytes(value: object, *, most: int = 200_000, ends: Collection[object] = ()) -> tuple[int, bool]:
    """Sum the sizes of an object and of what it leads to, each once.

    Parameters
    ----------
    value : object
    most : int
        Objects that are looked at at most; 200 000 take about 0.2 s and 20 MiB.
    ends : collection of object
        Objects that are neither counted nor followed.

    Returns
    -------
    (int, bool)
        Bytes, and whether that is all of it. No code of the user's runs.
    """
    sizer = Sizer()
    seen = {id(value), *map(id, ends)}
    bound = most + len(seen)
    waiting: list[Any] = [value]
    total = 0
    while waiting:
        each = waiting.pop()
        if _is_array(each):
            total += shallow_bytes(each)  # an owner with its data; a view's data is its base's
        else:
            total += sizer.owned_bytes(each)
            if issubclass(type(each), _ENDS) or sizer.counts_buffers(each):
                continue
        for referent in _referents(each, most):
            if id(referent) not in seen:
                if len(seen) >= bound:
                    return total, False
                seen.add(id(referent))
                waiting.append(referent)
    return total, True


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    array = getattr(numpy, "ndarray", None)
    return array is not None and issubclass(type(value), array)


def _referents(value: Any, most: int) -> Iterable[object]:
    kind = type(value)
    # gc.get_referents makes a list of all: of the containers that can be huge, one by one
    if issubclass(kind, list):
        return islice(list.__iter__(value), most)
    if issubclass(kind, tuple):
        return islice(tuple.__iter__(value), most)
    if issubclass(kind, (set, frozenset)):
        return islice(_copied(value), most)
    if issubclass(kind, dict):
        return islice(_entries(value), most)
    if _is_array(value):
        return _elements(sys.modules["numpy"], value, most)
    return gc.get_referents(value)


def _copied(value: Any) -> Iterator[object]:
    # another thread may change it meanwhile
    return iter(gc.get_referents(value))


def _entries(value: Any) -> Iterator[object]:
    for key, held in dict.copy(value).items():
        yield key
        yield held


def _elements(numpy: Any, array: Any, most: int) -> Iterable[object]:
    base = numpy.ndarray.base.__get__(array)
    if base is not None:
        yield base
    if numpy.ndarray.dtype.__get__(array).hasobject and numpy.ndarray.dtype.__get__(array).names is None:
        # .flat has a reference to an element only while it is looked at
        yield from islice(numpy.ndarray.flat.__get__(array), most)
