"""What keeps a large share of the heap, after the rule of Eclipse Memory Analyzer's leak suspects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import Heap
from nbmem.heap.labels import namespaces

#: Where a child has less than this share of its parent's retained size, the bytes pile up in the parent.
_DROP = 0.7
#: Groups of these are the program, not its data.
_CODE = ("type", "function", "code", "module", "abc.ABCMeta", "enum.EnumType", "builtin_function_or_method")


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object that keeps much, or many of one type that do together; made by :func:`suspects`.

    Parameters
    ----------
    nodes : tuple of int
        The objects, the biggest first.
    type_name : str
    retained_bytes : int
        What they retain together.
    share : float
        That of all that lives, 0 to 1.
    accumulation : int or None
        Of a single object: the node below it where the bytes pile up; None for a group.
    path : tuple of int
        The nodes from the object down to that one, each dominated by the one before.
    """

    nodes: tuple[int, ...]
    type_name: str
    retained_bytes: int
    share: float
    accumulation: int | None
    path: tuple[int, ...]


def suspects(heap: Heap, *, share: float = 0.1) -> list[Suspect]:
    """Find what retains more than a share of the heap.

    Parameters
    ----------
    heap : Heap
    share : float
        Of the bytes of all that lives, 0 to 1.

    Returns
    -------
    list of Suspect
        The biggest first. Single objects are looked for among those that nothing dominates; namespaces of
        modules are gone through, as what is in them is what was meant. The other top-level objects are
        grouped by type; groups of classes, functions and modules are left out.

    Notes
    -----
    Eclipse Memory Analyzer, *Leak Suspects*: a suspect is a top-level dominator above the threshold, or a
    group of one class above it; the accumulation point is found by going down to the largest child until it
    drops below 0.7 of its parent. O(n).
    """
    retained = heap.retained_bytes
    whole = int(heap.shallow_bytes[heap.living].sum())
    bound = max(share * whole, 1)
    top = _top_level(heap)
    big = top[retained[top] >= bound]
    found = [_single(heap, int(node), whole) for node in big.tolist()]
    rest = top[retained[top] < bound]
    kinds = heap.type_index[rest]
    sums = np.bincount(kinds, weights=retained[rest], minlength=len(heap.types))
    for kind in np.flatnonzero(sums >= bound).tolist():
        if heap.types[kind] in _CODE:
            continue
        nodes = rest[kinds == kind]
        nodes = nodes[np.argsort(-retained[nodes], kind="stable")]
        amount = int(retained[nodes].sum())
        found.append(Suspect(tuple(nodes.tolist()), heap.types[kind], amount, amount / whole, None, ()))
    return sorted(found, key=lambda suspect: -suspect.retained_bytes)


def _top_level(heap: Heap) -> NDArray[np.uint32]:
    """List what the virtual root dominates immediately, and in place of namespaces what these dominate."""
    top = heap.dominated(len(heap))
    spaces = np.array(sorted(namespaces(heap)), np.uint32)
    for _ in range(4):  # a module, its namespace, a class in it, the namespace of that
        through = np.isin(top, spaces)
        if not through.any():
            break
        below = [heap.dominated(int(node)) for node in top[through].tolist()]
        top = np.concatenate([top[~through], *below])
    return top


def _single(heap: Heap, node: int, whole: int) -> Suspect:
    retained = heap.retained_bytes
    path = [node]
    while True:
        below = heap.dominated(path[-1])
        if not len(below):
            break
        largest = int(below[np.argmax(retained[below])])
        if retained[largest] < _DROP * retained[path[-1]]:
            break
        path.append(largest)
    amount = int(retained[node])
    return Suspect((node,), heap.type_of(node), amount, amount / whole, path[-1], tuple(path))
