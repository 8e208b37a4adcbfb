"""From the nodes of a path to the live objects and the references between them, from the root downwards.

What is found here holds objects; it is made, read and dropped within one look.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbmem.heap.attributes import attributes
from nbmem.heap.graph import Heap
from nbmem.heap.references import links

#: Stands for an object that was not found again.
GONE: Any = object()
#: So many nodes may belong to what is before them: an instance's dict, the tree of a context.
_MOST_BETWEEN = 8
#: A path that is longer is followed so far; what comes then is one hop of the kind ``gap``.
_MOST_FOLLOWED = 20_000


@dataclass(slots=True)
class Hop:
    """One step of a path.

    Parameters
    ----------
    node : int
    value : object
        The live object, or ``GONE``.
    kind : str
        The kind of the reference that leads here, as of ``Reference``; ``unnamed`` if nothing names it;
        ``gap`` where the path is too long to be followed.
    key : object
        The attribute's name, the dict's key, the index; how many objects are left out.
    parent : object
        The object that refers, or ``GONE``.
    many : bool
        Whether other references of the parent lead to the end just as fast.
    between : tuple of int
        The nodes that lie between and belong to the parent.
    """

    node: int
    value: Any
    kind: str
    key: Any
    parent: Any
    many: bool = False
    between: tuple[int, ...] = ()


def follow(
    heap: Heap,
    start: Any,
    nodes: Sequence[int],
    counts: Sequence[int],
    *,
    beside: Sequence[int] | None = None,
    end: Any = GONE,
) -> list[Hop]:
    """Find the live objects of a path.

    Parameters
    ----------
    heap : Heap
    start : object
        The live object of the first node; ``GONE`` if it is not at hand: then only types are known.
    nodes : sequence of int
        The path, from the root downwards.
    counts : sequence of int
        How many ways lead down from each node but the last, as of ``Way``.
    beside : sequence of int, optional
        Instead: above 1 for each step beside which there are others.
    end : object
        The live object of the last node, if it is at hand.

    Returns
    -------
    list of Hop
        One for each step but the first; nodes that belong to the object before them have none.
    """
    addresses = heap.addresses[np.array(nodes[: _MOST_FOLLOWED + _MOST_BETWEEN + 2])].tolist()
    ways = [*counts, 1]
    hops: list[Hop] = []
    here, at = start, 0
    while at < len(nodes) - 1:
        if at >= _MOST_FOLLOWED:
            hops.append(Hop(nodes[-1], end, "gap", len(nodes) - 2 - at, GONE))
            break
        ahead = addresses[at + 1 : at + 2 + _MOST_BETWEEN]
        kind, key, value, step = _next(here, ahead)
        if beside is not None:
            many = any(beside[i] > 1 for i in range(at, at + step))
        else:
            many = any(ways[i] != ways[i + 1] for i in range(at, at + step))
        between = tuple(nodes[at + 1 : at + step])
        hops.append(Hop(nodes[at + step], value, kind, key, here, many, between))
        here, at = value, at + step
    return hops


def _next(here: Any, ahead: Sequence[int]) -> tuple[str, Any, Any, int]:
    """Find the reference that leads on: its kind, its key, the object, and how many nodes it spans."""
    if here is GONE:
        return "unnamed", None, GONE, 1
    wanted = set(ahead)
    try:
        for link in links(here, wanted):
            if id(link.value) not in wanted:
                continue
            step = 0
            while step < len(ahead) - 1 and ahead[step] in link.via:
                step += 1
            if ahead[step] == id(link.value):
                return link.kind, link.key, link.value, step + 1
    except (RuntimeError, AttributeError, TypeError):  # it changes meanwhile, or is half made
        pass
    for each in _unnamed(here):
        if id(each) == ahead[0]:
            held = _own_dict(here)
            if held is not None and each is held:
                return "attribute", "__dict__", each, 1
            if each is type(here):
                return "class", None, each, 1
            return "unnamed", None, each, 1
    return "unnamed", None, GONE, 1


def _unnamed(here: Any) -> list[Any]:
    found: list[Any] = gc.get_referents(here)
    return found


def _own_dict(value: Any) -> Any:
    try:
        return attributes(value)[0]
    except (TypeError, AttributeError):
        return None
