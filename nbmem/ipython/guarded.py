"""Stop cells that reach the memory limit, and say what grew: what ``%memlimit`` does around a cell."""

from __future__ import annotations

import dis
import gc
import inspect
import linecache
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from IPython.display import display

from nbmem._errors import MemoryLimitExceeded, MemoryLimitInterrupt
from nbmem.ipython.names import ShellNames
from nbmem.process import occupied_bytes, release_free_memory
from nbmem.process.guards import current_guard, take_ended
from nbmem.process.limit import Guard
from nbmem.process.stops import Place, Stop
from nbmem.reports.selection import is_cell_file
from nbmem.reports.stopreport import StopReport, largest_names, place_text

_PAUSING = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_OURS = (MemoryLimitExceeded, MemoryLimitInterrupt)


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
        self._begun: Guard | None = None
        self._showing: Any = None

    def start(self, number: int) -> None:
        """Begin to watch, if there is a limit, and no cell of another shell that it watches already."""
        self._number = number
        take_ended()
        guard = current_guard()
        if guard is None or (guard.in_code and self._begun is not guard):
            return
        self._begun = guard
        guard.begin()
        self._wrap_showtraceback()

    def stop(self) -> None:
        """Watch no more: the cell's code has ended."""
        self._unwrap_showtraceback()
        guard, begun, self._begun = current_guard(), self._begun, None
        # A limit that the cell set itself began with its own line.
        ours = guard is not None and (guard is begun or begun is None or not guard.in_code)
        stop = guard.end() if guard is not None and (ours or begun is not guard) else None
        earlier = take_ended()
        self._stop = earlier[0] if earlier and not (stop is not None and stop.raised_count) else stop

    # Where the limit on allocations stopped the cell, there is no memory to show its traceback either.

    def _wrap_showtraceback(self) -> None:
        if self._showing is not None:
            return
        show = self._shell.showtraceback

        def showtraceback(*arguments: Any, **options: Any) -> Any:
            guard = current_guard()
            if guard is not None and isinstance(sys.exception(), (MemoryError, MemoryLimitInterrupt)):
                guard.make_room()
            return show(*arguments, **options)

        self._showing = showtraceback, self._shell.__dict__.get("showtraceback")
        self._shell.__dict__["showtraceback"] = showtraceback

    def _unwrap_showtraceback(self) -> None:
        if self._showing is None:
            return
        (ours, before), self._showing = self._showing, None
        if self._shell.__dict__.get("showtraceback") is ours:
            del self._shell.__dict__["showtraceback"]
            if before is not None:
                self._shell.__dict__["showtraceback"] = before

    def finish(self, result: Any) -> None:
        """Say what was stopped, and let go of what the error holds."""
        stop, self._stop = self._stop, None
        error = None if result is None else result.error_before_exec or result.error_in_exec
        if stop is None or not (stop.raised_count or _was_refused(error, stop)):
            return
        let_go: list[str] = []
        places = stop.places or tuple(_places(error.__traceback__ if error is not None else None))
        if isinstance(error, (MemoryError, MemoryLimitInterrupt)):
            let_go = _clear(error)
        release_free_memory()
        if occupied_bytes() > 0.8 * stop.limit_bytes:
            gc.collect()
            release_free_memory()
        now = occupied_bytes()
        try:
            hidden = frozenset(self._shell.user_ns_hidden)
            names = largest_names(self._shell.user_ns, self._names.kinds(), hidden)
        except MemoryError:  # not even for that: the rest can be said all the same
            names = []
        report = StopReport(
            f"In [{self._number}]",
            stop,
            error=type(error).__name__ if error is not None else "",
            lines=[self._described(place) for place in places],
            names=names,
            occupied_bytes=now,
            let_go=let_go,
        )
        display(report)

    def _described(self, place: Place) -> str:
        file, line, _ = place
        number = getattr(self._shell.compile, "_filename_map", {}).get(file)
        return place_text(place, linecache.getline(file, line), cell=f"In [{number}]" if number else "")


def _was_refused(error: BaseException | None, stop: Stop) -> bool:
    """Tell whether an error says that memory was refused: not one that somebody raises in so many words."""
    if not isinstance(error, MemoryError) or stop.allocation_limit_bytes is None:
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _operation(trace.tb_frame, trace.tb_lasti) != "RAISE_VARARGS"


def _operation(frame: FrameType, at: int) -> str:
    """Name the instruction of a frame at an offset."""
    code = frame.f_code.co_code
    return dis.opname[code[at]] if 0 <= at < len(code) else ""


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
    """Let go of the locals that an error's traceback holds; give the functions whose they were.

    Only for errors of memory, one that led to the other: what else the user keeps is the user's.
    """
    names: dict[str, None] = {}
    seen: set[int] = set()
    link: BaseException | None = error
    while isinstance(link, (MemoryError, *_OURS)) and id(link) not in seen:
        seen.add(id(link))
        step = link.__traceback__
        while step is not None:
            code = step.tb_frame.f_code
            if _let_go(step.tb_frame) and is_cell_file(code.co_filename):
                names[f"{code.co_qualname}()"] = None
            step = step.tb_next
        link = link.__cause__ or link.__context__
    return list(names)


def _let_go(frame: FrameType) -> bool:
    """Clear one frame, if it is a function's and has ended; tell whether it was."""
    flags = frame.f_code.co_flags
    if not flags & inspect.CO_OPTIMIZED:
        return False
    # To clear the frame of a generator that only pauses would close it (3.13 refuses).
    if flags & _PAUSING and _operation(frame, frame.f_lasti) in ("YIELD_VALUE", "SEND", "RESUME"):
        return False
    try:
        frame.clear()
    except RuntimeError:  # it runs
        return False
    if sys.version_info < (3, 13):
        # A copy of the locals, left by somebody's look, outlives that (cpython#113939); to look again brings
        # it up to date, which is empty.
        frame.f_locals  # noqa: B018
    return True
