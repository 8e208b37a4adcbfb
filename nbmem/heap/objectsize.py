"""What one object holds: what would go with it, what it shares, and where the bytes are."""

from __future__ import annotations

import builtins
import sys
import types as python_types
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.capture import capture, capture_from
from nbmem.heap.dominators import reachable_from
from nbmem.heap.ends import derived_classes, ends_of, module_namespaces, nodes_at
from nbmem.heap.graph import Heap
from nbmem.heap.own import namespace_of
from nbmem.heap.parts import Part, part_of

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE (object.h): a class that can be freed
_flags = type.__dict__["__flags__"].__get__
_dict_of = type.__dict__["__dict__"].__get__
_BUILTIN = {
    id(kind)
    for namespace in (vars(python_types), vars(builtins))
    for kind in namespace.values()
    if type(kind) is type
}


@dataclass(frozen=True, slots=True)
class TypeShare:
    """The objects of one type among those that would go.

    Parameters
    ----------
    type : str
    count : int
    shallow_bytes : int
        All together.
    """

    type: str
    count: int
    shallow_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What one object holds; it refers to nothing of the user's.

    Parameters
    ----------
    type : str
    shallow_bytes : int
        The object, with the buffers that it owns itself.
    retained_bytes : int
        What would be freed if it went.
    reachable_bytes : int
        All that it leads to, itself included; classes, modules and what only they lead to do not count,
        but for those that would be freed with it.
    object_count : int
        How many objects would be freed.
    types : tuple of TypeShare
        These by type, the largest first.
    tree : Part
        These by who holds them.
    exact : bool
    notes : tuple of str
        What could not be seen.
    """

    type: str
    shallow_bytes: int
    retained_bytes: int
    reachable_bytes: int
    object_count: int
    types: tuple[TypeShare, ...]
    tree: Part
    exact: bool
    notes: tuple[str, ...] = ()

    @property
    def shared_bytes(self) -> int:
        """What it leads to that would stay, because something else holds it too."""
        return self.reachable_bytes - self.retained_bytes


def measure(value: object) -> Measured:
    """Find out what an object holds.

    Parameters
    ----------
    value : object
        Whatever; who holds it does not matter, nor how it is passed.

    Returns
    -------
    Measured

    Raises
    ------
    MemoryError, NotMeasured
        As for :func:`capture`.

    Notes
    -----
    Only what the object leads to is taken down; where more references to something are counted than were
    found, something else holds it too. That does not see what hangs on classes, modules and frames. So the
    whole heap is captured for an object that is one of these, and where a traceback or an instance of a
    class that its module does not name is found: such a class may go with its instances.
    """
    heap = capture_from([value])
    node = 0
    whole = issubclass(type(value), (type, ModuleType, FrameType)) or _may_hide(heap)
    if whole:
        everything = capture(held=[value])
        spaces = module_namespaces()
        found = nodes_at(everything, [*spaces, id(value)])
        whole = id(value) in found  # else it is nbmem's own, and no part of the picture
        if whole:
            heap, node = everything, found[id(value)]
    below = _below(heap, node)
    reached = below.copy()
    if whole:
        ends = ends_of(heap, [found[each] for each in spaces if each in found])
        ends[node] = False
        if issubclass(type(value), ModuleType):
            ends[found.get(id(namespace_of(value)), node)] = False
        reached |= reachable_from(heap.indptr, heap.indices, [node], without=np.flatnonzero(ends))
    else:
        reached[:] = True
    return Measured(
        type=heap.type_of(node),
        shallow_bytes=int(heap.shallow_bytes[node]),
        retained_bytes=int(heap.retained_bytes[node]),
        reachable_bytes=int(heap.shallow_bytes[reached].sum()),
        object_count=int(below.sum()),
        types=_by_type(heap, below),
        tree=part_of(heap, node, value),
        exact=not heap.notes,
        notes=heap.notes,
    )


def _below(heap: Heap, node: int) -> NDArray[np.bool_]:
    """Tell which nodes a node dominates, itself included. O(n log depth)."""
    idom = heap.tree.idom
    here = np.arange(len(heap))
    up = np.where((here == node) | (idom >= len(heap)), here, idom.astype(np.int64))
    while not np.array_equal(following := up[up], up):
        up = following
    below: NDArray[np.bool_] = up == node
    return below


def _by_type(heap: Heap, below: NDArray[np.bool_]) -> tuple[TypeShare, ...]:
    kinds = heap.type_index[below]
    counts = np.bincount(kinds, minlength=len(heap.types))
    sizes = np.bincount(kinds, heap.shallow_bytes[below], len(heap.types)).astype(np.int64)
    order = np.argsort(-sizes, kind="stable")
    return tuple(
        TypeShare(heap.types[kind], int(counts[kind]), int(sizes[kind]))
        for kind in order.tolist()
        if counts[kind]
    )


def _may_hide(heap: Heap) -> bool:
    """Tell whether there may be classes or frames that only the object leads to."""
    present = np.unique(heap.type_index).tolist()
    unknown = set()
    for kind in present:
        if heap.types[kind] == "traceback":
            return True
        address = int(heap.type_addresses[kind])
        if address and address not in _BUILTIN and _named(heap.types[kind]) != address:
            unknown.add(address)
    if not unknown:
        return False
    return any(id(kind) in unknown and _flags(kind) & _HEAP_TYPE for kind in derived_classes(object))


def _named(name: str) -> int:
    """Give the address of what a module has under the name of a type; 0 if there is nothing."""
    module, _, qualname = name.rpartition(".")
    inner = [qualname]
    while module and module not in sys.modules:  # a class within a class
        module, _, outer = module.rpartition(".")
        inner.insert(0, outer)
    found = sys.modules.get(module or "builtins")
    if found is None or not issubclass(type(found), ModuleType):
        return 0
    names: Any = namespace_of(found)
    value: Any = None
    for each in inner:
        value = names.get(each)
        if not issubclass(type(value), type):
            return 0
        names = _dict_of(value)
    return id(value)
