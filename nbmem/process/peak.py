"""The peak of an interval: from the kernel's counter where there is one, from a poller elsewhere."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nbmem._units import MIB
from nbmem.process.resident import resident_bytes

if TYPE_CHECKING:
    from nbmem.process._meter import PeakCounter, ResidentSampler

    NATIVE: bool
else:
    try:
        from nbmem.process import _meter as _parts
    except ImportError:  # built without the native part: no compiler, or another system
        from nbmem.process import _twin as _parts

    NATIVE = _parts.__name__.endswith("_meter")
    PeakCounter, ResidentSampler = _parts.PeakCounter, _parts.ResidentSampler

__all__ = [
    "NATIVE",
    "CounterWithChildren",
    "Interval",
    "PeakCounter",
    "PeakMeter",
    "PolledCounter",
    "ResidentSampler",
    "counter",
    "has_exact_peak",
]

#: The kernel keeps one peak per process, so nbmem keeps one counter of it.
counter = PeakCounter()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=counter.after_fork)


@dataclass(frozen=True, slots=True)
class Interval:
    """What an interval cost, in bytes of resident size.

    Parameters
    ----------
    before_bytes, after_bytes, peak_bytes : int
        Resident size at the start, at the end, and the highest between; with the children where they
        were asked for.
    exact : bool
        Whether the peak is the kernel's own, with no gap between samples.
    """

    before_bytes: int
    after_bytes: int
    peak_bytes: int
    exact: bool


_answer: list[bool] = []


def has_exact_peak() -> bool:
    """Tell whether this system's peak counter really counts, by a test on one mebibyte, made once.

    A sandbox may have the files and yet not count; believing it would show made-up peaks.
    """
    if not _answer:
        try:
            _answer.append(sys.platform.startswith("linux") and _counts())
        except OSError as error:
            # Not there, or not allowed: so it stays. Out of descriptors or slots: ask again next time.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                return False
            _answer.append(False)
    return _answer[0]


def _counts() -> bool:
    slot, before = counter.open()
    try:
        with mmap.mmap(-1, MIB) as block:
            for page in range(0, MIB, mmap.PAGESIZE):
                block[page] = 1
        risen, _ = counter.take(slot)
        fallen, resident = counter.take(slot)
    finally:
        counter.close(slot)
    # Linux ≥ 6.2 batches its counters per processor: allow for half of the test block.
    return risen - before >= MIB // 2 and fallen - resident <= MIB // 2


class PolledCounter:
    """The peak counter's methods where the kernel has none: resident size now, and no peak between."""

    def open(self) -> tuple[int, int]:
        """Start an interval."""
        return 0, resident_bytes()

    def take(self, slot: int) -> tuple[int, int]:
        """Return the resident size, twice."""
        resident = resident_bytes()
        return resident, resident

    def close(self, slot: int) -> tuple[int, int]:
        """End an interval."""
        return self.take(slot)


class CounterWithChildren:
    """The peak counter's methods with the child processes added, which a poller reads: never exact.

    Parameters
    ----------
    interval : float
        Seconds between two looks at the children; each reading of the counter looks too.
    """

    def __init__(self, *, interval: float = 0.05) -> None:
        self._own = counter if has_exact_peak() else PolledCounter()
        self._children = _Poller(_resident_of_children, interval)

    def open(self) -> tuple[int, int]:
        """Start an interval."""
        self._children.start()
        try:
            slot, resident = self._own.open()
        except BaseException:
            self._children.stop()
            raise
        return slot, resident + self._children.first

    def take(self, slot: int) -> tuple[int, int]:
        """Return the peak since the last reading, and the resident size."""
        peak, resident = self._own.take(slot)
        highest, now = self._children.take()
        return peak + highest, resident + now

    def close(self, slot: int) -> tuple[int, int]:
        """End an interval."""
        self._children.stop()
        peak, resident = self._own.close(slot)
        return peak + self._children.highest, resident + self._children.last


class PeakMeter:
    """Measure the peak resident size between ``start()`` and ``stop()``; also a context manager.

    Parameters
    ----------
    include_children : bool
        Add the resident size of all child processes; a poller reads them, so with children the result
        is not exact.
    interval : float
        Seconds between two looks of the poller, where one is needed.
    poll : bool
        Whether to poll at all where there is no exact peak: with False the peak is the larger of start
        and end, and nothing runs in between.

    Attributes
    ----------
    result : Interval
        Set by ``stop()``.
    """

    result: Interval

    def __init__(self, *, include_children: bool = False, interval: float = 0.1, poll: bool = True) -> None:
        self._slot = -1
        self._before = 0
        self._plain = False
        self._poll = poll
        self._poller: _Poller | None = None
        self._include_children = include_children
        self._interval = interval

    def start(self) -> None:
        """Start the interval."""
        if self._include_children:
            exact = has_exact_peak()
            self._poller = _Poller(_resident_of_children if exact else _resident_of_all, self._interval)
        elif not has_exact_peak() and self._poll:
            self._poller = _Poller(_resident_by_memory_profiler, self._interval)
        elif not has_exact_peak():
            self._plain, self._before = True, resident_bytes()
        if self._poller is not None:
            self._poller.start()
        if has_exact_peak():
            try:
                self._slot, self._before = counter.open()
            except BaseException:
                if self._poller is not None:
                    self._poller.stop()
                raise

    def stop(self) -> Interval:
        """End the interval and give its figures; again, and the figures are the same."""
        if self._slot < 0 and self._poller is None and hasattr(self, "result"):
            return self.result
        peak = after = resident_bytes() if self._plain else 0
        exact = self._slot >= 0
        if self._slot >= 0:
            slot, self._slot = self._slot, -1
            try:
                peak, after = counter.close(slot)
            except OSError:  # the code closed descriptors that were not its own
                peak = after = resident_bytes()
                exact = False
        before = self._before
        if self._poller is not None:
            poller, self._poller = self._poller, None
            poller.stop()
            # The two peaks may not have been at one time: their sum is an upper bound, so not exact.
            exact = exact and poller.highest == 0
            before, after, peak = before + poller.first, after + poller.last, peak + poller.highest
        self.result = Interval(before, after, max(peak, before, after), exact)
        return self.result

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Poller:
    """Read a figure again and again in a thread; keep the first, the last and the highest."""

    def __init__(self, read: Callable[[], int], interval: float) -> None:
        import threading

        self.first = self.last = self.highest = 0
        self._read = read
        self._interval = interval
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbmem-poller", daemon=True)

    def start(self) -> None:
        self.first = self.last = self.highest = self._read()
        self._thread.start()

    def take(self) -> tuple[int, int]:
        """Look; give the highest since it was taken last, and what it is now."""
        self._look()
        with self._lock:
            highest, self.highest = self.highest, self.last
        return highest, self.last

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._look()

    def _look(self) -> None:
        seen = self._read()
        with self._lock:
            self.last = seen
            self.highest = max(self.highest, seen)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._look()


def _resident_of_children() -> int:
    """Sum the resident bytes of all descendants; one that ends meanwhile counts nothing."""
    import psutil

    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:
            continue
    return total


def _resident_of_all() -> int:
    return _resident_of_children() + _resident_by_memory_profiler()


def _resident_by_memory_profiler() -> int:
    """Read the resident bytes of this process as memory_profiler does (any system)."""
    from memory_profiler import memory_usage

    return int(memory_usage(-1, interval=0.1, timeout=0.1)[0] * MIB)
