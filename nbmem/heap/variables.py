"""What a piece of code did to the names of a namespace: new, grown, rebound, deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from nbmem.heap.sizes import Sizer

#: For each name: the address of its object, the name of its type, its bytes. Never the object itself.
Names = dict[str, tuple[int, str, int]]


@dataclass(frozen=True, slots=True)
class VariableChange:
    """What became of one name.

    Parameters
    ----------
    name, type : str
        The name, and the type of what it is bound to (for a deleted name: was bound to).
    change : str
        ``new``, ``grown``, ``shrunk``, ``rebound`` or ``deleted``.
    bytes, before_bytes : int
        Shallow size with owned buffers, afterwards and before (0 where there is none).
    """

    name: str
    type: str
    change: str
    bytes: int
    before_bytes: int


def record_names(namespace: Mapping[str, object], hidden: Collection[str] = ()) -> Names:
    """Record what the names of a namespace are bound to, without keeping any of it alive.

    Parameters
    ----------
    namespace : mapping
        Names to objects.
    hidden : collection of str
        Names to pass over. Modules, and names that begin with an underscore, are passed over too.

    Returns
    -------
    Names
        About 0.5 µs per ordinary object, 3 µs per pandas object.
    """
    return {name: (address, kind, size) for name, address, kind, size in _sized(namespace, hidden)}


def _sized(namespace: Mapping[str, object], hidden: Collection[str]) -> Iterator[tuple[str, int, str, int]]:
    """Give name, address, type and bytes of what is bound, except what is passed over."""
    owned_bytes = Sizer().owned_bytes
    kinds: dict[int, tuple[type, str | None]] = {}  # by address, as in Sizer
    # A copy of the items: another thread may bind names meanwhile. (dict.copy is atomic.)
    for name, value in dict(namespace).items():
        if type(name) is str and name[:1] != "_" and name not in hidden:
            kind = type(value)
            known = kinds.get(id(kind))
            if known is None:
                known = kinds[id(kind)] = kind, _type_name(kind)
            if known[1] is not None:
                yield name, id(value), known[1], owned_bytes(value)


def compare_names(before: Names, after: Names) -> list[VariableChange]:
    """Tell what changed between two records, the largest first.

    A name that was bound anew to an object at the same address, of the same type and size, cannot be told
    from one that was left alone, and is not listed.
    """
    changes = []
    for name, found in after.items():
        old = before.get(name)
        if old == found:
            continue
        address, kind, size = found
        if old is None:
            changes.append(VariableChange(name, kind, "new", size, 0))
            continue
        old_address, old_kind, old_size = old
        if address != old_address or kind != old_kind:
            changes.append(VariableChange(name, kind, "rebound", size, old_size))
        elif size != old_size:
            changes.append(
                VariableChange(name, kind, "grown" if size > old_size else "shrunk", size, old_size)
            )
    changes += [
        VariableChange(name, kind, "deleted", 0, size)
        for name, (_, kind, size) in before.items()
        if name not in after
    ]
    return sorted(changes, key=lambda change: -abs(change.bytes - change.before_bytes))


def _type_name(kind: type) -> str | None:
    """Give a type's name; None for modules' types, which are passed over."""
    if issubclass(kind, ModuleType):
        return None
    # type.__name__ by the type's own descriptor: a metaclass may have put something else in front
    return str(type.__dict__["__name__"].__get__(kind))


class NameWatch:
    """Tell again and again what changed in a namespace since the last look; keeps none of its objects.

    Parameters
    ----------
    namespace : mapping
        As for :func:`record_names`; its names are recorded at once.
    hidden : collection of str
        Names to pass over.
    """

    def __init__(self, namespace: Mapping[str, object], hidden: Collection[str] = ()) -> None:
        self._hidden = frozenset(hidden)
        self._names = record_names(namespace, self._hidden)

    def look(self, namespace: Mapping[str, object]) -> list[VariableChange]:
        """Compare with the last look, in one pass: under 1 ms for 1 000 names; see :func:`compare_names`."""
        names = self._names
        before: Names = {}
        after: Names = {}
        seen = 0
        for name, address, kind, size in _sized(namespace, self._hidden):
            old = names.get(name)
            if old is not None:
                seen += 1
                if old[0] == address and old[2] == size and old[1] == kind:
                    continue
                before[name] = old
            after[name] = address, kind, size
        if seen < len(names):
            for name in names.keys() - {name for name, *_ in _sized(namespace, self._hidden)}:
                before[name] = names.pop(name)
        names.update(after)
        return compare_names(before, after)
