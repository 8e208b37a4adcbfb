"""Names of types, read without running anybody's code."""

from __future__ import annotations

_module = type.__dict__["__module__"].__get__
_qualname = type.__dict__["__qualname__"].__get__


def module_of(kind: type) -> str:
    """Name the module of a type; empty if it has none."""
    try:
        module = _module(kind)
    except AttributeError:  # a class may delete it
        return ""
    # a copy: the string is the user's
    return "".join(module) if type(module) is str else ""


def name_of(kind: type) -> str:
    """Name a type as it is shown: with its module, those of the builtins without."""
    module = module_of(kind)
    name = str(_qualname(kind))
    return name if module in {"builtins", ""} else f"{module}.{name}"
