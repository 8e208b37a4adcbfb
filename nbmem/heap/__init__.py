"""The objects of a Python process: their sizes, and what changed among the names that hold them."""

from nbmem.heap.reach import reached_bytes
from nbmem.heap.sizes import owned_bytes
from nbmem.heap.variables import Names, NameWatch, VariableChange, compare_names, record_names

__all__ = [
    "NameWatch",
    "Names",
    "VariableChange",
    "compare_names",
    "owned_bytes",
    "reached_bytes",
    "record_names",
]
