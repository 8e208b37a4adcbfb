"""A line profile as text, in memory_profiler's columns, and as static HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nbmem._units import MIB, format_bytes, format_count, format_seconds
from nbmem.reports.html import CELL, FAINT, FREED, NET, PEAK, SOURCE, bar, sized, small
from nbmem.reports.selection import INEXACT_LEGEND, Block, dedented, peak_line
from nbmem.reports.text import printable, size_text
from nbmem.tracing import LineCost, Trace

#: From so many lines of a function on, the HTML shows only those that ran, the costliest.
MOST_LINES = 300

_TEMPLATE = "{0:>6} {1:>12} {2:>12}  {3:>10}   {4:<}"
_HEADER = _TEMPLATE.format("Line #", "Mem usage", "Increment", "Occurrences", "Line Contents")
_HEADS = (
    ("Line #", "line number, as tracebacks show it"),
    (
        "Mem usage",
        "highest resident size of the process while the line ran; the bar begins at the start's size",
    ),
    ("Increment", "resident size after the line minus before, summed over its runs"),
    ("Spike", "largest rise within one run of the line, given back or not"),
    ("Occurrences", "how often the line ran"),
    ("Time", "time in the line, calls included"),
)


@dataclass(frozen=True, slots=True)
class FunctionLines:
    """One profiled function.

    Parameters
    ----------
    name : str
        Its qualified name with ``()``.
    file : str
        What its code was compiled under.
    place : str
        The same for people: a path, or ``"In [3]"``.
    lines : tuple of LineCost
        All its lines.
    absence : str
        Why there are no figures, a sentence; empty where there are.
    """

    name: str
    file: str
    place: str
    lines: tuple[LineCost, ...]
    absence: str


def profile_text(trace: Trace, functions: Sequence[FunctionLines]) -> str:
    """Write a line profile as text, as memory_profiler does, with what it does not tell beneath."""
    out: list[str] = []
    for function in functions:
        if function.absence:
            continue
        out += [printable(f"Filename: {function.place}"), "", _HEADER, "=" * len(_HEADER)]
        out += [_text_row(line, _about(trace, line)) for line in function.lines]
        out += ["", ""]
    if out:
        out.append(" · ".join(headline(trace)))
    out += _remarks(trace, functions)
    return "\n".join(out)


def _about(trace: Trace, line: LineCost) -> str:
    """Mark a line of which not every run was measured; where all is polled, the headline says so once."""
    return "~" if trace.summary.exact and line.hits and not line.exact else ""


def _text_row(line: LineCost, about: str) -> str:
    source = printable(line.source.expandtabs())
    if not line.hits:
        return _TEMPLATE.format(line.line, "", "", "", source).rstrip()
    return _TEMPLATE.format(
        line.line, _mib(line.resident_bytes), _mib(line.increment_bytes), f"{about}{line.hits}", source
    ).rstrip()


def _mib(size: int | None) -> str:
    return "–" if size is None else f"{size / MIB:5.1f} MiB"


def _remarks(trace: Trace, functions: Sequence[FunctionLines]) -> list[str]:
    """Say what the columns do not."""
    remarks = [function.absence for function in functions if function.absence]
    if any(_about(trace, line) for line in trace.lines):
        remarks.append(f"{INEXACT_LEGEND}; a line beside them without figures may have run too")
    remarks += [f"note: {note}" for note in trace.notes]
    return [printable(remark) for remark in remarks]


def headline(trace: Trace) -> list[str]:
    """Give the totals as short phrases."""
    summary = trace.summary
    return [
        format_seconds(summary.seconds),
        f"resident {format_bytes(summary.resident_before_bytes)} before",
        f"{format_bytes(summary.resident_peak_bytes)} at the peak",
        f"{format_bytes(summary.resident_after_bytes)} after",
        "exact peak" if summary.exact else "peak NOT exact (polled)",
    ]


def profile_html(trace: Trace, functions: Sequence[FunctionLines], *, title: str) -> str:
    """Write a line profile as static HTML; all text that comes from the user's code is escaped."""
    ran = [function for function in functions if not function.absence]
    parts = []
    if ran:
        words = escape(" · ".join(headline(trace)))
        parts.append(f'<p style="margin:4px 0"><b>{escape(printable(title))}</b> &nbsp;{words}</p>')
    parts += [_table(trace, function) for function in ran]
    parts += [small(remark) for remark in _remarks(trace, functions)]
    return f'<div class="nbmem">{"".join(parts)}</div>'


def _table(trace: Trace, function: FunctionLines) -> str:
    head = "".join(f'<th style="{CELL}" title="{hint}">{name}</th>' for name, hint in _HEADS)
    caption = f"<b>{escape(printable(function.name))}</b> &nbsp;{escape(printable(function.place))}"
    block = _block(function)
    highest = peak_line(trace)
    most_peak = max((line.peak_bytes or 0 for line in trace.lines), default=0)
    most_increment = max((abs(line.increment_bytes or 0) for line in trace.lines), default=0)
    rows = "".join(
        _html_row(
            line,
            source,
            _about(trace, line),
            most_peak=most_peak,
            most_increment=most_increment,
            is_peak=line is highest,
        )
        for line, source in zip(block.lines, dedented(block), strict=True)
    )
    if block.remark:
        rows += f'<tr><td style="{SOURCE}{FAINT}" colspan="{len(_HEADS) + 2}">{block.remark}</td></tr>'
    return (
        f'<table style="font-size:90%;border-collapse:collapse;margin:4px 0 12px">'
        f'<caption style="text-align:left;font-family:monospace;caption-side:top">{caption}</caption>'
        f'<thead><tr>{head}<th style="{CELL}"></th>'
        f'<th style="{CELL}text-align:left">Line Contents</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _block(function: FunctionLines) -> Block:
    """Take all lines; of a very long function those that ran, the costliest, in their order."""
    if len(function.lines) <= MOST_LINES:
        return Block(function.name, function.lines, 0, 0)
    ran = [line for line in function.lines if line.hits]
    ran.sort(key=lambda line: (max(line.spike_bytes or 0, abs(line.increment_bytes or 0)), line.seconds))
    kept = tuple(sorted(ran[-MOST_LINES:], key=lambda line: line.line))
    return Block(function.name, kept, len(ran) - len(kept), len(function.lines) - len(ran))


def _html_row(
    line: LineCost, text: str, about: str, *, most_peak: int, most_increment: int, is_peak: bool
) -> str:
    figures = [""] * (len(_HEADS) - 1)
    if line.hits:
        usage = "–" if line.resident_bytes is None else format_bytes(line.resident_bytes)
        color = NET if (line.increment_bytes or 0) >= 0 else FREED
        figures = [
            # below the start there is no rise to draw
            (f"<b>{usage}</b>" if is_peak else usage) + bar(max(line.peak_bytes or 0, 0), most_peak, PEAK),
            sized(line.increment_bytes, most_increment, color),
            size_text(line.spike_bytes),
            f"{about}{format_count(line.hits)}",
            f"{about}{format_seconds(line.seconds)}",
        ]
    cells = "".join(f'<td style="{CELL}">{cell}</td>' for cell in (f"{line.line}", *figures))
    source = escape(printable(text))
    return (
        f'<tr>{cells}<td style="{CELL}padding:1px 0"><b>{"peak ▸" if is_peak else ""}</b></td>'
        f'<td style="{SOURCE}" title="{source}">{source or "&nbsp;"}</td></tr>'
    )
