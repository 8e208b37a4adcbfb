"""Where the bytes of an object are: its dominator tree, with names, alike parts put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import Heap
from nbmem.heap.references import Link, links, referents

#: Parts below this share of the whole are put together.
LEAST_SHARE = 0.005
#: More parts than this that are alike are one; so many levels are told; so many objects are asked for names.
_MOST_ALIKE, _MOST_LEVELS, _MOST_ASKED, _MOST_LOOKS = 12, 12, 1000, 2000
_ANY = {"key": "[*]", "index": "[*]", "attribute": ".*", "element": "{*}", "key itself": "{keys}"}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what an object holds: one object, or several that are alike.

    Parameters
    ----------
    name : str
        How the part above refers to it: ``.frame``, ``['2019']``, ``[*]`` for several; empty where that has
        no name, or for the smaller ones.
    type : str
        Its type; empty for the smaller ones put together.
    count : int
        How many objects stand for it.
    shallow_bytes : int
        Their own bytes, with those of what belongs to them (their ``__dict__``, the cells of a function).
    retained_bytes : int
        All that would go with them.
    parts : tuple of Part
        What is below, the largest first; their bytes and the own ones add up to the retained ones.
    """

    name: str
    type: str
    count: int
    shallow_bytes: int
    retained_bytes: int
    parts: tuple[Part, ...] = ()


@dataclass
class _Group:
    """Nodes that are one part, and the live objects of some."""

    name: str
    nodes: NDArray[np.int64]
    live: dict[int, Any] = field(default_factory=dict)


def part_of(heap: Heap, node: int, value: object) -> Part:
    """Tell where the bytes of an object are.

    Parameters
    ----------
    heap : Heap
    node : int
        The object's.
    value : object
        The object, alive: names are resolved from it downwards.

    Returns
    -------
    Part
        Twelve levels at most; what is below half a percent is put together. Parts that share something with
        each other are told beside it, under what holds them all.
    """
    least = max(int(LEAST_SHARE * int(heap.retained_bytes[node])), 1)
    return _Tree(heap, least).part(_Group("", np.array([node]), {node: value}), 0)


