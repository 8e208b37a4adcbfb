"""The arrays of a walk while they are completed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import NO_OBJECT, Heap
from nbmem.heap.walk import select

_OF_NODES = {
    "addresses": np.uint64,
    "type_index": np.uint32,
    "shallow_bytes": np.int64,
    "refcounts": np.uint32,
    "surplus": np.int32,
    "states": np.uint8,
}
_OTHERS = {
    "indptr": np.uint32,
    "indices": np.uint32,
    "asked_nodes": np.uint32,
    "asked_rules": np.int32,
    "owner_nodes": np.uint32,
    "owner_data": np.uint64,
    "owner_bytes": np.int64,
}


@dataclass
class Draft:
    """What a walk wrote down; the fields are those of :class:`Heap`, and what is still to be asked.

    Parameters
    ----------
    asked_nodes, asked_rules : arrays
        The objects that are still to be asked, and by which rule; -1: for their size.
    owner_nodes, owner_data, owner_bytes : arrays
        numpy arrays with data of their own, where it lies, and how much it is.
    """

    addresses: NDArray[np.uint64]
    type_index: NDArray[np.uint32]
    shallow_bytes: NDArray[np.int64]
    refcounts: NDArray[np.uint32]
    surplus: NDArray[np.int32]
    states: NDArray[np.uint8]
    indptr: NDArray[np.uint32]
    indices: NDArray[np.uint32]
    asked_nodes: NDArray[np.uint32]
    asked_rules: NDArray[np.int32]
    owner_nodes: NDArray[np.uint32]
    owner_data: NDArray[np.uint64]
    owner_bytes: NDArray[np.int64]
    types: list[str]
    type_addresses: NDArray[np.uint64]
    labels: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    epoch: int = 0
    missed: int = 0
    born: NDArray[np.uint32] | None = None
    hides: bool = False

    @classmethod
    def of(cls, result: dict[str, Any], types: list[str], type_addresses: NDArray[np.uint64]) -> Draft:
        """Take over the memory that a walk gave."""
        arrays: dict[str, Any] = {
            name: np.frombuffer(result.pop(name), kind) for name, kind in {**_OF_NODES, **_OTHERS}.items()
        }
        return cls(**arrays, types=types, type_addresses=type_addresses)

    def __len__(self) -> int:
        return len(self.addresses)

    def targets(self, node: int) -> list[int]:
        """List what a node refers to."""
        listed: list[int] = self.indices[self.indptr[node] : self.indptr[node + 1]].tolist()
        return listed

    def add(
        self,
        addresses: NDArray[np.uint64],
        sizes: NDArray[np.int64],
        kinds: list[str],
        edges: NDArray[np.int64],
    ) -> None:
        """Add nodes that stand for no object, and (m, 2) references from old nodes, each once."""
        count, n = len(addresses), len(self)
        if len(edges):
            end = n + count
            sources, targets = np.divmod(np.sort(edges[:, 0] * end + edges[:, 1]), end)
            self.indices = np.insert(
                self.indices, self.indptr[sources + 1].astype(np.int64), targets.astype(np.uint32)
            )
            per_node = np.bincount(sources + 1, minlength=n + 1)
            self.indptr = self.indptr + np.cumsum(per_node).astype(np.uint32)
        if count:
            names = {kind: len(self.types) + i for i, kind in enumerate(dict.fromkeys(kinds))}
            values: dict[str, NDArray[Any]] = {
                "addresses": addresses,
                "type_index": np.fromiter(map(names.__getitem__, kinds), np.uint32, count),
                "shallow_bytes": sizes,
                "refcounts": np.bincount(edges[edges[:, 1] >= n, 1] - n, minlength=count),
                "surplus": np.zeros(count),
                "states": np.full(count, NO_OBJECT),
                "born": np.zeros(count),
                "indptr": np.full(count, len(self.indices)),
            }
            for name, added in values.items():
                old = getattr(self, name)
                if old is None:
                    continue
                setattr(self, name, np.concatenate([old, added.astype(old.dtype)]))
            self.types += names
            self.type_addresses = np.concatenate([self.type_addresses, np.zeros(len(names), np.uint64)])

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Leave out all other nodes, and the references to and from them."""
        if kept.all():
            return
        self.indptr, self.indices = select(self.indptr, self.indices, kept.view(np.uint8))
        numbers = np.cumsum(kept) - 1
        self.labels = {int(numbers[node]): label for node, label in self.labels.items() if kept[node]}
        for name in _OF_NODES:
            setattr(self, name, getattr(self, name)[kept])
        if self.born is not None:
            self.born = self.born[kept]

    def heap(self, taken: float, origin: str) -> Heap:
        """Finish it."""
        arrays: dict[str, Any] = {
            name: getattr(self, name) for name in [*_OF_NODES, "indptr", "indices", "type_addresses"]
        }
        for array in arrays.values():
            array.flags.writeable = False
        return Heap(
            **arrays,
            types=tuple(self.types),
            labels=self.labels,
            taken=taken,
            origin=origin,
            notes=tuple(self.notes),
            epoch=self.epoch,
            missed=self.missed,
            born=self.born,
            hides=self.hides,
        )
