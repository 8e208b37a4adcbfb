"""What the cells of a session cost: the ledger that ``%memwatch`` fills, and its report."""

from __future__ import annotations

import shutil
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbmem._units import KIB
from nbmem.heap import VariableChange
from nbmem.reports.selection import variable_phrases

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Cells that are kept one by one; older ones are summed up, so that the report still adds up.
KEPT_CELLS = 10_000
#: Changed names that are kept of each cell, the largest.
KEPT_CHANGES = 5


@dataclass(frozen=True, slots=True)
class CellCost:
    """What one executed cell cost; it refers to nothing of the user's.

    Parameters
    ----------
    execution_count : int
    source : str
        Its first line; of one with a cell magic, the first line beneath too.
    started : float
        When, in seconds since the epoch.
    seconds : float
    rss_before_bytes, peak_bytes, increment_bytes : int
        Resident size at its start; the highest above that; at its end above that.
    exact : bool
        Whether the peak is the kernel's own.
    gc_seconds : float
        Time in the garbage collector.
    status : str
        ``ok``, ``error`` or ``interrupted``.
    changes : tuple of VariableChange
        What became of names: the largest.
    change_count : int
        How many names changed in all.
    """

    execution_count: int
    source: str
    started: float
    seconds: float
    rss_before_bytes: int
    peak_bytes: int
    increment_bytes: int
    exact: bool
    gc_seconds: float
    status: str
    changes: tuple[VariableChange, ...]
    change_count: int

    @property
    def rss_after_bytes(self) -> int:
        """Resident size at the end."""
        return self.rss_before_bytes + self.increment_bytes

    @property
    def weight(self) -> int:
        """What it counts for in a ranking: the larger of what it took for a while and what it left."""
        return max(self.peak_bytes, abs(self.increment_bytes))

    def variables_text(self) -> str:
        """Say what became of the names, the largest first."""
        large = [change for change in self.changes if max(change.bytes, change.before_bytes) >= KIB]
        more = self.change_count - len(large)
        rest = [f"{'and ' if large else ''}{more} small"] if more else []
        return " · ".join([*variable_phrases(large), *rest])


class CellLedger:
    """The costs of the cells of this process, oldest first.

    Parameters
    ----------
    capacity : int
        Cells kept one by one.
    """

    def __init__(self, capacity: int = KEPT_CELLS) -> None:
        self._cells: deque[CellCost] = deque(maxlen=capacity)
        self.clear()

    def clear(self) -> None:
        """Forget all cells."""
        self._cells.clear()
        self.dropped_count = self.dropped_bytes = self.first_bytes = self.highest_bytes = 0
        self.dropped_seconds = 0.0

    def add(self, cell: CellCost) -> None:
        """Append a cell; beyond the capacity, the oldest goes into the sums."""
        cells = self._cells
        if not cells:
            self.first_bytes = cell.rss_before_bytes
        if len(cells) == cells.maxlen:
            self.dropped_count += 1
            self.dropped_bytes += cells[0].increment_bytes
            self.dropped_seconds += cells[0].seconds
        cells.append(cell)
        self.highest_bytes = max(self.highest_bytes, cell.rss_before_bytes + cell.peak_bytes)

    @property
    def cells(self) -> tuple[CellCost, ...]:
        """The cells that are kept one by one."""
        return tuple(self._cells)


#: The ledger of this process: a kernel has one session.
ledger = CellLedger()


class SessionReport:
    """What the cells cost that ran while ``%memwatch`` was on, as it was when the report was made.

    Sizes are bytes of resident size. The cells' increments and what came between them add up to the
    growth of the process.

    Attributes
    ----------
    first_bytes, last_bytes, highest_bytes : int
        Resident size before the first cell, after the last, and at its highest.
    cells_bytes, between_bytes : int
        What cells left, summed; what came in between (reports, background threads, widgets).
    cell_count : int
        Cells that were recorded.
    """

    def __init__(self, source: CellLedger) -> None:
        self._cells = source.cells
        self.first_bytes = source.first_bytes
        self.highest_bytes = source.highest_bytes
        self.last_bytes = self._cells[-1].rss_after_bytes if self._cells else source.first_bytes
        self.cells_bytes = source.dropped_bytes + sum(cell.increment_bytes for cell in self._cells)
        self.between_bytes = self.last_bytes - self.first_bytes - self.cells_bytes
        self.cell_count = source.dropped_count + len(self._cells)
        self.seconds = source.dropped_seconds + sum(cell.seconds for cell in self._cells)

    @property
    def data(self) -> tuple[CellCost, ...]:
        """The plain data of the cells, oldest first; of very long sessions the latest 10 000."""
        return self._cells

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell, oldest first; see :func:`history` for the columns."""
        import pandas as pd

        names = (
            "execution_count", "source", "started", "seconds", "rss_before_bytes", "peak_bytes",
            "increment_bytes", "exact", "gc_seconds", "status", "variables",
        )  # fmt: skip
        rows = [
            [*(getattr(cell, name) for name in names[:-1]), cell.variables_text()] for cell in self._cells
        ]
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        sizes = ("execution_count", "rss_before_bytes", "peak_bytes", "increment_bytes")
        frame = frame.astype(
            dict.fromkeys(sizes, "int64") | {"exact": bool, "seconds": float, "gc_seconds": float}
        )
        frame["started"] = pd.to_datetime(frame["started"], unit="s", utc=True)
        return frame

    def costliest(self) -> list[CellCost]:
        """Rank the cells by what they took or left."""
        return sorted(self._cells, key=lambda cell: (-cell.weight, cell.execution_count))

    def to_text(self, width: int = 120) -> str:
        """Write the report as text, costliest cell first."""
        from nbmem.reports.sessionview import session_text

        return session_text(self, width=width)

    def to_html(self) -> str:
        """Write the report as static HTML, costliest cell first."""
        from nbmem.reports.sessionview import session_html

        return session_html(self)

    def plot(self) -> Figure:
        """Draw resident size over the session with the cells as bands; idle time is cut out."""
        from nbmem.reports.plot import plot_session

        return plot_session(self._cells)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 90), 200))


def session() -> SessionReport:
    """Report on the cells that ran while ``%memwatch`` was on.

    Returns
    -------
    SessionReport
        With ``cells`` (a frame), ``to_text()``, ``to_html()`` and ``plot()``.
    """
    return SessionReport(ledger)


def history() -> pd.DataFrame:
    """Give the cells that ran while ``%memwatch`` was on, one row each, oldest first.

    Returns
    -------
    pandas.DataFrame
        Columns ``execution_count, source`` (first line), ``started`` (UTC), ``seconds, rss_before_bytes,
        peak_bytes`` (highest above the start), ``increment_bytes`` (at the end above the start), ``exact,
        gc_seconds, status`` (``ok``, ``error`` or ``interrupted``), ``variables`` (what became of the
        largest names, shallow sizes). Empty if nothing was recorded. Of very long sessions the latest
        10 000 cells.
    """
    return session().cells
