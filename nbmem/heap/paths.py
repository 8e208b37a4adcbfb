"""Shortest ways from what holds to what is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import Heap

_UNSEEN = 0xFFFFFFFF


def shortest_paths(
    heap: Heap,
    target: int,
    ends: NDArray[np.bool_],
    *,
    most: int = 20,
    closed: NDArray[np.bool_] | None = None,
) -> list[tuple[int, ...]]:
    """Find the shortest path to a node from each of the nearest ends, each end once.

    Parameters
    ----------
    heap : Heap
    target : int
    ends : (n,) array of bool
        Where a path may begin: roots, namespaces. What holds an end is not asked.
    most : int
        Ends that are wanted; more of the same distance are given too.
    closed : (n,) array of bool, optional
        Nodes that no path goes through, nor begins at; the target itself may be one.

    Returns
    -------
    list of tuple of int
        Each from an end down to the target, the shortest first; of several paths of the same length from one
        end, one. ``(target,)`` alone where the target is an end itself.

    Notes
    -----
    Breadth first against the references, level by level: O(n + e) at worst, and 4 bytes per node.
    """
    below = np.full(len(heap), _UNSEEN, np.uint32)
    below[target] = target
    paths: list[tuple[int, ...]] = [(target,)] if ends[target] else []
    frontier = np.array([target], np.uint32)
    while len(frontier) and len(paths) < most:
        referrers, referents = heap.referrers_of(frontier)
        fresh = below[referrers] == _UNSEEN
        if closed is not None:
            fresh &= ~closed[referrers]
        referrers, referents = referrers[fresh], referents[fresh]
        referrers, first = np.unique(referrers, return_index=True)
        below[referrers] = referents[first]
        paths += [_down(below, int(node), target) for node in referrers[ends[referrers]].tolist()]
        frontier = referrers[~ends[referrers]]
    return paths


def _down(below: NDArray[np.uint32], node: int, target: int) -> tuple[int, ...]:
    path = [node]
    while path[-1] != target:
        path.append(int(below[path[-1]]))
    return tuple(path)
