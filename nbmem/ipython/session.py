"""What nbmem keeps for one shell while it is loaded, and its hooks around each cell."""

from __future__ import annotations

import sys
import threading
from typing import Any

from traitlets import Bool, TraitError, Unicode, observe, validate
from traitlets.config import Configurable

from nbmem._errors import BadArgument
from nbmem._units import parse_bytes
from nbmem.ipython.guarded import GuardedCells
from nbmem.ipython.measured import MeasuredCells
from nbmem.ipython.names import ShellNames
from nbmem.ipython.snapshots import LastSnapshot
from nbmem.ipython.watched import CellWatch, cells_on_stack, is_of
from nbmem.process.guards import current_guard, set_guard
from nbmem.reports.history import ledger


class NbMem(Configurable):
    """nbmem in this shell; ``%config NbMem`` shows its options.

    Parameters
    ----------
    shell : InteractiveShell
    """

    watch = Bool(False, help="Record what each cell costs, as %memwatch on does.").tag(config=True)
    footer = Bool(True, help="While cells are recorded: show a line under those that took memory.").tag(
        config=True
    )
    threshold = Unicode("1MiB", help="No line under cells that took and left less than this.").tag(
        config=True
    )

    def __init__(self, shell: Any) -> None:
        self.cells = MeasuredCells(shell)
        self._names = ShellNames(shell)
        self.watched = CellWatch(self._names, ledger)
        self.guarded = GuardedCells(shell, self._names)
        self.last_snapshot = LastSnapshot()
        self._info: Any = None
        self._thread = 0
        self._shell = shell
        #: What was registered, and what the shell had under those names before (filled by ``load``).
        self.magics: list[Any] = []
        self.replaced: dict[tuple[str, str], Any] = {}
        super().__init__(parent=shell)  # reads the options

    def install(self) -> None:
        """Put the hooks into the shell."""
        self._shell.input_transformers_cleanup.append(self.cells.transform)
        self._shell.events.register("pre_run_cell", self.before)
        self._shell.events.register("post_run_cell", self.after)

    def remove(self) -> None:
        """Unhook; a cell that is measured at the moment (it unloads nbmem) is let go unreported."""
        self._shell.input_transformers_cleanup.remove(self.cells.transform)
        self._shell.events.unregister("pre_run_cell", self.before)
        self._shell.events.unregister("post_run_cell", self.after)
        self.watched.switch_off()
        if current_guard() is not None:
            set_guard(None)
        self.cells.let_go()
        self.last_snapshot.forget()
        self._names.forget()

    # The innermost measurement starts last and stops first, so that none counts another's work.

    def before(self, info: Any) -> None:
        """Do what is to be done before a cell."""
        self.cells.before(info)
        if self._info is not None and (cells_on_stack(sys._getframe()) > 1 or self._runs_elsewhere()):
            return  # what a cell runs is that cell's; one on another thread (a subshell's) is not recorded
        self._info, self._thread = info, threading.get_ident()
        number = self.cells.number_of(info)
        if self.watched.on or current_guard() is not None:
            self._names.before_cell(sized=self.watched.on)
        else:
            self._names.forget()
        self.guarded.start(number)
        self.watched.start(info, number)

    def after(self, result: Any) -> None:
        """Do what is to be done after a cell."""
        ours = result is None or is_of(result, self._info)
        reported = False
        if ours:
            self._info = None
            self.watched.stop(result)
            self.guarded.stop()
        try:
            reported = self.cells.after(result)
        finally:
            if ours:
                self.guarded.finish(result)
                self.watched.finish(show=not reported)

    def _runs_elsewhere(self) -> bool:
        """Tell whether the cell that began last still runs, on another thread than this."""
        if self._thread == threading.get_ident():
            return False  # its end was lost: this is the next one
        frame = sys._current_frames().get(self._thread)
        return frame is not None and cells_on_stack(frame) > 0

    # -- options

    @validate("threshold")
    def _check_threshold(self, proposal: Any) -> str:
        try:
            parse_bytes(proposal["value"])
        except BadArgument as error:
            raise TraitError(f"NbMem.threshold: {error}") from None
        return str(proposal["value"])

    @observe("watch")
    def _watch_changed(self, change: Any) -> None:
        if change["new"]:
            self.watched.on = True
        else:
            self.watched.switch_off()

    @observe("footer", "threshold")
    def _footer_changed(self, change: Any) -> None:
        self.watched.footer = self.footer
        self.watched.threshold_bytes = parse_bytes(self.threshold)
