"""Take down all objects of the process and what refers to what, at one moment."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from nbmem.heap.asked import ask
from nbmem.heap.births import current_births, stop_unwatched, watch_for
from nbmem.heap.draft import Draft
from nbmem.heap.graph import RUNNING_FRAME, Heap
from nbmem.heap.hidden import any_hidden
from nbmem.heap.labels import CLASSES, frame_label, label_modules
from nbmem.heap.own import is_own, leave_out_own, namespace_of
from nbmem.heap.registry import Rules, rules
from nbmem.heap.typenames import module_of, name_of
from nbmem.heap.walk import ITEMSIZE_AT_1, ITEMSIZE_AT_2, SEES_LOCALS, beside, itemsize_of, locate, walk

# The linked list of an lru_cache has a reference to each link besides that of the dict.
_LINK_OF_CACHE = "functools._lru_list_elem"
_TOKEN = uuid.uuid4().hex


def capture(*, held: Sequence[object] = (), watch: bool = False) -> Heap:
    """Take down the whole heap.

    Parameters
    ----------
    held : sequence of object
        Objects that are nodes and roots, also where only nbmem's frames hold them.
    watch : bool
        Note from now on, as long as the result lives, where new objects are born: only so can they be told
        from those that lay at the same address before. A callback of the collector does it, some 10 ns for
        each object that lives longer than a moment.

    Returns
    -------
    Heap
        All objects that the collector knows, all that they lead to, and the frames that run; nothing of
        nbmem's own.

    Raises
    ------
    MemoryError
        If there is no room for the arrays: some 64 bytes per object and 12 per reference.
    NotMeasured
        If the collector is at work.

    Notes
    -----
    The GIL is held from the first object to the last: about 0.3 s per million objects. No code of the user's
    runs meanwhile. Afterwards the objects of other libraries are asked for their buffers, and those whose
    type has a ``__sizeof__`` in Python for their size; three seconds at most for those, one for these.
    """
    try:
        return _capture(None, [], held=held, watch=watch)
    except BaseException:
        stop_unwatched()
        raise


def capture_from(starts: Sequence[object], ends: Iterable[int] = (), *, if_hides: bool = True) -> Heap:
    """Take down what some objects lead to; classes, modules and their namespaces are left out.

    Parameters
    ----------
    starts : sequence of object
        They are the first nodes, in this order, each once, whatever they are. The references of the sequence
        and of the caller count as such from outside.
    ends : iterable of int
        Addresses of objects that are left out and not followed.
    if_hides : bool
        Ask objects of other libraries, and methods of somebody's, also where something was left out that may
        go with these objects; False: the caller captures the whole heap then, and each is asked once.

    Returns
    -------
    Heap
        Where ``surplus`` is above 0, something holds a node besides what was taken down. ``hides``: something
        was left out that may go with these objects, as no loaded module names it.

    Raises
    ------
    MemoryError, NotMeasured
        As for :func:`capture`.
    """
    left_out = {id(namespace_of(each)) for each in list(sys.modules.values()) if type(each) is ModuleType}
    left_out.update(ends)
    return _capture(list(starts), list(left_out.difference(map(id, starts))), if_hides=if_hides)


def _capture(
    starts: list[object] | None,
    ends: list[int],
    *,
    held: Sequence[object] = (),
    watch: bool = False,
    if_hides: bool = True,
) -> Heap:
    known = rules() if starts is not None else Rules([CLASSES, *rules()])
    kinds = [rule.kind for rule in known]
    ndarray = getattr(sys.modules.get("numpy"), "ndarray", None)
    taken = time.time()
    births = current_births(start=watch)
    mark = births.mark if births is not None and starts is None else None
    result = walk(starts, ends, kinds, ndarray, _itemsize_at(), mark=mark)
    births_then: tuple[Any, int, int] | None = result.pop("births")
    types: list[Any] = result.pop("types")
    objects: list[Any] = result.pop("asked")
    left_out: list[Any] = result.pop("left_out")
    frames: list[tuple[int, Any, int, int]] = result.pop("frames")
    own_types = np.array([kind is not None and is_own(module_of(kind)) for kind in types], np.bool_)
    draft = Draft.of(
        result,
        [RUNNING_FRAME if kind is None else name_of(kind) for kind in types],
        np.array([0 if kind is None else id(kind) for kind in types], np.uint64),
    )
    if births_then is not None:
        draft.born, draft.missed, draft.epoch = births_then
    if starts is not None:
        draft.hides = any_hidden(left_out, (kind for kind in types if kind is not None))
    if if_hides or not draft.hides:
        ask(draft, objects, known)
    draft.labels.update((node, frame_label(*frame[:3])) for node, frame in enumerate(frames))
    for number, name in enumerate(draft.types):
        if name == _LINK_OF_CACHE:
            draft.surplus[(draft.type_index == number) & (draft.surplus > 0)] -= 1
    if held:
        nodes = locate(draft.addresses, np.array([id(each) for each in held], np.uint64))
        draft.surplus[nodes[nodes >= 0]] += 1
    if starts is None and not SEES_LOCALS:
        draft.notes.append("what locals of running frames hold is not seen to be theirs: no native part")
    if starts is None:
        label_modules(draft)
        leave_out_own(draft, own_types, [namespace for *_, namespace in frames])
    heap = draft.heap(taken, this_process())
    if watch:
        watch_for(heap)
    return heap


def this_process() -> str:
    """Tell this process from others: the ``origin`` of the heaps that are captured here."""
    return f"{os.getpid()}-{_TOKEN}"


def _itemsize_at() -> int:
    """Tell where numpy's dtypes have their item size; 0: that or others are not where they are expected."""
    array = np.zeros(1, [("field", "i8")])
    if beside(array[0], array.flat) != (id(array), id(array.dtype), id(array)):
        return 0
    for offset in (ITEMSIZE_AT_1, ITEMSIZE_AT_2):
        probes = [np.empty(1, kind) for kind in ("f8", "V24", "b")]
        if all(itemsize_of(probe, offset) == probe.itemsize for probe in probes):
            return int(offset)
    return 0
