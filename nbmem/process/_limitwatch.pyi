from collections.abc import Callable
from types import FrameType

from nbmem.process._meter import ResidentSampler

def fault_counts() -> dict[int, int]: ...
def raiser(
    decide: Callable[[int, FrameType | None], BaseException | None],
) -> Callable[[int, FrameType | None], None]: ...

class LimitWatch:
    occupied: int
    warned: bool
    def __init__(
        self,
        *,
        limit: int,
        warn: int,
        signal: int,
        thread: int,
        ceiling: int = ...,
        ours: int = ...,
        soft: int = ...,
        mark: int = ...,
        spare_children: bool = ...,
    ) -> None: ...
    def start(self, sampler: ResidentSampler) -> None: ...
    def close(self) -> None: ...
    def lift(self, size: int) -> None: ...
    def take_relieved(self) -> bool: ...
    def stop(self) -> tuple[int, int]: ...
