"""What became of the objects between two moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbmem._errors import BadArgument
from nbmem.heap.graph import UNTRACKED, Heap
from nbmem.heap.walk import locate

# Objects of these come into the collector's care late, and may leave it.
_SOMETIMES_TRACKED = ("dict", "tuple")


@dataclass(frozen=True, eq=False)
class Growth:
    """New, dead and surviving objects by type; made by :func:`growth`.

    Parameters
    ----------
    types : tuple of str
        The types of both heaps, by name.
    new_count, dead_count, survived_count : (t,) arrays of int64
    new_bytes, dead_bytes : (t,) arrays of int64
        Shallow sizes.
    before_bytes, after_bytes : (t,) arrays of int64
        Shallow sizes of all objects of each type.
    new_nodes : array of int64
        Nodes of the later heap.
    dead_nodes : array of int64
        Nodes of the earlier one.
    exact : bool
        Whether an object was surely told from another that lay at its address before. Of what the collector
        does not track (strings, numbers, numpy arrays), one of the same type and address counts as the same.
    """

    types: tuple[str, ...]
    new_count: NDArray[np.int64]
    dead_count: NDArray[np.int64]
    survived_count: NDArray[np.int64]
    new_bytes: NDArray[np.int64]
    dead_bytes: NDArray[np.int64]
    before_bytes: NDArray[np.int64]
    after_bytes: NDArray[np.int64]
    new_nodes: NDArray[np.int64]
    dead_nodes: NDArray[np.int64]
    exact: bool


def growth(before: Heap, after: Heap) -> Growth:
    """Compare two heaps of one process; garbage that waits for the collector counts in neither.

    Parameters
    ----------
    before, after : Heap

    Returns
    -------
    Growth

    Raises
    ------
    BadArgument
        If they are of different processes, or the later comes first.

    Notes
    -----
    An object survived if there is one of the same type at its address and none was born there since. Births
    are known for what the collector tracks if the earlier heap was captured with ``watch=True``. O(n).
    """
    if before.origin != after.origin:
        raise BadArgument("the two snapshots are of different processes: addresses cannot be compared")
    if before.taken > after.taken:
        raise BadArgument("the first snapshot is the later one: compare the earlier with the later")
    old, new = np.flatnonzero(before.living), np.flatnonzero(after.living)
    types = tuple(dict.fromkeys((*before.types, *after.types)))
    of_before, of_after = _numbers(before, types), _numbers(after, types)
    there = locate(after.addresses[new], before.addresses[old])
    matched_old, matched_new = old[there >= 0], new[there[there >= 0]]
    kinds_old, kinds_new = before.type_index[matched_old], after.type_index[matched_new]
    same = before.type_addresses[kinds_old] == after.type_addresses[kinds_new]
    same &= of_before[kinds_old] == of_after[kinds_new]
    matched_old, matched_new = matched_old[same], matched_new[same]
    exact = before.epoch > after.missed and after.born is not None
    if before.epoch > 0 and after.born is not None:
        reborn = after.born[matched_new] >= before.epoch
        # they may have been there and not tracked
        often = [number for number, name in enumerate(before.types) if name in _SOMETIMES_TRACKED]
        reborn &= ~(
            (before.states[matched_old] == UNTRACKED) & np.isin(before.type_index[matched_old], often)
        )
        matched_old, matched_new = matched_old[~reborn], matched_new[~reborn]
    new_nodes = _without(after, matched_new)
    dead_nodes = _without(before, matched_old)

    def count(nodes: NDArray[np.int64], numbers: NDArray[np.int64], heap: Heap) -> NDArray[np.int64]:
        return np.bincount(numbers[heap.type_index[nodes]], minlength=len(types))

    def size(nodes: NDArray[np.int64], numbers: NDArray[np.int64], heap: Heap) -> NDArray[np.int64]:
        kinds = numbers[heap.type_index[nodes]]
        return np.bincount(kinds, weights=heap.shallow_bytes[nodes], minlength=len(types)).astype(np.int64)

    return Growth(
        types=types,
        new_count=count(new_nodes, of_after, after),
        dead_count=count(dead_nodes, of_before, before),
        survived_count=count(matched_old, of_before, before),
        new_bytes=size(new_nodes, of_after, after),
        dead_bytes=size(dead_nodes, of_before, before),
        before_bytes=size(old, of_before, before),
        after_bytes=size(new, of_after, after),
        new_nodes=new_nodes,
        dead_nodes=dead_nodes,
        exact=exact,
    )


def _without(heap: Heap, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the living nodes but for some."""
    left = heap.living.copy()
    left[nodes] = False
    return np.flatnonzero(left)


def _numbers(heap: Heap, types: tuple[str, ...]) -> NDArray[np.int64]:
    """Tell where in a list of types those of a heap stand."""
    known = {name: number for number, name in enumerate(types)}
    return np.array([known[name] for name in heap.types], np.int64)
