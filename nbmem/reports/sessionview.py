"""The report on a session and the line under a cell, as text and as static HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from nbmem._units import KIB, format_bytes, format_count, format_seconds
from nbmem.reports.html import CELL, FAINT, NET, PEAK, SOURCE, sized, small
from nbmem.reports.selection import variable_phrases
from nbmem.reports.text import printable, size_text

if TYPE_CHECKING:
    from nbmem.reports.history import CellCost, SessionReport

_MOST_CELLS = 20
_EMPTY = "no cell has been recorded; %memwatch on records each cell from now on"
_HEADS = (
    ("cell", "its execution count"),
    ("time", "how long it ran"),
    ("peak", "highest resident size while it ran, above its start"),
    ("after", "resident size at its end, above its start"),
    ("resident", "resident size of the process at its end"),
    ("gc", "time in the garbage collector"),
)


def headline(report: SessionReport) -> list[str]:
    """Give the totals as short phrases; the sizes add up."""
    cells = "cell" if report.cell_count == 1 else "cells"
    parts = [
        f"{format_count(report.cell_count)} {cells}, {format_seconds(report.seconds)}",
        f"resident {format_bytes(report.first_bytes)} → {format_bytes(report.last_bytes)}",
        f"cells {format_bytes(report.cells_bytes, signed=True)}",
        f"between them {format_bytes(report.between_bytes, signed=True)}",
        f"highest {format_bytes(report.highest_bytes)}",
    ]
    return parts if all(cell.exact for cell in report.data) else [*parts, "peaks NOT exact (polled)"]


def _remark(report: SessionReport) -> str:
    left_out = report.cell_count - min(len(report.data), _MOST_CELLS)
    return (
        f"… {format_count(left_out)} cheaper cells left out; nbmem.history() has them" if left_out > 0 else ""
    )


def _figures(cell: CellCost) -> tuple[str, ...]:
    return (
        f"[{cell.execution_count}]",
        format_seconds(cell.seconds),
        size_text(cell.peak_bytes) + ("" if cell.exact else "~"),
        size_text(cell.increment_bytes),
        format_bytes(cell.rss_after_bytes),
        format_seconds(cell.gc_seconds) if cell.gc_seconds >= 1e-3 else "·",
    )


def _title(cell: CellCost) -> str:
    status = "" if cell.status == "ok" else f"({cell.status}) "
    return status + printable(cell.source)


def session_text(report: SessionReport, *, width: int) -> str:
    """Write the report as text, for a terminal of so many columns."""
    if not report.cell_count:
        return _EMPTY
    row = "{:>7} {:>9} {:>12} {:>12} {:>11} {:>9}   "
    out = ["session: " + " · ".join(headline(report)), ""]
    out.append(row.format(*(name for name, _ in _HEADS)) + "source, names")
    for cell in report.costliest()[:_MOST_CELLS]:
        figures = row.format(*_figures(cell))
        names = printable(cell.variables_text())
        out.append(_cut(figures + _title(cell), width))
        if names and cell.weight >= KIB:
            out.append(_cut(" " * len(figures) + names, width))
    if _remark(report):
        out.append(_remark(report))
    return "\n".join(out)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def session_html(report: SessionReport) -> str:
    """Write the report as static HTML."""
    if not report.cell_count:
        return f'<div class="nbmem">{small(_EMPTY)}</div>'
    shown = report.costliest()[:_MOST_CELLS]
    most_peak = max(cell.peak_bytes for cell in shown)
    most_kept = max(abs(cell.increment_bytes) for cell in shown)
    head = "".join(f'<th style="{CELL}" title="{hint}">{name}</th>' for name, hint in _HEADS)
    rows = []
    for cell in shown:
        figures = list(_figures(cell))
        figures[2] = sized(cell.peak_bytes, most_peak, PEAK) + ("" if cell.exact else "~")
        figures[3] = sized(cell.increment_bytes, most_kept, NET)
        names = f'<div style="{FAINT}">{escape(printable(cell.variables_text()))}</div>'
        rows.append(
            "<tr>"
            + "".join(f'<td style="{CELL}">{figure}</td>' for figure in figures)
            + f'<td style="{SOURCE}">{escape(_title(cell))}{names if cell.weight >= KIB else ""}</td></tr>'
        )
    return (
        f'<div class="nbmem"><p style="margin:4px 0"><b>session</b> '
        f"&nbsp;{escape(' · '.join(headline(report)))}</p>"
        f'<table style="font-size:90%;border-collapse:collapse;margin:4px 0"><thead><tr>{head}'
        f'<th style="{CELL}text-align:left">source, names</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
        f"{small(_remark(report)) if _remark(report) else ''}</div>"
    )


class CellFooter:
    """The line under a cell.

    Parameters
    ----------
    cell : CellCost
    """

    def __init__(self, cell: CellCost) -> None:
        peak = format_bytes(cell.peak_bytes, signed=True) + ("" if cell.exact else " (NOT exact)")
        parts = [
            format_seconds(cell.seconds),
            f"peak {peak}",
            f"after {format_bytes(cell.increment_bytes, signed=True)}",
            f"resident {format_bytes(cell.rss_after_bytes)}",
        ]
        if cell.gc_seconds > 0.1 * cell.seconds and cell.gc_seconds >= 0.01:
            parts.append(f"gc {format_seconds(cell.gc_seconds)}")
        large = [change for change in cell.changes if max(change.bytes, change.before_bytes) >= 64 * KIB]
        parts += variable_phrases(large)[:3]
        self._text = printable(" · ".join(parts))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        style = f"font-size:80%;font-family:monospace;{FAINT}"
        html = f'<div class="nbmem" style="{style}">{escape(self._text)}</div>'
        return {"text/plain": repr(self), "text/html": html}

    def __repr__(self) -> str:
        return f"nbmem: {self._text}"
