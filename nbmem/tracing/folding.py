"""Fold what the recorders saw to lines of source. Data in, data out."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from nbmem.process import GcLog, Interval
from nbmem.tracing.allocations import AllocationLog, Frame
from nbmem.tracing.costs import LineCost, StackCost, Timeline, Trace, TraceSummary
from nbmem.tracing.sources import Source

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Allocations of these files are nbmem's own and no part of what the code cost.
_OWN_FILES = (
    os.path.join(_PACKAGE, "tracing", ""),
    os.path.join(_PACKAGE, "process", "gcevents.py"),
    os.path.join(_PACKAGE, "process", "peak.py"),
    os.path.join(_PACKAGE, "ipython", "watched.py"),
)

#: A row of the line probe: scope, line, hits, seconds, peak, increment, spike; sampled, paused, entered.
Row = tuple[int, int, int, float, int, int, int, bool, bool, bool]


@dataclass(frozen=True, slots=True)
class Counters:
    """What the allocators count themselves: Python's blocks, malloc's bytes, Arrow's (None: not there)."""

    blocks: int
    malloc: int | None
    arrow: int | None


@dataclass(frozen=True, slots=True)
class Probed:
    """What the line probe handed over.

    Parameters
    ----------
    rows : list of Row
        Those that ran.
    scopes : dict of int to Source
        The probe's numbers for the sources.
    ran, exact, lost : bool
        Whether it was started; whether nothing was sampled; whether another tool took its place.
    """

    rows: list[Row]
    scopes: dict[int, Source]
    ran: bool
    exact: bool
    lost: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """What all recorders of one trace handed over.

    Parameters
    ----------
    sources : list of Source
        The pieces of source, in the order in which they are reported.
    aliases : list of (str, int, Source)
        Further file names whose lines, moved by an offset, are a source's.
    probed : Probed
    points : tuple of arrays, with the source and line of each mark
        The sampler's seconds, resident bytes and marks.
    places : dict of int to (str, int)
        For each mark the name of the source and the line.
    interval : Interval
        Resident size; ``exact`` tells whether this system counts exactly.
    before, after : Counters
    log : AllocationLog or None
        None if allocations were not traced.
    seconds, gc, lines_by, notes
        As in the result.
    with_children : bool
        Whether the probe's readings hold child processes too: no figure is exact then.
    """

    sources: list[Source]
    aliases: list[tuple[str, int, Source]]
    probed: Probed
    points: tuple[array[float], array[int], array[int]] | None
    places: dict[int, tuple[str, int]]
    interval: Interval
    before: Counters
    after: Counters
    log: AllocationLog | None
    seconds: float
    gc: GcLog
    lines_by: str
    notes: list[str]
    with_children: bool = False


def fold(recorded: Recorded) -> Trace:
    """Fold a recording to costs by line."""
    stacks = _fold_stacks(recorded)
    return Trace(
        _summary(recorded, stacks),
        tuple(_fold_lines(recorded, stacks)),
        tuple(stacks),
        _timeline(recorded),
        recorded.gc,
        (*recorded.notes, *(recorded.log.notes if recorded.log is not None else ())),
    )


def _summary(recorded: Recorded, stacks: list[StackCost]) -> TraceSummary:
    interval, before, after, log = recorded.interval, recorded.before, recorded.after, recorded.log
    heap_peak = log.peak_bytes if log is not None else None
    if heap_peak is not None and any(stack.live_bytes is not None for stack in stacks):
        heap_peak = sum(stack.live_bytes or 0 for stack in stacks)  # without nbmem's own
    counted = log is not None and log.count is not None
    return TraceSummary(
        seconds=recorded.seconds,
        resident_before_bytes=interval.before_bytes,
        resident_after_bytes=interval.after_bytes,
        resident_peak_bytes=interval.peak_bytes,
        peak_bytes=interval.peak_bytes - interval.before_bytes,
        increment_bytes=interval.after_bytes - interval.before_bytes,
        heap_peak_bytes=heap_peak,
        net_bytes=sum(stack.net_bytes for stack in stacks) if _has_net(log) else None,
        malloc_bytes=None if before.malloc is None or after.malloc is None else after.malloc - before.malloc,
        arrow_bytes=None if after.arrow is None else after.arrow - (before.arrow or 0),
        allocation_count=_sum(stack.allocation_count for stack in stacks) if counted else None,
        python_blocks=after.blocks - before.blocks,
        gc_count=recorded.gc.count,
        gc_seconds=recorded.gc.seconds,
        exact=interval.exact and not recorded.with_children,
        lines_by=recorded.lines_by,
        allocations_by=log.means if log is not None else "not traced",
    )


