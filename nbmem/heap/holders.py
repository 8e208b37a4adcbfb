"""Who holds an object, in words."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbmem.heap.dominators import NONE
from nbmem.heap.ends import module_namespaces
from nbmem.heap.graph import INTERNED, RUNNING_FRAME, UNTRACKED, Heap
from nbmem.heap.references import MOST_LETTERS, reference_names

#: Holders that are told of one object, and objects that are looked at to find them.
_MOST_HOLDERS, _MOST_LOOKS = 4, 400
_ATOM_BYTES = 1024
_MODULE = "module "


@dataclass(frozen=True, slots=True)
class Holder:
    """Something that holds objects and has a name.

    Parameters
    ----------
    value : object
        For instance the dict of the outputs.
    name : str
        For instance ``Out``; the name of the reference is put after it.
    vague : bool
        Whether it is not: what is in between says nothing. Such holders are told after the others.
    """

    value: Any
    name: str
    vague: bool = False


class Words:
    """Tell who holds the objects of a heap.

    Parameters
    ----------
    heap : Heap
    namespace : int
        The node of the namespace whose names are looked at.
    names : mapping of int to list of str
        The names of each node that the namespace binds.
    values : mapping
        The namespace.
    holders : sequence of Holder
        What the caller knows by name; they come before names of the namespace.
    nodes : mapping of int to int
        The nodes of modules' namespaces and holders, by address.
    """

    def __init__(
        self,
        heap: Heap,
        namespace: int,
        *,
        names: Mapping[int, Sequence[str]],
        values: Mapping[str, Any],
        holders: Sequence[Holder],
        nodes: Mapping[int, int],
    ) -> None:
        self._heap = heap
        self._namespace = namespace
        self._names = names
        self._known: dict[int, Holder] = {}
        by_address = {id(sys.modules): Holder(sys.modules, "sys.modules")}
        for address, name in module_namespaces().items():
            by_address[address] = Holder(sys.modules.get(name), _MODULE + cut(name))
        by_address.update({id(holder.value): holder for holder in holders})
        for node, bound in names.items():
            self._known[node] = Holder(values.get(bound[0]), cut(bound[0]))
        for address, holder in by_address.items():
            if address in nodes:
                self._known[nodes[address]] = holder
        self._known.pop(namespace, None)

    def of(self, node: int, *, beside: str) -> list[str]:
        """Tell who holds a node besides one name of the namespace, the nearest first.

        Parameters
        ----------
        node : int
        beside : str
            That name.
        """
        names = [cut(name) for name in self._names.get(node, ()) if name != beside]
        found: list[str] = []
        heap = self._heap
        if heap.states[node] in (UNTRACKED, INTERNED) and heap.retained_bytes[node] < _ATOM_BYTES:
            # a number or a short string may be anywhere: only who refers to it by name is told
            found += self._climb(node, deep=False)
            if heap.surplus[node] > 0 or not found:
                found.append("the interpreter, or code (a constant)")
        else:
            found += self._climb(node)
            if heap.surplus[node] > 0:
                found.append("native code, or a value in use")
        # names that begin with an underscore are mostly another way to the outputs
        clear = [name for name in names if not name.startswith("_")]
        distinct = list(dict.fromkeys([*clear, *found, *names]))
        more = len(distinct) - _MOST_HOLDERS
        return distinct if more <= 0 else [*distinct[:_MOST_HOLDERS], f"{more} more"]

    def _climb(self, node: int, *, deep: bool = True) -> list[str]:
        """Go up from referrer to referrer, to the nearest that have a name."""
        heap = self._heap
        found: list[str] = []
        vague: list[str] = []
        deepest = _MOST_LOOKS
        seen = {node, self._namespace}
        waiting = deque([(node, 0)])
        while waiting and len(seen) < _MOST_LOOKS and len(found) <= _MOST_HOLDERS:
            here, depth = waiting.popleft()
            if depth > deepest:
                break
            referrers = heap.referrers(here)
            if depth and heap.surplus[here] > 0 and not len(referrers):
                found.append(f"{_article(heap.type_of(here))} held by native code")
            for above in dict.fromkeys(referrers[:_MOST_LOOKS].tolist()):
                if above in seen or heap.tree.idom[above] == NONE:
                    continue
                seen.add(above)
                if above in self._known and self._known[above].vague:
                    vague.append(self._known[above].name)
                elif above in self._known:
                    # those beyond the first few are only counted
                    enough = len(found) > _MOST_HOLDERS
                    found.append(str(above) if enough else self._reference(above, here, direct=not depth))
                elif heap.type_of(above) == RUNNING_FRAME:
                    where = heap.labels.get(above, "").partition(",")[0]
                    inner = "inside " if depth else ""
                    found.append(f"{inner}a local of {where}, which is running")
                elif deep and not self._is_below(above, node):
                    waiting.append((above, depth + 1))
                    if heap.surplus[above] > 0:
                        found.append(f"{_article(heap.type_of(above))} held by native code")
            if found or vague:  # what is further away is mostly what holds those
                deepest = min(deepest, depth + 3)
        return found + vague

    def _reference(self, above: int, here: int, *, direct: bool) -> str:
        holder = self._known[above]
        heap = self._heap
        address = int(heap.addresses[here])
        named = reference_names(holder.value, {address}).get(address)
        text = named.text if named is not None else ""
        if holder.name.startswith(_MODULE):
            return f"{holder.name}: {text[1:]}" if text else holder.name
        return f"{holder.name}{text}" if direct else f"inside {holder.name}{text}"

    def _is_below(self, node: int, above: int) -> bool:
        """Tell whether a node is dominated by another: then it does not hold it."""
        idom = self._heap.tree.idom
        steps = 0
        while node < len(idom) and steps < 10_000:
            if node == above:
                return True
            node = int(idom[node])
            steps += 1
        return False


def _article(kind: str) -> str:
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def cut(name: str) -> str:
    """Cut a name that is too long to be shown."""
    return name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…"
