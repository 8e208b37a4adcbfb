"""What pyarrow's objects hold: buffers, those of dictionaries too, and the arrays that scalars keep.

Arrays, scalars and types may be of classes of the user's (extension types): their attributes are read by the
descriptors of pyarrow's own classes, whatever those classes have in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nbmem.heap.registry import Rule, Told

# What the C++ part of each takes from malloc (pyarrow 26, glibc): the data of an array, a buffer, a
# scalar, and the text of one.
_ARRAY_BYTES, _BUFFER_BYTES, _SCALAR_BYTES, _TEXT_BYTES = 272, 144, 80, 176
_IN_PLACE = 15  # so long a text is in the scalar itself (std::string)

Reader = Callable[[Any], list[Told]]


def arrow_rules(pyarrow: Any) -> list[Rule]:
    """Make the rules for pyarrow's objects."""
    of_array = _of_array(pyarrow)
    of_scalar = _of_scalar(pyarrow, of_array)

    def of_chunks(chunked: Any) -> list[Told]:
        return [buffer for chunk in chunked.chunks for buffer in of_array(chunk)]

    def of_table(table: Any) -> list[Told]:
        return [buffer for column in table.columns for buffer in of_chunks(column)]

    def of_batch(batch: Any) -> list[Told]:
        return [buffer for column in batch.columns for buffer in of_array(column)]

    return [
        Rule(pyarrow.Buffer, buffers=lambda buffer: _of_buffers([buffer])),
        Rule(pyarrow.Array, buffers=of_array, own_bytes=lambda _: _ARRAY_BYTES),
        Rule(pyarrow.ChunkedArray, buffers=of_chunks),
        Rule(pyarrow.Table, buffers=of_table),
        Rule(pyarrow.RecordBatch, buffers=of_batch),
        Rule(pyarrow.Scalar, buffers=of_scalar, own_bytes=lambda _: _SCALAR_BYTES),
    ]


def _getter(kind: Any, name: str) -> Callable[[Any], Any]:
    descriptor = next(vars(each)[name] for each in kind.__mro__ if name in vars(each))
    get: Callable[[Any], Any] = descriptor.__get__
    return get


def _getters(pyarrow: Any, *names: str) -> list[tuple[Any, Callable[[Any], Any]]]:
    """List classes and what reads an attribute of each; older versions have not all of them."""
    pairs = [name.split(".") for name in names]
    return [
        (getattr(pyarrow, kind), _getter(getattr(pyarrow, kind), name))
        for kind, name in pairs
        if hasattr(pyarrow, kind)
    ]


def _of_buffers(buffers: Iterable[Any]) -> list[Told]:
    # of pyarrow's own classes, as they come from it; there may be very many
    found: list[Told] = []
    for each in buffers:
        if each is None:
            continue
        whole = each
        while (parent := whole.parent) is not None:
            whole = parent
        # the pool hands out multiples of 64 bytes
        found.append((whole.address, ((whole.size + 63) & ~63) + _BUFFER_BYTES, "Arrow buffer"))
    return found


def _of_array(pyarrow: Any) -> Reader:
    buffers_of, plain = pyarrow.Array.buffers, pyarrow.DataType
    type_of, field_count = _getter(pyarrow.Array, "type"), _getter(pyarrow.DataType, "num_fields")
    ((extension, storage_type),) = _getters(pyarrow, "BaseExtensionType.storage_type")
    ((dictionary_array, dictionary_of),) = _getters(pyarrow, "DictionaryArray.dictionary")
    inner = _getters(
        pyarrow, "ExtensionArray.storage", "ListArray.values", "LargeListArray.values",
        "FixedSizeListArray.values", "ListViewArray.values", "LargeListViewArray.values",
        "RunEndEncodedArray.values",
    )  # fmt: skip

    def of_array(array: Any) -> list[Told]:
        kind = type_of(array)
        if kind is None:  # made by __new__ alone: there is nothing in it
            return []
        # those of the arrays below are among them, but for dictionaries
        found = _of_buffers(buffers_of(array))
        if type(kind) is not plain and has_dictionary(kind):
            for part in parts(array):
                found += of_array(part)
        return found

    def has_dictionary(kind: Any) -> bool:
        while issubclass(type(kind), extension):
            kind = storage_type(kind)
        if issubclass(type(kind), pyarrow.DictionaryType):
            return True
        return any(has_dictionary(kind.field(i).type) for i in range(field_count(kind)))

    def parts(array: Any) -> Iterable[Any]:
        if issubclass(type(array), dictionary_array):
            return [dictionary_of(array)]
        for kind in (pyarrow.StructArray, pyarrow.UnionArray):
            if issubclass(type(array), kind):
                return [kind.field(array, i) for i in range(field_count(type_of(array)))]
        return [get(array) for kind, get in inner if issubclass(type(array), kind)]

    return of_array


def _of_scalar(pyarrow: Any, of_array: Reader) -> Reader:
    type_of, is_valid = _getter(pyarrow.Scalar, "type"), _getter(pyarrow.Scalar, "is_valid")
    field_count = _getter(pyarrow.DataType, "num_fields")
    address_of, size_of = _getter(pyarrow.Buffer, "address"), _getter(pyarrow.Buffer, "size")
    as_buffer, element = pyarrow.BinaryScalar.as_buffer, pyarrow.StructScalar.__getitem__
    arrays = _getters(pyarrow, "ListScalar.values", "DictionaryScalar.dictionary")
    scalars = _getters(pyarrow, "ExtensionScalar.value", "UnionScalar.value", "RunEndEncodedScalar.value")

    def of_scalar(scalar: Any) -> list[Told]:
        kind = type(scalar)
        if issubclass(kind, pyarrow.BinaryScalar):
            text = as_buffer(scalar)
            return [] if text is None else [_of_text(address_of(text), size_of(text))]
        if not is_valid(scalar):
            return []
        if issubclass(kind, pyarrow.StructScalar):
            count = field_count(type_of(scalar))
            return [buffer for i in range(count) for buffer in of_scalar(element(scalar, i))]
        for known, get in arrays:
            if issubclass(kind, known):
                return of_array(get(scalar))
        inner = [get(scalar) for known, get in scalars if issubclass(kind, known)]
        return [buffer for each in inner for buffer in of_scalar(each)]

    return of_scalar


def _of_text(address: int, size: int) -> Told:
    block = (size + 1 + 8 + 15) & ~15 if size > _IN_PLACE else 0
    return address, _TEXT_BYTES + block, "Arrow value"
