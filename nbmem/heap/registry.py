"""What libraries tell about their types: buffers outside Python's memory, and references that nobody sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from nbmem._errors import BadArgument


class Buffer(NamedTuple):
    """Memory that an object holds outside Python's, maybe together with others.

    Parameters
    ----------
    address : int
        Where it begins; buffers of the same address are the same.
    size : int
        Bytes.
    kind : str
        What it is called, for instance ``Arrow buffer``.
    """

    address: int
    size: int
    kind: str = "native buffer"


#: What a rule may give instead, where there may be very many: a plain tuple of the same.
Told = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """How objects of one type are asked after a walk.

    Parameters
    ----------
    kind : type
        Objects of it, and of types derived from it, are asked.
    buffers : callable or None
        Gives the buffers that an object holds.
    references : callable or None
        Gives the objects that an object refers to and the collector does not know of.
    own_bytes : callable or None
        Gives the bytes that an object owns itself beside its header; they belong to nobody else.
    label : callable or None
        Says what an object is.
    """

    kind: type
    buffers: Callable[[Any], Iterable[Told]] | None = None
    references: Callable[[Any], Iterable[object]] | None = None
    own_bytes: Callable[[Any], int] | None = None
    label: Callable[[Any], str] | None = None


class Rules(tuple[Rule, ...]):
    """Rules in use. Of a type of nbmem's own, so that a walk that sees no frames can tell whose they are."""

    __slots__ = ()


_registered: list[Rule] = []


def register_type(
    kind: type,
    *,
    buffers: Callable[[Any], Iterable[tuple[int, int]]] | None = None,
    references: Callable[[Any], Iterable[object]] | None = None,
    own_bytes: Callable[[Any], int] | None = None,
) -> None:
    """Tell nbmem what the objects of a type hold outside Python's memory.

    Parameters
    ----------
    kind : type
        Objects of it, and of types derived from it; the rule that was registered last counts.
    buffers : callable, optional
        Called with an object; gives pairs of address and size in bytes. What has the same address is the
        same memory, and counted once, however many objects give it.
    references : callable, optional
        Called with an object; gives the objects that it holds a reference to (counted in their reference
        count) and ``gc.get_referents`` does not tell of.
    own_bytes : callable, optional
        Called with an object; gives the bytes that it alone owns beside the object itself. Its
        ``__sizeof__`` is not asked then, nor where there are ``buffers``.

    Raises
    ------
    BadArgument
        If it is no type, or nothing is told of it.

    Notes
    -----
    The functions are called after the walk, as long as all of them together take less than three seconds.
    Where one raises, its object counts without what it would have told.

    Examples
    --------
    >>> nbmem.register_type(Image, buffers=lambda image: [(image.pointer, image.nbytes)])  # doctest: +SKIP
    """
    if not isinstance(kind, type):
        raise BadArgument(f"register_type takes a type, not {type(kind).__name__}")
    if buffers is None and references is None and own_bytes is None:
        raise BadArgument("give buffers=, references= or own_bytes=: without them there is nothing to tell")

    def named(value: Any) -> Iterable[Buffer]:
        assert buffers is not None
        return [Buffer(int(address), int(size)) for address, size in buffers(value)]

    _registered[:] = [rule for rule in _registered if rule.kind is not kind]
    _registered.append(
        Rule(kind, buffers=None if buffers is None else named, references=references, own_bytes=own_bytes)
    )


def rules() -> Rules:
    """List the rules for types of libraries that are loaded, the more particular and the user's last."""
    from nbmem.heap.foreign import FOREIGN

    found: list[Rule] = []
    for name, make in FOREIGN:
        library = sys.modules.get(name)
        if library is None or _is_lazy(library):
            continue
        try:
            found += make(library)
        except Exception:  # noqa: BLE001  # a library in mid-import, of another version, or something else
            continue
    return Rules([*found, *_registered])


def _is_lazy(library: object) -> bool:
    """Tell whether a module is one that would be loaded now, by ``importlib.util.LazyLoader``."""
    lazy = getattr(sys.modules.get("importlib.util"), "_LazyModule", None)
    return lazy is not None and issubclass(type(library), lazy)
