import numpy as np
from numpy.typing import NDArray

def dominators(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    roots: NDArray[np.uint32],
    idom: NDArray[np.uint32],
    order: NDArray[np.uint32],
) -> int: ...
def add_up(order: NDArray[np.uint32], idom: NDArray[np.uint32], total: NDArray[np.int64]) -> None: ...
def spread(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    state: NDArray[np.uint8],
    mark: int,
) -> None: ...
def transpose(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    begins: NDArray[np.uint32],
    sources: NDArray[np.uint32],
) -> None: ...
def outermost(
    cursors: NDArray[np.uint32],
    children: NDArray[np.uint32],
    kinds: NDArray[np.uint32],
    inside: NDArray[np.uint32],
    marks: NDArray[np.uint8],
) -> None: ...
