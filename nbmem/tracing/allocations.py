"""Allocation stacks of an interval: from memray where it runs, else from tracemalloc."""

from __future__ import annotations

import _thread
import functools
import operator
import os
import signal
import sys
import tempfile
import threading
import tracemalloc
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from nbmem._errors import AlreadyRunning
from nbmem._units import format_bytes
from nbmem.process import NATIVE

#: Above so many events, allocations are not counted one by one: 0.3 s per million is too long to wait.
COUNTED_EVENTS = 5_000_000

#: Smaller mappings are always counted.
SMALLEST_RESERVATION = 64 << 20

#: From pandas' inside back to the cell's line takes 9 to 12 frames (measured); each frame costs.
TRACEMALLOC_FRAMES = 15

#: What a thread does to itself; blocked, they end the process without a word.
_FATAL_SIGNALS = {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, getattr(signal, "SIGBUS", 0)}

#: One frame: function, file name, line number.
Frame = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class AllocationStack:
    """What was allocated at one stack.

    Parameters
    ----------
    frames : tuple of Frame
        Innermost first; empty where no Python code ran.
    peak_bytes : int or None
        Of its bytes, those alive when the heap of the interval was largest; None where not known.
    net_bytes : int
        Of its bytes, those alive at the end.
    count : int or None
        Allocations in all; None where they were not counted.
    """

    frames: tuple[Frame, ...]
    peak_bytes: int | None
    net_bytes: int
    count: int | None


@dataclass(frozen=True, slots=True)
class AllocationLog:
    """The allocations of an interval by stack, by which means, and what to know about them."""

    means: str
    stacks: tuple[AllocationStack, ...] = ()
    peak_bytes: int | None = None
    net_bytes: int | None = None
    count: int | None = None
    notes: tuple[str, ...] = ()


class AllocationTracer(Protocol):
    """Something that records allocations between ``start()`` and ``stop()``."""

    def start(self) -> None:
        """Begin; raise AlreadyRunning if another tool records already."""

    def stop(self) -> None:
        """End the recording, quickly; reading is for later."""

    def read(self, risen: int) -> AllocationLog:
        """Read what was recorded, and let go of it; ``risen``: how far the resident size rose, bytes."""

    def release(self) -> None:
        """Let go of what was recorded, unread."""


def best_tracer(*, objects: bool) -> AllocationTracer:
    """Choose the tracer of this system."""
    try:
        import memray  # noqa: F401
    except ImportError:
        return TracemallocTracer()
    return MemrayTracer(objects=objects)


