"""What the walk's twin finds out about a type, once: how its objects are sized, what traversal leaves out.

No code of the user's runs: a type is read through the descriptors of ``type`` itself.
"""

from __future__ import annotations

import _thread
import mmap
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    FrameType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
)
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap._parts_twin import any_is, is_heap_type, owns_value, parts_of
from nbmem.heap.typenames import module_of

_HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC (object.h)
_HEAP_TYPE = 1 << 9
_BASE_TYPE, _IMMUTABLE_TYPE = 1 << 10, 1 << 8
_MANAGED_DICT = 1 << 4
# What stands in front of an object: two words for the dict (3.11), for that or weak references (3.12).
_IN_FRONT = _MANAGED_DICT if sys.version_info < (3, 12) else _MANAGED_DICT | 1 << 3
_QUEUE_BLOCK = 528
_HARMLESS = {*sys.stdlib_module_names, "numpy", "builtins", ""}
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_mro_or_none: Callable[[type], tuple[type, ...] | None] = type.__dict__["__mro__"].__get__
_dict: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_basic: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
_item: Callable[[type], int] = type.__dict__["__itemsize__"].__get__
_name = type.__dict__["__name__"].__get__
_array_flags = np.ndarray.flags.__get__
_nbytes = np.ndarray.nbytes.__get__
_LOCKS = (type(_thread.allocate_lock()), _thread.RLock)
_REFERENCE_BYTES = int((weakref.ref.__basicsize__ + 16 + 15) & ~15)


