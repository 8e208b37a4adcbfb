"""What of a heap is shown, as rows: types, objects, suspects, and how types changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbmem._errors import BadArgument
from nbmem.heap.bytype import by_type
from nbmem.heap.graph import Heap
from nbmem.heap.growth import Growth
from nbmem.heap.labels import label_of
from nbmem.heap.suspects import suspects

#: What holds an object that no other object holds alone; and a group of such.
SEVERAL, VARIOUS, NOBODY = "several objects", "no one object", "nobody: garbage"


Nodes = NDArray[np.uint32] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TypeRow:
    """The living objects of one type: how many, their own bytes, and what they keep alive together."""

    type: str
    count: int
    shallow_bytes: int
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object, and what alone holds it."""

    type: str
    what: str
    shallow_bytes: int
    retained_bytes: int
    refcount: int
    held_by: str
    address: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """New objects of one type that one object holds, with all that they alone keep alive."""

    type: str
    count: int
    retained_bytes: int
    held_by: str


@dataclass(frozen=True, slots=True)
class SuspectRow:
    """What keeps much of the heap alive, and where in it things pile up."""

    type: str
    count: int
    what: str
    retained_bytes: int
    share: float
    accumulation: str
    accumulation_bytes: int | None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """How the objects of one type changed; None where objects cannot be told apart."""

    type: str
    new_count: int | None
    dead_count: int | None
    survived_count: int | None
    delta_count: int
    new_bytes: int | None
    dead_bytes: int | None
    delta_bytes: int


def whole(count: int) -> int:
    """Check a number of rows."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise BadArgument(f"n is {count!r}; it takes a number of rows")
    return int(count)


def type_rows(heap: Heap) -> list[TypeRow]:
    """List the types of living objects, those that keep most alive first."""
    counts, shallow, retained = (array.tolist() for array in by_type(heap))
    rows = [
        TypeRow(name, *figures)
        for name, *figures in zip(heap.types, counts, shallow, retained, strict=True)
        if figures[0]
    ]
    return sorted(rows, key=lambda row: (-row.retained_bytes, -row.count, row.type))


def object_rows(heap: Heap, nodes: Nodes, count: int) -> list[ObjectRow]:
    """List the nodes that keep most alive."""
    weights = heap.retained_bytes[nodes]
    if 0 < count < len(nodes):  # sort only what may be among them
        enough = weights >= np.partition(weights, -count)[-count]
        nodes, weights = nodes[enough], weights[enough]
    largest = nodes[np.lexsort((nodes, -weights))[:count]]
    return [
        ObjectRow(
            heap.type_of(node),
            _what(heap, node),
            int(heap.shallow_bytes[node]),
            int(heap.retained_bytes[node]),
            int(heap.refcounts[node]),
            held_by(heap, node),
            f"{int(heap.addresses[node]):#x}",
        )
        for node in largest.tolist()
    ]


def held_by(heap: Heap, node: int) -> str:
    """Say what alone holds a node: its immediate dominator."""
    if not heap.living[node]:
        return NOBODY
    holder = int(heap.tree.idom[node])
    if holder == len(heap):
        return label_of(heap, holder) if heap.surplus[node] > 0 else SEVERAL
    return label_of(heap, holder)


def _what(heap: Heap, node: int) -> str:
    """Say what a node is, where more than its type is known."""
    label = label_of(heap, node)
    return "" if label == heap.type_of(node) else label


def suspect_rows(heap: Heap, share: float) -> list[SuspectRow]:
    """List what keeps more than a share of the heap alive."""
    return [
        SuspectRow(
            each.type_name,
            len(each.nodes),
            _what(heap, each.nodes[0]) if len(each.nodes) == 1 else "",
            each.retained_bytes,
            each.share,
            "" if each.accumulation is None else label_of(heap, each.accumulation),
            None if each.accumulation is None else int(heap.retained_bytes[each.accumulation]),
        )
        for each in suspects(heap, share=share)
    ]


def group_rows(heap: Heap, new: Nodes, count: int) -> list[GroupRow]:
    """Group new nodes by type and by what holds them; what others of them dominate is in those."""
    if not len(new) or count <= 0:
        return []
    idom = heap.tree.idom
    is_new = np.zeros(len(heap) + 1, np.bool_)
    is_new[new] = True
    top = new[~is_new[idom[new]]]
    keys = heap.type_index[top].astype(np.uint64) * np.uint64(len(heap) + 1) + idom[top]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    sizes = np.zeros(len(first), np.int64)
    np.add.at(sizes, group, heap.retained_bytes[top])
    counts = np.bincount(group, minlength=len(first))
    return [
        GroupRow(heap.type_of(node), int(counts[at]), int(sizes[at]), _held(heap, node, counts[at]))
        for at in np.argsort(-sizes, kind="stable")[:count].tolist()
        for node in [int(top[first[at]])]
    ]


def _held(heap: Heap, node: int, count: int) -> str:
    # what several hold, or something outside, has no one holder: a group of them says neither
    return held_by(heap, node) if count == 1 or heap.tree.idom[node] != len(heap) else VARIOUS


def change_rows(growth: Growth) -> list[ChangeRow]:
    """List the types of a growth, those whose bytes changed most first."""
    figures = zip(
        growth.types,
        growth.new_count.tolist(),
        growth.dead_count.tolist(),
        growth.survived_count.tolist(),
        growth.new_bytes.tolist(),
        growth.dead_bytes.tolist(),
        (growth.after_bytes - growth.before_bytes).tolist(),
        strict=True,
    )
    rows = [
        ChangeRow(name, new, dead, survived, new - dead, new_bytes, dead_bytes, delta)
        for name, new, dead, survived, new_bytes, dead_bytes, delta in figures
        if new or dead or survived
    ]
    return sorted(rows, key=_by_change)


def counted_rows(before: Heap, after: Heap) -> list[ChangeRow]:
    """Compare heaps of different processes by the names of their types: only sums can be told."""
    sums: dict[str, list[int]] = {}
    for sign, heap in ((-1, before), (1, after)):
        for row in type_rows(heap):
            entry = sums.setdefault(row.type, [0, 0])
            entry[0] += sign * row.count
            entry[1] += sign * row.shallow_bytes
    rows = [
        ChangeRow(name, None, None, None, count, None, None, size) for name, (count, size) in sums.items()
    ]
    return sorted(rows, key=_by_change)


def _by_change(row: ChangeRow) -> tuple[int, int, int, str]:
    return -abs(row.delta_bytes), -abs(row.delta_count), -(row.new_count or 0), row.type
