"""What if a name was deleted: what comes back, and what holds the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.answers import Deletion
from nbmem.heap.paths import ALSO, CLOSED, SPREAD, UNSEEN, Way, descend, way_of_all
from nbmem.heap.scene import Scene

#: A rest that is smaller is not worth a word.
_LEAST_REST = 1024
#: Holders that are named.
_MOST_HOLDERS = 3

Nodes = NDArray[np.uint32]


def find_deletion(
    scene: Scene,
    node: int,
    still: NDArray[np.bool_],
    gone: set[tuple[int, int]],
    text_of: Callable[[Way, list[int]], str],
) -> Deletion:
    """Find out what would come of deleting a name.

    Parameters
    ----------
    scene : Scene
    node : int
        The object that has the name.
    still : (n,) array of bool
        What would be reached without the name.
    gone : set of (int, int)
        The references that go with it.
    text_of : callable
        Puts a way into words; the list has for each step how many objects there are that it could lead to.

    Notes
    -----
    Classes, modules, namespaces and all else that has a name of its own are no part of the object. O(n + e).
    """
    heap = scene.heap
    marks = np.where(scene.marks & ~np.uint8(ALSO), np.uint8(CLOSED), np.uint8(0)).astype(np.uint8)
    marks[node] = 0
    above, inside = descend(heap, [np.array([node], np.uint32)], marks)
    rest = inside[still[inside]]
    freed_bytes = int(heap.shallow_bytes[heap.living & ~still].sum())
    rest_bytes = int(heap.shallow_bytes[rest].sum())
    if rest_bytes < _LEAST_REST:
        return Deletion(freed_bytes, 0)
    # where the rest begins: what is still held of what the object leads to at first
    edge = rest[~still[above[rest]] | (rest == node)]
    return Deletion(freed_bytes, rest_bytes, _holders(scene, edge, gone, marks, text_of))


def _holders(
    scene: Scene,
    edge: Nodes,
    gone: set[tuple[int, int]],
    marks: NDArray[np.uint8],
    text_of: Callable[[Way, list[int]], str],
) -> tuple[tuple[str, int], ...]:
    """Find the holders of some objects, each with the bytes below those that it holds."""
    heap = scene.heap
    above, _ = scene.ways_from_roots(gone)
    edge = edge[above[edge] != UNSEEN]
    first = _first(scene, above)[edge]
    sizes = {each: int(heap.retained_bytes[edge[first == each]].sum()) for each in np.unique(first).tolist()}
    found: list[tuple[str, int]] = []
    for each in sorted(sizes, key=lambda each: -sizes[each])[:_MOST_HOLDERS]:
        held = edge[first == each]
        _, below = descend(heap, [held], marks)
        size = int(heap.shallow_bytes[below].sum())
        if size >= _LEAST_REST or not found:
            found.append((text_of(*_way(scene, above, held)), size))
    return tuple(found)


def _way(scene: Scene, above: Nodes, nodes: Nodes) -> tuple[Way, list[int]]:
    """Give the way to the largest of some nodes, and in which steps those to others of its type differ."""
    nodes = nodes[np.argsort(-scene.heap.retained_bytes[nodes], kind="stable")]
    kinds = scene.heap.type_index[nodes]
    return way_of_all(above, nodes[kinds == kinds[0]])


def _first(scene: Scene, above: Nodes) -> Nodes:
    """(n,) array: where the way to each node begins; of a namespace, what it leads to first."""
    first = above.copy()
    numbers = np.arange(len(first), dtype=np.uint32)
    first[first == UNSEEN] = numbers[first == UNSEEN]
    spread = scene.marks[first] & SPREAD != 0
    first[spread] = numbers[spread]
    while True:  # each round doubles the steps
        further = first[first]
        if np.array_equal(further, first):
            return first
        first = further
