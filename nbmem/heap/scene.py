"""A heap, and all in it that has a name: where paths to roots may begin."""

from __future__ import annotations

import contextvars
import gc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.dominators import reachable_from
from nbmem.heap.ends import derived_classes, nodes_at
from nbmem.heap.graph import RUNNING_FRAME, Heap
from nbmem.heap.hops import GONE
from nbmem.heap.labels import label_of
from nbmem.heap.paths import ALSO, CLOSED, END, Way, climb, descend
from nbmem.heap.roots import Root, interpreter_roots, is_class_by_name, outer_frames
from nbmem.heap.typenames import module_of, name_of

_CONTEXT = "_contextvars.Context"
#: C modules that never let go of their constants set counts of this size.
_FOR_EVER = 1 << 28
#: How often a search is done again because a class that it came to is no root.
_MOST_OPENED = 8


class Scene:
    """A heap, and all in it that has a name. It holds live objects: to be forgotten after use.

    Parameters
    ----------
    heap : Heap
    roots : sequence of Root
        What the caller knows by name; the interpreter's join them.
    namespace : dict, optional
        Whose names are variables.
    hidden : iterable of str
        Names of it that are told of by ``roots``.

    Attributes
    ----------
    marks : (n,) array of uint8
        Where paths may begin, and what none goes through.
    cut : set of (int, int)
        References that are looked on as gone.
    released : dict of int to int
        For some nodes, how many references from outside of the heap are looked on as gone.
    """

    def __init__(
        self,
        heap: Heap,
        *,
        roots: Sequence[Root],
        namespace: dict[str, Any] | None,
        hidden: Iterable[str],
    ) -> None:
        self.heap = heap
        self.namespace: dict[str, Any] = {} if namespace is None else namespace
        self._hidden = set(hidden)
        known = [*roots, *interpreter_roots()]
        addresses = {root.address or id(root.value) for root in known}
        addresses.update(
            id(each) for root in known for pair in root.cuts for each in pair if each is not None
        )
        self._at = nodes_at(heap, [*addresses, id(self.namespace)])
        self.roots: dict[int, Root] = {}
        for root in known:  # the first tells of it
            node = self._at.get(root.address or id(root.value))
            if node is not None:
                self.roots.setdefault(node, root)
        self.classes = {id(kind): kind for kind in derived_classes(object)}
        self.marks = self._marks()
        self.cut: set[tuple[int, int]] = set()
        self.released: dict[int, int] = {}
        # what a root tells of is no other root's answer
        self.told = {pair for root in known for pair in self.pairs(root.cuts) if pair[0] >= 0}

    def _marks(self) -> NDArray[np.uint8]:
        heap = self.heap
        marks = np.zeros(len(heap), np.uint8)
        marks[heap.surplus > 0] = ALSO
        if RUNNING_FRAME in heap.types:
            marks[heap.type_index == heap.types.index(RUNNING_FRAME)] = END
        for node, root in self.roots.items():
            marks[node] = root.mark
        kinds = np.fromiter(self.classes, np.uint64)
        marks[np.isin(heap.addresses, kinds)] = END
        return marks

    def forget(self) -> None:
        """Let go of all objects."""
        self.roots, self.classes, self.namespace = {}, {}, {}

    def node_of(self, value: object) -> int | None:
        """Find the node of a root, or of what its cure lets go of."""
        return self._at.get(id(value))

    def pairs(self, cuts: Iterable[tuple[Any, Any]]) -> list[tuple[int, int]]:
        """Find the nodes of references; -1 for what is outside of the heap."""
        return [
            (-1 if above is None else self._at[id(above)], self._at[id(below)])
            for above, below in cuts
            if id(below) in self._at and (above is None or id(above) in self._at)
        ]

    def close_frames(self) -> None:
        """Let no path begin in the frames that run the notebook."""
        outer = {id(frame) for frame in outer_frames(self.namespace)} if self.namespace else set()
        for node, root in self.roots.items():
            if root.kind == "frame" and id(root.value) in outer:
                self.marks[node] = CLOSED

    # -- searches

    def ways_to(self, node: int, *, most: int) -> list[Way]:
        """Find the shortest ways to a node, one from each root."""
        ways: list[Way] = []
        for _ in range(_MOST_OPENED):
            ways = climb(self.heap, node, self.marks, most=most, cut=self.told | self.cut)
            if not self._open_classes(ways):
                break
        return ways

    def _open_classes(self, ways: Sequence[Way]) -> bool:
        """Let a search go on beyond classes that their module does not have under their name."""
        opened = False
        for way in ways:
            kind = self.classes.get(int(self.heap.addresses[way.nodes[0]]))
            if kind is not None and way.nodes[0] not in self.roots and not is_class_by_name(kind):
                self.marks[way.nodes[0]] = 0
                opened = True
        return opened

    def ways_from_roots(
        self, gone: Iterable[tuple[int, int]] = ()
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Find the shortest way to every node: ``above`` and ``order``, as of ``descend``.

        From all that has a name first, then from what only native code holds; without the references that
        are ``gone``.
        """
        marks = self.marks
        named = [node for node in self.roots if not marks[node] & CLOSED]
        # a root of its own comes before what others share
        named.sort(key=lambda node: bool(marks[node] & ALSO))
        native = np.flatnonzero((self.heap.surplus > 0) & (marks & CLOSED == 0))
        starts = [np.array(named, np.uint32), native.astype(np.uint32)]
        return descend(self.heap, starts, marks, cut=self.told.union(gone))

    def still_reached(self, cut: Iterable[tuple[int, int]], released: Mapping[int, int]) -> NDArray[np.bool_]:
        """(n,) array: what some root reaches without these references, and without those from outside."""
        heap = self.heap
        gone = np.sort(np.array([above << 32 | below for above, below in cut], np.uint64))
        above = np.unique((gone >> np.uint64(32)).astype(np.int64))
        indices = heap.indices.copy()
        starts, counts = heap.indptr[above].astype(np.int64), np.diff(heap.indptr)[above].astype(np.int64)
        at = np.arange(int(counts.sum())) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        sources = np.repeat(above, counts)
        lost = np.isin(sources.astype(np.uint64) << np.uint64(32) | indices[at], gone)
        indices[at[lost]] = sources[lost]  # a reference to itself is none
        surplus = heap.surplus.copy()
        for node, count in released.items():
            surplus[node] -= count
        return reachable_from(heap.indptr, indices, np.flatnonzero(surplus > 0).astype(np.uint32))

    def is_named(self, node: int) -> bool:
        """Tell whether a path that begins here begins with something that has a name."""
        heap = self.heap
        if node in self.roots or int(heap.addresses[node]) in self.classes:
            return True
        return heap.type_of(node) in {RUNNING_FRAME, _CONTEXT}

    # -- names

    def names(self, namespace: int, node: int) -> list[str]:
        """List the names by which a namespace leads to an object, the clearest first."""
        held = self.roots[namespace].value
        address = int(self.heap.addresses[node])
        hidden = self._hidden if held is self.namespace else ()
        found = [
            name
            for name, value in list(dict.items(held))
            if id(value) == address and type(name) is str and name not in hidden
        ]
        found.sort(key=lambda name: (name.startswith("_"), len(name), name))
        return found

    def root_of(self, node: int) -> Root:
        """Tell what a path begins with."""
        known = self.roots.get(node)
        if known is not None:
            return known
        heap = self.heap
        kind = self.classes.get(int(heap.addresses[node]))
        if kind is not None:
            return _of_class(kind)
        if heap.type_of(node) == RUNNING_FRAME:
            where = label_of(heap, node).partition(",")[0]
            return Root(GONE, "frame", f"{where}, running", advice="until it ends")
        if heap.type_of(node) == _CONTEXT:
            return self._of_context(node)
        count = int(heap.surplus[node]) - self.released.get(node, 0)
        references = f"{count:,} reference{'s' if count != 1 else ''}"
        name = f"native code ({references} above all that are visible)"
        if count > _FOR_EVER:
            name = "native code (a constant, for ever)"
        return Root(self._live(node), "native code", name, mark=ALSO)

    def _of_context(self, node: int) -> Root:
        # the current context cannot be had, but a copy of it has the very same tree
        context = contextvars.copy_context()
        mine = {id(each) for each in gc.get_referents(context)}
        heap = self.heap
        if any(int(heap.addresses[each]) in mine for each in heap.referents(node)):
            return Root(context, "context variable", "the current context", mark=ALSO)
        advice = "until the thread or the task ends whose context it is"
        return Root(self._live(node), "context variable", "a context", mark=ALSO, advice=advice)

    def _live(self, node: int) -> Any:
        """Find the live object of a node, if the collector knows it."""
        known = gc.get_objects()
        at = np.flatnonzero(np.fromiter(map(id, known), np.uint64, len(known)) == self.heap.addresses[node])
        return known[int(at[0])] if len(at) else GONE


def _of_class(kind: type) -> Root:
    name, module = name_of(kind), module_of(kind)
    if module in {"__main__", "builtins"}:
        return Root(kind, "class", f"class {name}", str(type.__dict__["__qualname__"].__get__(kind)))
    return Root(kind, "class", f"class {name}", name, module)
