"""Walk all objects of the process in Python; the same as ``_walk.pyx``, as far as Python can see.

What Python does not see: locals of frames that run, attribute names that a class keeps for its instances,
parts of classes and of code. What only such things hold has a surplus. Other threads may run between two
steps: the picture is not of one moment then. Some 300 bytes per object are needed.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, compress, count
from types import BuiltinFunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap._parts_twin import data_address, data_bytes, is_heap_type, owns_data
from nbmem.heap._plans_twin import TEXT_TABLES, Plan, measured, plan_of
from nbmem.heap.sizes import block_bytes

__all__ = [
    "ITEMSIZE_AT_1",
    "ITEMSIZE_AT_2",
    "SEES_LOCALS",
    "beside",
    "itemsize_of",
    "keep_only",
    "locate",
    "looked_up",
    "measured",
    "refers_to",
    "select",
    "walk",
]

#: Where dtypes may have their item size: of no use here.
ITEMSIZE_AT_1, ITEMSIZE_AT_2 = 32, 40
#: Locals of frames that run cannot be seen without a copy of them being made, which would stay (3.11, 3.12).
SEES_LOCALS = False

_CHUNK = 20_000
_DICT_BASIC = dict.__basicsize__
_END = 0xFFFFFFFF
_IMMORTAL = 0xFFFFFFFF
_FROZEN, _UNTRACKED, _STATIC = 3, 4, 6
_SMALLEST_OWNER = 1024
_MOST = 0x7FFFFFFF
# What map() and the list of objects hold themselves while they are counted.
_OURS = next(map(sys.getrefcount, [object()]))


def _values_bytes(room: int) -> int:
    """Size the block of an instance's attribute values: in front of them stands their order."""
    return block_bytes(8 * room + ((room + 9) & ~7))


