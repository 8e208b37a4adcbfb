"""One trace: start every recorder, stop them in the right order, fold what they saw to lines of source."""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbmem._errors import AlreadyRunning
from nbmem.process import (
    NATIVE,
    GcLog,
    GcRecorder,
    PeakMeter,
    PolledCounter,
    ResidentSampler,
    allocated_block_count,
    counter,
    has_exact_peak,
    malloc_counters,
    release_free_memory,
)
from nbmem.tracing import _lineprobe_twin
from nbmem.tracing.allocations import AllocationLog, AllocationTracer, Frame, best_tracer
from nbmem.tracing.sources import Source

if NATIVE:
    from nbmem.tracing._lineprobe import LineProbe
else:
    from nbmem.tracing._lineprobe_twin import LineProbe  # type: ignore[assignment]

#: Allocations of these files are nbmem's own and no part of what the code cost.
_OWN_FILES = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "process", "gcevents.py"),
)


@dataclass(frozen=True, slots=True)
class LineCost:
    """What one line of source cost; a figure that was not measured is None.

    Parameters
    ----------
    function : str
        The name of the piece of source (``"cell"`` or a function).
    line, source : int, str
        Line number as tracebacks show it, and its text.
    hits : int
        How often it ran; where not exact, how often it was seen.
    seconds : float
        Time in it, calls included.
    peak_bytes : int or None
        Highest resident size while it ran, above that at the start of the trace.
    increment_bytes : int or None
        Resident size after minus before, summed.
    spike_bytes : int or None
        Largest peak minus before of one hit.
    live_bytes : int or None
        Heap bytes allocated by it and alive at the heap's peak.
    net_bytes : int or None
        Heap bytes allocated by it and alive at the end.
    allocation_count : int or None
        Allocations that it made.
    exact : bool
        Whether every hit was measured, by the kernel's own peak.
    """

    function: str
    line: int
    source: str
    hits: int
    seconds: float
    peak_bytes: int | None
    increment_bytes: int | None
    spike_bytes: int | None
    live_bytes: int | None
    net_bytes: int | None
    allocation_count: int | None
    exact: bool


