"""The meter in pure Python: what serves where the native part was not built, and its specification."""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Callable

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def memory_now() -> tuple[int, int]:
    """Read resident bytes, and bytes of private writable memory, touched or not."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        fields = file.read(256).split()
    return int(fields[1]) * _PAGE_BYTES, int(fields[5]) * _PAGE_BYTES


class PeakCounter:
    """The peak resident size of this process since a moment that one chooses.

    The kernel has one such counter per process; several users of it at a time each hold a *slot*, and
    whoever sets the counter back first adds what it shows to everybody's slot.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._clear_fd = self._status_fd = -1
        self._highest: dict[int, int] = {}

    def __del__(self) -> None:
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for descriptor in (self._clear_fd, self._status_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._clear_fd = self._status_fd = -1

    def _ensure(self) -> None:
        # /proc/self was resolved when it was opened: after a fork it would still be the parent's.
        if self._pid == os.getpid() and self._status_fd >= 0:
            return
        if self._pid == os.getpid():
            self._close_descriptors()
        self._clear_fd = self._status_fd = -1  # in a child, other files by now: forgotten, not closed
        self._pid = os.getpid()
        self._clear_fd = os.open("/proc/self/clear_refs", os.O_WRONLY | _CLOEXEC)
        self._status_fd = os.open("/proc/self/status", os.O_RDONLY | _CLOEXEC)

    def _fold(self) -> int:
        self._ensure()
        text = os.pread(self._status_fd, 16383, 0)
        highest, resident = _field(text, b"\nVmHWM:"), _field(text, b"\nVmRSS:")
        os.pwrite(self._clear_fd, b"5", 0)
        for slot, value in self._highest.items():
            if value < highest:
                self._highest[slot] = highest
        return resident

    def open(self) -> tuple[int, int]:
        """Start an interval; return its slot and the resident bytes at its start."""
        try:
            resident = self._fold()
        except OSError:
            if not self._highest:
                self._close_descriptors()
            raise
        slot = next(number for number in range(len(self._highest) + 1) if number not in self._highest)
        self._highest[slot] = resident
        return slot, resident

    def take(self, slot: int) -> tuple[int, int]:
        """Return ``(peak_bytes, resident_bytes)`` of the interval so far, and start it anew."""
        self._check(slot)
        resident = self._fold()
        peak, self._highest[slot] = self._highest[slot], resident
        return peak, resident

    def close(self, slot: int) -> tuple[int, int]:
        """End an interval; return its ``(peak_bytes, resident_bytes)``."""
        self._check(slot)
        try:
            return self.take(slot)
        finally:
            del self._highest[slot]
            if not self._highest:
                self._close_descriptors()

    def _check(self, slot: int) -> None:
        if slot not in self._highest:
            raise ValueError(f"no interval is open at slot {slot}")

    def after_fork(self) -> None:
        """Let go of the parent's descriptors, right after a fork, in the child."""
        self._close_descriptors()

    @property
    def open_count(self) -> int:
        """How many intervals are open."""
        return len(self._highest)


def _field(text: bytes, name: bytes) -> int:
    at = text.find(name)
    if at < 0:
        raise OSError(0, f"/proc/self/status has no {name.decode().strip()}")
    return int(text[at + len(name) :].split(None, 1)[0]) * 1024


def _resident_from_statm() -> Callable[[], int]:
    descriptor = os.open("/proc/self/statm", os.O_RDONLY | _CLOEXEC)

    def read() -> int:
        return int(os.pread(descriptor, 128, 0).split(None, 2)[1]) * _PAGE_BYTES

    def close() -> None:
        os.close(descriptor)

    read.close = close  # type: ignore[attr-defined]
    return read


def _resident_from_psutil() -> Callable[[], int]:
    import psutil

    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


class ResidentSampler:
    """Resident size over time, read by a Python thread: it sees nothing while other code holds the GIL.

    Parameters
    ----------
    interval : float
        Seconds between two looks at the start; doubles each time that the buffer is full.
    capacity : int
        Points kept at most.
    """

    def __init__(self, interval: float = 0.001, capacity: int = 5000) -> None:
        if capacity < 8 or interval <= 0:
            raise ValueError("capacity is at least 8, interval is above 0")
        self._capacity = capacity - (capacity % 2 == 0)
        self._tick = self._bucket = interval
        self._bucket_end = 0.0
        self._points: list[tuple[float, int, int]] = []
        self._mark = -1
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._read: Callable[[], int] | None = None
        #: Called at each look, on the sampler's thread, with the resident bytes.
        self.hook: Callable[[int], None] | None = None
        self.started = 0.0

    def start(self) -> None:
        """Take the first point and start the thread."""
        if self.started:
            raise RuntimeError("a sampler starts once")
        try:
            self._read = _resident_from_statm()
        except OSError:
            self._read = _resident_from_psutil()
        self.started = time.monotonic()
        self._keep(0.0, self._read(), self._mark)
        self._thread = threading.Thread(target=self._run, name="nbmem-sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._read is not None
        while not self._stopping.wait(self._tick):
            resident = self._read()
            self._keep(time.monotonic() - self.started, resident, self._mark)
            hook = self.hook
            if hook is not None:
                hook(resident)

    def _keep(self, at: float, resident: int, mark: int) -> None:
        points = self._points
        if len(points) > 1 and at < self._bucket_end:
            if resident >= points[-1][1]:
                points[-1] = (at, resident, mark)
            return
        if len(points) == self._capacity:
            # The first point is the start and stays; of each later pair, the higher stays.
            points[1:] = [
                first if first[1] >= second[1] else second
                for first, second in zip(points[1::2], points[2::2], strict=True)
            ]
            self._bucket *= 2
            if self._tick < 0.005:
                self._tick = min(self._bucket, 0.005)
        points.append((at, resident, mark))
        self._bucket_end = at + self._bucket * 0.999

    def stop(self) -> tuple[array[float], array[int], array[int]]:
        """Stop the thread; return ``(seconds, resident_bytes, marks)``, three arrays of equal length."""
        self._stopping.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._thread = None
        close = getattr(self._read, "close", None)
        if close is not None:
            close()
        self._read = None
        return (
            array("d", (point[0] for point in self._points)),
            array("q", (point[1] for point in self._points)),
            array("i", (point[2] for point in self._points)),
        )

    def after_fork(self) -> None:
        """Let go of the parent's descriptor, right after a fork, in the child."""
        close = getattr(self._read, "close", None)
        if close is not None:
            close()
        self._read = None

    def mark(self, mark: int) -> None:
        """Name what runs now; the points from here on carry it."""
        self._mark = mark
