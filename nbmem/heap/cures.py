"""What to type so that a path holds no longer."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

from nbmem.heap.attributes import class_namespace
from nbmem.heap.belongings import counts_on, is_added, is_computed, is_inner, is_library, is_users, runs_code
from nbmem.heap.hops import GONE, Hop
from nbmem.heap.letgo import Case, find_way
from nbmem.heap.pathwords import expressions, is_name, literal
from nbmem.heap.roots import Root
from nbmem.heap.typenames import module_of

#: Up to so many keys are named one by one.
_MOST_NAMED = 4
#: As many references of the same name in a row are a chain.
_LEAST_CHAIN = 4
_EMPTIES = "it takes out all entries, not only those that lead here"
_ERRORS = ("__traceback__", "__context__", "__cause__")
#: How the object itself is told from others: by an expression, or by its id; None: it is another.
Same = tuple[str, str] | None
#: Roots whose objects are the interpreter's or a library's.
_FOREIGN = ("shell", "logger", "event loop", "thread", "task", "comm", "widget", "figure")


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


def find_cure(case: Case) -> Cure:
    """Find what takes away the smallest thing that can be taken away without breaking anything.

    Notes
    -----
    First what has a way of its own to let go: caches, generators, handlers. Then, from the object upwards, an
    entry of a container, an attribute of an instance of a class of the user's. What is inside of a library's
    object, of a function or of a tuple is not touched if what holds that can be let go of; if not, only what
    the user put there. No cure binds a name: that could be one of the user's, or hold the object itself.
    """
    root, hops = case.root, case.hops
    if root.cure:
        return Cure(_with_import(root, root.cure), root.advice, -1)
    known = expressions(root, hops)
    numbers = range(len(hops) - 1, -1, -1)
    for number in numbers:
        code = find_way(case, number, known[number])
        if code is not None:
            return Cure(_with_import(root, code), "", number)
    fallback: Cure | None = None
    chain, inside = _chain(hops), _inside(root, hops)
    for number in numbers:
        if number >= chain:  # nobody takes a list apart in the middle
            continue
        if number >= inside and (fallback is not None or not _was_put(hops[number])):
            continue
        code = _plain(case, number, known)
        if code is not None:
            all_go = code.endswith(".clear()") and hops[number].many and not case.last(number)
            found = Cure(_with_import(root, code), _EMPTIES if all_go else "", number)
            if number < inside:
                return found
            fallback = found
    if fallback is not None:
        return fallback
    if root.kind == "exit callback":
        return _of_exit(case)
    return Cure("", root.advice or _no_way(root), -1)


def _inside(root: Root, hops: Sequence[Hop]) -> int:
    """Find the first hop that starts from, or from inside of, an object of a library's."""
    if root.kind in _FOREIGN or (root.kind in {"module", "class"} and _is_foreign(root.imports)):
        return 0
    if root.kind not in {"variable", "module", "class"} and (root.value is GONE or counts_on(root.value)):
        return 0
    for number, hop in enumerate(hops):
        # of errors and functions, see below
        known = hop.parent is GONE or issubclass(type(hop.parent), (BaseException, FunctionType))
        if hop.kind == "attribute" and not known and is_inner(hop.parent, hop.key):
            return number
        if hop.value is GONE or counts_on(hop.value):
            return number + 1
    return len(hops)


def _is_foreign(module: str) -> bool:
    return module == "builtins" or is_library(module)


def _was_put(hop: Hop) -> bool:
    """Tell whether it was the user who put what a hop leads to into a library's object."""
    if hop.value is GONE or hop.parent is GONE or not is_users(hop.value):
        return False
    return hop.kind != "attribute" or not is_inner(hop.parent, hop.key)


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


def _of_exit(case: Case) -> Cure:
    """Write how an exit callback is taken back: by a name that its function has."""
    for _, function in case.root.cuts[:1]:
        for name, value in list(case.namespace.items()):
            if value is function and type(name) is str and is_name(name):
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


def _plain(case: Case, number: int, known: Sequence[str | None]) -> str | None:  # noqa: PLR0911
    """Write what takes away one reference; None if that cannot be done."""
    hop, holder = case.hops[number], known[number]
    if number == 0 and case.names:
        return _of_names(case)
    if holder is None or hop.parent is GONE:
        return _from_each(case.hops, number, known) if holder is None else None
    kind = type(hop.parent)
    same = ("is", case.asked) if case.asked else ("id", str(id(hop.value)))
    for known_kind, write in _PLAIN:
        if issubclass(kind, known_kind):
            return write(holder, hop, same if case.last(number) else None)
    if hop.kind == "key":  # of what is a mapping to those who look at it
        return _of_entry(holder, hop)
    deletable = issubclass(kind, SimpleNamespace) or module_of(kind) not in {"builtins", "functools", ""}
    if hop.kind != "attribute" or not is_name(hop.key) or not deletable:
        return None
    if runs_code(hop.parent, deleting=True) or is_computed(hop.parent, hop.key):
        return None
    return f"del {holder}.{hop.key}"


