from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEES_LOCALS: bool
ITEMSIZE_AT_1: int
ITEMSIZE_AT_2: int

def walk(
    starts: list[Any] | None,
    ends: list[int],
    rules: list[type],
    ndarray: type | None,
    itemsize_at: int,
    *,
    mark: Callable[[NDArray[np.uint64]], Any] | None = None,
) -> dict[str, Any]: ...
def measured(value: object) -> int: ...
def itemsize_of(array: object, offset: int) -> int: ...
def beside(record: object, flat: object) -> tuple[int, int, int]: ...
def select(
    indptr: NDArray[np.uint32], indices: NDArray[np.uint32], keep: NDArray[np.uint8]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
def keep_only(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    keep: NDArray[np.uint8],
    columns: list[NDArray[np.uint8]],
) -> tuple[int, int]: ...
def looked_up(table: NDArray[np.uint8], numbers: NDArray[np.uint32]) -> NDArray[np.uint8]: ...
def refers_to(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    nodes: NDArray[np.uint32],
    marked: NDArray[np.uint8],
) -> NDArray[np.uint8]: ...
def locate(addresses: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]: ...
