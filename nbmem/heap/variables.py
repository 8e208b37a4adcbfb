"""What a piece of code did to the names of a namespace: new, grown, rebound, deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

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
        About 0.2 µs per ordinary object, 3 µs per pandas object.
    """
    return _differing(namespace, frozenset(hidden), {}, Sizer())[0]


def _differing(
    namespace: Mapping[str, object], hidden: frozenset[str], names: Names, sizer: Sizer
) -> tuple[Names, int]:
    """Give the entries that differ from a record, and how many of its names are still bound."""
    # A copy: another thread may bind names meanwhile. (dict.copy is atomic.)
    return differing(dict(namespace), hidden, names, sizer, _type_name)


def differing_twin(
    namespace: dict[str, object],
    hidden: Collection[str],
    names: Names,
    sizer: Sizer,
    type_name: Callable[[type], str | None],
) -> tuple[Names, int]:
    """Compare a namespace with a record of it; see ``_names.pyx``."""
    after: Names = {}
    seen = 0
    kinds: dict[int, tuple[type, str | None]] = {}  # by address, as in Sizer
    for name, value in namespace.items():
        if type(name) is str and name[:1] != "_" and name not in hidden:
            kind = type(value)
            known = kinds.get(id(kind))
            if known is None:
                known = kinds[id(kind)] = kind, type_name(kind)
            if known[1] is None:
                continue
            entry = id(value), known[1], sizer.owned_bytes(value)
            old = names.get(name)
            seen += old is not None
            if old != entry:
                after[name] = entry
    return after, seen


if TYPE_CHECKING:
    from nbmem.heap._names import differing
else:
    try:
        from nbmem.heap._names import differing
    except ImportError:  # built without the native part
        differing = differing_twin


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
        self._sizer = Sizer()
        self._names, _ = _differing(namespace, self._hidden, {}, self._sizer)

    def look(self, namespace: Mapping[str, object]) -> list[VariableChange]:
        """Compare with the last look: 0.3 ms for 1 000 names; see :func:`compare_names`."""
        names = self._names
        after, seen = _differing(namespace, self._hidden, names, self._sizer)
        before = {name: names[name] for name in after if name in names}
        if seen < len(names):
            bound = record_names(namespace, self._hidden)
            for name in names.keys() - bound.keys():
                before[name] = names.pop(name)
        names.update(after)
        return compare_names(before, after)
