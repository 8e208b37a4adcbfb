"""What to type so that a path holds no longer."""

from __future__ import annotations

import gc
import keyword
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from nbmem.heap.frames import SUSPENDABLE
from nbmem.heap.hops import GONE, Hop
from nbmem.heap.pathwords import expressions, literal
from nbmem.heap.roots import Root
from nbmem.heap.typenames import module_of, name_of

#: Up to so many keys are named one by one.
_MOST_NAMED = 4
#: As many references of the same name in a row are a chain.
_LEAST_CHAIN = 4
_ERRORS = ("__traceback__", "__context__", "__cause__")
_FINALIZERS = "weakref.finalize._registry"


@dataclass(frozen=True, slots=True)
class Cure:
    """What to do about a path.

    Parameters
    ----------
    code : str
        What to type; empty if nothing is known that would do.
    advice : str
        Why not, or what it does besides.
    at : int
        Which reference it takes away: the one that leads to the hop of this number; -1: the root's own hold
        on what the path begins with.
    """

    code: str
    advice: str
    at: int


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


def find_cure(case: Case) -> Cure:
    """Find what takes away the smallest thing that can be taken away without breaking anything.

    Notes
    -----
    First what has a way of its own to let go: caches, generators, handlers. Then, from the object upwards, an
    entry of a container, an attribute of an instance of a class of the user's. What is inside of a library's
    object, of a function or of a tuple is not touched if what holds that can be let go of.
    """
    root, hops = case.root, case.hops
    if root.cure:
        return Cure(_with_import(root, root.cure), root.advice, -1)
    known = expressions(root, hops)
    numbers = range(len(hops) - 1, -1, -1)
    for number in numbers:
        code = _special(case, number, known[number])
        if code is not None:
            return Cure(_with_import(root, code), "", number)
    fallback: Cure | None = None
    chain = _chain(hops)
    for number in numbers:
        if number >= chain:  # nobody takes a list apart in the middle
            continue
        code = _plain(case, number, known)
        if code is not None:
            found = Cure(_with_import(root, code), "", number)
            if not _inside_library(hops[:number]):
                return found
            fallback = fallback or found
    if fallback is not None:
        return fallback
    if root.kind == "exit callback":
        return _of_exit(case)
    return Cure("", root.advice or _no_way(root), -1)


def _chain(hops: Sequence[Hop]) -> int:
    """Find where a chain begins: the same attribute or index again and again."""
    for number in range(1, len(hops) - _LEAST_CHAIN):
        first = hops[number]
        alike = hops[number : number + _LEAST_CHAIN]
        if first.kind != "unnamed" and all(
            (each.kind, each.key) == (first.kind, first.key) for each in alike
        ):
            return number
    return len(hops)


def _with_import(root: Root, code: str) -> str:
    if root.imports and f"{root.imports}." in code and not code.startswith("%"):
        return f"import {root.imports}; {code}"
    return code


# -- what has a way of its own to let go --


def _special(case: Case, number: int, holder: str | None) -> str | None:  # noqa: PLR0911
    """Write how what holds a hop is asked to let go; None if it knows no such thing."""
    hop = case.hops[number]
    parent = hop.parent
    if hop.kind == "context":
        return _of_context(case, hop)
    if parent is GONE or holder is None:
        return None
    if issubclass(type(parent), SUSPENDABLE):
        return f"{holder}.close()" if hop.kind == "local" else None
    for library, name, write in _SPECIAL:
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and issubclass(type(parent), kind):
            return write(case, number, holder)
    if name_of(type(parent)) == "functools._lru_cache_wrapper":
        return None if hop.kind == "attribute" else f"{holder}.cache_clear()"
    if holder == _FINALIZERS:
        values = list(dict.items(parent))
        place = next((i for i, pair in enumerate(values) if any(each is hop.value for each in pair)), None)
        return None if place is None else f"list({holder})[{place}].detach()"
    return None


def _of_context(case: Case, hop: Hop) -> str | None:
    for name, value in list(case.namespace.items()):
        if type(value) is ContextVar and value.name == hop.key and type(name) is str:
            return f"{name}.set(None)" if case.root.kind == "context variable" else None
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
    if hop.kind != "attribute" or sum(map(len, dicts)) != 1 or not _is_name(hop.key):
        return None  # it may be another thread's
    return f"del {holder}.{hop.key}"


# Of libraries that may not be loaded.
_SPECIAL: tuple[tuple[str, str, Callable[[Case, int, str], str | None]], ...] = (
    ("logging", "Logger", _of_logger),
    ("asyncio.events", "Handle", _of_handle),
    ("_thread", "_local", _of_thread_local),
)


def _of_exit(case: Case) -> Cure:
    """Write how an exit callback is taken back: by a name that its function has."""
    for _, function in case.root.cuts[:1]:
        for name, value in list(case.namespace.items()):
            if value is function and type(name) is str and _is_name(name):
                return Cure(f"import atexit; atexit.unregister({name})", "", -1)
        owner = getattr(function, "__self__", None) if type(function).__name__ == "method" else None
        names = [name for name, value in list(case.namespace.items()) if value is owner and type(name) is str]
        if owner is not None and owner is case.hops[-1].value and case.asked is not None:
            names.append(case.asked)
        if owner is not None and names:
            return Cure(f"import atexit; atexit.unregister({names[-1]}.{function.__name__})", "", -1)
    return Cure(
        "", "until the interpreter ends: the callback has no name by which it could be taken back", -1
    )


# -- what can be taken out --


