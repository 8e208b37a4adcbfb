"""What the cyclic garbage collector did, and how long it held the program up."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

#: Collections kept one by one; the totals count all of them, however many there were.
KEPT_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class GcEvent:
    """One collection: when it began (seconds from the start), of which generation, and what it did."""

    start: float
    generation: int
    seconds: float
    collected_count: int
    uncollectable_count: int


@dataclass(slots=True)
class GcLog:
    """The collections of an interval.

    Parameters
    ----------
    events : list of GcEvent
        The first 10 000 of them.
    count, seconds, collected_count : int, float, int
        Totals over all collections, kept or not.
    """

    events: list[GcEvent] = field(default_factory=list)
    count: int = 0
    seconds: float = 0.0
    collected_count: int = 0


class GcRecorder:
    """Record collections through ``gc.callbacks`` from ``start()`` to ``stop()``; also a context manager."""

    def __init__(self) -> None:
        self.log = GcLog()
        self._origin = self._began = 0.0

    def start(self) -> None:
        """Begin to record."""
        self._origin = time.perf_counter()
        gc.callbacks.append(self._on_event)

    def stop(self) -> GcLog:
        """Take the callback off again and give the log."""
        # By identity: other people's callbacks may have an __eq__ that lies. Bound methods are made
        # anew at each access, so look at what they are bound to.
        for index, callback in enumerate(gc.callbacks):
            if getattr(callback, "__self__", None) is self:
                del gc.callbacks[index]
                break
        return self.log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _on_event(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._began = now
            return
        if not self._began:  # recording began in the middle of a collection
            return
        log, pause = self.log, now - self._began
        log.count += 1
        log.seconds += pause
        log.collected_count += info["collected"]
        if len(log.events) < KEPT_EVENTS:
            log.events.append(
                GcEvent(
                    self._began - self._origin,
                    info["generation"],
                    pause,
                    info["collected"],
                    info["uncollectable"],
                )
            )