def _of_names(case: Case) -> str | None:
    root, names = case.root, case.names
    if not all(map(is_name, names)):
        return None
    if root.kind == "module" and _is_foreign(root.imports):
        held = vars(sys.modules[root.imports])
        # hooks: excepthook has __excepthook__ beside it
        if all(f"__{name}__" in held for name in names):
            return "; ".join(f"{root.code}{name} = {root.code}__{name}__" for name in names)
        if not all(is_added(root.imports, name) for name in names):
            return None
    return f"del {', '.join(f'{root.code}{name}' for name in names)}"


def _of_mapping(holder: str, hop: Hop, same: Same) -> str | None:
    if hop.kind == "key itself" or (hop.kind == "key" and not hop.many):
        return _of_entry(holder, hop)
    if hop.kind != "key":
        return None
    if same is None:
        return f"{holder}.clear()"
    keys = [key for key, value in list(dict.items(hop.parent)) if value is hop.value]
    texts = [literal(key) for key in keys]
    if len(keys) <= _MOST_NAMED and all(texts):
        return f"del {', '.join(f'{holder}[{text}]' for text in texts)}"
    if len(keys) == dict.__len__(hop.parent):
        return f"{holder}.clear()"
    return f"[{holder}.pop(key) for key, each in list({holder}.items()) if {_is(same)}];"


def _of_entry(holder: str, hop: Hop) -> str | None:
    text = literal(hop.key)
    if text is not None:
        return f"del {holder}[{text}]"
    if issubclass(type(hop.parent), dict) and dict.__len__(hop.parent) == 1:
        return f"{holder}.clear()"
    return f"del {holder}[next(key for key in {holder} if id(key) == {id(hop.key)})]"


def _of_list(holder: str, hop: Hop, same: Same) -> str | None:
    if hop.kind != "index":
        return None
    if not hop.many:
        return f"del {holder}[{hop.key}]"
    if same is None or all(each is hop.value for each in _entries(hop.parent)):
        return f"{holder}.clear()"
    if issubclass(type(hop.parent), deque):
        kept = f"[each for each in {holder} if {_is(same, negated=True)}]"
        return f"(lambda kept: ({holder}.clear(), {holder}.extend(kept)))({kept});"
    return f"{holder}[:] = [each for each in {holder} if {_is(same, negated=True)}]"


def _entries(value: Any) -> list[Any]:
    base: Any = deque if issubclass(type(value), deque) else list
    return list(base.__iter__(value))


def _of_set(holder: str, hop: Hop, same: Same) -> str | None:
    if set.__len__(hop.parent) == 1:
        return f"{holder}.clear()"
    if same is not None and same[0] == "is":
        return f"{holder}.discard({same[1]})"
    return f"{holder}.discard(next(each for each in {holder} if id(each) == {id(hop.value)}))"


def _is(same: tuple[str, str], *, negated: bool = False) -> str:
    how, what = same
    if how == "is":
        return f"each is {'not ' if negated else ''}{what}"
    return f"id(each) {'!' if negated else '='}= {what}"


def _of_error(holder: str, hop: Hop, same: Same) -> str | None:
    if hop.kind == "attribute" and hop.key in _ERRORS:
        return f"{holder}.{hop.key} = None"
    return f"del {holder}.{hop.key}" if hop.between and is_name(hop.key) else None


def _of_class(holder: str, hop: Hop, same: Same) -> str | None:
    held = class_namespace(hop.parent)
    own = type(hop.key) is str and hop.key in held and held[hop.key] is hop.value
    if not own or not is_name(hop.key):
        return None
    module = module_of(hop.parent)
    return f"del {holder}.{hop.key}" if not _is_foreign(module) or is_added(module, hop.key) else None


_PLAIN: tuple[tuple[Any, Callable[[str, Hop, Same], str | None]], ...] = (
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
        return f"[each.pop({text}, None) for each in {each}];" if text else None
    if hop.kind == "attribute" and is_name(hop.key) and module_of(type(hop.parent)) != "builtins":
        return f"[vars(each).pop({hop.key!r}, None) for each in {each}];"
    return None


def _no_way(root: Root) -> str:
    if root.kind == "native code":
        return "a library holds it in memory that Python cannot see, or a call that is running"
    if root.kind == "module" and is_library(root.imports):
        return f"it is part of {root.name}"
    return "nothing on the way can be taken out without breaking what holds it"
