"""Who holds an object: the shortest paths from what has a name, what to cut, and what that frees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.alike import Candidate, Pairs, merged, place_of_cure, put_beside
from nbmem.heap.answers import Deletion, Holding, RootPath, Step
from nbmem.heap.capture import capture
from nbmem.heap.cures import Cure, find_cure
from nbmem.heap.deletion import find_deletion
from nbmem.heap.dominators import reachable_from
from nbmem.heap.frames import locals_of
from nbmem.heap.graph import IMMORTAL, INTERNED
from nbmem.heap.hops import GONE, Hop, follow
from nbmem.heap.letgo import Case
from nbmem.heap.paths import ALSO, SPREAD, Way
from nbmem.heap.pathwords import Place, place_of, text_of
from nbmem.heap.references import Link
from nbmem.heap.roots import Root
from nbmem.heap.scene import Scene
from nbmem.heap.shapes import shape_of
from nbmem.heap.typenames import name_of
from nbmem.heap.verdicts import statuses

__all__ = ["Deletion", "Holding", "RootPath", "Step", "find_root_paths", "path_of"]

#: Rounds of looking for more paths after those found are cut.
_MOST_ROUNDS = 6


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
    heap = capture(held=_Look((value,)))
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


class _Look(tuple[object, ...]):
    """What is looked at. As its class is nbmem's own, it is left out of the heap, and is no holder."""

    __slots__ = ()


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
        self._cured: Pairs = Counter()
        self._looks: set[tuple[int, int]] = set()
        self._cures: dict[str, int] = {}

    def close_name(self, frame: FrameType | None) -> None:
        """Let the local of the asking frame that was named be no answer."""
        if frame is None or self.asked is None or self.asked not in frame.f_code.co_varnames:
            return
        for node, root in self.scene.roots.items():
            if root.kind == "frame" and root.value is frame:
                self._looks.add((node, self.node))
        for _, value, between in locals_of(frame):
            # who asked for its locals() gave it a dict of them
            known = self.heap.node_at(between[-1]) if value is self.value and between else None
            if known is not None and self.heap.type_of(known) == "dict":
                self._looks.add((known, self.node))
        self.scene.told |= self._looks

    def holding(self, most: int) -> Holding:
        """Find the paths, round by round, until nothing would hold the object any more."""
        heap, scene = self.heap, self.scene
        deletion = self._deletion()
        found: list[RootPath] = []
        for _ in range(_MOST_ROUNDS):
            new = self._round(most - len(found))
            found += new
            if not new or len(found) >= most or not self._is_reached():
                break
            self._cures = dict.fromkeys(self._cures, most)  # those of this round are found no more
        found.sort(key=lambda path: path.kind == "native code")
        state = self._state()
        still = self._still(self._cured)
        is_freed = not still[self.node] and bool(heap.living[self.node])
        if state == "held":
            freed = int(heap.shallow_bytes[heap.living & ~still].sum()) if is_freed else 0
            retained = int(heap.retained_bytes[self.node])
        else:  # what goes with it
            freed = retained = self._led_to()
        return Holding(
            type=heap.type_of(self.node),
            shape=shape_of(self.value),
            shallow_bytes=int(heap.shallow_bytes[self.node]),
            retained_bytes=retained,
            refcount=self._refcount(),
            paths=(*found[:most], *self._asked()),
            freed_bytes=freed,
            is_freed=is_freed,
            state=state,
            notes=scene.heap.notes,
            deletion=deletion,
        )

    def _led_to(self) -> int:
        """Sum what only an object leads to that nothing holds."""
        heap = self.heap
        reached = reachable_from(heap.indptr, heap.indices, np.array([self.node], np.uint32))
        return int(heap.shallow_bytes[reached & ~heap.living].sum())

    def _deletion(self) -> Deletion | None:
        if not self._is_variable or self._space is None or not self.heap.living[self.node]:
            return None

        def text_of_way(way: Way, beside: list[int]) -> str:
            root = self.scene.root_of(way.nodes[0])
            names = self._names(root, way) or []
            return self.path_of(way, root, names, beside=beside)[0].text

        return find_deletion(self.scene, self.node, self._still(Counter()), self._of_name(), text_of_way)

    def _of_name(self) -> set[tuple[int, int]]:
        """Give the references that go with the name that was asked by."""
        # what the frame that asks holds by that name goes when it ends
        pairs = set(self._looks)
        if self._is_variable and self._space is not None:
            names = self.scene.names(self._space, self.node)
            if names in ([], [self.asked]):  # those of outputs go by the cure of these
                pairs.add((self._space, self.node))
        return pairs

    def _still(self, gone: Pairs) -> NDArray[np.bool_]:
        """(n,) array: what is still reached without some references and the name that was asked by."""
        released = {below: count for (above, below), count in gone.items() if above < 0}
        cut = self._of_name().union(pair for pair in gone if pair[0] >= 0)
        return self.scene.still_reached(cut, released)

    def _is_reached(self) -> bool:
        gone = Counter(dict.fromkeys(self.scene.cut, 1))
        gone.update({(-1, node): count for node, count in self.scene.released.items()})
        return bool(self._still(gone)[self.node])

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
        found: list[Candidate] = []
        places: dict[tuple[int, int], int] = {}
        for way in self._ways(most):
            if len(found) >= most:
                break
            root = scene.root_of(way.nodes[0])
            names = self._names(root, way)
            if way.nodes[0] in self._done or names is None:
                continue
            path, pairs = self.path_of(way, root, names)
            place = place_of_cure(way, places)
            if path.cure in self._cures:  # it takes this away too
                place = self._cures[path.cure] if place is None else place
                self._take(pairs, cured=True)
            if place is not None:
                if place < len(found):
                    put_beside(found[place], path)
                continue
            if root.mark == ALSO and path.cut_at_root:
                self._done.add(way.nodes[0])
            if path.cure:
                places.update(dict.fromkeys(pairs, len(found)))
                self._cures[path.cure] = len(found)
            found.append(Candidate(path, way, pairs))
        kept = merged(found, places)
        for each in kept:
            self._take(each.pairs, cured=bool(each.path.cure))
        return [each.path for each in kept]

    def _take(self, pairs: Pairs, *, cured: bool) -> None:
        """Look on references as gone; without a cure only in the search for other paths."""
        for (above, below), count in pairs.items():
            if above < 0:
                self.scene.released[below] = self.scene.released.get(below, 0) + count
            else:
                self.scene.cut.add((above, below))
        if cured:
            self._cured.update(pairs)

    def _ways(self, most: int) -> list[Way]:
        scene, node = self.scene, self.node
        ways = scene.ways_to(node, most=most + len(self._done))
        ways.sort(key=lambda way: not scene.is_named(way.nodes[0]))
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
    ) -> tuple[RootPath, Pairs]:
        """Put a path into words, and find what its cure takes away."""
        heap = self.heap
        hops = follow(heap, root.value, way.nodes, way.counts, beside=beside, end=self.value)
        if names and hops:
            hops[0].key, hops[0].many = names[0], False
        case = Case(root, hops, self.asked, names, self.scene.namespace)
        cure = find_cure(case)
        text = text_of(root, hops, [heap.type_of(hop.node) for hop in hops], self.place)
        if root.kind == "native code":
            first = heap.type_of(way.nodes[0]).removeprefix("__main__.")
            text = f"{first}{text.removeprefix(root.name)}, held by {root.name}"
        if len(names) > 1:
            text += f"  (also {', '.join(names[1:4])}{', …' if len(names) > 4 else ''})"
        steps = self._steps(root, way.nodes[0], hops, cure)
        # of a namespace's names each counts as a way
        count = (*way.counts, 1, 1)[1 if names else 0]
        path = RootPath(
            root.kind, root.name, text, steps, count, cure.code, cure.advice, cut_at_root=cure.at < 0
        )
        return path, self._pairs_of(root, way, hops, cure)

    def _pairs_of(self, root: Root, way: Way, hops: Sequence[Hop], cure: Cure) -> Pairs:
        """Count the references that a cure takes away; where there is none, those where the path begins."""
        if cure.at < 0:
            pairs = self.scene.pairs(root.cuts)
            if not pairs and root.mark == ALSO:
                return Counter({(-1, way.nodes[0]): max(1, int(self.heap.surplus[way.nodes[0]]))})
            if not pairs and len(way.nodes) > 1:
                return Counter([(way.nodes[0], way.nodes[1])])
            return Counter(pairs)
        before = way.nodes[0] if cure.at == 0 else hops[cure.at - 1].node
        above = [before, *hops[cure.at].between][-1]
        below = hops[cure.at].node
        if hops[cure.at].many and below != self.node:  # the container is emptied
            return Counter((above, each) for each in np.unique(self.heap.referents(above)).tolist())
        if any(hop.many for hop in hops[: cure.at]):
            return Counter(self._alike(above, below))
        return Counter([(above, below)])

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
    search = _Search(scene, way.nodes[-1], GONE, None, place)
    return search.path_of(way, root, names, beside=beside)[0]


def _reference(hop: Hop) -> str:
    if hop.many and hop.kind in ("key", "index"):
        return "[*]"
    if hop.kind == "gap":
        return f"… {hop.key:,} more"
    return "" if hop.kind == "unnamed" else Link(hop.kind, hop.key, None).name.text
