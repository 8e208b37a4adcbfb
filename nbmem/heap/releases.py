"""What would be freed if some references went: several sets of them, each alone and all together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.dominators import NONE, dominator_tree, reachable_from
from nbmem.heap.ends import nodes_at
from nbmem.heap.graph import INTERNED, Heap
from nbmem.heap.paths import END, SPREAD
from nbmem.heap.pathwords import Place
from nbmem.heap.rootpaths import RootPath, path_of
from nbmem.heap.scene import Scene

#: Kinds of roots that let go of what they hold; others hold it for a reason of their own.
_KEEPERS = ("output", "error", "figure", "widget")


@dataclass(frozen=True, slots=True)
class Reference:
    """A live object that refers, one that it refers to, and how many of such references are meant.

    Parameters
    ----------
    above, below : object
    count : int or None
        None: all of them.
    """

    above: Any
    below: Any
    count: int | None = None


@dataclass(slots=True, eq=False)
class Bundle:
    """References that go together. It holds live objects: to be forgotten after use.

    Parameters
    ----------
    references : list of Reference
    parts : list of Bundle
        Others that go with it.
    """

    references: list[Reference] = field(default_factory=list)
    parts: list[Bundle] = field(default_factory=list)

    def all(self) -> Iterator[Bundle]:
        """List it and all of its parts, each before its own."""
        yield self
        for part in self.parts:
            yield from part.all()

    def forget(self) -> None:
        """Let go of all objects."""
        for part in self.parts:
            part.forget()
        self.references.clear()
        self.parts.clear()


class Weights:
    """What each of some bundles would free.

    Parameters
    ----------
    heap : Heap
    top : Bundle
        Whose parts, and theirs, are weighed.

    Notes
    -----
    Each bundle is a node of its own, which the references then come from, and which only the bundle leads to
    that it is part of. What such a node dominates is what goes with it: one dominator tree, O(n + e), for
    however many bundles. A reference that stands in several belongs to the first.
    """

    def __init__(self, heap: Heap, top: Bundle) -> None:
        self.heap = heap
        self._bundles = list(top.all())
        self._numbers = {id(bundle): len(heap) + number for number, bundle in enumerate(self._bundles)}
        self._nodes = nodes_at(heap, _addresses(self._bundles))
        self._cut: dict[int, list[tuple[int, int]]] = {}
        self._tree = self._made()
        sizes = np.append(heap.shallow_bytes, np.zeros(len(self._bundles), np.int64))
        self._bytes = self._tree.retained(sizes)

    def _made(self) -> Any:
        heap = self.heap
        indices = heap.indices.copy()
        rows: list[list[int]] = []
        for bundle in self._bundles:
            row = [self._numbers[id(part)] for part in bundle.parts]
            cut = self._cut[id(bundle)] = []
            for above, below, count in self._of(bundle):
                begin, end = int(heap.indptr[above]), int(heap.indptr[above + 1])
                found = np.flatnonzero(indices[begin:end] == below)
                indices[begin + found[:count]] = above  # a reference to itself is none
                row += [below] * bool(len(found))
                if count is None or count >= len(found):
                    cut.append((above, below))
            rows.append(row)
        ends = len(indices) + np.cumsum([len(row) for row in rows])
        added = np.array([each for row in rows for each in row], np.uint32)
        return dominator_tree(
            np.append(heap.indptr, ends.astype(np.uint32)),
            np.append(indices, added),
            np.append(heap.roots, np.uint32(len(heap))),
        )

    def _of(self, bundle: Bundle) -> Iterator[tuple[int, int, int | None]]:
        for each in bundle.references:
            above, below = self._nodes.get(id(each.above)), self._nodes.get(id(each.below))
            if above is not None and below is not None and above != below:
                yield above, below, each.count

    def freed_bytes(self, bundle: Bundle) -> int:
        """Tell what would be freed if only this bundle went."""
        return int(self._bytes[self._numbers[id(bundle)]])

    def is_freed(self, value: object, bundle: Bundle) -> bool:
        """Tell whether an object would go with a bundle."""
        node, goal = self._nodes.get(id(value)), self._numbers[id(bundle)]
        idom = self._tree.idom
        while node is not None and node != NONE and node < len(idom):
            if node == goal:
                return True
            node = int(idom[node])
        return False

    def node_of(self, value: object) -> int | None:
        """Find the node of an object that one of the references leads to."""
        return self._nodes.get(id(value))

    def pairs(self, bundle: Bundle) -> list[tuple[int, int]]:
        """List the pairs of nodes between which no reference is left if a bundle goes."""
        return [pair for each in bundle.all() for pair in self._cut[id(each)]]


def _addresses(bundles: Iterable[Bundle]) -> Iterator[int]:
    for bundle in bundles:
        for each in bundle.references:
            yield id(each.above)
            yield id(each.below)


def garbage_bytes(heap: Heap) -> int:
    """Sum what nothing holds and the collector will free."""
    return int(heap.shallow_bytes[~heap.living & (heap.states != INTERNED)].sum())


def own_reach(heap: Heap, starts: Iterable[Reference], scene: Scene) -> NDArray[np.bool_]:
    """Tell what an error holds of itself: the locals of its frames, and what they lead to.

    Parameters
    ----------
    heap : Heap
    starts : iterable of Reference
        To exceptions and tracebacks.
    scene : Scene

    Returns
    -------
    (n,) array of bool

    Notes
    -----
    What has a name of its own is not followed, nor is ``f_back``: the frames that called the code which
    failed lead to the whole notebook.
    """
    at = nodes_at(heap, [id(each.below) for each in starts])
    marks = scene.marks.copy()
    marks[list(at.values())] = 0
    # variables and what has a reason of its own to live; other roots may be locals of the frames
    ends = np.flatnonzero(marks & (SPREAD | END)).astype(np.uint32)
    indices = heap.indices.copy()
    if "frame" in heap.types:
        frames = heap.type_index == heap.types.index("frame")
        for node in np.flatnonzero(frames).tolist():
            row = indices[int(heap.indptr[node]) : int(heap.indptr[node + 1])]
            row[frames[row]] = node
    return reachable_from(heap.indptr, indices, np.fromiter(at.values(), np.uint32), without=ends)


def paths_left(  # noqa: PLR0917
    scene: Scene, weights: Weights, gone: Bundle, value: object, place: Place, most: int
) -> list[RootPath]:
    """Find what would still hold an object if a bundle were gone.

    Parameters
    ----------
    scene : Scene
        Names that go are among its hidden ones.
    weights : Weights
    gone : Bundle
    value : object
    place : callable
        Names files of code.
    most : int
        Paths at most.
    """
    node = weights.node_of(value)
    if node is None:
        return []
    heap = weights.heap
    before, marks = scene.cut, scene.marks
    pairs = weights.pairs(gone)
    scene.cut, scene.marks = before | set(pairs), marks.copy()
    for _, below in pairs:
        root = scene.roots.get(below)
        if root is not None and root.kind in _KEEPERS and heap.surplus[below] <= 0:
            scene.marks[below] = 0  # no path begins there any more
    try:
        found = []
        for way in scene.ways_to(node, most=most + 1):
            root = scene.root_of(way.nodes[0])
            named = root.mark == SPREAD and len(way.nodes) > 1
            if not named or scene.names(way.nodes[0], way.nodes[1]):
                counts = [*way.counts, 1]
                beside = [1 + (here != after) for here, after in pairwise(counts)]
                found.append(path_of(scene, way, beside, place))
        return found[:most]
    finally:
        scene.cut, scene.marks = before, marks
