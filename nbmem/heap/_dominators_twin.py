"""Dominators, retained sizes and reachability on arrays, in Python; the same as ``_dominators.pyx``.

What the native part keeps in packed structures are lists here: about 0.2 kB per node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NONE = 0xFFFFFFFF
_UNSEEN, _BARRIER, _BARRIER_REACHED = 0, 2, 3


def dominators(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    roots: NDArray[np.uint32],
    idom: NDArray[np.uint32],
    order: NDArray[np.uint32],
) -> int:
    """Fill in the immediate dominators and a preorder; give how many nodes the roots reach."""
    nodes, parent, semi, sides = _search(indptr.tolist(), indices.tolist(), roots.tolist())
    _semidominators(parent, semi, sides)
    above = np.array(_immediate(parent, semi), np.int64)
    # the first of nodes is the virtual root
    in_order = np.array(nodes, np.uint32)
    order[: len(nodes) - 1] = in_order[1:]
    idom[:] = _NONE
    idom[in_order[1:]] = in_order[above[1:]]
    return len(nodes) - 1


def _search(
    indptr: list[int], indices: list[int], roots: list[int]
) -> tuple[list[int], list[int], list[int], list[list[int] | None]]:
    """Search the nodes depth first, and sort their references by what they can tell.

    Returns
    -------
    (list, list, list, list)
        By number: the node, its parent, what is known of its semidominator, the numbers of those that refer
        to it from behind.
    """
    n = len(indptr) - 1
    numbers = [0] * n
    nodes, parent, semi = [n], [0], [0]
    sides: list[list[int] | None] = [None]
    for root in roots:
        if numbers[root]:
            semi[numbers[root]] = 0
            continue
        # pairs of a number and the references that are still to be followed; the virtual root's is one
        stack = [(0, iter((root,)))]
        while stack:
            current, targets = stack[-1]
            for node in targets:
                number = numbers[node]
                if not number:
                    number = numbers[node] = len(nodes)
                    nodes.append(node)
                    parent.append(current)
                    semi.append(current)
                    sides.append(None)
                    stack.append((number, iter(indices[indptr[node] : indptr[node + 1]])))
                    break
                if number > current:
                    semi[number] = min(semi[number], current)
                elif number < current and semi[number]:
                    known = sides[number]
                    if known is None:
                        sides[number] = [current]
                    else:
                        known.append(current)
            else:
                stack.pop()
    return nodes, parent, semi, sides


def _semidominators(parent: list[int], semi: list[int], sides: list[list[int] | None]) -> None:
    """Find the semidominators, from the last node to the first."""
    above = parent.copy()
    low = semi.copy()
    for number in range(len(parent) - 1, 0, -1):
        for source in sides[number] or ():
            if above[source] > number:
                _compress(above, low, source, number)
            semi[number] = min(semi[number], low[source])
        low[number] = semi[number]


def _compress(above: list[int], low: list[int], node: int, bound: int) -> None:
    """Let all nodes on the way up, as far as it lies above ``bound``, know its end and its least value."""
    way = []
    while above[node] > bound:
        way.append(node)
        node = above[node]
    end, least = above[node], low[node]
    for below in reversed(way):
        least = low[below] = min(least, low[below])
        above[below] = end


def _immediate(parent: list[int], semi: list[int]) -> list[int]:
    """Find each node's immediate dominator, with the jumps of the native part."""
    idom = parent.copy()
    jump, depth = [0] * len(parent), [0] * len(parent)
    for number in range(1, len(parent)):
        above, bound = idom[number], semi[number]
        while above > bound:
            above = jump[above] if jump[above] > bound else idom[above]
        idom[number] = above
        depth[number] = depth[above] + 1
        far = jump[above]
        even = depth[above] - depth[far] == depth[far] - depth[jump[far]]
        jump[number] = jump[far] if even else above
    return idom


def add_up(order: NDArray[np.uint32], idom: NDArray[np.uint32], total: NDArray[np.int64]) -> None:
    """Add each node's total to that of its immediate dominator, from the end of ``order`` to its start."""
    sums = [*total.tolist(), 0]  # the last is the virtual root's
    for node, above in zip(order[::-1].tolist(), idom[order[::-1]].tolist(), strict=True):
        sums[above] += sums[node]
    total[:] = sums[:-1]


def spread(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    state: NDArray[np.uint8],
    mark: int,
) -> None:
    """Mark what can be reached from some nodes: 0 becomes ``mark``, 2 becomes 3 and is not followed."""
    begins, targets, states = indptr.tolist(), indices.tolist(), state.tolist()
    stack = starts.tolist()
    while stack:
        node = stack.pop()
        if states[node] == _UNSEEN:
            states[node] = mark
            stack += targets[begins[node] : begins[node + 1]]
        elif states[node] == _BARRIER:
            states[node] = _BARRIER_REACHED
    state[:] = states


def transpose(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    begins: NDArray[np.uint32],
    sources: NDArray[np.uint32],
) -> None:
    """Turn all references round, in a stable order."""
    begins[1:] = np.cumsum(np.bincount(indices, minlength=len(begins) - 1))
    owners = np.repeat(np.arange(len(indptr) - 1, dtype=np.uint32), np.diff(indptr))
    sources[:] = owners[np.argsort(indices, kind="stable")]


def outermost(
    cursors: NDArray[np.uint32],
    children: NDArray[np.uint32],
    kinds: NDArray[np.uint32],
    inside: NDArray[np.uint32],
    marks: NDArray[np.uint8],
) -> None:
    """Mark the nodes that no other node of the same kind dominates."""
    begins, listed, kind_of = cursors.tolist(), children.tolist(), kinds.tolist()
    open_ = inside.tolist()
    n = len(kind_of)
    stack = [(n, iter(listed[begins[n] : begins[n + 1]]))]
    while stack:
        node, below = stack[-1]
        for child in below:
            kind = kind_of[child]
            if not open_[kind]:
                marks[child] = 1
            if begins[child] < begins[child + 1]:
                open_[kind] += 1
                stack.append((child, iter(listed[begins[child] : begins[child + 1]])))
                break
        else:
            stack.pop()
            if node != n:
                open_[kind_of[node]] -= 1
