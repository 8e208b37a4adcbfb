"""What belongs to everybody: classes, modules, their namespaces, frames. What leads there is not followed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import RUNNING_FRAME, Heap
from nbmem.heap.own import namespace_of

_ENDS = ("builtin_function_or_method", "frame", RUNNING_FRAME)


def module_namespaces() -> dict[int, str]:
    """List the namespaces of the loaded modules: addresses and names."""
    found: dict[int, str] = {}
    for name, module in list(sys.modules.items()):
        if issubclass(type(module), ModuleType) and type(name) is str:
            found.setdefault(id(namespace_of(module)), name)
    return found


def ends_of(heap: Heap, more: Iterable[int]) -> NDArray[np.bool_]:
    """Tell which nodes are everybody's.

    Parameters
    ----------
    heap : Heap
    more : iterable of int
        Other nodes: those of modules' namespaces.

    Returns
    -------
    (n,) array of bool
    """
    kinds = np.array([*map(id, derived_classes(type)), *map(id, derived_classes(ModuleType))], np.uint64)
    of_types = np.isin(heap.type_addresses, kinds)
    of_types |= np.array([name in _ENDS for name in heap.types], np.bool_)
    ends: NDArray[np.bool_] = of_types[heap.type_index]
    ends[list(more)] = True
    return ends


def nodes_at(heap: Heap, addresses: Iterable[int]) -> dict[int, int]:
    """Find the nodes of several addresses; those that have none are missing. O(n log k)."""
    known = np.unique(np.fromiter(addresses, np.uint64))
    if not len(known):
        return {}
    at = np.minimum(np.searchsorted(known, heap.addresses), len(known) - 1)
    nodes = np.flatnonzero(known[at] == heap.addresses)
    return dict(zip(heap.addresses[nodes].tolist(), nodes.tolist(), strict=True))


def derived_classes(kind: type) -> list[Any]:
    """List a class and all that are derived from it; none of their code runs."""
    found, seen = [kind], {id(kind)}
    for each in found:
        below: Any
        for below in type.__subclasses__(each):
            if id(below) not in seen:
                seen.add(id(below))
                found.append(below)
    return found
