"""What if a name was deleted: what comes back, and what holds the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nbmem.heap.answers import Deletion
from nbmem.heap.paths import ALSO, CLOSED, Way, climb, descend
from nbmem.heap.scene import Scene

#: A rest that is smaller is not worth a word.
_LEAST_REST = 1024
#: Holders that are named.
_MOST_HOLDERS = 3


def find_deletion(
    scene: Scene,
    node: int,
    still: np.ndarray[tuple[int], np.dtype[np.bool_]],
    gone: set[tuple[int, int]],
    text_of: Callable[[Way], str],
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
        Puts a way into words.

    Notes
    -----
    Classes, modules, namespaces and all else that has a name of its own are no part of the object.
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
    sizes = {int(each): _below(scene, int(each), marks) for each in _largest(scene, edge)}
    held: dict[str, int] = {}
    for each in sorted(sizes, key=lambda each: -sizes[each]):
        if sizes[each] < _LEAST_REST or len(held) >= _MOST_HOLDERS:
            break
        itself = scene.roots.get(each)
        if itself is not None and itself.mark == ALSO:
            ways = [Way((each,), (), ())]
        else:
            ways = climb(heap, each, scene.marks, most=1, cut=scene.told | gone)
            ways.sort(key=lambda way: not scene.is_named(way.nodes[0]))
        if ways:
            text = text_of(ways[0])
            held[text] = held.get(text, 0) + sizes[each]
    return Deletion(freed_bytes, rest_bytes, tuple(held.items()))


def _largest(scene: Scene, nodes: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> list[int]:
    retained = scene.heap.retained_bytes[nodes]
    found: list[int] = nodes[np.argsort(-retained, kind="stable")[: 4 * _MOST_HOLDERS]].tolist()
    return found


def _below(scene: Scene, node: int, marks: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> int:
    _, inside = descend(scene.heap, [np.array([node], np.uint32)], marks)
    return int(scene.heap.shallow_bytes[inside].sum())
