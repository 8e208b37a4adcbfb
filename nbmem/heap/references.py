"""How one object refers to another: attribute, key, index, cell, base.

All is read from live objects downwards: an address is only ever compared, never followed. No code of the
user's runs: no property, no ``__getattr__``, no ``__iter__``; classes are asked through ``type``'s own
descriptors, instances through those that are written in C.
"""

from __future__ import annotations

import _thread
import contextvars
import gc
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from types import (
    CellType,
    FrameType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any

from nbmem.heap.attributes import attributes, class_mro, class_namespace
from nbmem.heap.frames import SUSPENDABLE, locals_of
from nbmem.heap.libraryreferences import library_links

#: Keys and the like are cut to so many characters.
MOST_LETTERS = 60

_module_dict: Callable[[Any], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__
Wanted = Container[int] | None
_ATOMS = (str, int, float, complex, bool, type(None))
_FUNCTION_PARTS = ("__code__", "__defaults__", "__kwdefaults__")
_EXCEPTION_PARTS = ("args", "__traceback__", "__cause__", "__context__")


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of a reference.

    Parameters
    ----------
    kind : str
        ``attribute``, ``key`` (the value of one), ``key itself``, ``index``, ``field`` (of a structured
        array: its name and the index), ``element`` (of a set), ``class`` (an instance's),
        ``cell`` (a variable of an enclosing function), ``local`` (of a frame, a generator, a coroutine),
        ``context`` (the value of a context variable), ``base`` (of a view); ``inner``: the last step of a
        longer way; ``unnamed``.
    text : str
        As one would write it after the name of the source, cut where it is long: ``.frame``, ``['2019']``,
        ``[3]``.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """One reference of a live object; it holds what it refers to.

    Parameters
    ----------
    kind : str
    key : object
        The attribute's name, the dict's key, the index.
    value : object
        What is referred to.
    via : tuple of int
        Addresses of what lies between and belongs to the source: its ``__dict__``, the cells of a function.
    """

    kind: str
    key: Any
    value: Any
    via: tuple[int, ...] = ()

    @property
    def name(self) -> Reference:
        """Name it; nothing of the object is asked for."""
        return Reference(self.kind, _TEXTS[self.kind](self.key))


def links(source: Any, wanted: Container[int] | None = None) -> Iterator[Link]:
    """Go through the references of a live object that have a name.

    Parameters
    ----------
    source : object
        Anything.
    wanted : container of int, optional
        Of containers and arrays only the references to these addresses.

    Yields
    ------
    Link
        What stands in an instance's ``__dict__`` or in a function's cells as the instance's and the
        function's own. Large containers are copied first, as they may change meanwhile.
    """
    kind = type(source)
    plain = _PLAIN.get(id(kind))
    if plain is not None:
        yield from plain(source, wanted)
        return
    for known, part in _PARTS:
        if issubclass(kind, known):
            yield from part(source, wanted)
    for found in library_links(source, kind, wanted):
        yield Link(*found)
    yield from _of_instance(source, kind)


def reference_names(source: Any, addresses: set[int]) -> dict[int, Reference]:
    """Name the references of a live object to others.

    Parameters
    ----------
    source : object
    addresses : set of int
        Addresses of objects that are alive.

    Returns
    -------
    dict of int to Reference
        By address, the first that was found; those that have no name are missing.
    """
    found: dict[int, Reference] = {}
    for link in links(source, addresses):
        if id(link.value) in addresses and id(link.value) not in found:
            found[id(link.value)] = link.name
            if len(found) == len(addresses):
                break
    return found


def referents(source: Any) -> list[Any]:
    """List what a live object refers to, those without a name too; as live objects."""
    found = {id(each): each for each in gc.get_referents(source)}
    for link in links(source):
        found.setdefault(id(link.value), link.value)
    return list(found.values())


# -- texts --


def short(value: Any) -> str:
    """Write a key or the like; of objects that are no plain data only the type is told."""
    kind = type(value)
    if kind is str or kind is bytes:
        cut = value[:MOST_LETTERS]
        return repr(cut) + ("…" if len(value) > len(cut) else "")
    if kind is int and value.bit_length() > 200:
        return "…"
    # by identity: the equality of a class may be its metaclass's code
    if any(kind is atom for atom in _ATOMS):
        return repr(value)
    if kind is tuple:
        parts = [short(each) for each in value[:3]]
        more = ["…"] if len(value) > len(parts) else []
        return f"({', '.join(parts + more)}{',' if len(value) == 1 else ''})"
    return f"<{type.__dict__['__name__'].__get__(kind)}>"[:MOST_LETTERS]


def _attribute(key: Any) -> str:
    if type(key) is str and len(key) <= MOST_LETTERS:
        return f".{key}"
    return f".{key[:MOST_LETTERS]}…" if type(key) is str else f".{short(key)}"


_TEXTS: dict[str, Callable[[Any], str]] = {
    "attribute": _attribute,
    "key": lambda key: f"[{short(key)}]",
    "key itself": lambda key: f"{{{short(key)}}}",
    "index": lambda key: f"[{key}]" if type(key) is int else f"[{', '.join(map(str, key))}]",
    "field": lambda key: f"[{short(key[0])}][{key[1]}]",
    "element": lambda key: "{…}",
    "class": lambda key: ".__class__",
    "cell": lambda key: f"(variable {key})",
    "local": lambda key: f"(local {key})" if key else "(a value in use)",
    "context": lambda key: f"(context variable {key})",
    "base": lambda key: ".base",
    # of a reference that is not the object's own, and of one that has no name
    "inner": lambda key: f"…{key}",
    "unnamed": lambda key: "",
}


# -- of builtin types --


def _of_dict(source: Any, wanted: Wanted) -> Iterator[Link]:
    for key, value in list(dict.items(source)):
        if wanted is None or id(value) in wanted:
            yield Link("key", key, value)
        if wanted is None or id(key) in wanted:
            yield Link("key itself", key, key)


def _of_sequence(source: Any, wanted: Wanted) -> Iterator[Link]:
    base: Any = next(known for known in (list, tuple, deque) if issubclass(type(source), known))
    for number, value in enumerate(list(base.__iter__(source))):
        if wanted is None or id(value) in wanted:
            yield Link("index", number, value)


def _of_set(source: Any, wanted: Wanted) -> Iterator[Link]:
    base: Any = set if issubclass(type(source), set) else frozenset
    for value in list(base.__iter__(source)):
        if wanted is None or id(value) in wanted:
            yield Link("element", None, value)


def _of_cell(source: Any, wanted: Wanted) -> Iterator[Link]:
    try:
        yield Link("attribute", "cell_contents", CellType.cell_contents.__get__(source))
    except ValueError:  # empty
        return


def _of_function(source: Any, wanted: Wanted) -> Iterator[Link]:
    members = vars(FunctionType)
    cells: Any = members["__closure__"].__get__(source)
    code: Any = members["__code__"].__get__(source)
    for name, cell in zip(code.co_freevars, cells or (), strict=False):
        for link in _of_cell(cell, wanted):
            yield Link("cell", name, link.value, (id(cells), id(cell)))
    for name in _FUNCTION_PARTS:
        part = members[name].__get__(source)
        if part is not None:
            yield Link("attribute", name, part)


def _of_method(source: Any, wanted: Wanted) -> Iterator[Link]:
    for name in ("__self__", "__func__"):
        yield Link("attribute", name, vars(MethodType)[name].__get__(source))


def _of_module(source: Any, wanted: Wanted) -> Iterator[Link]:
    namespace = _module_dict(source)
    for name, value in list(dict.items(namespace)):
        yield Link("attribute", name, value, (id(namespace),))


def _of_class(source: Any, wanted: Wanted) -> Iterator[Link]:
    plumbing = tuple(id(each) for each in gc.get_referents(source) if type(each) is dict)[:1]
    for name, value in list(class_namespace(source).items()):
        yield Link("attribute", name, value, plumbing)
    yield Link("attribute", "__mro__", class_mro(source))


def _of_memoryview(source: Any, wanted: Wanted) -> Iterator[Link]:
    buffers = tuple(id(each) for each in gc.get_referents(source) if type(each).__name__ == "managedbuffer")
    try:
        yield Link("attribute", "obj", vars(memoryview)["obj"].__get__(source), buffers)
    except ValueError:  # released
        return


def _of_exception(source: Any, wanted: Wanted) -> Iterator[Link]:
    for name in _EXCEPTION_PARTS:
        part = vars(BaseException)[name].__get__(source)
        if part is not None:
            yield Link("attribute", name, part)


def _of_traceback(source: Any, wanted: Wanted) -> Iterator[Link]:
    following = vars(TracebackType)["tb_next"].__get__(source)
    if following is not None:
        yield Link("attribute", "tb_next", following)


def _of_frame(source: Any, wanted: Wanted) -> Iterator[Link]:
    for name, value, via in locals_of(source):
        yield Link("local", name, value, via)


def _of_context(source: Any, wanted: Wanted) -> Iterator[Link]:
    inner = [each for each in gc.get_referents(source) if type(each).__name__.startswith("hamt")]
    for each in inner:
        inner += [below for below in gc.get_referents(each) if type(below).__name__.startswith("hamt")]
    via = tuple(map(id, inner))
    for variable, value in contextvars.Context.items(source):
        yield Link("context", variable.name, value, via)


def _of_thread_local(source: Any, wanted: Wanted) -> Iterator[Link]:
    # each thread has a dict of its own; asking for it by name would make one, and run __init__
    for dicts in gc.get_referents(source):
        if type(dicts) is dict:
            for held in list(dicts.values()):
                for name, value in list(dict.items(held)) if type(held) is dict else ():
                    yield Link("attribute", name, value, (id(dicts), id(held)))


_PARTS: tuple[tuple[Any, Callable[[Any, Wanted], Iterator[Link]]], ...] = (
    (dict, _of_dict),
    ((list, tuple, deque), _of_sequence),
    ((set, frozenset), _of_set),
    (FunctionType, _of_function),
    (MethodType, _of_method),
    (CellType, _of_cell),
    (ModuleType, _of_module),
    (type, _of_class),
    (memoryview, _of_memoryview),
    (BaseException, _of_exception),
    (TracebackType, _of_traceback),
    ((FrameType, *SUSPENDABLE), _of_frame),
    (contextvars.Context, _of_context),
    (_thread._local, _of_thread_local),
)

# Types of builtins, which have nothing else; by address, as the hash of a class may be its metaclass's code.
_PLAIN: dict[int, Callable[[Any, Wanted], Iterator[Link]]] = {
    id(dict): _of_dict,
    id(list): _of_sequence,
    id(tuple): _of_sequence,
    id(deque): _of_sequence,
    id(set): _of_set,
    id(frozenset): _of_set,
    **{id(atom): lambda source, wanted: iter(()) for atom in _ATOMS},
}

# -- of instances --


def _of_instance(source: Any, kind: type) -> Iterator[Link]:
    if issubclass(kind, (type, ModuleType)):
        return
    try:
        held, pairs = attributes(source)
    except (TypeError, AttributeError):  # a getter that is not this object's
        held, pairs = None, []
    for name, value in pairs:
        yield Link("attribute", name, value)
    if held is not None and issubclass(type(held), dict):
        for name, value in list(dict.items(held)):
            yield Link("attribute", name, value, (id(held),))
    for base in class_mro(kind):
        for name, member in list(class_namespace(base).items()):
            if type(member) is MemberDescriptorType:
                try:
                    value = member.__get__(source)
                except (AttributeError, TypeError):  # not set
                    continue
                if not issubclass(type(value), _ATOMS):
                    yield Link("attribute", name, value)
