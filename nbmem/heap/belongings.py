"""Whose an object is: the user's, or a library's, which counts on what it holds."""

from __future__ import annotations

import builtins
import functools
import re
import sys
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from nbmem.heap.attributes import class_mro, class_namespace
from nbmem.heap.typenames import module_of, name_of

#: Modules whose types belong to everybody.
_EVERYBODYS = frozenset({"builtins", "types", "__main__", ""})
#: As they were when this was loaded.
_BUILTINS = frozenset(vars(builtins))
#: Where the standard library's own modules lie.
_STANDARD = str(getattr(functools, "__file__", "")).removesuffix("functools.py")
#: Containers of the standard library, which belong to everybody as those of the builtins.
_CONTAINERS = frozenset(
    {
        "collections.ChainMap", "collections.Counter", "collections.OrderedDict", "collections.UserDict",
        "collections.UserList", "collections.defaultdict", "collections.deque", "types.SimpleNamespace",
        "weakref.WeakKeyDictionary", "weakref.WeakValueDictionary",
    }
)  # fmt: skip


def _is_installed(module: str) -> bool:
    origin = getattr(sys.modules.get(module), "__file__", None)
    return is_library_file(origin) if type(origin) is str else False


def is_library(module: str) -> bool:
    """Tell whether a module belongs to a library, not to the user; builtin types belong to everybody."""
    if module in _EVERYBODYS:
        return False
    return module.partition(".")[0] in sys.stdlib_module_names or _is_installed(module)


def is_library_file(name: str) -> bool:
    """Tell whether the source of a piece of code is a library's."""
    if name.startswith("<frozen ") or "site-packages" in name or "dist-packages" in name:
        return True
    return bool(_STANDARD) and name.startswith(_STANDARD)


def is_users(value: Any) -> bool:
    """Tell whether an object is the user's: made by a class or a function that is no library's."""
    kind = type(value)
    if kind is MethodType:
        return is_users(vars(MethodType)["__self__"].__get__(value)) or is_users(value.__func__)
    if kind is FunctionType:
        return not is_library_file(value.__code__.co_filename)
    if issubclass(kind, partial):
        return is_users(value.func)
    if issubclass(kind, type):
        module = module_of(value)
        return module == "__main__" or not (is_library(module) or module in _EVERYBODYS)
    if issubclass(kind, (BuiltinFunctionType, ModuleType)):
        return False
    module = module_of(kind)
    return module == "__main__" or not (is_library(module) or module in _EVERYBODYS)


def counts_on(value: Any) -> bool:
    """Tell whether an object is a library's, which counts on what it holds; plain containers are not."""
    kind = type(value)
    if kind in (MethodType, FunctionType):
        return not is_users(value)
    if issubclass(kind, type):
        return is_library(module_of(value))
    return name_of(kind) not in _CONTAINERS and is_library(module_of(kind))


def is_inner(parent: Any, name: Any) -> bool:
    """Tell whether an attribute is one that a library counts on.

    What a class of a library's or of the interpreter's defines is, what begins with an underscore where such
    a class is among the bases, and what the source of that library speaks of.
    """
    derived = False
    for base in class_mro(type(parent)):
        module = module_of(base)
        if base is object or not (is_library(module) or module in {"builtins", "types"}):
            continue
        if name in class_namespace(base):
            return True
        if is_library(module):
            derived = True
            if type(name) is str and not is_added(module, name):
                return True
    return derived and (type(name) is not str or name.startswith("_"))


@functools.lru_cache(maxsize=256)
def is_added(module: str, name: str) -> bool:
    """Tell whether somebody else gave a library a name: its source does not speak of it."""
    if module == "builtins":
        return name not in _BUILTINS
    origin = getattr(sys.modules.get(module), "__file__", None)
    if type(origin) is not str or not origin.endswith(".py"):
        return False
    try:
        source = Path(origin).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(rf"\b{re.escape(name)}\b", source) is None


def runs_code(parent: Any, *, deleting: bool = False) -> bool:
    """Tell whether reading an attribute runs code of a class's own; or taking one away."""
    names = ("__getattribute__", "__delattr__") if deleting else ("__getattribute__",)
    for base in class_mro(type(parent)):
        if any(type(class_namespace(base).get(name)) is FunctionType for name in names):
            return True
    return False


def is_computed(parent: Any, name: str) -> bool:
    """Tell whether a class has something under a name that answers instead of the instance: a property."""
    for base in class_mro(type(parent)):
        member = class_namespace(base).get(name)
        if member is not None:
            return type(member) is property
    return False
