from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

AVAILABLE: bool

class Births:
    epoch: int
    lost: int
    def note(self) -> None: ...
    def mark(self) -> int: ...
    def on_collection(self, phase: str, info: Mapping[str, Any]) -> None: ...
    def born(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint32]: ...
