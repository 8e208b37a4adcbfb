"""Run something a number of times and measure each run."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from nbmem.process.allocators import release_free_memory
from nbmem.process.gcevents import GcRecorder
from nbmem.process.peak import Interval, PeakMeter


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Parameters
    ----------
    interval : Interval
        Resident size.
    seconds : float
        Its duration.
    finished : bool
        Whether it came to its end.
    freed_count : int
        Objects that full garbage collections freed meanwhile; some may have been garbage before.
    """

    interval: Interval
    seconds: float
    finished: bool
    freed_count: int


class _DeadlineExceeded(BaseException):
    """Raised in the measured code; not an Exception, so that its ``except Exception`` lets it pass."""


def measure_runs(
    run: Callable[[], object],
    *,
    repeat: int = 1,
    timeout: float | None = None,
    interval: float = 0.1,
    include_children: bool = False,
) -> list[Run]:
    """Measure each of a number of runs.

    Parameters
    ----------
    run : callable
        What to run; its result is let go before the run's end is measured.
    repeat : int
        How often.
    timeout : float, optional
        Seconds for all runs together. The run that exceeds it is stopped (in the main thread, where the
        system has interval timers; elsewhere no further run begins).
    interval, include_children
        See :class:`~nbmem.process.peak.PeakMeter`.

    Returns
    -------
    list of Run
        At least one. An exception of the code passes through. Before the first, young garbage is collected
        (a full collection would take longer than most statements, and old garbage is in the baseline and
        in the peak alike), and memory that malloc holds free is given back, so that its reuse shows.
    """
    __tracebackhide__ = True
    gc.collect(1)
    release_free_memory()
    runs: list[Run] = []
    deadline = None if timeout is None else time.perf_counter() + timeout
    while len(runs) < repeat:
        left = None if deadline is None else deadline - time.perf_counter()
        if runs and left is not None and left <= 0:
            break
        meter = PeakMeter(include_children=include_children, interval=interval)
        collections = GcRecorder()
        finished = False
        with collections, meter:
            began = time.perf_counter()
            try:
                with _stopping_after(left):
                    run()
                    finished = True
            except _DeadlineExceeded as error:
                # its frames hold the run's locals, which are about to be measured as kept
                error.__traceback__ = None
            seconds = time.perf_counter() - began
        freed = sum(event.collected_count for event in collections.log.events if event.generation == 2)
        runs.append(Run(meter.result, seconds, finished, freed))
        if not finished:
            break
    return runs


@contextmanager
def _stopping_after(seconds: float | None) -> Iterator[None]:
    """Raise in the block after so many seconds; put the signal's handler and timer back."""
    if (
        seconds is None
        or not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    active = True

    def stop(number: int, frame: FrameType | None) -> None:
        if active:
            raise _DeadlineExceeded

    handler = signal.signal(signal.SIGALRM, stop)
    began = time.monotonic()
    previous, repeat = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        try:
            yield
        finally:
            active = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None: the handler was not set from Python, so it cannot be put back by Python either
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if previous:
            signal.setitimer(signal.ITIMER_REAL, max(previous - (time.monotonic() - began), 1e-6), repeat)
