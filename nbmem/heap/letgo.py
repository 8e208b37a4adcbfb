"""What has a way of its own to let go of what it holds: caches, generators, handlers, views."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from nbmem.heap.attributes import is_a
from nbmem.heap.belongings import counts_on
from nbmem.heap.frames import SUSPENDABLE
from nbmem.heap.hops import GONE, Hop
from nbmem.heap.pathwords import is_name, literal
from nbmem.heap.roots import Root
from nbmem.heap.typenames import name_of

FINALIZERS = "weakref.finalize._registry"


@dataclass(frozen=True, slots=True)
class Case:
    """A path, and what is known besides.

    Parameters
    ----------
    root : Root
    hops : sequence of Hop
        With their live objects.
    asked : str or None
        An expression that gives the last object.
    names : sequence of str
        Where the root is a namespace, the names by which it leads on.
    namespace : dict
        Where expressions are evaluated.
    """

    root: Root
    hops: Sequence[Hop]
    asked: str | None
    names: Sequence[str]
    namespace: dict[str, Any]

    def last(self, number: int) -> bool:
        """Tell whether a hop leads to the object itself."""
        return number == len(self.hops) - 1


def find_way(case: Case, number: int, holder: str | None) -> str | None:  # noqa: PLR0911
    """Write how what holds a hop is asked to let go; None if it knows no such thing."""
    hop = case.hops[number]
    parent = hop.parent
    if hop.kind == "context":
        return _of_context(case, hop)
    if parent is GONE or holder is None:
        return None
    if issubclass(type(parent), SUSPENDABLE):
        return f"{holder}.close()" if hop.kind == "local" else None
    for library, name, write in _WAYS:
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and is_a(type(parent), kind):
            return write(case, number, holder)
    if issubclass(type(parent), memoryview):
        # where something else looks at it too, it cannot be released
        inner = number and (case.hops[number - 1].kind == "base" or counts_on(case.hops[number - 1].parent))
        return None if inner else f"{holder}.release()"
    if name_of(type(parent)) == "functools._lru_cache_wrapper":
        return None if hop.kind == "attribute" else f"{holder}.cache_clear()"
    if holder == FINALIZERS:
        values = list(dict.items(parent))
        place = next((i for i, pair in enumerate(values) if any(each is hop.value for each in pair)), None)
        # what it gives back is not to be displayed
        return None if place is None else f"list({holder})[{place}].detach();"
    return None


def _of_context(case: Case, hop: Hop) -> str | None:
    for name, value in list(case.namespace.items()):
        if type(value) is ContextVar and value.name == hop.key and type(name) is str:
            return f"{name}.set(None);" if case.root.kind == "context variable" else None
    return None


def _of_logger(case: Case, number: int, holder: str) -> str | None:
    hop, following = case.hops[number], case.hops[number + 1 : number + 2]
    method = {"handlers": "removeHandler", "filters": "removeFilter"}.get(str(hop.key))
    if method is None or not following or following[0].kind != "index" or following[0].many:
        return None
    return f"{holder}.{method}({holder}.{hop.key}[{following[0].key}])"


def _of_handle(case: Case, number: int, holder: str) -> str | None:
    return f"{holder}.cancel()"


def _of_thread_local(case: Case, number: int, holder: str) -> str | None:
    hop = case.hops[number]
    dicts = [each for each in gc.get_referents(hop.parent) if type(each) is dict]
    if hop.kind != "attribute" or sum(map(len, dicts)) != 1 or not is_name(hop.key):
        return None  # it may be another thread's
    return f"del {holder}.{hop.key}"


def _of_array(case: Case, number: int, holder: str) -> str | None:
    hop = case.hops[number]
    if not _is_bound(case, number):
        return None
    if hop.kind == "base":
        return f"{holder} = {holder}.copy()"
    if hop.kind == "index" and not hop.many:
        place = hop.key if type(hop.key) is int else ", ".join(map(str, hop.key))
        return f"{holder}[{place}] = None"
    if hop.kind == "field" and not hop.many:
        name, place = hop.key
        return f"{holder}[{name!r}][{place}] = None"
    return None


def _of_frame(case: Case, number: int, holder: str) -> str | None:
    hop, following = case.hops[number], case.hops[number + 1 : number + 2]
    if hop.key == "_attrs" and following and not following[0].many:
        text = literal(following[0].key)
        return f"del {holder}.attrs[{text}]" if text else None
    if hop.key == "_mgr" and any(each.kind == "base" for each in case.hops[number:]):
        return f"{holder} = {holder}.copy()" if _is_bound(case, number) else None
    return None


def _is_bound(case: Case, number: int) -> bool:
    """Tell whether what a hop starts from stands where the user can put something else."""
    if number == 0:
        return False
    above = case.hops[number - 1]
    if above.many or any(counts_on(each.value) for each in case.hops[: number - 1] if each.value is not GONE):
        return False
    if number == 1 and case.names:
        return case.root.kind == "variable"
    if issubclass(type(above.parent), (list, dict)):
        return not counts_on(above.parent) and above.kind in ("key", "index")
    return above.kind == "attribute" and not counts_on(above.parent)


# Of libraries that may not be loaded.
_WAYS: tuple[tuple[str, str, Callable[[Case, int, str], str | None]], ...] = (
    ("logging", "Logger", _of_logger),
    ("asyncio.events", "Handle", _of_handle),
    ("_thread", "_local", _of_thread_local),
    ("numpy", "ndarray", _of_array),
    ("pandas.core.generic", "NDFrame", _of_frame),
)
