"""What the cyclic garbage collector did, and how long it held the program up."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

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
        # One bound method and one list, to be found again by identity, whatever the code does meanwhile.
        self._callback = self._on_event
        self._callbacks: list[Any] = gc.callbacks

    def start(self) -> None:
        """Begin to record."""
        self._origin = time.perf_counter()
        self._callbacks = gc.callbacks
        self._callbacks.append(self._callback)

    def stop(self) -> GcLog:
        """Take the callback off again and give the log."""
        for index, callback in enumerate(self._callbacks):
            if callback is self._callback:
                del self._callbacks[index]
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
