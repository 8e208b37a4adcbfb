"""The line probe in pure Python: where the native part was not built, and its specification.

It measures by ``sys.settrace`` and reads the counter through Python, some 30 µs a line; hot lines are
counted on without reading (``exact`` is then False), and unwatched code pays for the armed trace function.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Protocol

from nbmem.tracing.sources import is_one_line

#: What the probe may spend on exact readings: so many seconds at first, then this share of the time.
SPEND_FREE, SPEND_SHARE = 0.060, 0.10
#: Beyond that, lines that follow each other faster than this (seconds) are not read any more.
HOT = 3e-4


class Counter(Protocol):
    """The part of the peak counter that the probe uses."""

    def open(self) -> tuple[int, int]: ...
    def take(self, slot: int) -> tuple[int, int]: ...
    def close(self, slot: int) -> tuple[int, int]: ...


class Sampler(Protocol):
    """The part of the sampler that the probe uses."""

    def mark(self, mark: int) -> None: ...


@dataclass(slots=True)
class _Row:
    hits: int = 0
    seconds: float = 0.0
    increment: int = 0
    peak: int = 0
    spike: int = 0
    active: int = 0
    sampled: bool = False


@dataclass(slots=True)
class _Open:
    row: _Row
    began: float
    spent: float
    before: int
    peak: int
    paused: bool = False


@dataclass(slots=True)
class _Scope:
    first_line: int
    line_count: int
    offset: int
    base: int
    rows: dict[int, _Row] = field(default_factory=dict)


class LineProbe:
    """Measure the watched lines of the thread that starts it; see the native one for the contract."""

    can_sample = False
    unseen_seconds = 0.0
    unseen_bytes = 0
    failed = False

    def __init__(self, counter: Counter, sampler: Sampler) -> None:
        self.lost = False
        self._counter = counter
        self._sampler = sampler
        self._scopes: list[_Scope] = []
        self._filenames: dict[str, int] = {}
        self._codes: list[tuple[CodeType, int]] = []
        self._row_count = 0
        self._opened: dict[FrameType, _Open] = {}
        self._slot = -1
        self._began = self._left = self._spent = 0.0
        self._quick = 0
        self._resident = 0
        self._sampled = self._running = False
        self._told: list[FrameType] = []
        self._trace_function: Callable[..., Any] = self._trace

    def _add_scope(self, first_line: int, line_count: int, offset: int) -> int:
        self._scopes.append(_Scope(first_line, line_count, offset, self._row_count))
        self._row_count += line_count
        return len(self._scopes) - 1

    def watch_file(self, filename: str, line_count: int, offset: int = 0, same_as: int | None = None) -> int:
        """Watch all code compiled under a file name; return the number of the scope."""
        if same_as is None:
            scope = self._add_scope(1, line_count + offset, offset)
        else:
            scope = self._add_scope(1, 0, offset)
            other = self._scopes[same_as]
            self._scopes[scope] = _Scope(other.first_line, other.line_count, offset, other.base, other.rows)
        self._filenames[filename] = scope
        return scope

    def watch_code(self, code: CodeType, first_line: int, line_count: int, same_as: int | None = None) -> int:
        """Watch one code object, with the line numbers of its file; return the scope's number."""
        scope = self._add_scope(first_line, line_count, 0) if same_as is None else same_as
        self._codes.append((code, scope))
        return scope

    def _scope_of(self, code: CodeType) -> int:
        scope = self._filenames.get(code.co_filename)
        if scope is not None:
            # Part of a line that is measured as a whole: what runs it is the line to name.
            return -1 if is_one_line(code) else scope
        for watched, number in self._codes:
            if watched is code:
                return number
        return -1

    def start(self, with_hook: bool = True) -> bool:
        """Arm the probe on this thread; False if another trace function is there."""
        if sys.gettrace() is not None:
            return False
        self._slot, self._resident = self._counter.open()
        self._began = self._left = time.perf_counter()
        self._running = True
        self._ident = threading.get_ident()
        # sys.settrace traces frames that are yet to start; those that run already are told one by one.
        frame = inspect.currentframe()
        while frame is not None:
            if self._scope_of(frame.f_code) >= 0 and frame.f_trace is None:
                frame.f_trace = self._trace_function
                self._told.append(frame)
            frame = frame.f_back
        sys.settrace(self._trace_function)
        return True

    def stop(self) -> list[tuple[int, int, int, float, int, int, int, bool, bool, bool]]:
        """Disarm; return the rows that ran (see the native probe)."""
        if not self._running:
            return []
        self._running = False
        if sys.gettrace() is self._trace_function:
            sys.settrace(None)
        else:
            self.lost = True
        for frame in self._told:
            if frame.f_trace is self._trace_function:
                frame.f_trace = None
        self._told.clear()
        now = time.perf_counter()
        self._read()
        for record in self._opened.values():
            self._close(record, now)
        self._opened.clear()
        self._codes.clear()
        self._counter.close(self._slot)
        result = []
        seen = set()
        for number, scope in enumerate(self._scopes):
            if scope.base in seen:
                continue
            seen.add(scope.base)
            for line, row in sorted(scope.rows.items()):
                result.append(
                    (
                        number,
                        line,
                        row.hits,
                        row.seconds,
                        row.peak,
                        row.increment,
                        row.spike,
                        row.sampled,
                        False,
                        False,
                    )
                )
        return result

    @property
    def sampled(self) -> bool:
        """Whether lines were counted without being read."""
        return self._sampled

    @property
    def exact(self) -> bool:
        """Whether every line was read at every hit."""
        return not (self._sampled or self.lost)

    def line_of(self, mark: int) -> tuple[int, int] | None:
        """Return ``(scope, line)`` of a mark that the sampler recorded, or None."""
        for number, scope in enumerate(self._scopes):
            if scope.base <= mark < scope.base + scope.line_count:
                return number, scope.first_line + mark - scope.base
        return None

    def _trace(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        scope = self._scope_of(frame.f_code)
        if scope < 0 or not self._running:
            return None
        if event == "call":
            record = self._opened.get(frame)
            if record is not None and record.paused:
                record.paused = False
            elif frame.f_lineno != frame.f_code.co_firstlineno and frame.f_code.co_flags & (
                inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
            ):
                self._line(frame, scope, frame.f_lineno, hit=False)
        elif event == "line":
            self._line(frame, scope, frame.f_lineno, hit=True)
        elif event == "return":
            # A coroutine that pauses hands out what it awaits; one that ends returns through StopIteration,
            # which looks the same from here: look at the instruction.
            pauses = frame.f_code.co_flags & inspect.CO_COROUTINE and _pauses(frame)
            self._leave(frame, pauses=bool(pauses))
        return self._trace_function

    def _read(self) -> None:
        peak, self._resident = self._counter.take(self._slot)
        for record in self._opened.values():
            record.peak = max(record.peak, peak)

    def _close(self, record: _Open, at: float) -> None:
        row = record.row
        row.active -= 1
        if row.active == 0:
            row.seconds += (at - record.began) - (self._spent - record.spent)
            row.increment += self._resident - record.before
        record.peak = max(record.peak, self._resident)
        row.peak = max(row.peak, record.peak)
        row.spike = max(row.spike, record.peak - record.before)

    def _line(self, frame: FrameType, scope: int, line: int, *, hit: bool) -> None:
        entered = time.perf_counter()
        place = self._scopes[scope]
        line += place.offset
        self._quick = self._quick + 1 if entered - self._left < HOT else 0
        skip = self._quick >= 2 and self._spent > SPEND_FREE + SPEND_SHARE * (entered - self._began)
        if not skip:
            self._read()
        record = self._opened.pop(frame, None)
        if record is not None:
            self._close(record, entered)
        if not place.first_line <= line < place.first_line + place.line_count:
            return
        row = place.rows.setdefault(line, _Row())
        row.active += 1
        row.hits += hit
        if skip:
            self._sampled = row.sampled = True
        left = time.perf_counter()
        self._spent += left - entered
        self._left = left
        self._opened[frame] = _Open(row, left, self._spent, self._resident, self._resident)
        self._sampler.mark(place.base + line - place.first_line)

    def _leave(self, frame: FrameType, *, pauses: bool) -> None:
        entered = time.perf_counter()
        record = self._opened.get(frame)
        if record is None:
            return
        if pauses:
            record.paused = True
            return
        self._read()
        self._close(record, entered)
        del self._opened[frame]
        self._spent += time.perf_counter() - entered


def _pauses(frame: FrameType) -> bool:
    import opcode

    code = frame.f_code.co_code
    # 3.13 has moved on to the RESUME behind the YIELD_VALUE by then
    return 0 <= frame.f_lasti < len(code) and opcode.opname[code[frame.f_lasti]] in ("YIELD_VALUE", "RESUME")
