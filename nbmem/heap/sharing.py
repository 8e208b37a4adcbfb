"""What several objects reach together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.dominators import dominator_tree, reachable_from, reachable_from_each
from nbmem.heap.graph import Heap
from nbmem.heap.walk import select

#: With whom something is shared is decided by so many parts at most, the largest.
_MOST_PARTS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Sharing:
    """What some objects reach, and which parts of it together; made by :func:`share`.

    Parameters
    ----------
    inside : (n,) array of bool
        The nodes that any of them reaches.
    reached_bytes : (k,) array of int64
        Bytes that each reaches, its own included.
    shared_bytes : int
        Bytes that at least two of them reach, each once.
    overlap_bytes : (k, k) array of float64
        Bytes that two of them reach both; of the largest parts.
    reaches : (k, k) array of bool
        Whether the first reaches the second.
    """

    inside: NDArray[np.bool_]
    reached_bytes: NDArray[np.int64]
    shared_bytes: int
    overlap_bytes: NDArray[np.float64]
    reaches: NDArray[np.bool_]


def share(heap: Heap, starts: Sequence[int], ends: NDArray[np.bool_]) -> Sharing:
    """Find out what some objects reach together.

    Parameters
    ----------
    heap : Heap
    starts : sequence of int
        Their nodes, each once; an end among them reaches only itself.
    ends : (n,) array of bool
        Nodes that are not followed and not counted.

    Returns
    -------
    Sharing

    Notes
    -----
    What one object alone leads to is folded into it: in the dominator tree below all starts, each child of
    the virtual root stands for all that it dominates, and a reference between two such subtrees can only lead
    to the child itself. The graph of those children (*parts*) is small; parts that lead no further and are
    reached from the same parts are one. Each start is then followed in it.
    """
    nodes = np.array(starts, np.int64)
    k = len(nodes)
    own = heap.shallow_bytes[nodes]
    followed = ~ends[nodes]
    inside = reachable_from(heap.indptr, heap.indices, nodes[followed], without=np.flatnonzero(ends))
    indptr, indices = select(heap.indptr, heap.indices, inside.view(np.uint8))
    numbers = np.cumsum(inside) - 1
    roots = numbers[nodes[followed]]
    part_of, weights, edges = _parts(indptr, indices, roots, heap.shallow_bytes[inside])
    part_of, weights, edges = _merged(part_of, weights, edges, part_of[roots])
    begins, targets = _csr(edges, len(weights))
    at = np.full(k, -1, np.int64)
    at[followed] = part_of[roots]
    reached_bytes = own.copy()
    counts = np.zeros(len(weights), np.int64)
    leading = np.flatnonzero(followed)[begins[at[followed]] < begins[at[followed] + 1]]
    found = [at[number : number + 1] if at[number] >= 0 else at[:0] for number in range(k)]
    for number, reached in zip(leading, reachable_from_each(begins, targets, at[leading]), strict=True):
        found[number] = reached
    for number, reached in enumerate(found):
        if len(reached):
            reached_bytes[number] = weights[reached].sum()
            counts[reached] += 1
    common = np.flatnonzero(counts > 1)
    largest = common[np.argsort(-weights[common], kind="stable")][:_MOST_PARTS]
    columns = np.full(len(weights), -1, np.int64)
    columns[largest] = np.arange(len(largest))
    starts_of = np.full(len(weights), -1, np.int64)
    starts_of[at[followed]] = np.flatnonzero(followed)
    table = np.zeros((k, len(largest)))
    reaches = np.eye(k, dtype=np.bool_)
    for number, reached in enumerate(found):
        here = columns[reached]
        table[number, here[here >= 0]] = 1
        others = starts_of[reached]
        reaches[number, others[others >= 0]] = True
    overlap = (table * weights[largest]) @ table.T
    return Sharing(inside, reached_bytes, int(weights[common].sum()), overlap, reaches)


Edges = tuple[NDArray[np.int64], NDArray[np.int64]]


def _parts(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    roots: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], Edges]:
    """Fold each node into the child of the virtual root that dominates it."""
    n = len(sizes)
    if not n:
        return np.empty(0, np.int64), np.empty(0, np.int64), (np.empty(0, np.int64), np.empty(0, np.int64))
    top = topmost(dominator_tree(indptr, indices, roots).idom, n)
    heads, part_of = np.unique(top, return_inverse=True)
    weights = np.bincount(part_of, sizes, len(heads)).astype(np.int64)
    sources = np.repeat(part_of, (indptr[1:] - indptr[:-1]).astype(np.int64))
    targets = part_of[indices]
    return part_of, weights, _distinct(sources, targets, len(heads))


def topmost(idom: NDArray[np.uint32], above: int) -> NDArray[np.int64]:
    """Find of each node the ancestor in the dominator tree that is a child of a given one.

    Parameters
    ----------
    idom : (n,) array of uint32
    above : int
        The node whose children are looked for; n: the virtual root.

    Returns
    -------
    (n,) array of int64
        Where the way up does not lead there, what it ends at. O(n log depth).
    """
    n = len(idom)
    here = np.arange(n)
    up = np.where((idom == above) | (idom >= n), here, idom.astype(np.int64))
    while True:
        following = up[up]
        if np.array_equal(following, up):
            return up
        up = following


def _distinct(sources: NDArray[np.int64], targets: NDArray[np.int64], n: int) -> Edges:
    between = sources != targets
    pairs = np.unique(sources[between] * n + targets[between])
    return pairs // n, pairs % n


def _merged(
    part_of: NDArray[np.int64], weights: NDArray[np.int64], edges: Edges, starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Edges]:
    """Let parts that lead no further and are reached from the same parts be one."""
    sources, targets = edges
    count = len(weights)
    loose = np.ones(count, np.bool_)
    loose[sources] = False
    loose[starts] = False
    if loose.sum() < 2:
        return part_of, weights, edges
    # two sums of random numbers tell sets of parts apart: equal by chance once in 2**128
    random = np.random.default_rng(0).integers(0, 2**64, (2, count), np.uint64)
    marks = np.zeros((2, count), np.uint64)
    for row in range(2):
        np.add.at(marks[row], targets, random[row][sources])
    marks[:, ~loose] = 0
    keys = np.stack([np.where(loose, -1, np.arange(count)).astype(np.uint64), marks[0], marks[1]], axis=1)
    _, merged = np.unique(keys, axis=0, return_inverse=True)
    merged = merged.reshape(-1)
    total = int(merged.max()) + 1
    return (
        merged[part_of],
        np.bincount(merged, weights, total).astype(np.int64),
        _distinct(merged[sources], merged[targets], total),
    )


def _csr(edges: Edges, n: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    sources, targets = edges
    begins = np.zeros(n + 1, np.uint32)
    np.cumsum(np.bincount(sources, minlength=n), out=begins[1:])
    return begins, targets.astype(np.uint32)  # sources are in ascending order