@dataclass(frozen=True, slots=True)
class StackCost:
    """What one allocation stack cost: the line it counts for, its frames (innermost first), its bytes."""

    function: str
    line: int | None
    frames: tuple[Frame, ...]
    live_bytes: int | None
    net_bytes: int
    allocation_count: int | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Resident size over time: seconds from the start, bytes, and the line that ran (0: none of them)."""

    seconds: Sequence[float] = ()
    resident_bytes: Sequence[int] = ()
    lines: Sequence[int] = ()
    functions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """The totals of a trace; sizes in bytes.

    Parameters
    ----------
    seconds : float
        From start to end.
    resident_before_bytes, resident_after_bytes, resident_peak_bytes : int
        Resident size of the process.
    peak_bytes, increment_bytes : int
        Peak and end, above the start.
    heap_peak_bytes, net_bytes : int or None
        Heap bytes allocated since the start: the most alive at once, and alive at the end.
    malloc_bytes : int or None
        What the C library's malloc has in use, end minus start, by its own counters.
    arrow_bytes : int or None
        What Apache Arrow's own pool has in use, end minus start; None where pyarrow is not loaded. pandas 3
        keeps strings there, and it is in no other heap figure.
    allocation_count : int or None
        Allocations.
    python_blocks : int
        Blocks of Python's object allocator in use, end minus start.
    gc_count, gc_seconds : int, float
        Collections of the garbage collector, and how long they took.
    exact : bool
        Whether the peak is the kernel's own.
    lines_by, allocations_by : str
        By which means lines and allocations were traced.
    """

    seconds: float
    resident_before_bytes: int
    resident_after_bytes: int
    resident_peak_bytes: int
    peak_bytes: int
    increment_bytes: int
    heap_peak_bytes: int | None
    net_bytes: int | None
    malloc_bytes: int | None
    arrow_bytes: int | None
    allocation_count: int | None
    python_blocks: int
    gc_count: int
    gc_seconds: float
    exact: bool
    lines_by: str
    allocations_by: str


@dataclass(frozen=True, slots=True)
class Trace:
    """All that a trace found; plain data."""

    summary: TraceSummary
    lines: tuple[LineCost, ...]
    stacks: tuple[StackCost, ...]
    timeline: Timeline
    gc: GcLog
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Recorded:
    """What the recorders handed over, before it is folded."""

    seconds: float = 0.0
    rows: list[Any] = field(default_factory=list)
    timeline: tuple[array[float], array[int], array[int]] | None = None


class Tracer:
    """Trace the code between ``start()`` and ``stop()``.

    Parameters
    ----------
    rss : bool
        Resident figures only: no allocation tracing.
    objects : bool
        Trace Python's object allocator too.

    Notes
    -----
    Only one tracer runs at a time, on the thread that starts it; other threads' allocations count for the
    lines in their stacks, their resident size for the line that ran meanwhile.
    """

    _running: Tracer | None = None

    def __init__(self, *, rss: bool = False, objects: bool = False) -> None:
        self._objects = objects
        self._rss_only = rss
        self._notes: list[str] = []
        self._sources: list[Source] = []
        self._scopes: dict[int, Source] = {}
        self._aliases: list[tuple[str, int, Source]] = []
        self._allocations: AllocationTracer | None = None
        self._sampler = ResidentSampler()
        self._probe = self._make_probe()
        self._probe_started = False
        self._meter = PeakMeter()
        self._gc = GcRecorder()
        self._undo: list[Callable[[], object]] = []
        self._recorded = _Recorded()
        self._before = self._after = _Counters(0, None, 0)

    def _make_probe(self) -> Any:
        if not has_exact_peak():
            return _lineprobe_twin.LineProbe(PolledCounter(), self._sampler)
        return LineProbe(counter, self._sampler)

    # -- what is watched

    def watch(self, source: Source) -> None:
        """Measure the lines of a piece of source; may be called while the trace runs."""
        count = len(source.lines)
        if source.code is None:
            scope = self._probe.watch_file(source.filename, source.first_line + count - 1, source.offset)
        else:
            scope = self._probe.watch_code(source.code, source.first_line, count)
            for code in source.nested:
                self._probe.watch_code(code, source.first_line, count, same_as=scope)
        self._sources.append(source)
        self._scopes[scope] = source

    def watch_alias(self, filename: str, source: Source, offset: int) -> None:
        """Count the lines of another file name (a magic's compiled body) as lines of a watched source."""
        scope = next(number for number, known in self._scopes.items() if known is source)
        self._probe.watch_file(filename, 0, offset, same_as=scope)
        self._aliases.append((filename, offset, source))

    # -- start and stop

    def start(self) -> None:
        """Start every recorder, the line probe last.

        Raises
        ------
        AlreadyRunning
            If a trace is running.
        """
        if Tracer._running is not None:
            raise AlreadyRunning("a trace is running already; let it end first")
        Tracer._running = self
        try:
            self._start()
        except BaseException:
            self._unwind()
            raise

    def _start(self) -> None:
        if not self._rss_only:
            self._start_allocations()
        release_free_memory()
        self._before = _read_counters()
        self._gc.start()
        self._undo.append(self._gc.stop)
        self._sampler.start()
        self._undo.append(self._stop_sampler)
        self._meter.start()
        self._undo.append(self._meter.stop)
        self._began = time.perf_counter()
        self._undo.append(self._stop_clock)
        if self._probe.start():
            self._probe_started = True
            self._undo.append(self._stop_probe)
        else:
            self._notes.append(
                "another tool (a debugger, coverage) holds the trace function: no resident figures by line"
            )

    def _start_allocations(self) -> None:
        tracer = best_tracer(objects=self._objects)
        try:
            tracer.start()
        except AlreadyRunning as error:
            self._notes.append(f"{error}: allocations were left to it")
            return
        self._allocations = tracer
        self._undo.append(tracer.stop)

    def _stop_probe(self) -> None:
        self._recorded.rows = self._probe.stop()

    def _stop_clock(self) -> None:
        self._recorded.seconds = time.perf_counter() - self._began

    def _stop_sampler(self) -> None:
        self._recorded.timeline = self._sampler.stop()

    def _unwind(self) -> None:
        """Stop what was started, last first; an interrupt in the middle stops the rest all the same."""
        interrupt: BaseException | None = None
        while self._undo:
            try:
                self._undo.pop()()
            except KeyboardInterrupt as error:
                interrupt = error
        Tracer._running = None
        if interrupt is not None:
            raise interrupt

    def stop(self) -> Trace:
        """Stop every recorder and fold what they saw."""
        self._undo.append(self._read_counters)
        # Counters are read right after the probe is off, so that its own freeing is no part of them.
        if self._probe_started:
            self._undo[-2:] = reversed(self._undo[-2:])
        self._unwind()
        risen = self._meter.result.peak_bytes - self._meter.result.before_bytes
        log = self._allocations.read(risen) if self._allocations is not None else None
        return self._fold(log)

    def _read_counters(self) -> None:
        self._after = _read_counters()

    # -- folding

    def _fold(self, log: AllocationLog | None) -> Trace:
        recorded, interval = self._recorded, self._meter.result
        notes = self._notes + self._probe_notes() + list(log.notes if log is not None else ())
        stacks = self._fold_stacks(log) if log is not None else []
        lines = self._fold_lines(
            interval.before_bytes, stacks, traced=log is not None and log.net_bytes is not None
        )
        before, after = self._before, self._after
        known = [stack for stack in stacks if stack.live_bytes is not None]
        summary = TraceSummary(
            seconds=recorded.seconds,
            resident_before_bytes=interval.before_bytes,
            resident_after_bytes=interval.after_bytes,
            resident_peak_bytes=interval.peak_bytes,
            peak_bytes=interval.peak_bytes - interval.before_bytes,
            increment_bytes=interval.after_bytes - interval.before_bytes,
            heap_peak_bytes=sum(stack.live_bytes or 0 for stack in known)
            if known or log is None or log.peak_bytes == 0
            else log.peak_bytes,
            net_bytes=sum(stack.net_bytes for stack in stacks) if log and log.net_bytes is not None else None,
            malloc_bytes=None
            if before.malloc is None or after.malloc is None
            else after.malloc - before.malloc,
            arrow_bytes=None if after.arrow is None else after.arrow - (before.arrow or 0),
            allocation_count=_sum(stack.allocation_count for stack in stacks)
            if log and log.count is not None
            else None,
            python_blocks=after.blocks - before.blocks,
            gc_count=self._gc.log.count,
            gc_seconds=self._gc.log.seconds,
            exact=interval.exact,
            lines_by=self._lines_by(),
            allocations_by=log.means if log is not None else "not traced",
        )
        if log is None or log.peak_bytes is None:
            summary = _replace(summary, heap_peak_bytes=None)
        return Trace(summary, tuple(lines), tuple(stacks), self._fold_timeline(), self._gc.log, tuple(notes))

    def _lines_by(self) -> str:
        if not self._probe_started:
            return "not traced"
        means = "sys.monitoring" if NATIVE and sys.version_info >= (3, 12) else "trace function"
        return (
            f"{means} and the kernel's peak counter"
            if has_exact_peak()
            else f"{means}, no peak between lines"
        )

    def _probe_notes(self) -> list[str]:
        notes = []
        probe = self._probe
        if probe.lost:
            notes.append("another tool took the trace function during the cell: lines after that are missing")
        if self._probe_started and not probe.exact and not probe.lost:
            notes.append("lines that ran too often to be read each time were sampled (exact=False)")
        if probe.unseen_seconds > 0.01:
            notes.append(
                f"{probe.unseen_seconds:.2f} s ({probe.unseen_bytes / 2**20:+.1f} MiB) of sampled time "
                "ended outside the watched lines and counts for none of them"
            )
        if NATIVE is False and self._probe_started:
            notes.append("nbmem was built without its native part: slower, and the timeline has gaps")
        return notes

    def _fold_stacks(self, log: AllocationLog) -> list[StackCost]:
        files: dict[str, list[tuple[int, Source]]] = {}
        for source in self._sources:
            files.setdefault(source.filename, []).append((source.offset, source))
        for filename, offset, source in self._aliases:
            files.setdefault(filename, []).append((offset, source))
        costs = []
        for stack in log.stacks:
            place = _place(stack.frames, files)
            if place is None:
                continue
            name, line, depth = place
            costs.append(
                StackCost(name, line, stack.frames[:depth], stack.peak_bytes, stack.net_bytes, stack.count)
            )
        return costs

    def _fold_lines(self, start: int, stacks: list[StackCost], *, traced: bool) -> list[LineCost]:
        heap: dict[tuple[str, int], list[StackCost]] = {}
        for stack in stacks:
            if stack.line is not None:
                heap.setdefault((stack.function, stack.line), []).append(stack)
        rows = {(self._scopes[row[0]].name, row[1]): row for row in self._recorded.rows}
        probed = self._probe_started and not self._probe.lost
        lines = []
        for source in self._sources:
            loops = source.loop_lines() if not self._probe.exact else frozenset()
            for line in range(source.first_line, source.first_line + len(source.lines)):
                row = rows.get((source.name, line))
                own = heap.get((source.name, line), [])
                exact = has_exact_peak() and probed and self._probe.exact
                if row is not None and not exact and probed and has_exact_peak():
                    sampled, paused, entered = row[7:]
                    exact = not (sampled or entered or (paused and line in loops))
                measured = row is not None and has_exact_peak()
                known = traced and all(stack.live_bytes is not None for stack in own)
                lines.append(
                    LineCost(
                        function=source.name,
                        line=line,
                        source=source.text_of(line),
                        hits=row[2] if row else 0,
                        seconds=row[3] if row else 0.0,
                        peak_bytes=row[4] - start if row and measured else None,
                        increment_bytes=row[5] if row else (0 if exact else None),
                        spike_bytes=row[6] if row and measured else None,
                        live_bytes=sum(stack.live_bytes or 0 for stack in own) if known else None,
                        net_bytes=sum(stack.net_bytes for stack in own) if traced else None,
                        allocation_count=_sum(stack.allocation_count for stack in own) if traced else None,
                        exact=exact,
                    )
                )
        return lines

    def _fold_timeline(self) -> Timeline:
        if self._recorded.timeline is None:
            return Timeline()
        seconds, resident, marks = self._recorded.timeline
        places: dict[int, tuple[str, int]] = {}
        for mark in set(marks):
            found = self._probe.line_of(mark) if mark >= 0 else None
            places[mark] = (self._scopes[found[0]].name, found[1]) if found is not None else ("", 0)
        return Timeline(
            seconds, resident, [places[mark][1] for mark in marks], [places[mark][0] for mark in marks]
        )


def _place(
    frames: tuple[Frame, ...], files: dict[str, list[tuple[int, Source]]]
) -> tuple[str, int | None, int] | None:
    """Find the line that a stack counts for: name, line, frames to keep; None if it is nbmem's own."""
    found: tuple[str, int] | None = None
    depth = 0
    for index, (_, filename, line) in enumerate(frames):
        if found is None and filename.startswith(_OWN_FILES):
            return None
        for offset, source in files.get(filename, ()):
            if line + offset in source:
                found = found or (source.name, line + offset)
                depth = index + 1
                break
    return (*found, depth) if found is not None else ("", None, len(frames))


def _sum(values: Any) -> int | None:
    """Add up, unless one is not known."""
    known = list(values)
    return None if any(value is None for value in known) else sum(known)


def _replace(summary: TraceSummary, **changes: Any) -> TraceSummary:
    from dataclasses import replace

    return replace(summary, **changes)


@dataclass(frozen=True, slots=True)
class _Counters:
    """What the allocators count themselves: blocks, bytes, bytes (None: not there)."""

    blocks: int
    malloc: int | None
    arrow: int | None


def _read_counters() -> _Counters:
    malloc = malloc_counters()
    arrow = sys.modules.get("pyarrow")
    allocated = getattr(arrow, "total_allocated_bytes", None)
    return _Counters(
        allocated_block_count(),
        malloc.in_use_bytes + malloc.mapped_bytes if malloc is not None else None,
        int(allocated()) if callable(allocated) else None,
    )
