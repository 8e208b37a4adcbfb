"""A guard that stops code which reaches a memory limit, before the system kills the process.

Two means together. A *watcher* sees the resident size (each 10 ms, without the GIL) and has an exception
raised in the code that runs. It cannot stop a single call that never comes back to Python, such as one huge
allocation: for that, the system's own limit on allocations (``RLIMIT_DATA``, Linux ≥ 4.7) makes it fail with
MemoryError, a little above. That limit slides along with what is resident, so that memory which is only
reserved takes nothing from it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from nbmem._errors import BadArgument, MemoryLimitExceeded, MemoryLimitInterrupt
from nbmem._units import MIB, format_bytes
from nbmem.process.allocationlimit import AllocationLimit
from nbmem.process.allocators import release_free_memory
from nbmem.process.machine import Ceiling
from nbmem.process.peak import NATIVE, ResidentSampler
from nbmem.process.resident import occupied_bytes
from nbmem.process.stops import Place, Stop
from nbmem.process.threads import (
    is_waiting_place,
    page_faults,
    raise_in_thread,
    takers,
    thread_name,
)

if NATIVE:
    from nbmem.process._limitwatch import LimitWatch, raiser
else:
    from nbmem.process._limitwatch_twin import LimitWatch, raiser  # type: ignore[assignment]

#: Seconds between two looks: memory grows by some 30 MiB meanwhile at most, and each look wakes a core.
INTERVAL = 0.01
WARN_SHARE = 0.8
#: Times that the error is raised before the interrupt, which ``except Exception`` lets through.
_RAISES = 3
_PLACES_KEPT = 8
#: What the display of a traceback may need.
_ROOM_FOR_ERRORS = 64 * MIB
#: Growth after an error was raised that says that the code goes on: what showing it takes is less.
_GROWTH = 16 * MIB
#: Signals after which the code's own thread is stopped, if it cannot be told whose the growth is.
_MOST_UNDECIDED = 5
#: Signals for which an error waits that would come into code that takes locks.
_MOST_POSTPONED = 5
#: Processor time between two signals below which a thread has done nothing but answer them.
_IDLE_SECONDS = 0.002


class Guard:
    """Guard a limit; there is one at a time, see :mod:`nbmem.process.guards`.

    Parameters
    ----------
    limit_bytes : int
        Resident size at which code is stopped.
    ceiling : Ceiling
        What the process can have at all.
    children : bool
        Whether child processes inherit the limit on allocations.
    words : str
        What was asked for.
    is_users : callable
        Tells of a file name whether its code is the user's: only while such code runs is an error raised.
        Not given: all code is.
    is_machinery : callable
        Tells of a file name and a function whether no error is to be raised in them, nor in what they call
        unless that is the user's again: the display of tracebacks, the sending of output.
    warn : callable
        Called once, with resident size and limit, when the size comes near; on a thread of its own.
    """

    def __init__(
        self,
        limit_bytes: int,
        ceiling: Ceiling,
        *,
        children: bool = False,
        words: str = "",
        is_users: Callable[[str], bool] | None = None,
        is_machinery: Callable[[str, str], bool] = lambda file, function: False,
        warn: Callable[[int, int], None] = lambda resident, limit: None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.words = words
        self.head_room = min(max(limit_bytes // 10, 128 * MIB), max(ceiling.bytes - limit_bytes, 64 * MIB))
        self.stop_count = 0
        self._children = children
        self._is_users = is_users or (lambda file: True)
        self._knows_users = is_users is not None
        self._warn = warn
        self._warned = False
        self._threads_before = frozenset(sys._current_frames())
        self._main = threading.main_thread().ident or 0
        self._signal = 0
        self._handler = raiser(self._decide)
        self._previous: Any = None
        self._is_machinery = is_machinery
        self._allocations = AllocationLimit()
        self._watch: LimitWatch | None = None
        self._sampler: ResidentSampler | None = None
        self._stop: Stop | None = None
        self._effective = limit_bytes
        self._code_thread = self._main
        self._in_code = False
        self._raised_at = 0.0
        self._raised_bytes = 0
        self._trimmed_at = 0.0
        self._in_a_row = 0
        self._faults: dict[int, int] | None = None
        self._undecided = 0
        self._postponed = 0
        self._done = 0.0

    # -- on and off

    def switch_on(self) -> None:
        """Take a signal, and limit allocations.

        Raises
        ------
        BadArgument
            Where that cannot be: not on the main thread, no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            raise BadArgument("a memory limit can be set on the main thread only")
        if not hasattr(signal, "pthread_kill"):
            raise BadArgument("a memory limit needs a POSIX system; this one has no signals for threads")
        self._take_signal()

    def _take_signal(self) -> None:
        if self._signal and signal.getsignal(self._signal) is self._handler:
            return
        # SIGURG is ignored unless somebody asks for it, so that one which comes late does no harm.
        for number in (
            signal.SIGURG,
            *range(getattr(signal, "SIGRTMAX", 1) - 1, getattr(signal, "SIGRTMIN", 1), -1),
        ):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._previous = signal.signal(number, self._handler)
                self._signal = int(number)
                return
        raise BadArgument("every signal that a memory limit could use is taken by other code")

    def switch_off(self) -> Stop | None:
        """Undo all of it exactly; return what happened in the code that runs."""
        stop = self._halt()
        in_code, self._in_code = self._in_code, False
        self._put_back_signal()
        return stop if in_code else None

    def _put_back_signal(self) -> None:
        # Only the main thread may; elsewhere the handler stays and does nothing.
        with contextlib.suppress(ValueError):
            if self._signal and signal.getsignal(self._signal) is self._handler:
                signal.signal(self._signal, self._previous)
        self._signal = 0

    def forget(self) -> None:
        """In a forked child: guard nothing; give allocations their limit back unless children inherit it."""
        self._in_code = False
        watch, sampler = self._watch, self._sampler
        self._watch = self._sampler = None
        if watch is not None and sampler is not None:
            watch.stop()
            watch.close()
            sampler.after_fork()
        if not self._children:
            self._allocations.restore()
        self._put_back_signal()

    @property
    def allocation_limit_bytes(self) -> int | None:
        """Resident size about which allocations fail; None where that is not so."""
        return (
            self.limit_bytes + self.head_room if self._watch is not None and self._allocations.ours else None
        )

    # -- around the code

    @property
    def in_code(self) -> bool:
        """Whether code is watched that has not ended."""
        return self._in_code

    def begin(self) -> None:
        """Watch the code that runs from here on, on this thread."""
        if self._watch is not None:
            self._halt()
        if threading.current_thread() is threading.main_thread():
            self._take_signal()
        self._code_thread = threading.get_ident()
        self._in_code = True
        self._start_watch()

    def _start_watch(self) -> None:
        occupied = occupied_bytes()
        # Code that begins above the limit may run: how else would one free memory?
        grace = max(self.limit_bytes // 20, 16 * MIB)
        room = max(self.limit_bytes - occupied, grace) + self.head_room
        # First of all: there may be no memory for anything else.
        self._allocations.apply(room)
        if occupied >= self.limit_bytes * WARN_SHARE:
            # what the last cell let go of may still be with malloc
            release_free_memory()
            occupied = occupied_bytes()
        else:
            self._warned = False
        self._effective = max(self.limit_bytes, occupied + grace)
        ceiling = self._effective + self.head_room
        limited = bool(self._allocations.ours)
        self._stop = Stop(self.limit_bytes, occupied, ceiling if limited else None)
        self._raised_at = self._trimmed_at = 0.0
        self._raised_bytes = self._in_a_row = self._undecided = self._postponed = 0
        self._faults = None
        watch = LimitWatch(
            limit=self._effective,
            warn=sys.maxsize if self._warned else int(self.limit_bytes * WARN_SHARE),
            signal=self._signal,
            thread=self._main,
            ceiling=ceiling if limited else 0,
            ours=self._allocations.ours,
            soft=self._allocations.before,
            mark=self._allocations.mark,
            spare_children=limited and not self._children,
        )
        sampler = ResidentSampler(INTERVAL)
        sampler.start()
        watch.start(sampler)
        self._watch, self._sampler = watch, sampler

    def make_room(self) -> None:
        """Let some more be allocated: the code was stopped, and what shows the error needs memory."""
        if self._watch is not None:
            self._watch.lift(_ROOM_FOR_ERRORS)

    def end(self) -> Stop | None:
        """Watch no more (but for threads that the code left running); return what happened."""
        if not self._in_code:
            return None
        self._in_code = False
        stop = self._halt()
        if self._users_threads(sys._current_frames()):
            self._start_watch()
        return stop

    def _halt(self) -> Stop | None:
        """Stop to watch, and let allocations go as far as they could before."""
        watch, sampler, stop = self._watch, self._sampler, self._stop
        self._watch = self._sampler = None
        if watch is None or sampler is None or stop is None:
            return None
        highest, self._allocations.ours = watch.stop()
        self._allocations.restore()
        watch.close()
        seconds, resident, _ = sampler.stop()
        stop.points = seconds, resident
        stop.highest_bytes = max(highest, stop.resident_bytes, stop.before_bytes)
        return stop

    # -- when the limit is reached

    def _decide(self, number: int, frame: FrameType | None) -> BaseException | None:
        """Give the error that is to be raised on the main thread, if one is."""
        return self._error() if self._must_raise(frame) else None

    def _must_raise(self, frame: FrameType | None) -> bool:
        """Decide what to do, and do what concerns other threads; tell whether to raise on this one."""
        watch, stop, now = self._watch, self._stop, time.monotonic()
        if watch is None or stop is None:
            return False
        resident = self._reached(watch, now)
        if not resident:
            return False
        frames = sys._current_frames()
        try:
            targets = self._takers(frames)  # none: at the next signal it may be known
            others = [ident for ident in targets if ident != self._main]
            here = self._main in targets and self._in_users(frame)
            if not here and not others:
                return False
            if not stop.raised_count:
                stop.resident_bytes = resident
                told = frame if here else frames.get(others[0])
                stop.places = tuple(self._places(told))[:_PLACES_KEPT]
                del told
        finally:
            del frame
            frames.clear()
        for ident in others:
            raise_in_thread(ident, MemoryLimitExceeded)
            stop.threads += (thread_name(ident),)
        self.stop_count += not stop.raised_count
        stop.raised_count += 1
        self._in_a_row += 1
        self._postponed = 0
        stop.interrupted = here and self._in_a_row > _RAISES
        self._raised_at, self._raised_bytes, self._faults = now, resident, None
        return here

    def _reached(self, watch: LimitWatch, now: float) -> int:
        """Give the resident size if it is at the limit and something is to be done about it, else 0."""
        resident = watch.occupied
        if watch.warned and not self._warned and resident >= self.limit_bytes * WARN_SHARE:
            self._warned = True
            with contextlib.suppress(RuntimeError):  # no further thread can be started
                threading.Thread(
                    target=self._warn, args=(resident, self.limit_bytes), name="nbmem-warning", daemon=True
                ).start()
        if resident < self._effective:
            return 0
        if watch.take_relieved():  # the code freed what it took, and took anew: that is another time
            self._raised_at = 0.0
            self._in_a_row = 0
        if not self._is_due(resident, now):
            return 0
        if now - self._trimmed_at > 1.0:
            # Is it in use, or does malloc hold it free? Then it can be given back.
            self._trimmed_at = now
            release_free_memory()
            resident = occupied_bytes()
        return resident if resident >= self._effective else 0

    def _is_due(self, resident: int, now: float) -> bool:
        """After an error was raised, give the code time to clean up; still growing, or a second on, again."""
        if not self._raised_at:
            return True
        return resident > self._raised_bytes + _GROWTH or now - self._raised_at > 1.0

    def _error(self) -> BaseException:
        assert self._stop is not None
        message = (
            f"the resident size is {format_bytes(self._stop.resident_bytes)}, "
            f"the memory limit {format_bytes(self.limit_bytes)} (%memlimit, nbmem.limit)"
        )
        return MemoryLimitInterrupt(message) if self._stop.interrupted else MemoryLimitExceeded(message)

    def _takers(self, frames: dict[int, FrameType]) -> list[int]:
        """Find the threads that take the memory; of one that waits for work at the moment nothing is said."""
        idents = self._users_threads(frames)
        if not idents:
            return [self._code_thread] if self._in_code else []
        if self._in_code:
            idents.append(self._code_thread)
        before, self._faults = self._faults, page_faults(idents)
        if before is None:
            return []
        found = [
            ident
            for ident in takers(before, self._faults)
            if ident == self._code_thread or not is_waiting_place(frames[ident].f_code.co_filename)
        ]
        self._undecided = 0 if found else self._undecided + 1
        if self._undecided >= _MOST_UNDECIDED and self._in_code:
            return [self._code_thread]
        return found

    def _users_threads(self, frames: dict[int, FrameType]) -> list[int]:
        """Give the other threads in which code of the user's runs, and that the guard found or saw come."""
        return [
            ident
            for ident, frame in frames.items()
            if ident not in (self._main, self._code_thread)
            and not thread_name(ident).startswith("nbmem")
            and any(True for _ in self._places(frame))
            and (self._knows_users or ident not in self._threads_before)
        ]

    def _in_users(self, frame: FrameType | None) -> bool:
        """Tell whether the user's code runs: not the machinery that it, or its end, has called."""
        # An error that comes while a lock is taken may leave it locked for ever: later then, unless the
        # thread has done nothing since the last signals, and so is waiting.
        if frame is not None and is_waiting_place(frame.f_code.co_filename):
            done, self._done = time.thread_time() - self._done, time.thread_time()
            self._postponed = self._postponed + 1 if done < _IDLE_SECONDS else 0
            if self._postponed < _MOST_POSTPONED:
                return False
        while frame is not None and self._in_code:
            code = frame.f_code
            if self._is_machinery(code.co_filename, code.co_name):
                return False
            if self._is_users(code.co_filename):
                return True
            frame = frame.f_back
        return False

    def _places(self, frame: FrameType | None) -> Iterator[Place]:
        """Give file, line and function of the user's frames in a stack, innermost first."""
        while frame is not None:
            code = frame.f_code
            if self._is_users(code.co_filename):
                yield code.co_filename, frame.f_lineno, code.co_qualname
            frame = frame.f_back
