"""Who holds an object: the shortest paths from what has a name, what to cut, and what that frees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np

from nbmem.heap.capture import capture
from nbmem.heap.cures import Case, Cure, find_cure
from nbmem.heap.graph import IMMORTAL, INTERNED
from nbmem.heap.hops import GONE, Hop, follow
from nbmem.heap.paths import ALSO, SPREAD, Way
from nbmem.heap.pathwords import Place, place_of, text_of
from nbmem.heap.references import Link
from nbmem.heap.roots import Root
from nbmem.heap.scene import Scene
from nbmem.heap.shapes import Shape, shape_of
from nbmem.heap.typenames import name_of
from nbmem.heap.verdicts import statuses

#: Rounds of looking for more paths after those found are cut.
_MOST_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One object on a path; it refers to nothing of the user's.

    Parameters
    ----------
    reference : str
        How the one before refers to it: ``['2019']``, ``.frame``, ``(local x)``; empty for the first.
    type : str
    shallow_bytes, retained_bytes : int
    status : str
        ``expected`` to live, ``suspect``, or ``held``: it should be gone, and is not.
    reason : str
    suspect : bool
        Whether the reference that leads here may be the one too many.
    cut : bool
        Whether it is the one that the cure takes away.
    address : int
    """

    reference: str
    type: str
    shallow_bytes: int
    retained_bytes: int
    status: str
    reason: str
    suspect: bool
    cut: bool
    address: int