def _plain(case: Case, number: int, known: Sequence[str | None]) -> str | None:
    """Write what takes away one reference; None if that cannot be done."""
    hop, holder = case.hops[number], known[number]
    if number == 0 and case.names:
        return _of_names(case)
    if holder is None or hop.parent is GONE:
        return _from_each(case.hops, number, known) if holder is None else None
    kind = type(hop.parent)
    asked = case.asked if case.last(number) else None
    for known_kind, write in _PLAIN:
        if issubclass(kind, known_kind):
            return write(holder, hop, asked)
    if hop.kind == "base":
        return f"{holder} = {holder}.copy()"
    deletable = issubclass(kind, SimpleNamespace) or module_of(kind) not in {"builtins", "functools", ""}
    if hop.kind == "attribute" and _is_name(hop.key) and deletable:
        return f"del {holder}.{hop.key}"
    return None


def _of_names(case: Case) -> str | None:
    if case.root.kind == "module" and is_library(case.root.imports):
        return None
    bound = [f"{case.root.code}{name}" for name in case.names]
    return f"del {', '.join(bound)}" if all(map(_is_name, case.names)) else None


def _of_mapping(holder: str, hop: Hop, asked: str | None) -> str | None:
    text = literal(hop.key)
    if hop.kind == "key itself" or (hop.kind == "key" and not hop.many):
        return f"del {holder}[{text}]" if text else None
    if hop.kind != "key":
        return None
    if asked is None:
        return f"{holder}.clear()"
    keys = [key for key, value in list(dict.items(hop.parent)) if value is hop.value]
    texts = [literal(key) for key in keys]
    if len(keys) <= _MOST_NAMED and all(texts):
        return f"del {', '.join(f'{holder}[{text}]' for text in texts)}"
    if len(keys) == dict.__len__(hop.parent):
        return f"{holder}.clear()"
    return f"for key in [key for key, each in {holder}.items() if each is {asked}]: del {holder}[key]"


def _of_list(holder: str, hop: Hop, asked: str | None) -> str | None:
    if hop.kind != "index":
        return None
    if not hop.many:
        return f"del {holder}[{hop.key}]"
    if asked is None or issubclass(type(hop.parent), deque):
        return f"{holder}.clear()"
    if all(each is hop.value for each in list.__iter__(hop.parent)):
        return f"{holder}.clear()"
    return f"{holder}[:] = [each for each in {holder} if each is not {asked}]"


def _of_set(holder: str, hop: Hop, asked: str | None) -> str | None:
    if set.__len__(hop.parent) == 1:
        return f"{holder}.clear()"
    if asked is not None:
        return f"{holder}.discard({asked})"
    return f"{holder}.discard(next(each for each in {holder} if id(each) == {id(hop.value)}))"


def _of_error(holder: str, hop: Hop, asked: str | None) -> str | None:
    if hop.kind == "attribute" and hop.key in _ERRORS:
        return f"{holder}.{hop.key} = None"
    return f"del {holder}.{hop.key}" if hop.between and _is_name(hop.key) else None


def _of_class(holder: str, hop: Hop, asked: str | None) -> str | None:
    held = type.__dict__["__dict__"].__get__(hop.parent)
    own = type(hop.key) is str and hop.key in held and held[hop.key] is hop.value
    return f"del {holder}.{hop.key}" if own and _is_name(hop.key) else None


_PLAIN: tuple[tuple[Any, Callable[[str, Hop, str | None], str | None]], ...] = (
    (dict, _of_mapping),
    ((list, deque), _of_list),
    (set, _of_set),
    (BaseException, _of_error),
    (type, _of_class),
)


def _from_each(hops: Sequence[Hop], number: int, known: Sequence[str | None]) -> str | None:
    """Write what takes a reference away from each entry of a container, where the way goes through many."""
    above = number - 1
    hop = hops[number]
    if above < 0 or not hops[above].many or known[above] is None or hop.many or hop.parent is GONE:
        return None
    container = type(hops[above].parent)
    if not issubclass(container, (list, dict)):
        return None
    each = f"{known[above]}.values()" if issubclass(container, dict) else known[above]
    if hop.kind == "key" and issubclass(type(hop.parent), dict):
        text = literal(hop.key)
        return f"for each in {each}: each.pop({text}, None)" if text else None
    if hop.kind == "attribute" and _is_name(hop.key) and module_of(type(hop.parent)) != "builtins":
        return f"for each in {each}: vars(each).pop({hop.key!r}, None)"
    return None


def _inside_library(hops: Sequence[Hop]) -> bool:
    """Tell whether one of the objects on the way is a library's, which counts on what it holds."""
    for hop in hops:
        if hop.value is GONE:
            return True
        kind = type(hop.value)
        if issubclass(kind, (dict, list, set, deque, type)):
            continue
        if is_library(module_of(kind)):
            return True
    return False


def is_library(module: str) -> bool:
    """Tell whether a module belongs to a library, not to the user; builtin types belong to everybody."""
    if module in {"builtins", "types", "__main__", ""}:
        return False
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    origin = getattr(sys.modules.get(module), "__file__", None)
    return type(origin) is str and ("site-packages" in origin or "dist-packages" in origin)


def _is_name(text: Any) -> bool:
    return type(text) is str and text.isidentifier() and not keyword.iskeyword(text)


def _no_way(root: Root) -> str:
    if root.kind == "native code":
        return "a library holds it in memory that Python cannot see, or a call that is running"
    if root.kind == "module" and is_library(root.imports):
        return f"it is part of {root.name}"
    return "nothing on the way can be taken out without breaking what holds it"
