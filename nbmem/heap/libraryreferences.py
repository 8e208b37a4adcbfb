"""How objects of libraries refer to others, where that is not how they lie in memory; see ``references``.

Only C code of these libraries is called, which is known to be harmless.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from types import GetSetDescriptorType
from typing import Any

from nbmem.heap.attributes import attribute_values, class_mro, class_namespace, is_a
from nbmem.heap.typenames import module_of

_PANDAS_INTERNALS = "pandas._libs.internals"
#: The kind of a reference, its key, what it leads to, and the addresses of what lies between.
Found = tuple[str, Any, Any] | tuple[str, Any, Any, tuple[int, ...]]


def library_links(source: Any, kind: type, wanted: Container[int] | None) -> Iterator[Found]:
    """Go through such references of a live object: the parts of a ``Link``."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, getattr(numpy, "ndarray", ())):
        yield from _of_array(numpy, source, wanted)
    if "pandas" in sys.modules:
        yield from _of_manager(source, kind)
    for library, name, part in _INSTANCES:
        known = getattr(sys.modules.get(library), name, None)
        if known is not None and is_a(kind, known):
            yield from part(*attribute_values(source), wanted)


def _of_weak_keys(
    held: dict[str, Any], via: tuple[int, ...], wanted: Container[int] | None
) -> Iterator[Found]:
    data = held.get("data")
    if type(data) is not dict:
        return
    for key, value in list(data.items()):
        if wanted is None or id(value) in wanted:
            yield "key", key(), value, (*via, id(data))


def _of_traits(held: dict[str, Any], via: tuple[int, ...], wanted: Container[int] | None) -> Iterator[Found]:
    values = held.get("_trait_values")
    if type(values) is dict:
        for name, value in list(values.items()):
            yield "attribute", name, value, (*via, id(values))


_INSTANCES = (
    ("weakref", "WeakKeyDictionary", _of_weak_keys),
    ("traitlets.traitlets", "HasTraits", _of_traits),
)


def _of_manager(source: Any, kind: type) -> Iterator[Found]:
    """Go through the parts of what a DataFrame keeps: C code of pandas', known to be harmless."""
    for base in class_mro(kind):
        if module_of(base) == _PANDAS_INTERNALS:
            for name in ("blocks", "axes", "values", "refs"):
                member = class_namespace(base).get(name)
                if type(member) is GetSetDescriptorType:
                    yield "attribute", name, member.__get__(source)


def _of_array(numpy: Any, source: Any, wanted: Container[int] | None) -> Iterator[Found]:
    members = numpy.ndarray
    base = members.base.__get__(source)
    if base is not None:
        yield "base", None, base
    dtype = members.dtype.__get__(source)
    if not dtype.hasobject or not members.flags.__get__(source).owndata:
        return
    if dtype.names is None:
        for number, value in _elements(numpy, source, wanted):
            yield "index", number, value
        return
    for name in dtype.names:
        part, offset = dtype.fields[name][:2]
        if part.kind == "O":
            field = members.getfield(source, part, offset)
            for number, value in _elements(numpy, field, wanted):
                yield "field", (name, number), value


def _elements(numpy: Any, source: Any, wanted: Container[int] | None) -> Iterator[tuple[Any, Any]]:
    shape = numpy.ndarray.shape.__get__(source)
    plain = len(shape) == 1
    for number, value in enumerate(numpy.ndarray.flat.__get__(source)):
        if wanted is None or id(value) in wanted:
            yield number if plain else _place(number, shape), value


def _place(number: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    place = []
    for length in reversed(shape):
        number, at = divmod(number, length)
        place.append(at)
    return tuple(reversed(place))
