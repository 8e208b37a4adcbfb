"""The object graph of one moment: arrays, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.dominators import NONE, DominatorTree, dominator_tree, retained_mask, transpose

#: The type of the nodes that stand for frames that were running.
RUNNING_FRAME = "(running frame)"
#: A refcount that never changes: the object is never freed (CPython 3.12 and later).
IMMORTAL = 0xFFFFFFFF
#: States of nodes that the collector does not track.
UNTRACKED, INTERNED, STATIC, NO_OBJECT = 4, 5, 6, 7


@dataclass(frozen=True, eq=False)
class Heap:
    """All objects of the process at one moment, and what refers to what; made by :func:`capture`.

    Parameters
    ----------
    addresses : (n,) array of uint64
        Where each object lay. Nodes that stand for no object (running frames, buffers of other libraries)
        have the address of what they stand for.
    type_index : (n,) array of uint32
        Where in ``types`` each object's type stands.
    shallow_bytes : (n,) array of int64
        Bytes of each object and of the buffers that it owns, as the allocator counts.
    refcounts : (n,) array of uint32
        Reference counts; ``IMMORTAL`` for objects that are never freed.
    surplus : (n,) array of int32
        References to each object that the graph does not show: from the interpreter, from libraries, from
        temporary values. Where it is above 0 the object is a GC root.
    states : (n,) array of uint8
        The collector's generation that each object was in, 3: frozen; or ``UNTRACKED``, ``INTERNED`` (a
        string), ``STATIC`` (a class that is part of a library), ``NO_OBJECT``.
    indptr : (n + 1,) array of uint32
    indices : (e,) array of uint32
        The references: node i refers to ``indices[indptr[i]:indptr[i + 1]]``.
    types : tuple of str
        Names of types with their modules, those of the builtins without.
    type_addresses : array of uint64
        Where the types lay; 0 for those of nodes that stand for no object.
    labels : mapping of int to str
        What is to be said of nodes that stand for no object.
    taken : float
        When, in seconds since the epoch.
    origin : str
        Tells this process from others.
    notes : tuple of str
        What could not be seen.
    epoch : int
        Objects that were born after it have numbers from this on; 0: nobody takes note.
    missed : int
        The last epoch in which not all births were noted; 0: none.
    born : (n,) array of uint32 or None
        The number of the epoch that each object was born in; 0: before anybody took note. None: nobody did.
    hides : bool
        Classes, modules or frames were left out that no loaded module names.
    """

    addresses: NDArray[np.uint64]
    type_index: NDArray[np.uint32]
    shallow_bytes: NDArray[np.int64]
    refcounts: NDArray[np.uint32]
    surplus: NDArray[np.int32]
    states: NDArray[np.uint8]
    indptr: NDArray[np.uint32]
    indices: NDArray[np.uint32]
    types: tuple[str, ...]
    type_addresses: NDArray[np.uint64]
    labels: Mapping[int, str] = field(default_factory=dict)
    taken: float = 0.0
    origin: str = ""
    notes: tuple[str, ...] = ()
    epoch: int = 0
    missed: int = 0
    born: NDArray[np.uint32] | None = None
    hides: bool = False

    def __len__(self) -> int:
        return len(self.addresses)

    def __getstate__(self) -> dict[str, Any]:
        # what follows from the arrays is found again
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def roots(self) -> NDArray[np.uint32]:
        """The nodes that are held from outside the graph."""
        return np.flatnonzero(self.surplus > 0).astype(np.uint32)

    @cached_property
    def tree(self) -> DominatorTree:
        """The dominator tree; O(n + e), once."""
        return dominator_tree(self.indptr, self.indices, self.roots)

    @cached_property
    def retained_bytes(self) -> NDArray[np.int64]:
        """(n,) array: bytes that would be freed if each object went; of garbage, its own."""
        return self.tree.retained(self.shallow_bytes)

    @property
    def living(self) -> NDArray[np.bool_]:
        """(n,) array: what some root reaches. The rest is garbage that waits for the collector."""
        living: NDArray[np.bool_] = self.tree.idom != NONE
        return living

    @cached_property
    def _turned(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        return transpose(self.indptr, self.indices, len(self))

    @cached_property
    def _dominated(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        return self.tree.children()

    def referents(self, node: int) -> NDArray[np.uint32]:
        """List what a node refers to."""
        return self.indices[self.indptr[node] : self.indptr[node + 1]]

    def referrers(self, node: int) -> NDArray[np.uint32]:
        """List what refers to a node. The first call turns all references round: O(n + e)."""
        indptr, indices = self._turned
        return indices[indptr[node] : indptr[node + 1]]

    def referrers_of(self, nodes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """List all references to some nodes, as pairs: what refers, and to which of them."""
        indptr, indices = self._turned
        starts = indptr[nodes].astype(np.int64)
        counts = indptr[nodes + 1].astype(np.int64) - starts
        before = np.cumsum(counts) - counts
        at = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
        return indices[at], np.repeat(nodes, counts)

    def dominated(self, node: int) -> NDArray[np.uint32]:
        """List what a node dominates immediately; n: the virtual root."""
        indptr, indices = self._dominated
        return indices[indptr[node] : indptr[node + 1]]

    def type_of(self, node: int) -> str:
        """Name the type of a node."""
        return self.types[int(self.type_index[node])]

    def node_at(self, address: int) -> int | None:
        """Find the node of an address; None if there was none. O(n)."""
        found = np.flatnonzero(self.addresses == np.uint64(address))
        return int(found[0]) if len(found) else None

    def retained_together(self, nodes: Iterable[int]) -> int:
        """Sum what would be freed if several objects went at once. O(n + e)."""
        members = np.fromiter(nodes, np.int64)
        gone = retained_mask(self.indptr, self.indices, self.roots, members)
        return int(self.shallow_bytes[gone].sum())
