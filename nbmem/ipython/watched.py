"""Record what each executed cell costs: what ``%memwatch on`` switches on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

from IPython.display import display

from nbmem.ipython.names import ShellNames
from nbmem.process import GcRecorder, Interval, PeakMeter
from nbmem.reports.history import KEPT_CHANGES, CellCost, CellLedger
from nbmem.reports.sessionview import CellFooter

_LONGEST_SOURCE = 120


@dataclass(slots=True)
class _Running:
    """The cell that is being recorded."""

    number: int
    source: str
    started: float
    began: float
    meter: PeakMeter
    collections: GcRecorder


@dataclass(frozen=True, slots=True)
class _Ended:
    """A cell's figures, taken before anything else happens at its end."""

    cell: _Running
    seconds: float
    interval: Interval
    status: str


class CellWatch:
    """Record each cell of a shell in the ledger.

    Parameters
    ----------
    names : ShellNames
    ledger : CellLedger

    Attributes
    ----------
    on : bool
        Whether cells are recorded, from the next one on.
    footer : bool
        Whether a line is shown under cells.
    threshold_bytes : int
        Under cells that took or left less than this, nothing is shown.
    """

    def __init__(self, names: ShellNames, ledger: CellLedger) -> None:
        self._ledger = ledger
        self._names = names
        self.on = False
        self._running: _Running | None = None
        self._ended: _Ended | None = None
        self.footer = True
        self.threshold_bytes = 1 << 20

    def switch_off(self) -> None:
        """Record no more; a cell that is running is not recorded either."""
        self.on = False
        running, self._running, self._ended = self._running, None, None
        if running is not None:
            running.collections.stop()
            running.meter.stop()

    # -- around a cell

    def start(self, info: Any, number: int) -> None:
        """Begin to measure, last of all that happens before a cell."""
        if not self.on or not info.store_history:
            return
        if self._running is not None:
            self._lost()
        running = _Running(
            number, _first_line(info.raw_cell), time.time(), 0.0, PeakMeter(poll=False), GcRecorder()
        )
        running.collections.start()
        try:
            running.meter.start()
        except BaseException:
            running.collections.stop()
            raise
        self._running = running
        running.began = time.perf_counter()

    def stop(self, result: Any) -> None:
        """Take the figures, first of all that happens after a cell."""
        now = time.perf_counter()
        running = self._running
        if running is None:
            return
        self._running = None
        interval = running.meter.stop()
        running.collections.stop()
        self._ended = _Ended(running, now - running.began, interval, _status(result))

    def _lost(self) -> None:
        """Take what can be said of a cell whose end nobody told: it was cut off."""
        self.stop(None)
        self.finish(show=False)

    def finish(self, *, show: bool) -> None:
        """Add the row, last of all that happens after a cell; show the line under the cell."""
        ended, self._ended = self._ended, None
        if ended is None or not self.on:
            return
        changes = self._names.changes()
        interval, running = ended.interval, ended.cell
        cost = CellCost(
            running.number,
            running.source,
            running.started,
            ended.seconds,
            interval.before_bytes,
            interval.peak_bytes - interval.before_bytes,
            interval.after_bytes - interval.before_bytes,
            interval.exact,
            running.collections.log.seconds,
            ended.status,
            tuple(changes[:KEPT_CHANGES]),
            len(changes),
        )
        self._ledger.add(cost)
        if show and self.footer and cost.weight >= self.threshold_bytes:
            display(CellFooter(cost))


def _first_line(cell: str) -> str:
    """Tell which cell it is: its first line, and beneath a cell magic the first of the code too."""
    found = []
    for line in cell.splitlines():
        words = line.strip()
        if words:
            found.append(words[:_LONGEST_SOURCE])
            if not words.startswith("%%"):
                break
    return " ⏎ ".join(found)[:_LONGEST_SOURCE]


def is_of(result: Any, info: Any) -> bool:
    """Tell whether a result is that of the cell that began with this info."""
    # Where running failed in IPython itself, its info is a new one of the same cell.
    if info is None:
        return False
    return result.info is info or (result.error_in_exec is not None and result.info.raw_cell == info.raw_cell)


def _status(result: Any) -> str:
    if result is None:  # cancelled
        return "interrupted"
    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return "ok"
    return "interrupted" if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)) else "error"


def cells_on_stack(frame: FrameType | None) -> int:
    """Count the runs of cells on a stack: two where a cell runs another."""
    count = 0
    try:
        while frame is not None:
            count += frame.f_code.co_name == "run_cell_async"
            frame = frame.f_back
    finally:
        del frame
    return count