@dataclass(frozen=True, slots=True)
class RootPath:
    """One way by which something holds an object.

    Parameters
    ----------
    kind : str
        What it begins with; see ``Root``.
    root : str
        That, in words.
    text : str
        The whole path in one line.
    steps : tuple of Step
        From the root down to the object.
    count : int
        How many ways there are that differ only by an index or a key, or are as short.
    cure : str
        What to type so that it holds no longer; empty if there is nothing.
    advice : str
        Why not, or what the cure does besides.
    asked : bool
        Whether it is only the name by which the object was asked for.
    also : tuple of str
        Paths of other roots that go through the reference that the cure takes away.
    """

    kind: str
    root: str
    text: str
    steps: tuple[Step, ...]
    count: int
    cure: str
    advice: str
    asked: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds an object.

    Parameters
    ----------
    type : str
    shape : tuple of int or None
    shallow_bytes, retained_bytes : int
    refcount : int
        Without the references of the look itself.
    paths : tuple of RootPath
        The nearest named roots first, what only native code holds last, and the name that was asked by.
    freed_bytes : int
        What is freed when all the cures are done, and the name that was asked by is deleted.
    is_freed : bool
        Whether the object itself goes then.
    state : str
        ``held``, ``garbage`` (it waits for the collector), ``temporary`` (only this look holds it),
        ``immortal``, ``interned``.
    notes : tuple of str
        What could not be seen.
    """

    type: str
    shape: Shape | None
    shallow_bytes: int
    retained_bytes: int
    refcount: int
    paths: tuple[RootPath, ...]
    freed_bytes: int
    is_freed: bool
    state: str
    notes: tuple[str, ...] = ()


def find_root_paths(
    value: object,
    *,
    roots: Sequence[Root] = (),
    namespace: dict[str, Any] | None = None,
    asked: str | None = None,
    hidden: Iterable[str] = (),
    frame: FrameType | None = None,
    most: int = 10,
    place: Place = place_of,
) -> Holding:
    """Find out who holds an object.

    Parameters
    ----------
    value : object
    roots : sequence of Root
        What holds objects and has a name besides what the interpreter knows of.
    namespace : dict, optional
        Whose names are variables.
    asked : str, optional
        The expression that gave the object; if it is a name, that name is no answer.
    hidden : iterable of str
        Names of the namespace that are told of by ``roots``.
    frame : FrameType, optional
        Where the look was asked for: a local of that name is no answer either.
    most : int
        Paths that are wanted.
    place : callable
        Names files of code.

    Returns
    -------
    Holding

    Raises
    ------
    MemoryError, NotMeasured
        As for :func:`capture`.

    Notes
    -----
    One capture, and a search from the object upwards that ends at what has a name. Then the cures are applied
    to the arrays: if something holds the object still, that is searched for too.
    """
    heap = capture(held=[value])
    node = heap.node_at(id(value))
    if node is None:
        return Holding(name_of(type(value)), shape_of(value), 0, 0, 0, (), 0, False, "own", heap.notes)
    surplus = heap.surplus.copy()
    surplus[node] -= 1  # the look
    scene = Scene(replace(heap, surplus=surplus), roots=roots, namespace=namespace, hidden=hidden)
    search = _Search(scene, node, value, asked, place)
    try:
        scene.close_frames()
        search.close_name(frame)
        return search.holding(most)
    finally:
        scene.forget()
        search.value = None


class _Search:
    """The search for what holds one object.

    Parameters
    ----------
    scene : Scene
    node : int
    value : object
    asked : str or None
        The expression that gave it.
    place : callable
    """

    def __init__(self, scene: Scene, node: int, value: object, asked: str | None, place: Place) -> None:
        self.scene, self.heap = scene, scene.heap
        self.node, self.value, self.place = node, value, place
        self.asked = asked if asked is not None and asked.isidentifier() else None
        self._space = scene.node_of(scene.namespace)
        self._is_variable = (
            self.asked is not None
            and self._space is not None
            and dict.get(scene.namespace, self.asked, GONE) is value
        )
        self._done: set[int] = set()
        self._cures: set[str] = set()

    def close_name(self, frame: FrameType | None) -> None:
        """Let the local of the asking frame that was named be no answer."""
        if frame is None or self.asked is None or self.asked not in frame.f_code.co_varnames:
            return
        for node, root in self.scene.roots.items():
            if root.kind == "frame" and root.value is frame:
                self.scene.told.add((node, self.node))

    def holding(self, most: int) -> Holding:
        """Find the paths, round by round, until nothing would hold the object any more."""
        heap, scene = self.heap, self.scene
        found: list[RootPath] = []
        for _ in range(_MOST_ROUNDS):
            new = self._round(most - len(found))
            found += new
            if not new or len(found) >= most or not self._is_reached():
                break
        found.sort(key=lambda path: path.kind == "native code")
        asked = self._asked()
        still = self._without_name()
        is_freed = not still[self.node] and bool(heap.living[self.node])
        freed = int(heap.shallow_bytes[heap.living & ~still].sum()) if is_freed else 0
        return Holding(
            type=heap.type_of(self.node),
            shape=shape_of(self.value),
            shallow_bytes=int(heap.shallow_bytes[self.node]),
            retained_bytes=int(heap.retained_bytes[self.node]),
            refcount=self._refcount(),
            paths=(*found[:most], *asked),
            freed_bytes=freed,
            is_freed=is_freed,
            state=self._state(),
            notes=scene.heap.notes,
        )

    def _without_name(self) -> Any:
        pair = (self._space, self.node)
        if self._is_variable and self._space is not None:
            self.scene.cut.add((self._space, self.node))
        # what the frame that asks holds by that name goes when it ends
        frames = {pair for pair in self.scene.told if pair[1] == self.node and self._is_frame(pair[0])}
        self.scene.cut |= frames
        try:
            return self.scene.still_reached()
        finally:
            self.scene.cut -= {pair, *frames}

    def _is_frame(self, node: int) -> bool:
        root = self.scene.roots.get(node)
        return root is not None and root.kind == "frame"

    def _is_reached(self) -> bool:
        return bool(self._without_name()[self.node])

    def _refcount(self) -> int:
        heap = self.heap
        count = int(heap.refcounts[self.node])
        if count == IMMORTAL:
            return count
        referrers, _ = heap.referrers_of(np.array([self.node], np.uint32))
        return len(referrers) + max(0, int(heap.surplus[self.node]))

    def _state(self) -> str:
        heap, node = self.heap, self.node
        if heap.refcounts[node] == IMMORTAL:
            return "immortal"
        if heap.living[node]:
            return "held"
        if heap.states[node] == INTERNED and not len(heap.referrers(node)):
            return "interned"
        return "garbage" if len(heap.referrers(node)) else "temporary"

    # -- paths

    def _round(self, most: int) -> list[RootPath]:
        """Search once: one path for each root, the nearest first; then their cures count as done."""
        scene = self.scene
        found: list[RootPath] = []
        cuts: dict[tuple[int, int], int] = {}
        places: dict[frozenset[tuple[int, int]], int] = {}
        for way in self._ways(most):
            root = scene.root_of(way.nodes[0])
            names = self._names(root, way)
            if way.nodes[0] in self._done or names is None:
                continue
            if root.mark == ALSO:
                self._done.add(way.nodes[0])
            path, pairs = self.path_of(way, root, names)
            key = frozenset(pairs)
            if path.cure and (path.cure in self._cures or key in places):
                # another way through what the same cure takes away
                other = places.get(key)
                if other is not None and path.text != found[other].text:
                    found[other] = replace(found[other], also=(*found[other].also, path.text))
            else:
                places[key] = len(found)
                found.append(path)
                self._cures.add(path.cure)
            for pair in pairs:
                cuts[pair] = cuts.get(pair, 0) + 1
        for (above, below), count in cuts.items():
            if above < 0:
                scene.released[below] = scene.released.get(below, 0) + count
            else:
                scene.cut.add((above, below))
        return found

    def _ways(self, most: int) -> list[Way]:
        scene, node = self.scene, self.node
        ways = scene.ways_to(node, most=most + len(self._done))
        itself = scene.roots.get(node)
        if itself is not None and itself.mark == ALSO:
            return [Way((node,), (), ()), *ways]
        if self.heap.surplus[node] - scene.released.get(node, 0) > 0:
            return [*ways, Way((node,), (), ())]
        return ways

    def _names(self, root: Root, way: Way) -> list[str] | None:
        """List the names that a path begins with; None if none of them is an answer."""
        if root.mark != SPREAD or len(way.nodes) < 2:
            return []
        names = self.scene.names(way.nodes[0], way.nodes[1])
        if self._is_variable and way.nodes == (self._space, self.node):
            names = [name for name in names if name != self.asked]
        return names or None

    def path_of(
        self, way: Way, root: Root, names: Sequence[str], *, beside: Sequence[int] | None = None
    ) -> tuple[RootPath, list[tuple[int, int]]]:
        """Put a path into words, and find what its cure takes away."""
        heap = self.heap
        hops = follow(heap, root.value, way.nodes, way.counts, beside)
        if names and hops:
            hops[0].key, hops[0].many = names[0], False
        case = Case(root, hops, self.asked, names, self.scene.namespace)
        cure = find_cure(case)
        text = text_of(root, hops, [heap.type_of(hop.node) for hop in hops], self.place)
        if root.kind == "native code":
            text = f"{heap.type_of(way.nodes[0])}{text.removeprefix(root.name)}, held by {root.name}"
        if len(names) > 1:
            text += f"  (also {', '.join(names[1:4])}{', …' if len(names) > 4 else ''})"
        steps = self._steps(root, way.nodes[0], hops, cure)
        # of a namespace's names each counts as a way
        count = (*way.counts, 1, 1)[1 if names else 0]
        path = RootPath(root.kind, root.name, text, steps, count, cure.code, cure.advice)
        return path, self._pairs_of(root, way, hops, cure)

    def _pairs_of(self, root: Root, way: Way, hops: Sequence[Hop], cure: Cure) -> list[tuple[int, int]]:
        """List the references that a cure takes away; where there is none, where the path begins."""
        if cure.at < 0:
            pairs = self.scene.pairs(root.cuts)
            if pairs:
                return pairs
            if root.mark == ALSO:
                return [(-1, way.nodes[0])] * max(1, int(self.heap.surplus[way.nodes[0]]))
            return [(way.nodes[0], way.nodes[1])] if len(way.nodes) > 1 else []
        before = way.nodes[0] if cure.at == 0 else hops[cure.at - 1].node
        above = [before, *hops[cure.at].between][-1]
        below = hops[cure.at].node
        if hops[cure.at].many and below != self.node:  # the container is emptied
            return [(above, each) for each in np.unique(self.heap.referents(above)).tolist()]
        if any(hop.many for hop in hops[: cure.at]):
            return self._alike(above, below)
        return [(above, below)]

    def _alike(self, above: int, below: int) -> list[tuple[int, int]]:
        """List the references of others of the same type to the same object."""
        heap = self.heap
        others = np.unique(heap.referrers(below))
        alike = others[heap.type_index[others] == heap.type_index[above]]
        return [(each, below) for each in alike.tolist()]

    def _steps(self, root: Root, first: int, hops: Sequence[Hop], cure: Cure) -> tuple[Step, ...]:
        heap = self.heap
        nodes = [first, *(hop.node for hop in hops)]
        found = statuses(root, [root.value, *(hop.value for hop in hops)])
        held = next((i for i, each in enumerate(found) if each.name == "held"), len(found) - 1)
        expected = max((i for i, each in enumerate(found[: held + 1]) if each.name == "expected"), default=-1)
        return tuple(
            Step(
                reference="" if i == 0 else _reference(hops[i - 1]),
                type=heap.type_of(node),
                shallow_bytes=int(heap.shallow_bytes[node]),
                retained_bytes=int(heap.retained_bytes[node]),
                status=found[i].name,
                reason=found[i].reason,
                suspect=expected < i <= held,
                cut=cure.at == i - 1 and bool(cure.code) and i > 0,
                address=int(heap.addresses[node]),
            )
            for i, node in enumerate(nodes)
        )

    def _asked(self) -> list[RootPath]:
        """Tell of the name that was asked by, as the last thing that holds the object."""
        if not self._is_variable or self._space is None or self.asked is None:
            return []
        root = Root(self.scene.namespace, "variable", f"the name {self.asked}", "")
        hop = Hop(self.node, self.value, "key", self.asked, GONE)
        steps = self._steps(root, self._space, [hop], Cure("", "", 0))
        return [RootPath("variable", root.name, self.asked, steps, 1, f"del {self.asked}", "", asked=True)]


def path_of(scene: Scene, way: Way, beside: Sequence[int], place: Place) -> RootPath:
    """Put one way into words.

    Parameters
    ----------
    scene : Scene
    way : Way
    beside : sequence of int
        For each step above 1 where others like it are meant too.
    place : callable
        Names files of code.
    """
    root = scene.root_of(way.nodes[0])
    spread = root.mark == SPREAD and len(way.nodes) > 1
    names = scene.names(way.nodes[0], way.nodes[1]) if spread else []
    search = _Search(scene, way.nodes[-1], None, None, place)
    return search.path_of(way, root, names, beside=beside)[0]


def _reference(hop: Hop) -> str:
    if hop.many and hop.kind in ("key", "index"):
        return "[*]"
    return "" if hop.kind == "unnamed" else Link(hop.kind, hop.key, None).name.text
