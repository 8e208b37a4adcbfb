"""Shortest ways from what holds to what is held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import Heap

if TYPE_CHECKING:
    from nbmem.heap import _climb as _part
else:
    try:
        from nbmem.heap import _climb as _part
    except ImportError:  # built without the native part
        from nbmem.heap import _climb_twin as _part

#: Marks of nodes. A way begins here; at each reference from here, another one does; a way begins here, and
#: others that begin further up may come through; no way comes through here; some references are cut.
END, SPREAD, ALSO, CLOSED, _LOSES = 1, 2, 4, 8, 16

#: Stands where no way leads.
UNSEEN = 0xFFFFFFFF
#: Ends that are written down at most, whatever is asked for.
_MOST_FOUND = 4096
#: So many ways, and more, are so many.
_MOST_WAYS = 1 << 62
#: Of more nodes not all ways are compared.
_MOST_COMPARED = 200


@dataclass(frozen=True, slots=True)
class Way:
    """A shortest way from an end to a node.

    Parameters
    ----------
    nodes : tuple of int
        From the end down to the node.
    counts : tuple of int
        For each of them but the last, how many shortest ways lead down from it; alike in length, and all
        ending in the same node.
    alike : tuple of int
        For each of them but the last, how many of those begin with a reference to the next of ``nodes``.
    """

    nodes: tuple[int, ...]
    counts: tuple[int, ...]
    alike: tuple[int, ...]


def climb(
    heap: Heap,
    target: int,
    marks: NDArray[np.uint8],
    *,
    most: int = 20,
    cut: Iterable[tuple[int, int]] = (),
) -> list[Way]:
    """Find the shortest way to a node from each of the nearest ends.

    Parameters
    ----------
    heap : Heap
    target : int
    marks : (n,) array of uint8
        ``END``, ``SPREAD``, ``ALSO``, ``CLOSED`` or 0; those of the target do not count.
    most : int
        Ends that are wanted; the others of the same distance are given too.
    cut : iterable of (int, int)
        References that are looked on as gone: from, to.

    Returns
    -------
    list of Way
        The shortest first.

    Notes
    -----
    Breadth first against the references: O(n + e) at worst, 20 bytes per node.
    """
    removed = np.sort(np.array([above << 32 | below for above, below in cut], np.uint64))
    marks = marks.copy()
    marks[target] = 0
    marks[(removed >> np.uint64(32)).astype(np.int64)] |= _LOSES
    below = np.full(len(heap), UNSEEN, np.uint32)
    queue, distance = np.empty(len(heap), np.uint32), np.empty(len(heap), np.uint32)
    ways = np.zeros(len(heap), np.float64)
    found = np.empty((max(most, _MOST_FOUND), 2), np.uint32)
    indptr, indices = heap.turned
    count = _part.climb(indptr, indices, target, marks, removed, most, below, queue, distance, ways, found)
    return [_way(heap, _down(above, node, below), below, ways) for above, node in found[:count].tolist()]


def descend(
    heap: Heap,
    starts: Sequence[NDArray[np.uint32]],
    marks: NDArray[np.uint8],
    *,
    cut: Iterable[tuple[int, int]] = (),
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Find the shortest way to every node from the nearest of some nodes.

    Parameters
    ----------
    heap : Heap
    starts : sequence of arrays of uint32
        Where ways begin; what those of the first array reach is not asked of the next.
    marks : (n,) array of uint8
        Of them only ``CLOSED`` counts.
    cut : iterable of (int, int)
        References that are looked on as gone: from, to.

    Returns
    -------
    above : (n,) array of uint32
        The node before each on its way; itself where the way begins; ``UNSEEN`` where none leads.
    order : array of uint32
        The nodes that are reached, each after the one before it. O(n + e).
    """
    removed = np.sort(np.array([above << 32 | below for above, below in cut], np.uint64))
    marks = marks.copy()
    marks[(removed >> np.uint64(32)).astype(np.int64)] |= _LOSES
    above = np.full(len(heap), UNSEEN, np.uint32)
    orders = []
    for part in starts:
        queue = np.empty(len(heap), np.uint32)
        nodes = np.ascontiguousarray(part, np.uint32)
        count = _part.descend(heap.indptr, heap.indices, nodes, marks, removed, above, queue)
        orders.append(queue[:count])
    return above, np.concatenate(orders)


def way_of_all(above: NDArray[np.uint32], nodes: NDArray[np.uint32]) -> tuple[Way, list[int]]:
    """Find the way to the first of some nodes that are held alike, and where those to the others differ.

    Parameters
    ----------
    above : (n,) array of uint32
        As of :func:`descend`.
    nodes : array of uint32
        The first one stands for all.

    Returns
    -------
    (Way, list of int)
        For each step, how many nodes the ways lead to that are as long.
    """
    ways = []
    for node in nodes[:_MOST_COMPARED].tolist():
        way = [node]
        while int(above[way[-1]]) != way[-1]:
            way.append(int(above[way[-1]]))
        ways.append(way[::-1])
        if len(way) * len(ways) > _MOST_COMPARED**2:
            break
    alike = [way for way in ways if len(way) == len(ways[0])]
    beside = [len({way[step] for way in alike}) for step in range(1, len(ways[0]))]
    return Way(tuple(ways[0]), (1,) * len(beside), (1,) * len(beside)), beside


def _down(above: int, node: int, below: NDArray[np.uint32]) -> list[int]:
    nodes, following = [above, node], memoryview(below.data)  # an array's elements take thrice as long
    while following[nodes[-1]] != nodes[-1]:
        nodes.append(following[nodes[-1]])
    return nodes


def _way(heap: Heap, nodes: list[int], below: NDArray[np.uint32], ways: NDArray[np.float64]) -> Way:
    here, there = np.array(nodes[:-1], np.int64), np.array(nodes[1:], np.int64)
    starts, lengths = heap.indptr[here].astype(np.int64), np.diff(heap.indptr)[here].astype(np.int64)
    at = np.arange(int(lengths.sum())) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    steps = np.repeat(np.arange(len(here)), lengths)
    times = np.bincount(steps[heap.indices[at] == there[steps]], minlength=len(here))
    # more ways than there are numbers is infinity, which no int can be
    alike = np.minimum(times * ways[there], _MOST_WAYS).astype(np.int64)
    counts = np.minimum(ways[here], _MOST_WAYS).astype(np.int64)
    if len(counts) and below[nodes[0]] == UNSEEN:
        counts[0] = alike[0]
    return Way(tuple(nodes), tuple(counts.tolist()), tuple(alike.tolist()))