def _has_net(log: AllocationLog | None) -> bool:
    return log is not None and log.net_bytes is not None


def _fold_stacks(recorded: Recorded) -> list[StackCost]:
    if recorded.log is None:
        return []
    files: dict[str, list[tuple[int, Source]]] = {}
    for source in recorded.sources:
        files.setdefault(source.filename, []).append((source.offset, source))
    for filename, offset, source in recorded.aliases:
        files.setdefault(filename, []).append((offset, source))
    costs = []
    for stack in recorded.log.stacks:
        place = _place(stack.frames, files)
        if place is not None:
            name, line, depth = place
            costs.append(
                StackCost(name, line, stack.frames[:depth], stack.peak_bytes, stack.net_bytes, stack.count)
            )
    return costs


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


def _fold_lines(recorded: Recorded, stacks: list[StackCost]) -> Iterable[LineCost]:
    heap: dict[tuple[str, int], list[StackCost]] = {}
    for stack in stacks:
        if stack.line is not None:
            heap.setdefault((stack.function, stack.line), []).append(stack)
    probed = recorded.probed
    rows = {(probed.scopes[row[0]].name, row[1]): row for row in probed.rows}
    for source in recorded.sources:
        loops: frozenset[int] = frozenset() if probed.exact else source.loop_lines()
        entered = any(name == source.name for name, _ in rows)
        for line in range(source.first_line, source.first_line + len(source.lines)):
            place = (source.name, line)
            yield _line_cost(
                recorded,
                source,
                line,
                entered=entered,
                row=rows.get(place),
                stacks=heap.get(place, []),
                loops=loops,
            )


def _line_cost(
    recorded: Recorded,
    source: Source,
    line: int,
    *,
    entered: bool,
    row: Row | None,
    stacks: list[StackCost],
    loops: frozenset[int],
) -> LineCost:
    probed = recorded.probed
    counts_exactly = recorded.interval.exact and not recorded.with_children
    # Of what was never entered, nothing was missed.
    exact = counts_exactly and probed.ran and not probed.lost and (probed.exact or not entered)
    if row is not None and not exact and counts_exactly and probed.ran and not probed.lost:
        sampled, paused, entered_unseen = row[7:]
        exact = not (sampled or entered_unseen or (paused and line in loops))
    exact = exact and not (source.runs_already and line == source.first_line)
    if row is not None and not row[2]:
        row = None  # it ran where it was not seen: nothing is known
        exact = False
    measured = row if counts_exactly or recorded.with_children else None
    traced = _has_net(recorded.log)
    known = traced and all(stack.live_bytes is not None for stack in stacks)
    return LineCost(
        function=source.name,
        line=line,
        source=source.text_of(line),
        hits=row[2] if row else 0,
        seconds=row[3] if row else 0.0,
        peak_bytes=measured[4] - recorded.interval.before_bytes if measured else None,
        increment_bytes=row[5] if row else (0 if exact else None),
        spike_bytes=measured[6] if measured else None,
        live_bytes=sum(stack.live_bytes or 0 for stack in stacks) if known else None,
        net_bytes=sum(stack.net_bytes for stack in stacks) if traced else None,
        allocation_count=_sum(stack.allocation_count for stack in stacks) if traced else None,
        exact=exact,
        resident_bytes=row[4] if row else None,
    )


def _timeline(recorded: Recorded) -> Timeline:
    if recorded.points is None:
        return Timeline()
    seconds, resident, marks = recorded.points
    places = recorded.places
    return Timeline(
        seconds, resident, [places[mark][1] for mark in marks], [places[mark][0] for mark in marks]
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """Add up, unless one is not known."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
