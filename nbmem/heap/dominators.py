"""Who alone keeps what alive: dominators, retained sizes and reachability of a graph that is given as arrays.

A graph of n nodes is a CSR pair: node ``i`` refers to ``indices[indptr[i]:indptr[i + 1]]``. References to
itself, and several to the same node, are fine. No argument is ever changed, and none may change while a
function works: the native part does not hold the GIL then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmem._errors import BadArgument

if TYPE_CHECKING:
    from nbmem.heap import _dominators as _part
else:
    try:
        from nbmem.heap import _dominators as _part
    except ImportError:  # built without the native part
        from nbmem.heap import _dominators_twin as _part

#: Stands in ``idom`` for nodes that the roots do not reach.
NONE = 0xFFFFFFFF

#: The states of a node in ``spread``, and the two marks that are used here.
_BARRIER, _BARRIER_REACHED = 2, 3
_KEPT, _GONE = 1, 4


@dataclass(frozen=True, slots=True, eq=False)
class DominatorTree:
    """The dominator tree of a graph below its virtual root; made by :func:`dominator_tree`.

    Parameters
    ----------
    idom : (n,) array of uint32
        The immediate dominator of each node: n for the virtual root, ``NONE`` where no root reaches the node.
    order : array of uint32
        The nodes that the roots reach, each after its immediate dominator.

    Notes
    -----
    Both arrays are read-only; 8 bytes per node.
    """

    idom: NDArray[np.uint32]
    order: NDArray[np.uint32]

    def retained(self, sizes: ArrayLike) -> NDArray[np.int64]:
        """Sum the sizes of all that each node dominates, itself included.

        Parameters
        ----------
        sizes : (n,) array of integers
            Bytes of each node.

        Returns
        -------
        (n,) array of int64
            Bytes; of a node that no root reaches, its own. One pass, O(n), and no memory but the result's.

        Raises
        ------
        BadArgument
            If there is not one integer per node.
        """
        total = _per_node("sizes", sizes, len(self.idom)).astype(np.int64)
        _part.add_up(self.order, self.idom, total)
        return total

    def children(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """List the nodes that each node dominates immediately, as a CSR pair.

        Returns
        -------
        indptr : (n + 2,) array of uint32
            The last row is the virtual root's.
        indices : array of uint32
            As many as the roots reach. O(n); 12 bytes per node, and 9 while it works.
        """
        n = len(self.idom)
        reached = self.idom != NONE
        # each node that is reached has one reference, to its dominator: turned round they are the children
        indptr = np.zeros(n + 1, np.uint32)
        np.cumsum(reached, dtype=np.uint32, out=indptr[1:])
        return _transposed(indptr, self.idom[reached], n + 1)

    def outermost(self, kinds: ArrayLike) -> NDArray[np.bool_]:
        """Tell which nodes no other node of the same kind dominates.

        Parameters
        ----------
        kinds : (n,) array of integers
            A number from 0 for each node, for instance of its type.

        Returns
        -------
        (n,) array of bool
            False also where no root reaches a node. What these retain, added up by kind, is what each kind
            retains. O(n); 20 bytes per node.

        Raises
        ------
        BadArgument
            If there is not one number per node.
        """
        numbers = _per_node("kinds", kinds, len(self.idom))
        if len(numbers) and int(numbers.min()) < 0:
            raise BadArgument(f"kinds has {numbers.min()}: they are counted from 0")
        indptr, indices = self.children()
        marks = np.zeros(len(numbers), np.uint8)
        inside = np.zeros(int(numbers.max()) + 1 if len(numbers) else 1, np.uint32)
        _part.outermost(indptr, indices, np.ascontiguousarray(numbers, np.uint32), inside, marks)
        return marks.view(np.bool_)


def dominator_tree(indptr: ArrayLike, indices: ArrayLike, roots: ArrayLike) -> DominatorTree:
    """Find the immediate dominator of each node: the nearest through which all ways from the roots lead.

    Parameters
    ----------
    indptr : (n + 1,) array of integers
        Where the references of each node begin and end; n and the number of references are below 2**32 - 1.
    indices : array of integers
        The nodes referred to, below n.
    roots : array of integers
        The nodes that are held from outside the graph: those that the virtual root refers to.

    Returns
    -------
    DominatorTree

    Raises
    ------
    BadArgument
        If the arrays are no such graph.

    Notes
    -----
    Semi-NCA (Georgiadis, *Linear-Time Algorithms for Dominators and Related Problems*, thesis, 2005;
    Georgiadis, Tarjan and Werneck, *Finding Dominators in Practice*, 2006) with path compression, and with
    jumps up the dominator tree (Myers, *An applicative random-access stack*, 1983) in place of single steps,
    which are quadratic on some graphs: O((n + e) log n), in practice linear. Predecessors are not asked for:
    only the references that lead back or across the depth-first search need keeping, by their targets.

    Beside the result, the native part takes 24 bytes per node, 8 per reference kept (reserved are up to
    twice as many) and up to 12 per level of the search; 4 per node more where ``indptr`` is not uint32.
    """
    begins, targets, n = _graph(indptr, indices)
    idom = np.empty(n, np.uint32)
    order = np.empty(n, np.uint32)
    count = _part.dominators(begins, targets, _nodes("roots", roots, n), idom, order)
    order = order[:count]
    idom.flags.writeable = order.flags.writeable = False
    return DominatorTree(idom, order)


def retained_by(
    indptr: ArrayLike, indices: ArrayLike, roots: ArrayLike, sizes: ArrayLike, members: ArrayLike
) -> int:
    """Sum what the roots would no longer reach if a set of nodes went; see :func:`retained_mask`.

    Parameters
    ----------
    indptr, indices, roots : arrays of integers
        As for :func:`dominator_tree`.
    sizes : (n,) array of integers
        Bytes of each node.
    members : array of integers
        The nodes that go.

    Returns
    -------
    int
        Bytes, those of the members that the roots reach included. One traversal: O(n + e).

    Raises
    ------
    BadArgument
        If the arrays do not fit together.
    """
    gone = retained_mask(indptr, indices, roots, members)
    return int(np.sum(_per_node("sizes", sizes, len(gone)), where=gone, dtype=np.int64))


def retained_mask(
    indptr: ArrayLike, indices: ArrayLike, roots: ArrayLike, members: ArrayLike
) -> NDArray[np.bool_]:
    """Tell which nodes the roots would no longer reach if a set of nodes went.

    Parameters
    ----------
    indptr, indices, roots : arrays of integers
        As for :func:`dominator_tree`.
    members : array of integers
        The nodes that go; roots among them go too.

    Returns
    -------
    (n,) array of bool
        True also for the members themselves, where the roots reach them; False for what no root reaches
        anyway. O(n + e); 2 bytes per node, and 4 per node reached.

    Raises
    ------
    BadArgument
        If the arrays do not fit together.
    """
    begins, targets, n = _graph(indptr, indices)
    state = np.zeros(n, np.uint8)
    state[_nodes("members", members, n)] = _BARRIER
    _part.spread(begins, targets, _nodes("roots", roots, n), state, _KEPT)
    # what the roots do not reach but for the members, the members that they reach do
    met = np.flatnonzero(state == _BARRIER_REACHED).astype(np.uint32)
    state[state > _KEPT] = 0
    _part.spread(begins, targets, met, state, _GONE)
    gone: NDArray[np.bool_] = state == _GONE
    return gone


def reachable_from(
    indptr: ArrayLike, indices: ArrayLike, starts: ArrayLike, *, without: ArrayLike = ()
) -> NDArray[np.bool_]:
    """Tell which nodes some nodes lead to, they themselves included.

    Parameters
    ----------
    indptr, indices : arrays of integers
        As for :func:`dominator_tree`.
    starts : array of integers
        Where to start.
    without : array of integers
        Nodes that are taken for gone, also where they are among the starts.

    Returns
    -------
    (n,) array of bool
        O(n + e); 2 bytes per node, and 4 per node reached.

    Raises
    ------
    BadArgument
        If the arrays do not fit together.
    """
    begins, targets, n = _graph(indptr, indices)
    state = np.zeros(n, np.uint8)
    state[_nodes("without", without, n)] = _BARRIER
    _part.spread(begins, targets, _nodes("starts", starts, n), state, _KEPT)
    reached: NDArray[np.bool_] = state == _KEPT
    return reached


def reachable_from_each(
    indptr: ArrayLike, indices: ArrayLike, starts: ArrayLike
) -> Iterator[NDArray[np.int64]]:
    """Tell of each of several nodes what it alone leads to, itself included.

    Parameters
    ----------
    indptr, indices : arrays of integers
        As for :func:`dominator_tree`; checked once.
    starts : array of integers
        Where to start, one after the other.

    Yields
    ------
    array of int64
        Nodes in ascending order.

    Raises
    ------
    BadArgument
        If the arrays do not fit together.
    """
    begins, targets, n = _graph(indptr, indices)
    state = np.zeros(n, np.uint8)
    for start in _nodes("starts", starts, n):
        _part.spread(begins, targets, np.array([start], np.uint32), state, _KEPT)
        reached = np.flatnonzero(state)
        state[reached] = 0
        yield reached


def transpose(indptr: ArrayLike, indices: ArrayLike, n: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Turn all references round: from each node to its referrers.

    Parameters
    ----------
    indptr, indices : arrays of integers
        As for :func:`dominator_tree`; there may be more or fewer rows than n.
    n : int
        How many nodes can be referred to.

    Returns
    -------
    indptr : (n + 1,) array of uint32
    indices : (e,) array of uint32
        The referrers of each node in ascending order, one as often as it refers to it. O(n + e); nothing but
        the result is allocated.

    Raises
    ------
    BadArgument
        If the arrays are no such graph.
    """
    begins, targets, _ = _graph(indptr, indices, n)
    return _transposed(begins, targets, n)