class _Picture:
    """What is written down while objects are walked: the objects, by number, and what they refer to."""

    def __init__(self, rules: list[type], ndarray: type | None, *, partial: bool) -> None:
        self.objects: list[Any] = []
        self.rules = rules
        self.ndarray = ndarray
        self.partial = partial
        # numbers are given in the order in which addresses are looked up first; by address, as an object's
        # hash and equality are its own code
        self.numbers: dict[int, int] = defaultdict(count().__next__)
        self.type_numbers: dict[int, int] = defaultdict(count(1).__next__)
        self.plans: list[Plan] = [plan_of(object, [], None)]  # 0 is the native part's for running frames
        self.special: set[int] = set()
        self.skipped: set[int] = set()
        self.left_out: list[Any] = []
        self.type_index = array("I")
        self.counts = array("I")
        self.targets = array("I")
        self.split = np.zeros(0, np.int64)
        self.key_sources = np.zeros(0, np.uint32)
        self.key_targets = np.zeros(0, np.uint32)

    def end_at(self, addresses: list[int]) -> None:
        self.numbers.update(dict.fromkeys(addresses, _END))

    def add(self, found: list[Any]) -> list[int]:
        """Give the numbers of objects; those that are new become nodes."""
        if self.partial:
            known = self.skipped.__contains__
            skipped = compress(found, map(known, self.types_of(found)))
            for each in skipped:
                if id(each) not in self.numbers and not self._is_bound(each):
                    self.numbers[id(each)] = _END
                    self.left_out.append(each)
        numbers = list(map(self.numbers.__getitem__, map(id, found)))
        self._keep(numbers, found)
        return numbers

    def _is_bound(self, value: Any) -> bool:
        """Tell whether something is a method in C of an object that is followed."""
        if type(value) is not BuiltinFunctionType or value.__self__ is None:
            return False
        return self.types_of([value.__self__])[0] not in self.skipped

    def _keep(self, numbers: list[int], found: list[Any]) -> None:
        new = len(self.objects)
        keep = self.objects.append
        for number, each in zip(numbers, found, strict=True):
            if number == new:
                keep(each)
                new += 1

    def add_starts(self, starts: list[Any]) -> None:
        """Let objects be nodes, whatever their types."""
        self._keep(list(map(self.numbers.__getitem__, map(id, starts))), starts)

    def types_of(self, objects: list[Any]) -> list[int]:
        """Give the numbers of the types of objects, and make plans for new ones."""
        numbers = list(map(self.type_numbers.__getitem__, map(id, map(type, objects))))
        if len(self.type_numbers) >= len(self.plans):
            for number, each in zip(numbers, objects, strict=True):
                if number == len(self.plans):
                    plan = plan_of(type(each), self.rules, self.ndarray)
                    self.plans.append(plan)
                    if plan.parts is not None:
                        self.special.add(number)
                    if plan.skipped:
                        self.skipped.add(number)
        return numbers

    def follow(self) -> None:
        """Write down what objects refer to, those that come to light meanwhile too."""
        chunk: list[Any] = []
        lists: list[list[Any]] = []
        found: list[Any] = []
        try:
            while len(self.counts) < len(self.objects):
                begin = len(self.counts)
                chunk = self.objects[begin : begin + _CHUNK]
                kinds = self.types_of(chunk)
                lists = list(map(gc.get_referents, chunk))
                for at in compress(range(len(chunk)), map(self.special.__contains__, kinds)):
                    parts = self.plans[kinds[at]].parts
                    assert parts is not None
                    lists[at] += parts(chunk[at])
                found = list(chain.from_iterable(lists))
                self.targets.extend(self.add(found))
                self.counts.extend(map(len, lists))
                self.type_index.extend(kinds)
        finally:  # a traceback would hold them
            del chunk, lists, found

    def of_types(self, name: str) -> NDArray[np.bool_]:
        """Tell for each node whether its type's plan says so."""
        said = np.array([getattr(plan, name) for plan in self.plans])
        return said[np.frombuffer(self.type_index, np.uint32)]

    def instance_dicts(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Tell which nodes are instances with a dict made for their attributes, and which are such dicts."""
        counts, targets = np.frombuffer(self.counts, np.uint32), np.frombuffer(self.targets, np.uint32)
        # it refers to its dict and its class, and to what its slots hold; so it would with one attribute
        # that is a dict
        maybe = self.of_types("managed") & ((counts == 2) | self.of_types("slotted"))
        edges = np.flatnonzero(np.repeat(maybe, counts) & (targets != _END))
        edges = edges[self.of_types("exact_dict")[targets[edges]]]
        have, are = np.zeros(len(counts), np.bool_), np.zeros(len(counts), np.bool_)
        have[np.searchsorted(np.cumsum(counts, dtype=np.int64), edges, side="right")] = True
        are[targets[edges]] = True
        return have, are

    def add_keys(self, instance_dicts: NDArray[np.bool_]) -> None:
        """Add the str keys of dicts, which are not reported; keys that a class shares are the class's."""
        nodes = np.flatnonzero(self.of_types("any_dict"))
        dicts = self._at(nodes)
        tables = np.fromiter(map(dict.__sizeof__, dicts), np.int64, len(dicts))
        tables -= np.array([plan.basic for plan in self.plans])[
            np.frombuffer(self.type_index, np.uint32)[nodes]
        ]
        # which table, and how many keys it has room for
        place = np.searchsorted(TEXT_TABLES, tables).clip(max=len(TEXT_TABLES) - 1)
        fits = np.fromiter(map(dict.__len__, dicts), np.int64, len(dicts)) <= (16 << place) // 3
        unsure = (tables <= 30 * 8) & instance_dicts[nodes]
        own = (TEXT_TABLES[place] == tables) & fits & ~unsure
        # their attribute values are a block, with the order of them in front
        self.split = nodes[instance_dicts[nodes] & ~own & (tables > 0) & (tables <= 30 * 8)]
        keys: list[list[Any]] = []
        found: list[Any] = []
        try:
            # each list is made without a step of Python's in between
            keys = list(map(list, map(dict.keys, compress(dicts, own))))
            found = list(chain.from_iterable(keys))
            self.key_targets = np.array(self.add(found), np.uint32)
            counts = np.fromiter(map(len, keys), np.int64, len(keys))
        finally:
            del keys, found, dicts
        self.key_sources = np.repeat(nodes[own].astype(np.uint32), counts)
        self.follow()

    def _at(self, nodes: NDArray[Any]) -> list[Any]:
        return list(map(self.objects.__getitem__, nodes.tolist()))

    def shallow(self, with_dict: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Size all nodes, type by type."""
        sizes = np.zeros(len(self.objects), np.int64)
        counts = np.frombuffer(self.counts, np.uint32)
        for number, nodes in self.by_type():
            plan = self.plans[number]
            members = self._at(nodes[:1] if plan.alike else nodes)
            sizes[nodes] = plan.sizes(plan, members)
            del members
            if plan.values:
                # as many values as some instance has, and one to spare
                room = int(counts[nodes].max())
                sizes[nodes] += np.where(with_dict[nodes], 0, _values_bytes(room))
        own = block_bytes(16 + _DICT_BASIC)
        sizes[self.split] = [
            own + _values_bytes((dict.__sizeof__(each) - _DICT_BASIC) // 8) for each in self._at(self.split)
        ]
        return sizes

    def by_type(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Give the nodes of each type, in order."""
        index = np.frombuffer(self.type_index, np.uint32)
        order = np.argsort(index, kind="stable")
        present, begins = np.unique(index[order], return_index=True)
        return list(zip(present.tolist(), np.split(order, begins[1:]), strict=True)) if len(index) else []

    def references(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Give the references as CSR, without those to what is not followed."""
        n = len(self.objects)
        targets = np.concatenate([np.frombuffer(self.targets, np.uint32), self.key_targets])
        counts = np.frombuffer(self.counts, np.uint32)
        sources = np.concatenate([np.repeat(np.arange(n, dtype=np.uint32), counts), self.key_sources])
        kept = targets != _END
        if not kept.all():
            sources, targets = sources[kept], targets[kept]
        targets = targets[np.argsort(sources, kind="stable")]
        indptr = np.zeros(n + 1, np.uint32)
        np.cumsum(np.bincount(sources, minlength=n), out=indptr[1:])
        return indptr, targets

    def each(self, tell: Callable[[Any], Any], nodes: NDArray[Any]) -> list[Any]:
        """Ask some nodes' objects something."""
        return list(map(tell, self._at(nodes)))

    def states(self, bounds: list[int]) -> NDArray[np.uint8]:
        """Tell the generations of objects, up to which numbers they go; of the others, what else is known."""
        n = len(self.objects)
        states = np.full(n, _UNTRACKED, np.uint8)
        if not self.partial:
            tracked = np.fromiter(map(gc.is_tracked, self.objects), np.bool_, n)
            states[tracked] = _FROZEN if gc.get_freeze_count() else 0
            for generation in (2, 1, 0):
                states[: bounds[generation]] = generation
        types = np.flatnonzero(self.of_types("is_type") & (states == _UNTRACKED))
        states[types[np.array([not is_heap_type(each) for each in self._at(types)], np.bool_)]] = _STATIC
        return states

    def let_go(self) -> None:
        """Hold nothing any more but the objects: plans have methods, which are objects too."""
        self.plans.clear()
        self.rules = []
        self.ndarray = None


def _result(picture: _Picture, bounds: list[int], mark: Any) -> dict[str, Any]:
    picture.follow()
    with_dict, instance_dicts = picture.instance_dicts()
    picture.add_keys(instance_dicts)
    indptr, indices = picture.references()
    n = len(picture.objects)
    with_dict = np.append(with_dict, np.zeros(n - len(with_dict), np.bool_))
    sizes = picture.shallow(with_dict)
    result: dict[str, Any] = {
        "addresses": np.fromiter(map(id, picture.objects), np.uint64, n),
        "shallow_bytes": sizes,
        "states": picture.states(bounds),
        "births": None,
        "indptr": indptr,
        "indices": indices,
    }
    if mark is not None:
        result["births"] = mark(result["addresses"])
    owners = np.flatnonzero(picture.of_types("array") & (sizes >= _SMALLEST_OWNER))
    owners = owners[np.array(picture.each(owns_data, owners), np.bool_)]
    result["owner_nodes"] = owners.astype(np.uint32)
    result["owner_data"] = np.array(picture.each(data_address, owners), np.uint64)
    result["owner_bytes"] = np.array(picture.each(data_bytes, owners), np.int64)
    asked = [(node, -1) for node in np.flatnonzero(picture.of_types("asked")).tolist()]
    by_rule = picture.of_types("rule")
    asked += [(node, int(by_rule[node])) for node in np.flatnonzero(by_rule >= 0).tolist()]
    asked.sort()
    result["asked_nodes"] = np.array([node for node, _ in asked], np.uint32)
    result["asked_rules"] = np.array([rule for _, rule in asked], np.int32)
    by_type = picture.by_type()
    result["type_index"] = np.zeros(n, np.uint32)
    for number, (_, nodes) in enumerate(by_type, 1):
        result["type_index"][nodes] = number
    # from here on nothing is held but the objects
    picture.let_go()
    result["refcounts"], result["surplus"] = _counted(picture.objects, indices)
    lists = {
        "types": [None, *(type(picture.objects[int(nodes[0])]) for _, nodes in by_type)],
        "asked": [picture.objects[node] for node, _ in asked],
        "left_out": picture.left_out,
        "frames": [],
    }
    return result | lists


def _counted(objects: list[Any], indices: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Give the reference counts, and what of them the references found do not explain."""
    n = len(objects)
    refcounts = np.fromiter(map(sys.getrefcount, objects), np.int64, n) - _OURS
    found = np.bincount(indices, minlength=n) if n else np.zeros(0, np.int64)
    surplus = np.clip(refcounts - found, -_MOST, _MOST)
    if sys.version_info >= (3, 12):
        immortal = refcounts >= 1 << 31
        refcounts[immortal], surplus[immortal] = _IMMORTAL, _MOST
    return refcounts.astype(np.uint32), surplus.astype(np.int32)


def walk(
    starts: list[Any] | None,
    ends: list[int],
    rules: list[type],
    ndarray: type | None,
    itemsize_at: int,
    *,
    mark: Callable[[NDArray[np.uint64]], Any] | None = None,
) -> dict[str, Any]:
    """Take down the objects of the process; as ``_walk.walk`` does.

    Whether the collector is at work Python does not tell.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    picture: Any = None
    try:
        if starts is None:
            # before anything is made here; frozen objects are found where something leads to them
            listed = gc.get_objects(generation=0)
            middle = gc.get_objects(generation=1)
            old = gc.get_objects(generation=2)
        else:
            listed, middle, old = starts, [], []
        picture = _Picture(rules, ndarray, partial=starts is not None)
        picture.end_at([*ends, id(ends), id(rules)])
        bounds = []
        for generation in (listed, middle, old):
            picture.add_starts(generation)
            bounds.append(len(picture.objects))
        del listed, middle, old, generation
        return _result(picture, bounds, mark)
    except MemoryError:
        pass  # raised anew below: this one's traceback has in its frames what was found
    finally:
        if picture is not None:
            picture.objects.clear()
        if was_enabled:
            gc.enable()
    raise MemoryError("not enough memory for a snapshot: about 300 bytes per object are needed")


def itemsize_of(array: Any, offset: int) -> int:
    """Give the item size of an array; where it is kept does not matter here."""
    return int(array.itemsize)


def beside(record: Any, flat: Any) -> tuple[int, int, int]:
    """Give what scalars and iterators of numpy's refer to; where they keep it does not matter here."""
    return id(record.base), id(record.dtype), id(flat.base)


def select(
    indptr: NDArray[np.uint32], indices: NDArray[np.uint32], keep: NDArray[np.uint8]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Leave out nodes, and the references to and from them."""
    kept = keep.astype(np.bool_)
    numbers = np.cumsum(kept, dtype=np.uint32) - np.uint32(1)
    sources = np.repeat(np.arange(len(keep), dtype=np.uint32), np.diff(indptr))
    stays = kept[sources] & kept[indices]
    begins = np.zeros(int(kept.sum()) + 1, np.uint32)
    np.cumsum(np.bincount(sources[stays], minlength=len(keep))[kept], out=begins[1:])
    return begins, numbers[indices[stays]]


def keep_only(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    keep: NDArray[np.uint8],
    columns: list[NDArray[np.uint8]],
) -> tuple[int, int]:
    """Leave out nodes in place: the arrays have what is kept in front afterwards; tell how much that is."""
    begins, targets = select(indptr, indices, keep)
    indptr[: len(begins)] = begins
    indices[: len(targets)] = targets
    for column in columns:
        column[: len(begins) - 1] = column[keep.astype(np.bool_)]
    return len(begins) - 1, len(targets)


def looked_up(table: NDArray[np.uint8], numbers: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Give the entry of a table for each of many numbers."""
    return table[numbers]


def refers_to(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    nodes: NDArray[np.uint32],
    marked: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Tell which of some nodes refer to a marked one."""
    upto = np.zeros(len(indices) + 1, np.int64)
    np.cumsum(marked[indices] != 0, out=upto[1:])
    return (upto[indptr[nodes.astype(np.int64) + 1]] > upto[indptr[nodes]]).astype(np.uint8)


def locate(addresses: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Find the nodes of some addresses; -1 where there is none."""
    order = np.argsort(addresses)
    places = np.minimum(np.searchsorted(addresses, wanted, sorter=order), max(len(addresses) - 1, 0))
    nodes = order[places] if len(addresses) else np.zeros(len(wanted), np.int64)
    found = (
        (addresses[nodes] == wanted) & (wanted != 0) if len(addresses) else np.zeros(len(wanted), np.bool_)
    )
    return np.where(found, nodes, -1).astype(np.int64)