class MemrayTracer:
    """Record every malloc, mmap and, on request, every Python object, by memray.

    Parameters
    ----------
    objects : bool
        Trace Python's own allocators too: each small object instead of the arenas it lives in.
    """

    def __init__(self, *, objects: bool) -> None:
        self._objects = objects
        self._tracker: Any = None
        self._entered = self._lost = False
        self._thread_profile: Any = None
        self._memrays_profile: Any = None
        self._descriptor = -1
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._path = ""

    def start(self) -> None:
        """Begin; raise AlreadyRunning if another memray tracker, or a profiler, is active."""
        import memray

        if sys.getprofile() is not None:
            # memray needs the profile function of every thread, and would not give it back.
            raise AlreadyRunning("a profiler holds the profile function")

        self._directory = tempfile.TemporaryDirectory(prefix="nbmem-trace-")
        self._path = os.path.join(self._directory.name, "capture")
        # What was allocated is the user's data: nobody else reads it (memray makes the file 0644).
        os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        try:
            self._tracker = memray.Tracker(
                destination=memray.FileDestination(self._path, overwrite=True, compress_on_exit=False),
                trace_python_allocators=self._objects,
                memory_interval_ms=1000,  # the timeline is the sampler's
            )
            self._enter()
        except RuntimeError as error:
            self._tracker = None
            self.release()
            raise AlreadyRunning("memray is in use already") from error
        except BaseException:
            self.release()
            raise
        if sys.platform.startswith("linux"):
            # The file has no name any more: whatever becomes of the kernel, nothing is left behind.
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._directory.cleanup()
            self._directory = None
            self._path = f"/proc/self/fd/{self._descriptor}"

    def _enter(self) -> None:
        """Enter the tracker on a thread of its own.

        memray leaves out as many of the outermost frames of the entering thread as there are when it is
        entered. Entered from here, deeper than the cell will run, it would leave out the cell's too.
        """
        failure: list[BaseException] = []

        def enter() -> None:
            try:
                self._tracker.__enter__()
                self._entered = True
            except BaseException as error:  # noqa: BLE001  # handed over to the thread that asked
                failure.append(error)

        # What the user has threads traced and profiled by is not for this thread: memray would take its
        # profile function for the main thread's, and "restore" it there.
        hooks = threading.gettrace(), threading.getprofile()
        threading.settrace(None)
        threading.setprofile(None)
        try:
            _run_while_this_thread_waits(enter)
        finally:
            threading.settrace(hooks[0])
            if not self._entered:
                threading.setprofile(hooks[1])
        self._thread_profile = hooks[1]
        self._memrays_profile = threading.getprofile()
        try:
            if failure:
                raise failure[0]
        finally:
            failure.clear()  # its traceback holds this frame

    def stop(self) -> None:
        """End the recording; a profile function that the code has set meanwhile stays set."""
        if not self._entered:
            return
        self._lost = not _has_profile_function()
        mine, for_threads = sys.getprofile(), threading.getprofile()
        self._tracker.__exit__(None, None, None)
        self._entered = False
        self._tracker = None
        # memray's own, set from C, does not show
        profiler = getattr(sys.modules.get("_lsprof"), "Profiler", None)  # cProfile's, if the user loaded it
        if profiler is not None and isinstance(mine, profiler):
            mine.enable()
            self._lost = True
        elif callable(mine):
            sys.setprofile(mine)
            self._lost = True
        changed = for_threads is not self._memrays_profile
        threading.setprofile(for_threads if changed else self._thread_profile)

    def read(self, risen: int) -> AllocationLog:
        """Read what was recorded, and let go of the file."""
        import memray

        reader = None
        try:
            reader = memray.FileReader(self._path)
            return self._read_from(reader, risen)
        except KeyboardInterrupt:
            return AllocationLog("memray", notes=("reading the allocations was interrupted",))
        except OSError as error:
            return AllocationLog("memray", notes=(f"the record of allocations cannot be read: {error}",))
        finally:
            if reader is not None:
                reader.close()
            self.release()

    def _read_from(self, reader: Any, risen: int) -> AllocationLog:
        notes = []
        if self._lost:
            notes.append(
                "the cell took the profile function from memray (cProfile, sys.setprofile): "
                "allocations after that count for no line, or for the wrong one"
            )
        peaks = _sizes(reader.get_high_watermark_allocation_records(merge_threads=True))
        nets = _sizes(reader.get_leaked_allocation_records(merge_threads=True))
        counts: dict[tuple[Frame, ...], int] | None = None
        if reader.metadata.total_allocations <= COUNTED_EVENTS:
            counts, reservations = _events(reader, max(risen, SMALLEST_RESERVATION))
            for frames, size, alive in reservations:
                peaks[frames] = _without(peaks[frames], size)
                if alive:
                    nets[frames] = _without(nets[frames], size)
            if reservations:
                largest = max(size for _, size, _ in reservations)
                notes.append(
                    f"a mapping of {format_bytes(largest)} was reserved and is mostly untouched: "
                    "left out of the heap figures"
                )
        else:
            notes.append(
                f"{reader.metadata.total_allocations:,} allocation events are too many to count by line: "
                "allocation_count is left out"
            )
        places = dict.fromkeys((*peaks, *nets, *(counts or ())))
        return AllocationLog(
            means="memray, Python objects too" if self._objects else "memray",
            stacks=tuple(
                AllocationStack(
                    frames,
                    peaks.get(frames, 0),
                    nets.get(frames, 0),
                    None if counts is None else counts.get(frames, 0),
                )
                for frames in places
            ),
            peak_bytes=sum(peaks.values()),
            net_bytes=sum(nets.values()),
            count=None if counts is None else sum(counts.values()),
            notes=tuple(notes),
        )

    def release(self) -> None:
        """Let go of the file, unread."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


def _run_while_this_thread_waits(work: Callable[[], None]) -> None:
    """Run on a thread of its own; this one runs nothing meanwhile, not even a signal's handler.

    While memray (1.20) is entered, it takes down the frames of all threads and only then watches their ends.
    A frame that ends between the two stays in its books, and is read after it was freed: the process crashes.
    So from before the thread begins until the work is done, this one is in a single call of C.
    """
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            work()
        finally:
            done.release()

    start = functools.partial(_thread.start_new_thread, run, ())
    blocked = hasattr(signal, "pthread_sigmask")
    if blocked:  # a signal would end the wait for the lock, for its handler to run
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FATAL_SIGNALS)
    try:
        call: Any = operator.call
        deque(map(call, (start, done.acquire)), maxlen=0)
    finally:
        if blocked:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _has_profile_function() -> bool:
    """Tell whether a profile function is set, memray's own or another (unknown: yes)."""
    if not NATIVE:
        return True
    from nbmem.tracing._lineprobe import has_profile_function

    return has_profile_function()


