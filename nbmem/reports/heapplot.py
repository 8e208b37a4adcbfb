"""Heap snapshots and their differences as matplotlib figures."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nbmem._units import format_bytes
from nbmem.reports.heaprows import ChangeRow, TypeRow
from nbmem.reports.heapview import shown
from nbmem.reports.html import FREED, NET, PEAK
from nbmem.reports.plot import ShownFigure

_LONGEST = 40
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def plot_types(rows: Sequence[TypeRow]) -> ShownFigure:
    """Draw what the objects of each type take and keep, as bars; not registered with pyplot."""
    kept = [row.retained_bytes for row in rows]
    figure, axes, unit = _figure(rows, kept, "heap: types that keep most alive", "no objects")
    places = range(len(rows))
    axes.barh(places, [size / unit for size in kept], color=NET, alpha=0.55, height=0.7, label="retained")
    own = [row.shallow_bytes / unit for row in rows]
    axes.barh(places, own, color=PEAK, height=0.3, label="shallow")
    if rows:
        axes.legend(loc="lower right", fontsize="small", frameon=False)
        axes.set_xlim(0, max(*kept, 1) / unit * 1.18)
    return figure


def plot_changes(rows: Sequence[ChangeRow]) -> ShownFigure:
    """Draw by how much the bytes of each type changed, as bars; not registered with pyplot."""
    sizes = [row.delta_bytes for row in rows]
    title = "growth of the heap: types that changed most"
    figure, axes, unit = _figure(rows, sizes, title, "nothing changed", signed=True)
    colors = [NET if size > 0 else FREED for size in sizes]
    axes.barh(range(len(rows)), [size / unit for size in sizes], color=colors, height=0.7)
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.margins(x=0.22)
    return figure


def _figure(
    rows: Sequence[TypeRow] | Sequence[ChangeRow],
    sizes: Sequence[int],
    title: str,
    empty: str,
    *,
    signed: bool = False,
) -> tuple[ShownFigure, Axes, int]:
    """Begin a figure: a row for each type, with its size in words; tell the unit of its axis."""
    figure = ShownFigure(figsize=(9, max(1.4 + 0.27 * len(rows), 2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    # "$" would begin a formula
    names = [shown(row.type, _LONGEST).replace("$", r"\$") for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize="small")
    axes.invert_yaxis()
    power = max((abs(size) for size in sizes), default=0).bit_length() // 10
    unit = int(1024 ** min(power, len(_UNITS) - 1))
    axes.set_xlabel(_UNITS[min(power, len(_UNITS) - 1)])
    for place, size in enumerate(sizes):
        axes.annotate(
            format_bytes(size, signed=signed), (size / unit, place), xytext=(4 if size >= 0 else -4, 0),
            textcoords="offset points", va="center", ha="left" if size >= 0 else "right", fontsize="small",
            color="0.35",
        )  # fmt: skip
    if not rows:
        axes.text(0.5, 0.5, empty, ha="center", transform=axes.transAxes, color="0.5")
        axes.set_xticks([])
    return figure, axes, unit
