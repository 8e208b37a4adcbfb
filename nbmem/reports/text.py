"""A trace as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from nbmem._units import format_bytes, format_count, format_seconds
from nbmem.heap import VariableChange
from nbmem.reports.selection import (
    INEXACT_LEGEND,
    blocks,
    dedented,
    frame_place,
    headline,
    peak_line,
    variable_phrases,
)
from nbmem.tracing import LineCost, StackCost, Trace

_HEADER = f"{'line':>5} {'hits':>9} {'time':>9} {'peak':>11} {'spike':>11} {'after':>11}"


def trace_text(
    trace: Trace,
    changes: Sequence[VariableChange],
    *,
    title: str,
    stacks: Sequence[StackCost] = (),
    width: int = 120,
) -> str:
    """Write a trace as text.

    Parameters
    ----------
    trace, changes, title, stacks
        What to write.
    width : int
        Columns; source is cut there.
    """
    with_heap = trace.summary.net_bytes is not None
    highest = peak_line(trace)
    out = [printable(f"{title}: ") + " · ".join(headline(trace)), ""]
    for block in blocks(trace):
        if block.name not in ("cell", "with"):
            out += ["", printable(block.name)]
        marked = any(line is highest for line in block.lines)
        out.append(
            _HEADER
            + (f" {'net':>11}" if with_heap else "")
            + ("   source  (▸ the peak)" if marked else "   source")
        )
        sources = dedented(block)
        for line, source in zip(block.lines, sources, strict=True):
            mark = " ▸ " if line is highest else "   "
            out.append(_row(line, mark + printable(source), with_heap=with_heap, width=width))
        if block.remark:
            out.append(f"      {block.remark}")
    if not trace.lines:
        out.append("the cell has no lines")
    if any(not line.exact and line.hits for line in trace.lines):
        out.append(INEXACT_LEGEND)
    if changes:
        out += ["", printable("names (shallow sizes): " + " · ".join(variable_phrases(changes)))]
    if stacks:
        out += ["", "stacks by bytes alive at the heap's peak (innermost first):"]
        out += [stack_line(stack) for stack in stacks]
    out += [printable(f"note: {note}") for note in trace.notes]
    return "\n".join(out)


def _row(line: LineCost, source: str, *, with_heap: bool, width: int) -> str:
    figures = f"{line.line:>5}"
    if line.hits:
        about = "" if line.exact else "~"
        figures += f" {about + format_count(line.hits):>9} {about + format_seconds(line.seconds):>9}"
        for size in (line.peak_bytes, line.spike_bytes, line.increment_bytes):
            figures += f" {size_text(size):>11}"
    else:
        figures += " " * (len(_HEADER) - 5)
    if with_heap:
        figures += f" {size_text(line.net_bytes) if line.hits or line.net_bytes else '':>11}"
    room = max(width - len(figures), 13)
    if len(source) > room:
        source = source[: room - 1] + "…"
    return f"{figures}{source}".rstrip()


def size_text(size: int | None) -> str:
    """Write a change of size; a dot for none, so that what matters stands out."""
    if size is None:
        return "–"
    return "·" if size == 0 else format_bytes(size, signed=True)


def stack_line(stack: StackCost) -> str:
    """Write a stack on one line, from where it allocated to the cell."""
    where = " < ".join(
        f"{function or '?'} ({frame_place(file, number)})" for function, file, number in stack.frames[:6]
    )
    more = f" < … {len(stack.frames) - 6} more" if len(stack.frames) > 6 else ""
    live = format_bytes(stack.live_bytes) if stack.live_bytes is not None else "–"
    shown = printable(where) or "(no Python frame)"
    return f"  {live:>10}  net {format_bytes(stack.net_bytes):>10}  {shown}{more}"


def printable(text: str) -> str:
    """Make control characters visible: a terminal would obey them."""
    return "".join(sign if sign.isprintable() else " " if sign == "\t" else repr(sign)[1:-1] for sign in text)
