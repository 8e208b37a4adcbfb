"""Ask the objects of other libraries what a walk cannot see: buffers, hidden references, sizes."""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.draft import Draft
from nbmem.heap.registry import Rule, Rules
from nbmem.heap.sizes import block_bytes, shallow_bytes
from nbmem.heap.walk import locate, measured

#: Seconds that rules may take, all together, and methods of others' for the sizes of their objects.
_PATIENCE_WITH_RULES, _PATIENCE = 3.0, 1.0
#: Libraries whose ``__sizeof__`` adds up other objects.
_SUMMING = ("pandas", "geopandas", "pyarrow", "xarray", "dask", "polars")
_SMALLEST_OWNER = 512
_IN_PAGES = 128 * 1024  # bytes from which on the allocator may give whole pages
_ABSURD = 1 << 60  # a size or an address
_MOST_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 44


@dataclass
class _Answers:
    """What objects told, in lists of numbers: many small objects would set the collector going.

    Parameters
    ----------
    holders, held : list of int
        A node, and the address of a buffer that it holds, as often as it was told.
    sizes : list of int
        Of these buffers.
    kinds : list of str
        The same.
    owners, owned : list of int
        A node, and the bytes that it owns beside the object itself.
    referrers, counts : list of int
        A node, and to how many objects it refers unseen.
    referred : list of object
        These objects.
    """

    holders: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    owned: list[int] = field(default_factory=list)
    referrers: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    referred: list[object] = field(default_factory=list)


def ask(draft: Draft, objects: list[Any], rules: Rules) -> None:
    """Ask objects for their sizes and buffers; the answers join the arrays.

    Parameters
    ----------
    draft : Draft
    objects : list
        Those of ``draft.asked_nodes``.
    rules : Rules
        Those that the walk was given.
    """
    answers = _Answers()
    _ask_rules(draft, objects, rules, answers)
    draft.shallow_bytes[answers.owners] += np.array(list(map(block_bytes, answers.owned)), np.int64)
    _ask_sizes(draft, objects, rules)
    if answers.held or answers.referred:
        _add(draft, answers)


def _ask_rules(draft: Draft, objects: list[Any], rules: Rules, answers: _Answers) -> None:
    """Ask for what rules tell of, as long as there is patience."""
    until = time.monotonic() + _PATIENCE_WITH_RULES
    asked = np.flatnonzero(draft.asked_rules >= 0)
    nodes, numbers = draft.asked_nodes[asked].tolist(), draft.asked_rules[asked].tolist()
    for done, (at, node, number) in enumerate(zip(asked.tolist(), nodes, numbers, strict=True)):
        if time.monotonic() > until:
            unasked = len(nodes) - done
            draft.notes.append(f"{unasked:,} objects were not asked for what they hold: that took too long")
            return
        _ask_rule(draft, objects[at], node, rules[number], answers)


def _ask_sizes(draft: Draft, objects: list[Any], rules: Rules) -> None:
    """Ask for sizes that methods of somebody's tell, as long as there is patience."""
    until = time.monotonic() + _PATIENCE
    # where a rule tells the bytes, the object's own method would count them twice
    told = [number for number, rule in enumerate(rules) if rule.buffers or rule.own_bytes]
    sized = draft.asked_nodes[np.isin(draft.asked_rules, told)]
    summing = np.array([name.partition(".")[0] in _SUMMING for name in draft.types], np.bool_)
    believed = ~summing[draft.type_index[draft.asked_nodes]] & ~np.isin(draft.asked_nodes, sized)
    asked = np.flatnonzero((draft.asked_rules < 0) & believed)
    for done, at in enumerate(asked.tolist()):
        if time.monotonic() > until:
            unasked = len(asked) - done
            draft.notes.append(f"{unasked:,} objects were not asked for their size: that took too long")
            return
        _ask_size(draft, objects[at], int(draft.asked_nodes[at]))


def _ask_rule(draft: Draft, value: Any, node: int, rule: Rule, answers: _Answers) -> None:
    try:
        if rule.label is not None:
            draft.labels[node] = rule.label(value)
        if rule.own_bytes is not None:
            size = int(rule.own_bytes(value))
            if 0 < size < _ABSURD:
                answers.owners.append(node)
                answers.owned.append(size)
        if rule.buffers is not None:
            for address, size, kind in rule.buffers(value):
                if 0 < size < _ABSURD and 0 < address < _ABSURD:
                    answers.holders.append(node)
                    answers.held.append(address)
                    answers.sizes.append(size)
                    answers.kinds.append(kind)
        if rule.references is not None:
            objects = list(rule.references(value))
            answers.referred += objects
            answers.referrers.append(node)
            answers.counts.append(len(objects))
    except Exception:  # noqa: BLE001  # a library's or a user's function: its object counts without
        note = f"a {type(value).__name__} could not be asked for its buffers"
        if note not in draft.notes:
            draft.notes.append(note)


