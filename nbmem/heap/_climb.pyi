import numpy as np
from numpy.typing import NDArray

def climb(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    target: int,
    marks: NDArray[np.uint8],
    cut: NDArray[np.uint64],
    most: int,
    below: NDArray[np.uint32],
    queue: NDArray[np.uint32],
    distance: NDArray[np.uint32],
    ways: NDArray[np.float64],
    found: NDArray[np.uint32],
) -> int: ...
def descend(
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    marks: NDArray[np.uint8],
    cut: NDArray[np.uint64],
    above: NDArray[np.uint32],
    queue: NDArray[np.uint32],
) -> int: ...
