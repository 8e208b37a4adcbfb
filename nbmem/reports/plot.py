"""A trace, and a session, as a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import groupby

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nbmem._units import MIB, format_bytes
from nbmem.reports.history import CellCost
from nbmem.tracing import Trace

#: Lines that ran for less than this share of the time get no label.
_LABELLED_SHARE = 0.03


class ShownFigure(Figure):
    """A figure that a notebook shows without ``%matplotlib inline``."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()


def plot_trace(trace: Trace, *, title: str) -> Figure:
    """Draw resident size above the start over time, with the line that ran as bands beneath.

    The figure is not registered with pyplot: showing it is left to its caller, and nothing keeps it.
    """
    timeline = trace.timeline
    figure = ShownFigure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    sizes, bands = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    base = trace.summary.resident_before_bytes
    seconds = list(timeline.seconds)
    values = [(size - base) / MIB for size in timeline.resident_bytes]
    sizes.fill_between(seconds, values, alpha=0.2, step=None)
    sizes.plot(seconds, values, linewidth=1.3)
    peak = trace.summary.peak_bytes / MIB
    sizes.axhline(peak, linewidth=0.8, linestyle="--", color="0.5")
    sizes.annotate(
        f"peak {peak:+,.1f} MiB", (0, peak), xytext=(4, -4), textcoords="offset points", va="top", color="0.4"
    )
    sizes.set_ylabel("resident size above\nthe start (MiB)")
    sizes.set_title(title, loc="left", fontsize="medium")
    span = max(trace.summary.seconds, 1e-9)
    for number, (start, end, name, line) in enumerate(_bands(trace, span)):
        bands.axvspan(start, end, color=f"C{number % 10}", alpha=0.35, linewidth=0)
        if end - start >= _LABELLED_SHARE * span:
            label = f"{line}" if name in ("cell", "with") else f"{name} {line}"
            bands.text(
                (start + end) / 2, 0.5, label, ha="center", va="center", fontsize="small", clip_on=True
            )
    bands.set_yticks([])
    bands.set_ylim(0, 1)
    bands.set_ylabel("line", rotation=0, ha="right", va="center")
    bands.set_xlabel("seconds")
    bands.set_xlim(0, span)
    return figure


def _bands(trace: Trace, span: float) -> list[tuple[float, float, str, int]]:
    """Group neighbouring points of one line: start, end, name of the source, line."""
    timeline = trace.timeline
    points = list(zip(timeline.seconds, timeline.functions, timeline.lines, strict=True))
    runs = [
        (group[0][0], key) for key, part in groupby(points, lambda p: (p[1], p[2])) if (group := list(part))
    ]
    ends = [start for start, _ in runs[1:]] + [span]
    return [(start, end, name, line) for (start, (name, line)), end in zip(runs, ends, strict=True) if line]


def plot_session(cells: Sequence[CellCost]) -> Figure:
    """Draw resident size over the session: each cell a band, as wide as it took time, with its peak.

    Short cells are widened so that they can be seen, and time in which no cell ran is left out. The figure
    is not registered with pyplot.
    """
    figure = ShownFigure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_ylabel("resident size (MiB)")
    axes.set_title("session", loc="left", fontsize="medium")
    if not cells:
        axes.text(0.5, 0.5, "no cell has been recorded", ha="center", transform=axes.transAxes, color="0.5")
        return figure
    total = max(sum(cell.seconds for cell in cells), 1e-9)
    least = total / (2 * len(cells))
    ticks: list[tuple[float, str]] = []
    xs: list[float] = []
    ys: list[float] = []
    at = 0.0
    for number, cell in enumerate(cells):
        width = max(cell.seconds, least)
        before, after = cell.rss_before_bytes / MIB, cell.rss_after_bytes / MIB
        peak = before + cell.peak_bytes / MIB
        color = f"C{number % 10}"
        axes.axvspan(at, at + width, color=color, alpha=0.10, linewidth=0)
        # When within the cell the peak was is not recorded: it is drawn over all of it.
        axes.fill_between([at, at + width], [before, after], peak, color=color, alpha=0.45, linewidth=0)
        axes.hlines(peak, at, at + width, color=color, linewidth=1.5)
        ticks.append((at + width / 2, f"[{cell.execution_count}]{'' if cell.status == 'ok' else '!'}"))
        xs += [at, at + width]
        ys += [before, after]
        at += width + least / 10
    axes.plot(xs, ys, linewidth=1.3, color="0.25", label="at start and end of the cells")
    exact = all(cell.exact for cell in cells)
    label = "peak of the cell" if exact else "peak of the cell (NOT exact)"
    axes.plot([], [], linewidth=1.5, color="C0", label=label)
    axes.legend(loc="upper left", fontsize="small", frameon=False)
    shown: list[tuple[float, str]] = []
    for place, name in ticks:  # as many labels as have room
        if not shown or place - shown[-1][0] > 0.045 * at:
            shown.append((place, name))
    axes.set_xticks([x for x, _ in shown], [label for _, label in shown], fontsize="small")
    axes.set_xlabel("cells in order, wider the longer they ran" + (" (! failed)" if _failed(cells) else ""))
    axes.set_xlim(0, at)
    axes.margins(y=0.18)
    return figure


def _failed(cells: Sequence[CellCost]) -> bool:
    return any(cell.status != "ok" for cell in cells)


def plot_shares(rows: Sequence[tuple[str, int]], *, title: str) -> Figure:
    """Draw named sizes as bars, the first at the top. The figure is not registered with pyplot."""
    figure = ShownFigure(figsize=(9, 1.2 + 0.26 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(rows))
    sizes = [size for _, size in rows]
    # names are data: a dollar sign begins no formula
    axes.barh(places, [size / MIB for size in sizes], color="C0", height=0.7)
    axes.set_yticks(list(places), [_cut(name).replace("$", r"\$") for name, _ in rows], fontsize="small")
    for place, size in enumerate(sizes):
        axes.annotate(
            format_bytes(size), (size / MIB, place), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize="small", color="0.4",
        )  # fmt: skip
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("MiB that would be freed")
    axes.set_title(_cut(title, 110).replace("$", r"\$"), loc="left", fontsize="medium")
    return figure


def _cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
