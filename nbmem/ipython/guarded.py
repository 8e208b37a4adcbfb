"""Stop cells that reach the memory limit, and say what grew: what ``%memlimit`` does around a cell."""

from __future__ import annotations

import gc
import inspect
import linecache
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from IPython.display import display

from nbmem._errors import MemoryLimitInterrupt
from nbmem.ipython.names import ShellNames
from nbmem.process import release_free_memory, resident_bytes
from nbmem.process.limit import Place, Stop, current_guard
from nbmem.reports.selection import is_cell_file
from nbmem.reports.stopreport import StopReport, largest_names, place_text


class GuardedCells:
    """The memory limit around the cells of a shell.

    Parameters
    ----------
    shell : InteractiveShell
    names : ShellNames
    """

    def __init__(self, shell: Any, names: ShellNames) -> None:
        self._names = names
        self._shell = shell
        self._number = 0
        self._stop: Stop | None = None

    def start(self, number: int) -> None:
        """Begin to watch, if there is a limit."""
        guard = current_guard()
        if guard is not None:
            self._number = number
            guard.begin()

    def stop(self) -> None:
        """Watch no more: the cell's code has ended."""
        guard = current_guard()
        self._stop = guard.end() if guard is not None else None

    def finish(self, result: Any) -> None:
        """Say what was stopped, and let go of what the error holds."""
        stop, self._stop = self._stop, None
        error = None if result is None else result.error_before_exec or result.error_in_exec
        if stop is None or not (stop.raised_count or isinstance(error, MemoryError)):
            return
        places = stop.places or tuple(_places(error.__traceback__ if error is not None else None))
        let_go: list[str] = []
        if isinstance(error, (MemoryError, MemoryLimitInterrupt)):
            let_go = _clear(error)
            release_free_memory()
        if resident_bytes() > 0.8 * stop.limit_bytes:
            gc.collect()
            release_free_memory()
        report = StopReport(
            f"In [{self._number}]",
            stop,
            error=type(error).__name__ if error is not None else "",
            lines=[self._described(place) for place in places],
            names=largest_names(
                self._shell.user_ns,
                self._names.kinds(),
                frozenset(self._shell.user_ns_hidden),
            ),
            resident_bytes=resident_bytes(),
            let_go=let_go,
        )
        display(report)

    def _described(self, place: Place) -> str:
        file, line, _ = place
        number = getattr(self._shell.compile, "_filename_map", {}).get(file)
        return place_text(place, linecache.getline(file, line), cell=f"In [{number}]" if number else "")


def _places(trace: TracebackType | None) -> Iterator[Place]:
    """Give where an error came through code of cells, innermost first."""
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_cell_file(code.co_filename):
            found.append((code.co_filename, trace.tb_lineno, code.co_qualname))
        trace = trace.tb_next
    yield from reversed(found)


def _clear(error: BaseException) -> list[str]:
    """Let go of the locals that an error's traceback holds; give the functions whose they were."""
    names: dict[str, None] = {}
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        step = link.__traceback__
        while step is not None:
            code = step.tb_frame.f_code
            if is_cell_file(code.co_filename) and code.co_name != "<module>":
                names[f"{code.co_qualname}()"] = None
            step = step.tb_next
        traceback.clear_frames(link.__traceback__)
        _refresh(link.__traceback__)
        link = link.__cause__ or link.__context__
    return list(names)


def _refresh(trace: TracebackType | None) -> None:
    """Let go of the copies of locals that somebody's look at a frame has left in it.

    Up to 3.12 such a copy outlives ``frame.clear()`` (cpython#113939); to look again brings it up to date,
    which is empty.
    """
    while trace is not None and sys.version_info < (3, 13):
        if trace.tb_frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            trace.tb_frame.f_locals  # noqa: B018
        trace = trace.tb_next