def _key_tables(entry: int) -> list[int]:
    """List the bytes that a dict's keys can take (PyDictKeysObject: 32, the index, two thirds of entries)."""
    width = [1 if log < 8 else 2 if log < 16 else 4 if log < 32 else 8 for log in range(48)]
    return [32 + (width[log] << log) + (2 << log) // 3 * entry for log in range(3, 48)]


#: Bytes of the tables of dicts that have str keys only: these keys are not reported.
TEXT_TABLES = np.array(_key_tables(16), np.int64)


def blocks(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round requests up as :func:`nbmem.heap.sizes.block_bytes` does."""
    page = mmap.PAGESIZE
    larger = np.where(sizes < 128 * 1024, (sizes + 23) & ~15, (sizes + 15 + page) & -page)
    rounded: NDArray[np.int64] = np.where(sizes <= 512, (sizes + 15) & ~15, larger)
    return np.where(sizes <= 0, 0, rounded)


def malloc_blocks(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round up what never goes through pymalloc: numpy's buffers, locks."""
    return np.where(sizes > 512, blocks(sizes), np.where(sizes <= 24, 32, (sizes + 23) & ~15))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known about the objects of a type; it holds no reference to the type.

    Parameters
    ----------
    head : int
        Bytes in front of an object.
    basic, item : int
        Bytes of an object, and of each item of those that vary.
    spare : int
        Bytes of the item more than there are, that objects of classes in Python have (PyType_GenericAlloc).
    sizes : callable
        Sizes objects of the type, all at once.
    method : callable
        The ``__sizeof__`` that it uses.
    alike : bool
        All are of one size.
    parts : callable or None
        Lists what an object refers to and ``gc.get_referents`` does not tell.
    asked : bool
        A method of somebody's is to be asked for the size, after the walk.
    managed : bool
        Attribute values can be had without a dict.
    slotted : bool
        Of these, objects that have fields besides.
    values : bool
        A block for them is made together with the object.
    skipped : bool
        A partial walk does not follow such objects.
    exact_dict, any_dict, is_type, array : bool
        It is ``dict``, derived from that, from ``type``, from numpy's array.
    rule : int
        The number of the rule by which its objects are asked; -1: none.
    """

    head: int
    basic: int
    item: int
    spare: int
    sizes: Callable[[Plan, list[Any]], NDArray[np.int64]]
    method: Callable[[Any], Any]
    alike: bool
    parts: Callable[[Any], Any] | None
    asked: bool
    managed: bool
    slotted: bool
    values: bool
    skipped: bool
    exact_dict: bool
    any_dict: bool
    is_type: bool
    array: bool
    rule: int


def plan_of(kind: type, rules: list[type], ndarray: Any) -> Plan:
    """Find out what the walk needs to know about a type."""
    mro = _mro(kind)
    flags = _flags(kind)
    method, sizes = _sizing(mro, ndarray)
    managed = bool(flags & _MANAGED_DICT and flags & _HEAP_TYPE)
    is_type = any_is(type, mro)
    rule = -1
    for number, each in enumerate(rules):
        if any_is(each, mro):
            rule = number
    return Plan(
        head=(16 if flags & _HAVE_GC else 0) + (16 if flags & _IN_FRONT else 0),
        basic=_basic(kind),
        item=_item(kind),
        spare=_item(kind) if _is_of_python(kind) else 0,
        sizes=_type_sizes if is_type and sizes is _measured else sizes,
        method=method,
        alike=sizes is _unasked or (sizes is _alike and not _item(kind)),
        parts=parts_of(kind, mro, ndarray),
        asked=sizes is _unasked,
        managed=managed,
        slotted=managed and _basic(kind) > object.__basicsize__ + 8,  # one may be for weak references
        values=managed and _has_values(mro),
        skipped=is_type or any_is(ModuleType, mro) or kind is FrameType or kind is BuiltinFunctionType,
        exact_dict=kind is dict,
        any_dict=any_is(dict, mro),
        is_type=is_type,
        array=any_is(ndarray, mro),
        rule=rule,
    )


def _is_of_python(kind: type) -> bool:
    # what C makes at run time is mostly closed in one way or the other
    return _flags(kind) & (_HEAP_TYPE | _BASE_TYPE | _IMMUTABLE_TYPE) == _HEAP_TYPE | _BASE_TYPE


def _mro(kind: type) -> tuple[type, ...]:
    return _mro_or_none(kind) or (kind,)


def _has_values(mro: tuple[type, ...]) -> bool:
    # Up to 3.12 only object.__new__ makes them; from 3.13 on they are part of the object.
    made_by_others = (type((_dict(each) or {}).get("__new__")) is BuiltinFunctionType for each in mro[:-1])
    return sys.version_info < (3, 13) and not any(made_by_others)


# -- sizes --


def _sizing(mro: tuple[type, ...], ndarray: Any) -> tuple[Any, Callable[[Plan, list[Any]], Any]]:
    method = next((_dict(each)["__sizeof__"] for each in mro if "__sizeof__" in (_dict(each) or ())), None)
    if type(method) is not MethodDescriptorType or not any_is(method.__objclass__, mro):
        # somebody's, or borrowed from a class that it is not derived from
        return object.__sizeof__, _unasked
    defining = method.__objclass__
    if defining is np.generic and any_is(np.void, mro):
        return object.__sizeof__, _record_sizes
    # its own adds the value, which is part of the object; that of bytes is counted twice
    if defining is np.generic and ((not _item(mro[0]) and not any_is(str, mro)) or any_is(bytes, mro)):
        return object.__sizeof__, _alike
    of_kind = next((sizes for known, sizes in _KINDS if mro[0] is known), None)
    of_method = next((sizes for known, sizes in _SIZINGS if defining is known), None)
    found = _array_sizes if defining is ndarray and ndarray is not None else of_kind or of_method
    if found is not None:
        return method, found
    if module_of(defining).partition(".")[0] not in _HARMLESS:
        return object.__sizeof__, _unasked
    queue = module_of(defining) == "collections" and _name(defining) == "deque"
    return method, _queue_sizes if queue else _measured


def _told(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    try:
        return np.fromiter(map(plan.method, objects), np.int64, len(objects))
    except Exception:  # noqa: BLE001  # an extension type may raise what it likes
        return np.array([_told_by_one(plan, each) for each in objects], np.int64)


def _told_by_one(plan: Plan, value: Any) -> int:
    try:
        return int(plan.method(value))
    except Exception:  # noqa: BLE001  # as above
        return plan.basic


def _unasked(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    return blocks(np.full(len(objects), plan.head + plan.basic))


def _alike(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    """Size objects that have nothing but their fields, or a number of items."""
    if plan.item:
        return blocks(plan.head + plan.spare + _told(plan, objects))
    return blocks(np.full(len(objects), plan.head + plan.method(objects[0])))


def _lock_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    return _alike(plan, objects) + 32  # the semaphore


def _reference_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    # that by which a class stands in the list of its bases counts as the class's own
    return np.where([_lists_a_class(each) for each in objects], 0, _alike(plan, objects))


def _lists_a_class(reference: Any) -> bool:
    kind = weakref.ref.__call__(reference)
    if kind is None or not any_is(type, _mro(type(kind))) or not is_heap_type(kind):
        return False
    return reference.__callback__ is None and weakref.getweakrefs(kind)[0] is reference


def _int_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    return blocks(plan.head + plan.basic + plan.spare + _told(plan, objects) - int.__basicsize__)


def _two_blocks(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    """Size objects that have a table beside them."""
    own = np.array([plan.head + plan.basic])
    return blocks(own) + blocks(_told(plan, objects) - plan.basic)


def _text_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    told = _told(plan, objects)
    sizes = blocks(plan.head + told)
    if type(objects[0]) is not str:
        return sizes
    for at in np.flatnonzero(~np.fromiter(map(str.isascii, objects), np.bool_, len(objects))).tolist():
        text, size = objects[at], int(told[at])
        own = _WIDE_HEADER + (len(text) + 1) * _width(text, size - _WIDE_HEADER)
        sizes[at] = blocks(np.array([own, size - own])).sum()
    return sizes


_WIDE_HEADER = str.__sizeof__(chr(0x20AC)) - 4  # a new one, without a copy in UTF-8


def _width(text: str, size: int) -> int:
    """Tell how wide characters are, from the bytes of them and of their copy in UTF-8, if there is one."""
    n = len(text)
    if size == 4 * n + 4:  # four each, or two and a copy
        return 4 if ord(max(text)) > 0xFFFF else 2
    if size == 2 * n + 2 or 3 * n + 4 <= size <= 5 * n + 3:
        return 2
    return 1 if size <= 3 * n + 2 else 4


def _measured(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    """Size objects by their method: it and what it owns are two blocks."""
    return _spread(plan, _told(plan, objects))


def _spread(plan: Plan, told: NDArray[np.int64]) -> NDArray[np.int64]:
    if plan.item:
        return blocks(plan.head + told)
    two = blocks(np.array([plan.head + plan.basic])) + blocks(told - plan.basic)
    return np.where(told > plan.basic, two, blocks(plan.head + told))


def _queue_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    count = (_told(plan, objects) - plan.basic) // _QUEUE_BLOCK
    return blocks(np.array([plan.head + plan.basic])) + count * blocks(np.array([_QUEUE_BLOCK]))


def _type_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    # a static type is part of a library, nothing that is allocated
    return np.array([_class_size(plan, each) if is_heap_type(each) else 0 for each in objects], np.int64)


def _class_size(plan: Plan, kind: Any) -> int:
    """Size a class: it, the keys of its instances, its text, the reference that its bases list it by."""
    slots = sum(type(each) is MemberDescriptorType for each in _dict(kind).values())
    keys = type.__sizeof__(kind) - plan.basic
    text = _dict(kind).get("__doc__")
    parts = [plan.head + plan.basic + plan.item * (slots + 1), keys]
    parts += [len(text.encode(errors="replace")) + 1] if type(text) is str else []
    listed = any(_lists_a_class(each) for each in weakref.getweakrefs(kind)[:1])
    return int(blocks(np.array(parts)).sum()) + (_REFERENCE_BYTES if listed else 0)


def _array_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    shapes = np.array([16 * np.ndarray.ndim.__get__(each) for each in objects])
    owned = np.array([_array_flags(each).owndata for each in objects])
    data = np.array([_nbytes(each) for each in objects], np.int64)
    own = blocks(np.array([plan.head + plan.basic]))
    return own + np.where(shapes, malloc_blocks(shapes), 0) + np.where(owned, malloc_blocks(data), 0)


def _record_sizes(plan: Plan, objects: list[Any]) -> NDArray[np.int64]:
    owned = np.array([_value_bytes(each) if owns_value(each) else 0 for each in objects], np.int64)
    return blocks(np.array([plan.head + plan.basic])) + malloc_blocks(owned) * (owned > 0)


_value_bytes = np.generic.nbytes.__get__


_SIZINGS: tuple[tuple[type, Callable[[Plan, list[Any]], NDArray[np.int64]]], ...] = (
    (object, _alike),
    (int, _int_sizes),
    (str, _text_sizes),
    (list, _two_blocks),
    (dict, _two_blocks),
    (set, _two_blocks),
    (frozenset, _two_blocks),
)
_KINDS: tuple[tuple[type, Callable[[Plan, list[Any]], NDArray[np.int64]]], ...] = (
    *((each, _lock_sizes) for each in _LOCKS),
    (weakref.ref, _reference_sizes),
)


def measured(value: object) -> int:
    """Size an object by the ``__sizeof__`` of its type, whatever that is; as ``_walk.measured`` does."""
    kind = type(value)
    method: Any = next(
        _dict(each)["__sizeof__"] for each in _mro(kind) if "__sizeof__" in (_dict(each) or ())
    )
    size = method.__get__(value, kind)()
    if not isinstance(size, int):
        raise TypeError("__sizeof__ gave no integer")
    size = int.__index__(size)  # of a class derived from int: without its methods
    if size >= 1 << 63:
        raise OverflowError("__sizeof__ gave a number that is too large")
    if size < 0:
        raise ValueError("__sizeof__ gave a negative number")
    plan = plan_of(kind, [], None)
    return int(_spread(plan, np.array([size], np.int64))[0])