class _Tree:
    def __init__(self, heap: Heap, least: int) -> None:
        self._heap = heap
        self._least = least

    def part(self, group: _Group, level: int) -> Part:
        """Tell of one part, and of what is below it."""
        heap = self._heap
        own, children, named = self._children(group)
        parts: list[Part] = []
        if level < _MOST_LEVELS:
            parts = [self.part(each, level + 1) for each in self._grouped(group, children, named)]
        retained = int(heap.retained_bytes[group.nodes].sum())
        parts.sort(key=lambda part: -part.retained_bytes)
        rest = retained - own - sum(part.retained_bytes for part in parts)
        if rest > 0:
            count = len(children) - sum(part.count for part in parts)
            parts.append(Part("", "", count, 0, rest))
        return Part(
            group.name, heap.type_of(int(group.nodes[0])), len(group.nodes), own, retained, tuple(parts)
        )

    def _children(self, group: _Group) -> tuple[int, NDArray[np.int64], dict[int, Link]]:
        """Give the own bytes, what is held immediately, and the names of that which is told one by one."""
        heap = self._heap
        own = int(heap.shallow_bytes[group.nodes].sum())
        below = self._below(group.nodes)
        if not len(below):
            return own, below, {}
        named, plumbing = self._names(group, below)
        children = []
        while plumbing and len(below):
            between = np.isin(heap.addresses[below], np.fromiter(plumbing, np.uint64))
            if not between.any():
                break
            own += int(heap.shallow_bytes[below[between]].sum())
            children.append(below[~between])
            below = self._below(below[between])
        return own, np.concatenate([*children, below]), named

    def _below(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """List what some nodes dominate immediately."""
        if len(nodes) == 1:
            return self._heap.dominated(int(nodes[0])).astype(np.int64)
        indptr, indices = self._rows
        begins = indptr[nodes].astype(np.int64)
        lengths = indptr[nodes + 1].astype(np.int64) - begins
        offsets = np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
        found: NDArray[np.int64] = indices[offsets + np.arange(len(offsets))].astype(np.int64)
        return found

    @cached_property
    def _rows(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        return self._heap.tree.children()

    def _names(self, group: _Group, below: NDArray[np.int64]) -> tuple[dict[int, Link], set[int]]:
        """Name what a part refers to, and tell what in between belongs to it."""
        heap = self._heap
        chosen = below
        if len(below) > _MOST_ASKED or len(group.nodes) == 1:
            # those that are told one by one, and one of each type
            samples = below[np.unique(heap.type_index[below], return_index=True)[1]]
            large = below[heap.retained_bytes[below] >= self._least][:_MOST_ASKED]
            chosen = np.concatenate([large, samples, below[: _MOST_ASKED if len(group.nodes) > 1 else 0]])
        wanted = set(heap.addresses[chosen].tolist())
        named: dict[int, Link] = {}
        plumbing: set[int] = set()
        for value in group.live.values():
            for link in links(value, wanted):
                plumbing.update(link.via)
                named.setdefault(id(link.value), link)
        return named, plumbing

    def _grouped(self, group: _Group, children: NDArray[np.int64], named: dict[int, Link]) -> list[_Group]:
        """Put together what is alike and what is small."""
        if not len(children):
            return []
        heap = self._heap
        single = len(group.nodes) == 1
        large = heap.retained_bytes[children] >= self._least
        if single:
            missing = set(heap.addresses[children[large]].tolist()).difference(named)
            if missing:
                named = {**named, **self._found(group, missing)}
        # One by one only what is large, or all where several objects are one part and each was asked.
        complete = len(group.live) == len(group.nodes) and len(children) <= _MOST_ASKED
        each = large if single else np.full(len(children), complete)
        ways, texts = self._ways(children, named)
        groups: dict[tuple[str, int, str], list[int]] = {}
        names: dict[tuple[str, int, str], str] = {}
        for node in children[each].tolist():
            kind = int(heap.type_index[node])
            link = named.get(int(heap.addresses[node]))
            way = ways.get(kind, "") if link is None else link.kind
            many = len(texts.get((way, kind), ())) > _MOST_ALIKE
            alone = link is not None and not many and (single or way != "index")
            key = (way, kind, link.name.text if alone and link is not None else "*")
            names[key] = key[2] if alone else _ANY.get(way, "")
            groups.setdefault(key, []).append(node)
        rest = children[~each]
        kinds = heap.type_index[rest]
        for kind in np.unique(kinds).tolist():
            way = ways.get(kind, "")
            key = (way, kind, "*")
            several = texts.get((way, kind), set())
            names[key] = next(iter(several)) if not single and len(several) == 1 else _ANY.get(way, "")
            groups.setdefault(key, []).extend(rest[kinds == kind].tolist())
        made = [_Group(names[key], np.array(nodes, np.int64)) for key, nodes in groups.items()]
        shown = [each for each in made if heap.retained_bytes[each.nodes].sum() >= self._least]
        self._enliven(group, shown, named)
        return shown

    def _ways(
        self, children: NDArray[np.int64], named: dict[int, Link]
    ) -> tuple[dict[int, str], dict[tuple[str, int], set[str]]]:
        """Tell how the named ones of each type are referred to."""
        heap = self._heap
        ways: dict[int, str] = {}
        texts: dict[tuple[str, int], set[str]] = {}
        asked = children[np.isin(heap.addresses[children], np.fromiter(named, np.uint64, len(named)))]
        for node in asked.tolist():
            kind, link = int(heap.type_index[node]), named[int(heap.addresses[node])]
            ways.setdefault(kind, link.kind)
            texts.setdefault((link.kind, kind), set()).add(link.name.text)
        return ways, texts

    def _enliven(self, group: _Group, shown: Sequence[_Group], named: dict[int, Link]) -> None:
        """Find the live objects of the parts, so that what is below them has names."""
        heap = self._heap
        wanted: dict[int, tuple[_Group, int]] = {}
        for each in shown:
            nodes = each.nodes[:_MOST_ASKED]
            if not len(self._below(nodes)):
                continue
            for address, node in zip(heap.addresses[nodes].tolist(), nodes.tolist(), strict=True):
                link = named.get(address)
                if link is not None:
                    each.live[node] = link.value
                else:
                    wanted[address] = each, node
        if wanted:
            for value in group.live.values():
                for link in links(value, wanted):
                    found = wanted.get(id(link.value))
                    if found is not None:
                        found[0].live.setdefault(found[1], link.value)

    def _found(self, group: _Group, missing: set[int]) -> dict[int, Link]:
        """Look for parts that the object leads to in several ways, none of them its own reference."""
        found: dict[int, Link] = {}
        waiting = deque(group.live.values())
        seen = {id(each) for each in waiting}
        direct = len(waiting)
        while waiting and missing and len(seen) < _MOST_LOOKS:
            here = waiting.popleft()
            direct -= 1
            near = {id(link.value): link for link in links(here, missing)}
            for value in referents(here):
                address = id(value)
                if address in missing:
                    text = near[address].name.text if address in near else ""
                    # of a reference of its own that has no name nothing can be said
                    found[address] = Link("unnamed" if direct >= 0 and not text else "inner", text, value)
                    missing.discard(address)
                if address not in seen and not issubclass(type(value), (type, ModuleType)):
                    seen.add(address)
                    waiting.append(value)
        return found
