"""The attributes of an instance as they lie in memory, and the namespaces of classes; nobody's code runs."""

from __future__ import annotations

from types import GetSetDescriptorType
from typing import TYPE_CHECKING, Any

class_mro = type.__dict__["__mro__"].__get__
class_namespace = type.__dict__["__dict__"].__get__

if TYPE_CHECKING:
    from nbmem.heap._attributes import attributes
else:
    try:
        from nbmem.heap._attributes import attributes
    except ImportError:  # built without the native part

        def attributes(value):
            """Give the dict of an instance. On CPython 3.11 and 3.12 this makes one where there is none."""
            for base in class_mro(type(value)):
                found = class_namespace(base).get("__dict__")
                if type(found) is GetSetDescriptorType:
                    return found.__get__(value), []
            return None, []


def is_a(kind: type, base: type) -> bool:
    """Tell whether a class is derived from another; ``issubclass`` may run a metaclass's code."""
    return any(each is base for each in class_mro(kind))


def attribute_values(value: Any) -> tuple[dict[Any, Any], tuple[int, ...]]:
    """Give the attributes of an instance by name, and the address of the dict that has them, if one does."""
    try:
        held, pairs = attributes(value)
    except (TypeError, AttributeError):  # a getter that is not this object's
        return {}, ()
    if held is not None and issubclass(type(held), dict):
        return held, (id(held),)
    return dict(pairs), ()


__all__ = ["attribute_values", "attributes", "class_mro", "class_namespace", "is_a"]
