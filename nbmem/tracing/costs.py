"""What a trace found: plain data, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nbmem.process import GcLog
from nbmem.tracing.allocations import Frame


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
    resident_bytes : int or None
        Highest resident size of the process that was read for it: the kernel's peak where there is one, else
        at the ends of its runs.
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
    resident_bytes: int | None = None


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