def _ask_size(draft: Draft, value: Any, node: int) -> None:
    """Believe a ``__sizeof__`` of somebody's, but only in what the graph does not show."""
    try:
        size = measured(value)
    except Exception:  # noqa: BLE001  # somebody's code
        return
    more = size - int(draft.shallow_bytes[node])
    if 0 < more < _MOST_BYTES:
        draft.shallow_bytes[node] += max(0, more - _shown_below(draft, node))


def _shown_below(draft: Draft, node: int) -> int:
    """Sum the sizes of what an object leads to at once: such methods often count it too."""
    seen = {node}
    near = [node]
    for _ in range(3):
        found = dict.fromkeys(target for each in near for target in draft.targets(each) if target not in seen)
        near = list(found)[:1000]
        seen.update(near)
    seen.remove(node)
    return int(draft.shallow_bytes[list(seen)].sum()) if seen else 0


def _add(draft: Draft, answers: _Answers) -> None:
    """Let buffers be nodes, each once, and add the references to them and to other objects."""
    addresses, first, which = np.unique(
        np.array(answers.held, np.uint64), return_index=True, return_inverse=True
    )
    nodes = _owners_of(draft, addresses)
    # who looks at an object's memory from a library's side holds one reference to it
    owners = np.unique(nodes[nodes >= 0])
    draft.surplus[owners[draft.surplus[owners] > 0]] -= 1
    fresh = np.flatnonzero(nodes < 0)
    nodes[fresh] = len(draft) + np.arange(len(fresh))
    sizes = np.array(answers.sizes, np.int64)[first[fresh]]
    kinds = [f"({answers.kinds[i]})" for i in first[fresh].tolist()]
    held = np.stack([np.array(answers.holders, np.int64), nodes[which]], axis=1)
    wanted = np.fromiter(map(id, answers.referred), np.uint64, len(answers.referred))
    targets = locate(draft.addresses, wanted)
    unknown = np.flatnonzero(targets < 0)  # nothing that the walk knows leads to it
    unseen, at, which = np.unique(wanted[unknown], return_index=True, return_inverse=True)
    targets[unknown] = len(draft) + len(fresh) + which
    objects = [answers.referred[i] for i in unknown[at].tolist()]
    end = len(draft) + len(fresh) + len(objects)
    sources = np.repeat(np.array(answers.referrers, np.int64), np.array(answers.counts, np.int64))
    referred = _believed(draft, _each_once(np.stack([sources, targets], axis=1), end))
    edges = np.concatenate([_each_once(held, end), referred])
    draft.add(
        np.concatenate([addresses[fresh], unseen]),
        np.concatenate([sizes, np.fromiter(map(shallow_bytes, objects), np.int64, len(objects))]),
        kinds + ["(object of a library)"] * len(objects),
        _each_once(edges[edges[:, 0] != edges[:, 1]], end),
    )


def _each_once(edges: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Leave out what is there twice, and sort by what is referred to; all numbers are below ``end``."""
    keys = np.sort(edges[:, 1] * end + edges[:, 0])
    targets, sources = np.divmod(keys[np.diff(keys, prepend=-1) > 0], end)
    return np.stack([sources, targets], axis=1)


def _believed(draft: Draft, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out references that an object's count has no room for: of more than that, the first stay."""
    begins = np.flatnonzero(np.diff(edges[:, 1], prepend=-1))
    place = np.arange(len(edges)) - np.repeat(begins, np.diff(np.append(begins, len(edges))))
    old = edges[:, 1] < len(draft)
    believed = ~old
    believed[old] = place[old] < draft.surplus[edges[old, 1]]
    np.subtract.at(draft.surplus, edges[believed & old, 1], 1)
    return edges[believed]


def _owners_of(draft: Draft, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Find the arrays and bytes in whose own memory buffers lie, as a library only looks at them; else -1."""
    # of bytes objects the contents follow the header; what lists and dicts own lies elsewhere
    texts = [number for number, name in enumerate(draft.types) if name == "bytes"]
    large = np.flatnonzero((draft.shallow_bytes >= _SMALLEST_OWNER) & np.isin(draft.type_index, texts))
    starts = np.concatenate([draft.owner_data, draft.addresses[large]])
    owners = np.concatenate([draft.owner_nodes.astype(np.int64), large])
    # whole pages are said of what may be followed by something else at once
    contents = draft.shallow_bytes[large] - np.where(draft.shallow_bytes[large] < _IN_PAGES, 0, mmap.PAGESIZE)
    lengths = np.concatenate([draft.owner_bytes, contents]).astype(np.uint64)
    found = np.full(len(addresses), -1)
    if not len(owners):
        return found
    order = np.argsort(starts)
    starts, owners, lengths = starts[order], owners[order], lengths[order]
    at = np.searchsorted(starts, addresses, side="right").astype(np.int64) - 1
    inside = (at >= 0) & (addresses < starts[at] + lengths[at])
    found[inside] = owners[at[inside]]
    return found
