"""What the objects of each type take, and what they keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.graph import Heap


def by_type(heap: Heap) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Add up the living objects of each type.

    Parameters
    ----------
    heap : Heap

    Returns
    -------
    counts, shallow_bytes, retained_bytes : (t,) arrays of int64
        In the order of ``heap.types``. What a type retains is the sum over its objects that no other object
        of the type dominates (Eclipse Memory Analyzer's minimum retained size): at least that much would go
        with them all. O(n).
    """
    living = heap.living
    kinds = heap.type_index[living]
    top = heap.tree.outermost(heap.type_index)
    return (
        np.bincount(kinds, minlength=len(heap.types)),
        _sums(kinds, heap.shallow_bytes[living], len(heap.types)),
        _sums(heap.type_index[top], heap.retained_bytes[top], len(heap.types)),
    )


def _sums(kinds: NDArray[np.uint32], values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    # bincount adds up in float64: exact below 2**53 bytes
    return np.bincount(kinds, weights=values, minlength=count).astype(np.int64)
