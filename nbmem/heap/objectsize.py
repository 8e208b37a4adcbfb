"""What one object holds: what would go with it, what it shares, and where the bytes are."""

from __future__ import annotations

from dataclasses import dataclass
from types import FrameType, ModuleType

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.capture import capture, capture_from
from nbmem.heap.dominators import reachable_from
from nbmem.heap.ends import ends_of, module_namespaces, nodes_at
from nbmem.heap.graph import Heap
from nbmem.heap.own import namespace_of
from nbmem.heap.parts import Part, part_of

_UNSEEN = "classes, modules or frames that only it may hold, and what libraries hold for it, were not seen"


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
    whole heap is captured for an object that is one of these, and where it leads to one that no module names:
    to a traceback, a class of a function's, an instance of that. Such things may go with it.
    """
    heap = capture_from([value], if_hides=False)
    node = 0
    whole = issubclass(type(value), (type, ModuleType, FrameType)) or heap.hides
    if whole:
        everything = capture(held=[value])
        spaces = module_namespaces()
        found = nodes_at(everything, [*spaces, id(value)])
        whole = id(value) in found  # else it is nbmem's own, and no part of the picture
        if whole:
            heap, node = everything, found[id(value)]
    notes = heap.notes if whole or not heap.hides else (*heap.notes, _UNSEEN)
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
        exact=not notes,
        notes=notes,
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
