"""Ask the objects of other libraries what a walk cannot see: buffers, hidden references, sizes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.draft import Draft
from nbmem.heap.registry import Buffer, Rule, Rules
from nbmem.heap.sizes import block_bytes, shallow_bytes
from nbmem.heap.typenames import module_of
from nbmem.heap.walk import locate, measured

#: Seconds that methods of others' may take for the sizes of their objects, all together.
_PATIENCE = 1.0
#: Libraries whose ``__sizeof__`` adds up other objects.
_SUMMING = ("pandas", "geopandas", "pyarrow", "xarray", "dask", "polars")
_SMALLEST_OWNER = 512
#: An array's own header and shape, which are no part of its data, but of its size; they count up to this.
_BESIDE = 256
_MOST_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 44


@dataclass
class _Answers:
    """What objects told.

    Parameters
    ----------
    buffers : dict of int to Buffer
        By their addresses.
    held : set of (int, int)
        Which node holds which address.
    referred : list of (int, list of object)
        A node, and the objects that it refers to unseen.
    """

    buffers: dict[int, Buffer] = field(default_factory=dict)
    held: set[tuple[int, int]] = field(default_factory=set)
    referred: list[tuple[int, list[object]]] = field(default_factory=list)


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
    until = time.monotonic() + _PATIENCE
    unasked = 0
    # where a rule tells the bytes, the object's own method would count them twice
    told = {number for number, rule in enumerate(rules) if rule.buffers or rule.own_bytes}
    sized = set(draft.asked_nodes[np.isin(draft.asked_rules, list(told))].tolist())
    for each, node, number in zip(
        objects, draft.asked_nodes.tolist(), draft.asked_rules.tolist(), strict=True
    ):
        if number >= 0:
            _ask_rule(draft, each, node, rules[number], answers)
        elif node in sized:
            continue
        elif time.monotonic() > until:
            unasked += 1
        else:
            _ask_size(draft, each, node)
    if unasked:
        draft.notes.append(f"{unasked:,} objects were not asked for their size: that took too long")
    if answers.held or answers.referred:
        _add(draft, answers)


def _ask_rule(draft: Draft, value: Any, node: int, rule: Rule, answers: _Answers) -> None:
    try:
        if rule.label is not None:
            draft.labels[node] = rule.label(value)
        if rule.own_bytes is not None:
            draft.shallow_bytes[node] += block_bytes(int(rule.own_bytes(value)))
        if rule.buffers is not None:
            for buffer in rule.buffers(value):
                if buffer.size > 0 and buffer.address > 0:
                    answers.held.add((node, buffer.address))
                    answers.buffers.setdefault(buffer.address, buffer)
        if rule.references is not None:
            answers.referred.append((node, list(rule.references(value))))
    except Exception:  # noqa: BLE001  # a library's or a user's function: its object counts without
        draft.notes.append(f"a {type(value).__name__} could not be asked for its buffers")


def _ask_size(draft: Draft, value: Any, node: int) -> None:
    """Believe a ``__sizeof__`` of somebody's, but only in what the graph does not show."""
    if module_of(type(value)).partition(".")[0] in _SUMMING:
        return
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
    nodes = _owners_of(draft, answers.buffers)
    # who looks at an object's memory from a library's side holds one reference to it
    owners = np.unique(np.fromiter(nodes.values(), np.int64))
    draft.surplus[owners[draft.surplus[owners] > 0]] -= 1
    new: list[tuple[int, int, str]] = []
    for address, buffer in answers.buffers.items():
        if address not in nodes:
            nodes[address] = len(draft) + len(new)
            new.append((address, buffer.size, f"({buffer.kind})"))
    edges = [np.array([(node, nodes[address]) for node, address in answers.held], np.int64).reshape(-1, 2)]
    if answers.referred:
        edges.append(_references(draft, answers.referred, nodes, new))
    joined = np.concatenate(edges)
    draft.add(new, joined[joined[:, 0] != joined[:, 1]])


def _references(
    draft: Draft,
    referred: list[tuple[int, list[object]]],
    nodes: dict[int, int],
    new: list[tuple[int, int, str]],
) -> NDArray[np.int64]:
    """Give the references that objects told of, (m, 2); what has no node becomes one. O(n + m log m)."""
    counts = np.fromiter((len(objects) for _, objects in referred), np.int64, len(referred))
    sources = np.repeat(np.fromiter((node for node, _ in referred), np.int64, len(referred)), counts)
    objects = list(chain.from_iterable(objects for _, objects in referred))
    wanted = np.fromiter(map(id, objects), np.uint64, len(objects))
    targets = locate(draft.addresses, wanted)
    for i in np.flatnonzero(targets < 0).tolist():  # nothing that the walk knows leads to it
        number = nodes.setdefault(int(wanted[i]), len(draft) + len(new))
        if number == len(draft) + len(new):
            new.append((int(wanted[i]), shallow_bytes(objects[i]), "(object of a library)"))
        targets[i] = number
    edges = np.unique(np.stack([sources, targets], axis=1), axis=0)
    # a reference is believed where the object's count has room for it: of more, the first
    order = np.argsort(edges[:, 1], kind="stable")
    edges = edges[order]
    begins = np.flatnonzero(np.diff(edges[:, 1], prepend=-1))
    place = np.arange(len(edges)) - np.repeat(begins, np.diff(np.append(begins, len(edges))))
    old = edges[:, 1] < len(draft)
    believed = ~old
    believed[old] = place[old] < draft.surplus[edges[old, 1]]
    np.subtract.at(draft.surplus, edges[believed & old, 1], 1)
    return edges[believed]


def _owners_of(draft: Draft, buffers: dict[int, Buffer]) -> dict[int, int]:
    """Find the objects in whose own memory buffers lie: arrays and bytes that a library only looks at."""
    addresses = np.array(sorted(buffers), np.uint64)
    # of bytes objects the contents follow the header; what lists and dicts own lies elsewhere
    texts = [number for number, name in enumerate(draft.types) if name == "bytes"]
    large = np.flatnonzero((draft.shallow_bytes >= _SMALLEST_OWNER) & np.isin(draft.type_index, texts))
    starts = np.concatenate([draft.owner_data, draft.addresses[large]])
    owners = np.concatenate([draft.owner_nodes.astype(np.int64), large])
    order = np.argsort(starts)
    starts, owners = starts[order], owners[order]
    below = np.searchsorted(starts, addresses, side="right").astype(np.int64) - 1
    found = {}
    for address, at in zip(addresses.tolist(), below.tolist(), strict=True):
        if at >= 0 and address < int(starts[at]) + int(draft.shallow_bytes[owners[at]]) - _BESIDE:
            found[address] = int(owners[at])
    return found
