"""What each name of a namespace holds: what deleting it would free, what it shares, who else holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.capture import capture
from nbmem.heap.dominators import NONE, reachable_from
from nbmem.heap.ends import ends_of, module_namespaces, nodes_at
from nbmem.heap.graph import Heap
from nbmem.heap.holders import Holder, Words, cut
from nbmem.heap.shapes import shape_of
from nbmem.heap.sharing import Sharing, share, topmost

#: Other variables that are named of one, and from how many bytes on they are.
_MOST_PARTNERS, _LEAST_SHARED = 4, 1024


@dataclass(frozen=True, slots=True)
class Holding:
    """What one name holds; it refers to nothing of the user's.

    Parameters
    ----------
    name : str
    type : str
        Of its object; with the module, those of the builtins without.
    shape : tuple of int or None
        As its library tells; of a builtin container its length.
    shallow_bytes : int
        The object, and the buffers that it owns itself.
    retained_bytes : int
        What would be freed if the object went.
    freed_if_deleted_bytes : int
        What ``del name`` would free: as much, or 0 where something else holds the object.
    shared_bytes : int
        What it leads to that would stay, because something else holds it too; classes, modules and what
        only they lead to do not count.
    shared_with : tuple of str
        The other names that lead to some of that, those with the most first.
    held_by : tuple of str
        What else holds the object, where deleting the name frees nothing.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    shallow_bytes: int
    retained_bytes: int
    freed_if_deleted_bytes: int
    shared_bytes: int
    shared_with: tuple[str, ...]
    held_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What some names of a namespace hold.

    Parameters
    ----------
    names : tuple of Holding
        Those that free most first.
    freed_together_bytes : int
        What would be freed if all of these names were deleted.
    shared_bytes : int
        What at least two of them lead to, each object once.
    notes : tuple of str
        What could not be seen.
    """

    names: tuple[Holding, ...]
    freed_together_bytes: int
    shared_bytes: int
    notes: tuple[str, ...] = ()


def holdings(namespace: dict[str, Any], names: Iterable[str], *, holders: Sequence[Holder] = ()) -> Holdings:
    """Find out what names of a namespace hold.

    Parameters
    ----------
    namespace : dict
        Where the names are bound.
    names : iterable of str
        Which of them to tell of; what they share is told of these. Those that are not bound are left out.
    holders : sequence of Holder
        What holds objects besides, and has a name of its own: outputs, the last error.

    Returns
    -------
    Holdings

    Raises
    ------
    MemoryError, NotMeasured
        As for :func:`capture`.

    Notes
    -----
    One capture of the whole heap. ``del`` takes one reference of the namespace away. The object goes if that
    was the only way to it that does not lead through itself: if the namespace is its immediate dominator,
    every other referrer is dominated by it, nothing outside the graph holds it, and no other name does. What
    goes with it is what it dominates. Objects in a cycle go when the collector runs.
    """
    asked = list(dict.fromkeys(names))
    heap = capture(held=[namespace])
    spaces = [*module_namespaces(), id(namespace)]
    known = nodes_at(heap, [*spaces, id(sys.modules), *(id(holder.value) for holder in holders)])
    node = known.get(id(namespace))
    if node is None:  # not reached: everything that is held is a node
        return Holdings((), 0, 0, heap.notes)
    scene = _Scene(heap, node, namespace)
    listed = [name for name in asked if name in scene.node_of]
    nodes = list(dict.fromkeys(scene.node_of[name] for name in listed))
    sharing = share(heap, nodes, ends_of(heap, [known[each] for each in spaces if each in known]))
    kept = heap.tree.retained(np.where(sharing.inside, heap.shallow_bytes, 0))
    words = Words(heap, node, names=scene.names_of, values=namespace, holders=holders, nodes=known)
    places = {each: place for place, each in enumerate(nodes)}
    found = [scene.holding(name, sharing, kept, places, words) for name in listed]
    found.sort(key=lambda each: (-each.freed_if_deleted_bytes, -each.retained_bytes, each.name))
    return Holdings(tuple(found), scene.freed_by(listed), sharing.shared_bytes, heap.notes)


class _Scene:
    """A heap, and where the names of a namespace are in it."""

    def __init__(self, heap: Heap, node: int, namespace: dict[str, Any]) -> None:
        self.heap = heap
        self.node = node
        row = heap.referents(node)
        addresses = dict(zip(heap.addresses[row].tolist(), row.tolist(), strict=True))
        self.node_of: dict[str, int] = {}
        self.names_of: dict[int, list[str]] = {}
        self._references: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        for name, value in list(dict.items(namespace)):
            here = addresses.get(id(value))
            if type(name) is str and here is not None:
                self.node_of[name] = here
                self.names_of.setdefault(here, []).append(name)
                # a string may be its own name
                self._references[name] = 2 if name is value else 1
                self._shapes[name] = shape_of(value)
        for bound in self.names_of.values():
            bound.sort(key=lambda name: (name.startswith("_"), len(name), name))
        self._top = topmost(heap.tree.idom, node)
        self._counts = dict(zip(*(each.tolist() for each in np.unique(row, return_counts=True)), strict=True))

    def is_freed(self, name: str) -> bool:
        """Tell whether an object would go with one of its names."""
        heap, node = self.heap, self.node_of[name]
        if heap.surplus[node] > 0 or heap.tree.idom[node] != self.node:
            return False
        if self._counts[node] > self._references[name]:
            return False
        referrers = heap.referrers(node)
        others = referrers[(referrers != self.node) & (heap.tree.idom[referrers] != NONE)]
        return bool((self._top[others] == node).all())

    def holding(
        self,
        name: str,
        sharing: Sharing,
        kept: NDArray[np.int64],
        places: Mapping[int, int],
        words: Words,
    ) -> Holding:
        """Put together what one name holds."""
        heap, node = self.heap, self.node_of[name]
        retained = int(heap.retained_bytes[node])
        freed = self.is_freed(name)
        place = places[node]
        inside = bool(sharing.inside[node])
        shared = int(sharing.reached_bytes[place] - kept[node]) if inside else 0
        return Holding(
            name=cut(name),
            type=heap.type_of(node),
            shape=self._shapes[name],
            shallow_bytes=int(heap.shallow_bytes[node]),
            retained_bytes=retained,
            freed_if_deleted_bytes=retained if freed else 0,
            shared_bytes=shared,
            shared_with=self._partners(place, sharing, list(places)) if shared >= _LEAST_SHARED else (),
            held_by=() if freed else tuple(words.of(node, beside=name)),
        )

    def _partners(self, place: int, sharing: Sharing, nodes: list[int]) -> tuple[str, ...]:
        overlap = sharing.overlap_bytes[place]
        # a name that leads to the object itself is told as one that holds it
        others = np.flatnonzero((overlap >= _LEAST_SHARED) & ~sharing.reaches[:, place])
        others = others[np.argsort(-overlap[others], kind="stable")]
        found = [cut(self.names_of[nodes[other]][0]) for other in others[:_MOST_PARTNERS].tolist()]
        more = len(others) - len(found)
        return (*found, *([f"{more} more"] if more else []))

    def freed_by(self, names: Sequence[str]) -> int:
        """Sum what would be freed if all these names were deleted."""
        heap = self.heap
        gone: dict[int, int] = {}
        for name in names:
            gone[self.node_of[name]] = gone.get(self.node_of[name], 0) + self._references[name]
        indices = heap.indices.copy()
        begin, end = int(heap.indptr[self.node]), int(heap.indptr[self.node + 1])
        for at in range(begin, end):
            target = int(indices[at])
            if gone.get(target, 0) > 0:
                gone[target] -= 1
                indices[at] = self.node  # a reference to itself is none
        stays = reachable_from(heap.indptr, indices, heap.roots)
        return int(heap.shallow_bytes[heap.living & ~stays].sum())