def _sizes(records: Iterable[Any]) -> defaultdict[tuple[Frame, ...], int]:
    """Sum the bytes of memray's records by stack."""
    sizes: defaultdict[tuple[Frame, ...], int] = defaultdict(int)
    for record in records:
        sizes[tuple(record.stack_trace())] += record.size
    return sizes


def _without(size: int, reserved: int) -> int:
    return size - reserved if size >= reserved else size


def _events(
    reader: Any, untouched: int
) -> tuple[dict[tuple[Frame, ...], int], list[tuple[tuple[Frame, ...], int, bool]]]:
    """Go through all events once: count the allocations by stack, and find reserved mappings.

    A mapping larger than all that the resident size rose was reserved, not used: allocators inside libraries
    (Arrow's mimalloc: 1 GiB) map so, and counting it would drown what was allocated. memray's own totals by
    stack mix mappings with blocks, so they are looked for here.

    Returns
    -------
    dict, list
        Counts by frames; reservations as frames, bytes, and whether they were alive at the end.
    """
    from memray import AllocatorType

    frees = {AllocatorType.FREE.value, AllocatorType.MUNMAP.value, AllocatorType.PYMALLOC_FREE.value}
    mmap = AllocatorType.MMAP.value
    by_id: defaultdict[int, int] = defaultdict(int)
    sample: dict[int, Any] = {}
    reserved: list[tuple[int, int, int]] = []
    alive: dict[int, int] = {}
    for record in reader.get_allocation_records():
        if record.allocator in frees:
            if alive:
                alive.pop(record.address, None)
            continue
        key = record.stack_id
        if key not in sample:
            sample[key] = record
        by_id[key] += 1
        if record.size > untouched and record.allocator == mmap:
            alive[record.address] = len(reserved)
            reserved.append((key, record.size, record.address))
    counts: defaultdict[tuple[Frame, ...], int] = defaultdict(int)
    for key, count in by_id.items():
        counts[tuple(sample[key].stack_trace())] += count
    held = set(alive.values())
    return counts, [
        (tuple(sample[key].stack_trace()), size, number in held)
        for number, (key, size, _) in enumerate(reserved)
    ]


class TracemallocTracer:
    """Record what is alive at the end by tracemalloc: no peak by line, no counts, Python's domains only."""

    def __init__(self) -> None:
        self._ours = False
        self._before: tracemalloc.Snapshot | None = None
        self._after: tracemalloc.Snapshot | None = None
        self._peak = self._start_bytes = 0

    def start(self) -> None:
        """Begin; a tracemalloc that runs already is used as it is and left running."""
        self._ours = not tracemalloc.is_tracing()
        if self._ours:
            tracemalloc.start(TRACEMALLOC_FRAMES)
        else:
            self._before = tracemalloc.take_snapshot()
        self._start_bytes = tracemalloc.get_traced_memory()[0]
        if self._ours:
            tracemalloc.reset_peak()

    def stop(self) -> None:
        """Take the closing snapshot; stop tracemalloc if it was started here."""
        if not tracemalloc.is_tracing():  # the user's code stopped it
            return
        if self._after is not None:  # stopped already
            return
        self._peak = tracemalloc.get_traced_memory()[1] - self._start_bytes
        self._after = tracemalloc.take_snapshot()
        if self._ours:
            tracemalloc.stop()

    def release(self) -> None:
        """Let go of the snapshots."""
        self._before = self._after = None

    def read(self, risen: int) -> AllocationLog:
        """Compare the snapshots."""
        before, after, self._before, self._after = self._before, self._after, None, None
        notes = ["memray is not installed: by tracemalloc, bytes alive at the end only, Python's memory only"]
        if after is None:
            return AllocationLog("tracemalloc", notes=(*notes, "tracemalloc was stopped by the cell"))
        stacks: defaultdict[tuple[Frame, ...], int] = defaultdict(int)
        for sign, snapshot in ((1, after), (-1, before)):
            if snapshot is None:
                continue
            for statistic in snapshot.statistics("traceback"):
                frames = tuple(("", frame.filename, frame.lineno) for frame in reversed(statistic.traceback))
                stacks[frames] += sign * statistic.size
        if not self._ours:
            notes.append("tracemalloc ran already: its number of frames, and its peak, were left alone")
        return AllocationLog(
            means="tracemalloc",
            stacks=tuple(
                AllocationStack(frames, None, size, None) for frames, size in stacks.items() if size
            ),
            peak_bytes=self._peak if self._ours else None,
            net_bytes=sum(stacks.values()),
            notes=tuple(notes),
        )
