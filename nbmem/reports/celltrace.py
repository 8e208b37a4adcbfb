"""The result of ``%%memtrace`` and ``nbmem.trace``: what each line cost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from nbmem._errors import NotMeasured
from nbmem.heap import VariableChange
from nbmem.process import GcEvent
from nbmem.reports import html, stackfiles, text
from nbmem.reports.selection import notable
from nbmem.tracing import Frame, LineCost, StackCost, Trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nbmem.reports.flame import FlameGraph

#: Bytes from which a stack outside the source is listed.
_LEAST_ELSEWHERE = 64 << 10


class CellTrace:
    """What a cell, or the body of a ``with`` statement, cost.

    Sizes are bytes. All frames are made anew at each access; the trace holds no object of the user's.

    Attributes
    ----------
    title : str
        What was traced, for the headings: ``"In [3]"``.
    data : Trace
        The plain data that the frames are made of.
    """

    data: Trace

    def __init__(self, title: str = "trace", *, show_stacks: bool = False) -> None:
        self.title = title
        self._show_stacks = show_stacks
        self._changes: tuple[VariableChange, ...] = ()

    def _fill(self, data: Trace, changes: Iterable[VariableChange] = ()) -> None:
        self.data = data
        self._changes = tuple(changes)

    def _get(self) -> Trace:
        try:
            return self.data
        except AttributeError:
            raise NotMeasured(
                "the trace is still running; read it after the with statement has ended"
            ) from None

    # -- frames

    @property
    def summary(self) -> pd.Series[Any]:
        """The totals, by name: see :class:`nbmem.tracing.TraceSummary` for the meaning of each."""
        import pandas as pd

        return pd.Series(asdict(self._get().summary), name=self.title, dtype=object)

    @property
    def lines(self) -> pd.DataFrame:
        """One row per source line.

        Columns ``line, source, hits, seconds, peak_bytes, increment_bytes, spike_bytes, live_bytes,
        net_bytes, allocation_count, exact, function``; a figure that was not measured is ``<NA>``. See
        :class:`nbmem.tracing.LineCost` for the meaning of each.
        """
        frame = _frame(self._get().lines, LineCost).drop(columns="resident_bytes")
        return frame[[name for name in frame.columns if name != "function"] + ["function"]]

    @property
    def stacks(self) -> pd.DataFrame:
        """One row per allocation stack and frame, costliest stack first, outermost frame first.

        Stacks that lead to none of the source's lines (IPython's own) are listed from 64 KiB on.

        Columns ``stack, depth, function, file, line, cell_line, live_bytes, net_bytes,
        allocation_count``; the bytes are the stack's, repeated for each of its frames.
        """
        import pandas as pd

        rows = [
            {
                "stack": number,
                "depth": depth,
                "function": frame[0],
                "file": frame[1],
                "line": frame[2],
                "cell_line": stack.line,
                "live_bytes": stack.live_bytes,
                "net_bytes": stack.net_bytes,
                "allocation_count": stack.allocation_count,
            }
            for number, stack in enumerate(self._ranked_stacks())
            if stack.line is not None or max(stack.live_bytes or 0, abs(stack.net_bytes)) >= _LEAST_ELSEWHERE
            for depth, frame in enumerate(reversed(stack.frames or (("(no Python frame)", "", 0),)))
        ]
        names = (
            "stack", "depth", "function", "file", "line", "cell_line", "live_bytes", "net_bytes",
            "allocation_count",
        )  # fmt: skip
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        whole = ["stack", "depth", "line", "cell_line", "live_bytes", "net_bytes", "allocation_count"]
        return frame.astype(dict.fromkeys(whole, "Int64"))

    def _ranked_stacks(self) -> list[StackCost]:
        return sorted(
            self._get().stacks, key=lambda stack: (-(stack.live_bytes or 0), -stack.net_bytes, stack.frames)
        )

    @property
    def variables(self) -> pd.DataFrame:
        """One row per name that is new, grown, shrunk, rebound or deleted.

        Columns ``name, type, change, bytes, before_bytes``.
        """
        self._get()
        return _frame(self._changes, VariableChange)

    @property
    def timeline(self) -> pd.DataFrame:
        """Resident size over time.

        Columns ``seconds, resident_bytes, line, function``; line 0: none of the source ran.
        """
        import pandas as pd

        timeline = self._get().timeline
        return pd.DataFrame(
            {
                "seconds": list(timeline.seconds),
                "resident_bytes": list(timeline.resident_bytes),
                "line": list(timeline.lines),
                "function": list(timeline.functions),
            }
        )

    @property
    def gc(self) -> pd.DataFrame:
        """The collections of the garbage collector.

        Columns ``start, generation, seconds, collected_count, uncollectable_count``.
        """
        return _frame(self._get().gc.events, GcEvent)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the figures: what could not be measured, and why."""
        return self._get().notes

    # -- what people see

    def to_html(self) -> str:
        """Write the report as static HTML: no script, no request, readable in an untrusted notebook."""
        return html.trace_html(self._get(), self._changes, title=self.title, stacks=self._shown_stacks())

    def to_text(self, width: int = 120) -> str:
        """Write the report as text, for a terminal of that many columns."""
        return text.trace_text(
            self._get(), self._changes, title=self.title, stacks=self._shown_stacks(), width=width
        )

    def _shown_stacks(self) -> Sequence[StackCost]:
        return notable(self._ranked_stacks()) if self._show_stacks else ()

    def plot(self) -> Figure:
        """Draw resident size over time with the line that ran, by matplotlib; return the figure."""
        from nbmem.reports.plot import plot_trace

        return plot_trace(self._get(), title=self.title)

    def to_collapsed(self, path: str | os.PathLike[str], *, metric: stackfiles.Metric = "live") -> None:
        """Write the allocation stacks for flame graph tools, one line per stack.

        Parameters
        ----------
        path : path-like
            The file to write, UTF-8.
        metric : {"live", "net", "count"}
            Bytes alive at the heap's peak, bytes alive at the end, or allocations.

        Raises
        ------
        BadArgument
            If there is no such metric.
        NotMeasured
            If this trace has no such figure (``--rss``; tracemalloc has no peak by stack).
        """
        stackfiles.write_collapsed(path, self._weighed(metric))

    def to_speedscope(self, path: str | os.PathLike[str], *, metric: stackfiles.Metric = "live") -> None:
        """Write the allocation stacks as a file that speedscope opens; see :meth:`to_collapsed`."""
        stackfiles.write_speedscope(path, self._weighed(metric), name=self.title, metric=metric)

    def flame(self, metric: stackfiles.Metric = "live") -> FlameGraph:
        """Draw the allocation stacks as an icicle: the lines first, below each what it calls.

        Parameters
        ----------
        metric : {"live", "net", "count"}
            Bytes alive at the heap's peak, bytes alive at the end, or allocations.

        Returns
        -------
        FlameGraph
            Shown as SVG in a notebook, as a tree in a terminal; ``.frames`` has its boxes.

        Raises
        ------
        BadArgument
            If there is no such metric.
        NotMeasured
            If this trace has no such figure (``--rss``; tracemalloc has neither peak nor counts by stack).
        """
        from nbmem.reports.flame import FlameGraph

        return FlameGraph(self.title, self._get(), self._weighed(metric), metric)

    def _weighed(self, metric: str) -> dict[tuple[Frame, ...], int]:
        data = self._get()
        if data.summary.net_bytes is None:
            raise NotMeasured("this trace has no allocation stacks; trace without --rss, and see its notes")
        return stackfiles.weighed(data.stacks, metric)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        if not hasattr(self, "data"):
            return f"<CellTrace of {self.title}: running>"
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 90), 200))


def _frame(rows: Iterable[Any], kind: type) -> pd.DataFrame:
    """Make a frame of dataclasses; whole numbers stay whole where some are missing."""
    import pandas as pd

    names = [field.name for field in fields(kind)]
    frame = pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=pd.Index(names))
    for name in names:
        if name.endswith(("_bytes", "_count")) or name in ("bytes", "hits", "line", "generation"):
            frame[name] = frame[name].astype("Int64")
        elif name == "exact":
            frame[name] = frame[name].astype(bool)
    return frame
