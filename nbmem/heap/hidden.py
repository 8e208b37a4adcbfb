"""What a partial picture leaves out though it may go with the objects: what no loaded module names."""

from __future__ import annotations

import builtins
import sys
import types as python_types
from collections.abc import Iterable
from types import BuiltinFunctionType, ModuleType
from typing import Any

from nbmem.heap.own import namespace_of
from nbmem.heap.typenames import module_of, name_of

# Py_TPFLAGS_HEAPTYPE, _BASETYPE, _IMMUTABLETYPE (object.h). A class of Python's can be freed, derived from
# and changed; others that can be freed are made by C, once, and kept by its module.
_HEAP_TYPE, _BASE_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 10, 1 << 8
_flags = type.__dict__["__flags__"].__get__
_dict_of = type.__dict__["__dict__"].__get__
_BUILTIN = {
    id(kind)
    for namespace in (vars(python_types), vars(builtins))
    for kind in namespace.values()
    if type(kind) is type
}


def any_hidden(left_out: Iterable[object], types: Iterable[type]) -> bool:
    """Tell whether something was left out that no loaded module names.

    Parameters
    ----------
    left_out : iterable of object
        Classes, modules, frames and functions in C.
    types : iterable of type
        The types of the objects that were not.
    """
    modules: set[int] = set()
    for each in left_out:
        kind = type(each)
        if issubclass(kind, type):
            if _is_hidden_class(each):
                return True
        elif issubclass(kind, ModuleType):
            modules = modules or set(map(id, list(sys.modules.values())))
            if id(each) not in modules:
                return True
        elif kind is not BuiltinFunctionType or _is_hidden_function(each):
            return True
    return any(map(_is_hidden_class, types))


def _is_hidden_class(kind: Any) -> bool:
    flags = _flags(kind) & (_HEAP_TYPE | _BASE_TYPE | _IMMUTABLE_TYPE)
    if flags != _HEAP_TYPE | _BASE_TYPE or id(kind) in _BUILTIN or _named(name_of(kind)) == id(kind):
        return False
    module = sys.modules.get(module_of(kind))  # it may have another name there
    if module is None or not issubclass(type(module), ModuleType):
        return True
    return not any(each is kind for each in list(namespace_of(module).values()))


def _is_hidden_function(function: Any) -> bool:
    """Tell whether a function in C is no longer, or never was, where it came from."""
    holder = function.__self__
    if issubclass(type(holder), ModuleType):
        return namespace_of(holder).get(function.__name__) is not function
    if issubclass(type(holder), type):
        return (_dict_of(holder) or {}).get(function.__name__) is not function
    return True


def _named(name: str) -> int:
    """Give the address of what a module has under the name of a type; 0 if there is nothing."""
    module, _, qualname = name.rpartition(".")
    inner = [qualname]
    while module and module not in sys.modules:  # a class within a class
        module, _, outer = module.rpartition(".")
        inner.insert(0, outer)
    found = sys.modules.get(module or "builtins")
    if found is None or not issubclass(type(found), ModuleType):
        return 0
    names: Any = namespace_of(found)
    value: Any = None
    for each in inner:
        value = names.get(each)
        if not issubclass(type(value), type):
            return 0
        names = _dict_of(value)
    return id(value)
