"""Who holds the instances of a type: grouped by the shape of the way to them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem._errors import BadArgument
from nbmem.heap.capture import capture
from nbmem.heap.graph import Heap
from nbmem.heap.paths import SPREAD, UNSEEN, way_of_all
from nbmem.heap.pathwords import Place, place_of
from nbmem.heap.rootpaths import RootPath, path_of
from nbmem.heap.roots import Root
from nbmem.heap.scene import Scene
from nbmem.heap.typenames import name_of

#: Types that are proposed instead of one that is not there.
_MOST_PROPOSED = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Instances that are held alike.

    Parameters
    ----------
    path : RootPath
        That to the one that retains most; ``[*]`` where those of the others have other indices or keys.
    count : int
    shallow_bytes, retained_bytes : int
        Of all of them together; what one keeps alive for another counts once.
    """

    path: RootPath
    count: int
    shallow_bytes: int
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class TypeHolding:
    """Who holds the instances of a type.

    Parameters
    ----------
    types : tuple of str
        With their modules; several where a name stands for several.
    count : int
        Instances that something holds.
    garbage_count : int
        Those that wait for the collector.
    shallow_bytes, retained_bytes : int
    groups : tuple of Group
        Those that retain most first.
    group_count : int
        How many there are.
    notes : tuple of str
    """

    types: tuple[str, ...]
    count: int
    garbage_count: int
    shallow_bytes: int
    retained_bytes: int
    groups: tuple[Group, ...]
    group_count: int
    notes: tuple[str, ...] = ()


def find_groups(
    kind: type | str,
    *,
    roots: Sequence[Root] = (),
    namespace: dict[str, Any] | None = None,
    hidden: Iterable[str] = (),
    most: int = 10,
    place: Place = place_of,
) -> TypeHolding:
    """Find out who holds the instances of a type.

    Parameters
    ----------
    kind : type or str
        The class, or its name, with or without its module.
    roots, namespace, hidden, most, place
        As for :func:`find_root_paths`.

    Returns
    -------
    TypeHolding

    Raises
    ------
    BadArgument
        If no object is of a type of that name.
    MemoryError, NotMeasured
        As for :func:`capture`.

    Notes
    -----
    One search from all that has a name downwards, then from what only native code holds. Two instances are
    held alike if their ways begin with the same name and lead through the same types; a chain of objects of
    one type counts as one.
    """
    heap = capture()
    numbers = _types(heap, kind)
    scene = Scene(heap, roots=roots, namespace=namespace, hidden=hidden)
    try:
        scene.close_frames()
        return _holding(heap, scene, numbers, most, place)
    finally:
        scene.forget()


def _types(heap: Heap, kind: type | str) -> list[int]:
    if not isinstance(kind, str):
        found = np.flatnonzero(heap.type_addresses == np.uint64(id(kind))).tolist()
        if not found:
            raise BadArgument(f"there is no instance of {name_of(kind)}")
        return found
    found = [i for i, name in enumerate(heap.types) if name == kind or name.rpartition(".")[2] == kind]
    if not found:
        short = {name.rpartition(".")[2].lower(): name.rpartition(".")[2] for name in heap.types}
        near = difflib.get_close_matches(kind.rpartition(".")[2].lower(), short, _MOST_PROPOSED)
        hint = f"; did you mean {' or '.join(short[each] for each in near)}?" if near else ""
        raise BadArgument(f"no object is of a type {kind[:80]!r}{hint}")
    return found


def _holding(heap: Heap, scene: Scene, numbers: list[int], most: int, place: Place) -> TypeHolding:
    members = np.flatnonzero(np.isin(heap.type_index, numbers))
    living = members[heap.living[members]]
    above, order = scene.ways_from_roots()
    numbered = _grouped(heap, scene, above, order, living)
    groups = numbered[living]
    living, groups = living[groups >= 0], groups[groups >= 0]
    kinds = np.zeros(len(heap), np.int64)
    kinds[living] = groups + 1
    outermost = heap.tree.outermost(kinds)[living]
    retained = np.bincount(groups, np.where(outermost, heap.retained_bytes[living], 0))
    found: list[Group] = []
    for number in np.argsort(-retained, kind="stable").tolist():
        inside = living[groups == number].astype(np.uint32)
        if not len(inside) or len(found) >= most:
            break
        way, beside = way_of_all(above, inside[np.argsort(-heap.retained_bytes[inside], kind="stable")])
        found.append(
            Group(
                path=path_of(scene, way, beside, place),
                count=len(inside),
                shallow_bytes=int(heap.shallow_bytes[inside].sum()),
                retained_bytes=heap.retained_together(inside.tolist()),
            )
        )
    found.sort(key=lambda group: -group.retained_bytes)
    return TypeHolding(
        types=tuple(heap.types[number] for number in numbers),
        count=len(living),
        garbage_count=len(members) - int(np.count_nonzero(heap.living[members])),
        shallow_bytes=int(heap.shallow_bytes[living].sum()),
        retained_bytes=heap.retained_together(living.tolist()) if len(living) else 0,
        groups=tuple(found),
        group_count=len(np.unique(groups)),
        notes=heap.notes,
    )


def _grouped(
    heap: Heap, scene: Scene, above: NDArray[np.uint32], order: NDArray[np.uint32], members: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give the ways to some nodes numbers by their shape."""
    needed = np.zeros(len(heap), np.bool_)
    needed[members] = True
    for node in (
        order[::-1][needed[order[::-1]]].tolist() if len(members) == len(heap) else _upwards(above, members)
    ):
        needed[node] = True
    numbered = np.full(len(heap), -1, np.int64)
    known: dict[tuple[int, int, int], int] = {}
    kinds = heap.type_index
    for node in order[needed[order]].tolist():
        before = int(above[node])
        kind = int(kinds[node])
        if before == node:
            key = (-1, node, -1)
        elif scene.marks[before] & SPREAD:
            key = (int(numbered[before]), kind, node)
        elif kinds[before] == kind:
            numbered[node] = numbered[before]
            continue
        else:
            key = (int(numbered[before]), kind, -1)
        numbered[node] = known.setdefault(key, len(known))
    return numbered


def _upwards(above: NDArray[np.uint32], members: NDArray[np.int64]) -> list[int]:
    """List what stands above some nodes on their ways, each once."""
    seen = set(members.tolist())
    found = []
    for node in members.tolist():
        here = int(above[node])
        while here != UNSEEN and here not in seen:
            seen.add(here)
            found.append(here)
            here = int(above[here])
    return found
