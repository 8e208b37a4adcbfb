"""A trace as static HTML: tables and one image, no script, no style sheet that a sanitiser would take."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nbmem._units import format_bytes, format_count, format_seconds
from nbmem.heap import VariableChange
from nbmem.reports import svg
from nbmem.reports.selection import (
    INEXACT_LEGEND,
    Block,
    blocks,
    dedented,
    frame_place,
    headline,
    peak_line,
    variable_phrases,
)
from nbmem.reports.text import printable, size_text
from nbmem.tracing import LineCost, StackCost, Trace

# Literal colours, readable on white and on dark grey alike.
PEAK, NET, FREED = "#2f7ed8", "#d9822b", "#3d9a5f"
CELL = "padding:1px 8px;text-align:right;white-space:nowrap;vertical-align:top;border:0;"
SOURCE = (
    "padding:1px 8px;text-align:left;white-space:pre;vertical-align:top;border:0;max-width:640px;"
    "overflow:hidden;text-overflow:ellipsis;font-family:monospace;"
)
FAINT = "opacity:0.65;"


def trace_html(
    trace: Trace, changes: Sequence[VariableChange], *, title: str, stacks: Sequence[StackCost] = ()
) -> str:
    """Write a trace as static HTML; all text that comes from the user's code is escaped."""
    parts = [
        f'<p style="margin:4px 0"><b>{escape(printable(title))}</b> '
        f"&nbsp;{escape(' · '.join(headline(trace)))}</p>",
        *(_table(trace, block) for block in blocks(trace)),
    ]
    if any(not line.exact and line.hits for line in trace.lines):
        parts.append(small(INEXACT_LEGEND))
    if changes:
        parts.append(small("names (shallow sizes): " + " · ".join(variable_phrases(changes))))
    timeline = trace.timeline
    if len(timeline.seconds) >= 2:
        picture = svg.timeline_svg(
            timeline.seconds, timeline.resident_bytes, base=trace.summary.resident_before_bytes
        )
        parts.append(
            svg.image(
                picture,
                description="Resident size over time, above the start: peak "
                f"{format_bytes(trace.summary.peak_bytes, signed=True)} within "
                f"{format_seconds(trace.summary.seconds)}",
            )
        )
    if stacks:
        parts.append(_stacks(stacks))
    parts += [small(f"note: {note}") for note in trace.notes]
    return f'<div class="nbmem">{"".join(parts)}</div>'


def small(words: str) -> str:
    """Write a remark in small print."""
    return f'<p style="margin:2px 0;font-size:85%;{FAINT}">{escape(printable(words))}</p>'


def _table(trace: Trace, block: Block) -> str:
    with_heap = trace.summary.net_bytes is not None
    heads = [
        ("line", "line number, as tracebacks show it"),
        ("hits", "how often the line ran"),
        ("time", "time in the line, calls included"),
        ("peak", "highest resident size while the line ran, above the start"),
        ("spike", "largest rise within one run of the line, given back or not"),
        ("after", "resident size after the line minus before, summed"),
    ]
    if with_heap:
        heads.append(("net", "heap bytes allocated by the line and alive at the end"))
    head = "".join(f'<th style="{CELL}" title="{hint}">{name}</th>' for name, hint in heads)
    most_peak = max((line.peak_bytes or 0 for line in trace.lines), default=0)
    most_net = max((abs(line.net_bytes or 0) for line in trace.lines), default=0)
    highest = peak_line(trace)
    rows = "".join(
        _row(
            line, source, with_heap=with_heap, most_peak=most_peak, most_net=most_net, is_peak=line is highest
        )
        for line, source in zip(block.lines, dedented(block), strict=True)
    )
    if block.remark:
        rows += f'<tr><td style="{SOURCE}{FAINT}" colspan="{len(heads) + 2}">{block.remark}</td></tr>'
    name = block.name if block.name not in ("cell", "with") else ""
    caption = (
        f'<caption style="text-align:left;font-family:monospace;caption-side:top">'
        f"{escape(printable(name))}</caption>"
        if name
        else ""
    )
    return (
        f'<table style="font-size:90%;border-collapse:collapse;margin:4px 0">{caption}'
        f'<thead><tr>{head}<th style="{CELL}"></th>'
        f'<th style="{CELL}text-align:left">source</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _row(line: LineCost, text: str, *, with_heap: bool, most_peak: int, most_net: int, is_peak: bool) -> str:
    about = "" if line.exact else "~"
    ran = bool(line.hits)
    cells = [
        f"{line.line}",
        f"{about}{format_count(line.hits)}" if ran else "",
        f"{about}{format_seconds(line.seconds)}" if ran else "",
        # below the start there is no peak to draw
        sized(line.peak_bytes, most_peak if (line.peak_bytes or 0) > 0 else 0, PEAK, bold=is_peak)
        if ran
        else "",
        size_text(line.spike_bytes) if ran else "",
        size_text(line.increment_bytes) if ran else "",
    ]
    if with_heap:
        color = NET if (line.net_bytes or 0) >= 0 else FREED
        cells.append(sized(line.net_bytes, most_net, color) if ran or line.net_bytes else "")
    figures = "".join(f'<td style="{CELL}">{cell}</td>' for cell in cells)
    source = escape(printable(text)) or "&nbsp;"
    mark = "peak ▸" if is_peak else ""
    return (
        f'<tr>{figures}<td style="{CELL}padding:1px 0"><b>{mark}</b></td>'
        f'<td style="{SOURCE}" title="{escape(printable(line.source))}">{source}</td></tr>'
    )


def sized(size: int | None, most: int, color: str, *, bold: bool = False) -> str:
    """Write a figure with a bar under it; the figure is the bar's text twin."""
    words = size_text(size)
    return (f"<b>{words}</b>" if bold else words) + bar(size, most, color)


def bar(size: int | None, most: int, color: str) -> str:
    """Draw a bar; nothing where there is no size."""
    if not size or most <= 0:
        return ""
    width = min(max(round(60 * abs(size) / most), 1), 60)
    return (
        '<div style="height:3px;width:60px;margin-left:auto;background-color:rgba(128,128,128,0.18)">'
        f'<div style="height:3px;width:{width}px;background-color:{color}"></div></div>'
    )


def _full_place(file: str, number: int) -> str:
    short = frame_place(file, number)
    return short if short.startswith("cell") else f"{file}:{number}"


def _stacks(stacks: Sequence[StackCost]) -> str:
    items = []
    for stack in stacks:
        live = format_bytes(stack.live_bytes) if stack.live_bytes is not None else "–"
        count = f", {format_count(stack.allocation_count)} allocations" if stack.allocation_count else ""
        frames = (
            "\n".join(
                escape(printable(f"{function or '?'}  {_full_place(file, number)}"))
                for function, file, number in stack.frames
            )
            or "(no Python frame)"
        )
        where = f" from line {stack.line}" if stack.line is not None else ""
        items.append(
            f"<details><summary>{live} at the heap's peak, net {format_bytes(stack.net_bytes)}{count}{where}"
            f'</summary><pre style="margin:2px 16px;font-size:85%;background-color:transparent">'
            f"{frames}</pre></details>"
        )
    head = '<p style="margin:4px 0"><b>allocation stacks</b></p>'
    return f'<div style="font-size:90%">{head}{"".join(items)}</div>'
