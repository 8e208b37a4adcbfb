"""One trace: start every recorder, stop them in the right order."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable
from typing import Any

from nbmem._errors import AlreadyRunning
from nbmem.process import (
    NATIVE,
    CounterWithChildren,
    GcRecorder,
    PeakMeter,
    PolledCounter,
    ResidentSampler,
    allocated_block_count,
    counter,
    deferred_interrupt,
    has_exact_peak,
    malloc_counters,
    release_free_memory,
)
from nbmem.tracing import _lineprobe_twin
from nbmem.tracing.allocations import AllocationTracer, best_tracer
from nbmem.tracing.costs import Trace
from nbmem.tracing.folding import Counters, Probed, Recorded, Row, fold
from nbmem.tracing.sources import Source

if NATIVE:
    from nbmem.tracing._lineprobe import LineProbe
else:
    from nbmem.tracing._lineprobe_twin import LineProbe  # type: ignore[assignment]


class Tracer:
    """Trace the code between ``start()`` and ``stop()``.

    Parameters
    ----------
    rss : bool
        Resident figures only: no allocation tracing.
    objects : bool
        Trace Python's object allocator too.
    children : bool
        Add child processes to every resident figure. They are polled, so no figure is exact then.

    Notes
    -----
    Only one tracer runs at a time, on the thread that starts it; other threads' allocations count for the
    lines in their stacks, their resident size for the line that ran meanwhile.
    """

    _running: Tracer | None = None

    def __init__(self, *, rss: bool = False, objects: bool = False, children: bool = False) -> None:
        self._objects = objects
        self._children = children
        self._rss_only = rss
        self._notes: list[str] = []
        self._sources: list[Source] = []
        self._scopes: dict[int, Source] = {}
        self._aliases: list[tuple[str, int, Source]] = []
        self._allocations: AllocationTracer | None = None
        self._sampler = ResidentSampler()
        self._probe = self._make_probe()
        self._probe_started = False
        self._meter = PeakMeter(include_children=children)
        self._gc = GcRecorder()
        self._undo: list[Callable[[], object]] = []
        self._rows: list[Row] = []
        self._points: tuple[array[float], array[int], array[int]] | None = None
        self._began = self._seconds = 0.0
        self._before = self._after = Counters(0, None, 0)

    def _make_probe(self) -> Any:
        if self._children:
            # The native probe reads nothing but the kernel's counter.
            return _lineprobe_twin.LineProbe(CounterWithChildren(), self._sampler)
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
        if source.runs_already:
            self._notes.append(
                "the body stands on the line of its with statement; on lines of its own it can be measured"
            )
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
        try:
            with deferred_interrupt():
                Tracer._running = self
                self._start()
        except BaseException:  # an interrupt that came meanwhile too
            self.abandon()
            raise

    def _start(self) -> None:
        # What undoes a step stands ready before the step begins; undoing what was not done does nothing.
        if not self._rss_only:
            self._start_allocations()
        release_free_memory()
        self._before = _read_counters()
        self._undo.append(self._gc.stop)
        self._gc.start()
        self._undo.append(self._stop_sampler)
        self._sampler.start()
        self._undo.append(self._meter.stop)
        self._meter.start()
        self._undo.append(self._stop_clock)
        self._began = time.perf_counter()
        self._undo.append(self._stop_probe)
        self._probe_started = self._probe.start()
        if not self._probe_started:
            self._notes.append(
                "another tool (a debugger, coverage) holds the trace function: no resident figures by line"
            )

    def _start_allocations(self) -> None:
        tracer = best_tracer(objects=self._objects)
        self._undo.append(tracer.stop)
        try:
            tracer.start()
        except AlreadyRunning as error:
            self._notes.append(f"{error}: allocations were left to it")
            return
        except OSError as error:  # no temporary folder, a full disk
            self._notes.append(f"allocations cannot be recorded: {error}")
            return
        self._allocations = tracer

    def _stop_probe(self) -> None:
        rows = self._probe.stop()
        if self._probe_started:
            self._rows = self._rows or rows
        # Read right after the probe is off, so that what stopping the rest frees is no part of them.
        self._after = _read_counters()

    def _stop_clock(self) -> None:
        self._seconds = self._seconds or time.perf_counter() - self._began

    def _stop_sampler(self) -> None:
        self._points = self._sampler.stop()

    def _unwind(self) -> None:
        """Stop what was started, last first; a failure of one, or a signal, stops the others all the same."""
        failure: BaseException | None = None
        tries = 0
        try:
            while self._undo:
                step = self._undo[-1]
                try:
                    step()
                except Exception as error:  # noqa: BLE001  # raised below, when all are stopped
                    failure = failure or error
                except BaseException as error:  # noqa: BLE001  # an interrupt or a timeout: once more, it may be half done
                    failure = failure or error
                    tries += 1
                    if tries < 5:
                        continue
                if self._undo and self._undo[-1] is step:
                    self._undo.pop()
            if Tracer._running is self:
                Tracer._running = None
            if failure is not None:
                raise failure
        finally:
            del failure  # its traceback holds this frame

    def abandon(self) -> None:
        """Stop all recorders if they still run, and let go of what they recorded."""
        with deferred_interrupt():
            self._unwind()
        if self._allocations is not None:
            self._allocations.release()

    def stop(self) -> Trace:
        """Stop every recorder and fold what they saw."""
        try:
            with deferred_interrupt():
                self._unwind()
        except BaseException:
            self.abandon()
            raise
        interval = self._meter.result
        risen = interval.peak_bytes - interval.before_bytes
        marks = set(self._points[2]) if self._points is not None else set()
        return fold(
            Recorded(
                sources=self._sources,
                aliases=self._aliases,
                probed=Probed(
                    self._rows, self._scopes, self._probe_started, self._probe.exact, self._probe.lost
                ),
                points=self._points,
                places={mark: self._place_of(mark) for mark in marks},
                interval=interval,
                before=self._before,
                after=self._after,
                log=self._allocations.read(risen) if self._allocations is not None else None,
                seconds=self._seconds,
                gc=self._gc.log,
                lines_by=self._lines_by(),
                notes=self._notes + self._probe_notes(),
                with_children=self._children,
            )
        )

    def _place_of(self, mark: int) -> tuple[str, int]:
        found = self._probe.line_of(mark) if mark >= 0 else None
        return (self._scopes[found[0]].name, found[1]) if found is not None else ("", 0)

    def _lines_by(self) -> str:
        if not self._probe_started:
            return "not traced"
        if self._children:
            return "trace function and a poller of the child processes"
        means = "sys.monitoring" if NATIVE and sys.version_info >= (3, 12) else "trace function"
        return (
            f"{means} and the kernel's peak counter"
            if has_exact_peak()
            else f"{means}, no peak between lines"
        )

    def _probe_notes(self) -> list[str]:
        notes = []
        probe = self._probe
        if self._children:
            notes.append(
                "child processes are in all sizes; they are polled, at each line and each 0.05 s, so shorter "
                "peaks of theirs are missed and nothing is exact"
            )
        if probe.lost:
            notes.append("another tool took the trace function during the cell: what ran then is missing")
        if probe.failed:
            notes.append("the peak counter could not be read any more (did the code close descriptors?)")
        elif self._probe_started and probe.sampled and not probe.lost:
            notes.append("lines that ran too often to be read each time were sampled: their exact is False")
        elif self._probe_started and not probe.exact and not probe.lost:
            notes.append(
                "watched lines ran on another thread too, where they are not measured: their exact is False"
            )
        if probe.unseen_seconds > 0.01:
            notes.append(
                f"{probe.unseen_seconds:.2f} s ({probe.unseen_bytes / 2**20:+.1f} MiB) of sampled time "
                "ended outside the watched lines and counts for none of them"
            )
        if NATIVE is False and self._probe_started:
            notes.append("nbmem was built without its native part: slower, and the timeline has gaps")
        return notes


def _read_counters() -> Counters:
    malloc = malloc_counters()
    arrow = sys.modules.get("pyarrow")
    allocated = getattr(arrow, "total_allocated_bytes", None)
    return Counters(
        allocated_block_count(),
        malloc.in_use_bytes + malloc.mapped_bytes if malloc is not None else None,
        int(allocated()) if callable(allocated) else None,
    )
