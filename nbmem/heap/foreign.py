"""What the objects of well-known libraries hold outside Python's memory.

Only functions of the libraries themselves are called, after the walk; where one raises, the object counts
without. A library that is not loaded is not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from nbmem.heap.arrow import arrow_rules
from nbmem.heap.registry import Buffer, Rule


def _polars(polars: Any) -> list[Rule]:
    from nbmem.heap import arrowstream

    def of_series(series: Any) -> list[Buffer]:
        try:
            found = arrowstream.buffers(polars.Series.__arrow_c_stream__(series))
        except (TypeError, ValueError, RuntimeError, polars.exceptions.PolarsError):
            # Python's objects, and what else has no form in Arrow: a size without an address
            return [Buffer(id(series), int(polars.Series.estimated_size(series)))]
        return [Buffer(address, size, "polars buffer") for address, size in found]

    def of_frame(frame: Any) -> list[Buffer]:
        return [buffer for column in polars.DataFrame.get_columns(frame) for buffer in of_series(column)]

    # their columns are not to be asked as long as nobody computes them: a LazyFrame holds none
    return [Rule(polars.Series, buffers=of_series), Rule(polars.DataFrame, buffers=of_frame)]


def _torch(torch: Any) -> list[Rule]:
    storage_of = torch.Tensor.untyped_storage
    getters = vars(torch._C.TensorBase if hasattr(torch._C, "TensorBase") else torch._C._TensorBase)
    device_of, base_of, grad_of, is_leaf = (
        getters[name].__get__ for name in ("device", "_base", "grad", "is_leaf")
    )

    def held_by(tensor: Any) -> list[Any]:
        # C++ holds what a view is of, and the gradient; of others than leaves, asking for that warns
        held = [base_of(tensor), grad_of(tensor) if is_leaf(tensor) else None]
        return [each for each in held if each is not None]

    def of_tensor(tensor: Any) -> list[Buffer]:
        return [
            buffer
            for each in (tensor, *held_by(tensor))
            if device_of(each).type == "cpu"
            for buffer in of_storage(storage_of(each))
        ]

    def of_storage(storage: Any) -> list[Buffer]:
        if storage.device.type != "cpu":
            return []
        # its allocator hands out multiples of 64 bytes
        return [Buffer(int(storage.data_ptr()), (int(storage.nbytes()) + 63) & ~63, "torch storage")]

    return [
        Rule(torch.Tensor, buffers=of_tensor, references=held_by),
        Rule(torch.UntypedStorage, buffers=of_storage),
    ]


def _mmap(mmap: Any) -> list[Rule]:
    from nbmem.heap import mappings

    return [Rule(mmap.mmap, buffers=partial(mappings.anonymous, mappings.Mappings()))]


def _ctypes(ctypes: Any) -> list[Rule]:
    base = ctypes.Array.__base__
    owns, holder = vars(base)["_b_needsfree_"], vars(base)["_b_base_"]
    # smaller ones have their bytes in the object itself (b_value, 16 bytes)
    inline, size_of = 16, ctypes.sizeof

    def own_bytes(value: Any) -> int:
        size = int(size_of(value))
        return size if size > inline and owns.__get__(value) and holder.__get__(value) is None else 0

    return [Rule(base, own_bytes=own_bytes)]


def _pandas_tables(hashtable: Any) -> list[Rule]:
    # of an index after its first lookup: the table is C's, in no array
    return [Rule(hashtable.HashTable, own_bytes=lambda table: table.sizeof())]


def _pandas_engines(index: Any) -> list[Rule]:
    def keys(engine: Any) -> Iterable[object]:
        # the table has a reference to each key: of equal values, to the first
        if not engine.is_mapping_populated:
            return ()
        values = engine.values
        values = getattr(values, "_ndarray", values)
        if getattr(getattr(values, "dtype", None), "kind", "") != "O":
            return ()
        listed: list[object] = values.tolist()
        if engine.is_unique:
            return listed
        return dict.fromkeys(each for each in listed if type(each) is str)

    return [Rule(index.ObjectEngine, references=keys)]


def _scipy_trees(trees: Any) -> list[Rule]:
    node_bytes = 72  # struct ckdtreenode, in a vector that doubles

    def own_bytes(tree: Any) -> int:
        nodes = int(vars(trees.cKDTree)["size"].__get__(tree))
        return node_bytes << max(0, nodes - 1).bit_length()

    return [Rule(trees.cKDTree, own_bytes=own_bytes)]


def _numpy(numpy: Any) -> list[Rule]:
    base_of, array_of = vars(numpy.ndarray)["base"].__get__, vars(numpy.flatiter)["base"].__get__
    iterators_of, operands_of = vars(numpy.broadcast)["iters"].__get__, vars(numpy.nditer)["operands"].__get__

    def with_bases(arrays: Iterable[Any]) -> Iterator[Any]:
        # nothing but these may lead to a view, and the walk sees no further then
        for each in arrays:
            held = each
            while held is not None:
                yield held
                held = base_of(held) if isinstance(held, numpy.ndarray) else None

    def of_broadcast(value: Any) -> list[Any]:
        iterators = iterators_of(value)
        return [*iterators, *with_bases(map(array_of, iterators))]

    return [
        Rule(numpy.broadcast, references=of_broadcast),
        Rule(numpy.nditer, references=lambda value: with_bases(operands_of(value))),
    ]


FOREIGN: tuple[tuple[str, Callable[[Any], Iterable[Rule]]], ...] = (
    ("numpy", _numpy),
    ("mmap", _mmap),
    ("ctypes", _ctypes),
    ("pandas._libs.hashtable", _pandas_tables),
    ("pandas._libs.index", _pandas_engines),
    ("pyarrow", arrow_rules),
    ("polars", _polars),
    ("scipy.spatial._ckdtree", _scipy_trees),
    ("torch", _torch),
)
