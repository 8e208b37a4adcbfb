from collections.abc import Callable
from types import FrameType

from nbmem.process._meter import ResidentSampler

def raiser(
    decide: Callable[[int, FrameType | None], BaseException | None],
) -> Callable[[int, FrameType | None], None]: ...

class LimitWatch:
    resident: int
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
        spare_children: bool = ...,
    ) -> None: ...
    def start(self, sampler: ResidentSampler) -> None: ...
    def take_relieved(self) -> bool: ...
    def stop(self) -> tuple[int, int]: ...
