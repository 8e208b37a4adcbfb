"""What an object leads to, counted up to a bound; for moments when there is no memory for more."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Collection, Iterable
from itertools import chain
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
    total = looked = 0
    whole = True
    while waiting:
        each = waiting.pop()
        if _is_array(each):
            total += shallow_bytes(each)  # an owner with its data; a view's data is its base's
        else:
            total += sizer.owned_bytes(each)
            if issubclass(type(each), _ENDS) or sizer.counts_buffers(each):
                continue
        try:
            for referent in _referents(each):
                if id(referent) not in seen:
                    if len(seen) >= bound:
                        return total, False
                    seen.add(id(referent))
                    waiting.append(referent)
                elif (looked := looked + 1) > 10 * most:
                    return total, False  # the same again and again
        except RuntimeError:  # another thread changed it meanwhile
            whole = False
    return total, whole


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    array = getattr(numpy, "ndarray", None)
    return array is not None and issubclass(type(value), array)


def _referents(value: Any) -> Iterable[object]:
    # gc.get_referents makes a list of all: of the containers that can be huge, one by one
    kind = type(value)
    for known in (list, tuple, set, frozenset, deque):
        if issubclass(kind, known):
            return known.__iter__(value)
    if issubclass(kind, dict):
        return chain.from_iterable(dict.items(value))
    if _is_array(value):
        return _elements(sys.modules["numpy"], value)
    return gc.get_referents(value)


def _elements(numpy: Any, array: Any) -> Iterable[object]:
    base = numpy.ndarray.base.__get__(array)
    if base is not None:
        yield base
    if numpy.ndarray.dtype.__get__(array).hasobject and numpy.ndarray.dtype.__get__(array).names is None:
        yield from numpy.ndarray.flat.__get__(array)