def _transposed(
    indptr: NDArray[np.uint32], indices: NDArray[np.uint32], n: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    begins = np.zeros(n + 1, np.uint32)
    sources = np.empty(len(indices), np.uint32)
    _part.transpose(indptr, indices, begins, sources)
    return begins, sources


def _graph(
    indptr: ArrayLike, indices: ArrayLike, n: int | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], int]:
    """Check a graph; give it as contiguous uint32, copied only where it is not, and its number of rows."""
    begins = _integers("indptr", indptr)
    rows = len(begins) - 1
    if rows < 0:
        raise BadArgument("indptr is empty: it has one entry more than there are nodes")
    n = rows if n is None else n
    if not 0 <= n < NONE or rows >= NONE:
        raise BadArgument(f"{max(n, rows):,} nodes: fewer than 2**32 - 1 can be counted")
    targets = _nodes("indices", indices, n)
    if len(targets) >= NONE:
        raise BadArgument(f"{len(targets):,} references: fewer than 2**32 - 1 can be counted")
    if begins[0] != 0 or begins[-1] != len(targets):
        raise BadArgument(
            f"indptr goes from {begins[0]} to {begins[-1]}: it has to go from 0 to {len(targets)}, "
            "the length of indices"
        )
    if np.any(begins[1:] < begins[:-1]):
        raise BadArgument("indptr descends: the references of a node end where those of the next begin")
    return np.ascontiguousarray(begins, np.uint32), targets, rows


def _nodes(name: str, values: ArrayLike, n: int) -> NDArray[np.uint32]:
    """Check an array of nodes, and give it as uint32."""
    nodes = _integers(name, values)
    if len(nodes):
        for each in (nodes.min(), nodes.max()):
            if not 0 <= each < n:
                raise BadArgument(f"{name} has {each}: the {n} nodes are counted from 0")
    return np.ascontiguousarray(nodes, np.uint32)


def _per_node(name: str, values: ArrayLike, n: int) -> NDArray[Any]:
    """Check an array that has an integer for each node."""
    sizes = _integers(name, values)
    if len(sizes) != n:
        raise BadArgument(f"{name} has {len(sizes)} entries for {n} nodes")
    return sizes


def _integers(name: str, values: ArrayLike) -> NDArray[Any]:
    """Check that something is one row of integers."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise BadArgument(f"{name} is no one-dimensional array of integers")
    return array if array.size else array.astype(np.uint32)
