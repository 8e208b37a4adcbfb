"""The watch on a limit in pure Python: it looks only while other code lets go of the interpreter."""

from __future__ import annotations

import contextlib
import os
import signal as signals
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from nbmem.process.resident import occupied_bytes

_AGAIN = 0.02
_STEP = 1 << 20


def fault_counts() -> dict[int, int]:
    """Count the pages that each thread of the process touched first, by the kernel's numbers (Linux)."""
    counts: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/task"):
            # A thread that ended meanwhile, or no descriptor left: not counted.
            with contextlib.suppress(OSError):
                text = Path(f"/proc/self/task/{name}/stat").read_bytes()
                # after the name in brackets: state, 6 numbers, minflt (proc(5))
                counts[int(name)] = int(text.rpartition(b")")[2].split()[7])
    return counts


def raiser(
    decide: Callable[[int, FrameType | None], BaseException | None],
) -> Callable[[int, FrameType | None], None]:
    """Make a signal handler: it raises the error that ``decide`` returns."""

    def handler(number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        try:
            error = decide(number, frame)
        except Exception:  # noqa: BLE001  # no memory, no stack left: it is asked again soon
            return
        # The error's traceback keeps what this frame refers to: nothing that would make a cycle.
        del frame
        if error is not None:
            try:
                raise error
            finally:
                del error

    return handler


class LimitWatch:
    """One limit, watched; see :class:`nbmem.process._limitwatch.LimitWatch`.

    Children get their limit back when the watch ends, not as soon as they are there.
    """

    def __init__(
        self,
        *,
        limit: int,
        warn: int,
        signal: int,
        thread: int,
        ceiling: int = 0,
        ours: int = 0,
        soft: int = 0,
        mark: int = 0,
        spare_children: bool = False,
    ) -> None:
        self._limit, self._warn = limit, warn
        self._signal, self._thread = signal, thread
        self._ceiling, self._ours, self._soft = ceiling, ours, soft
        self._mark = mark
        self._spare = spare_children
        self._pid = os.getpid()
        self._highest = 0
        self.occupied = 0
        self._asked = 0.0
        self._sampler: Any = None
        self.warned = False
        self._relieved = False

    def start(self, sampler: Any) -> None:
        """Look at each of a sampler's ticks, from now on."""
        self._sampler = sampler
        sampler.hook = self._look

    def stop(self) -> tuple[int, int]:
        """Look no more; return the highest resident size seen, and the soft limit as set last."""
        if self._sampler is not None:
            self._sampler.hook = None
            self._sampler = None
        return self._highest, self._ours

    def close(self) -> None:
        """Look at the children, when the limit is off."""
        if self._spare and self._pid == os.getpid():
            self._spare_children()
        self._spare = False

    def lift(self, size: int) -> None:
        """Let so many bytes more be allocated, at once."""
        if self._ceiling:
            self._ceiling += size
            self._slide()

    def take_relieved(self) -> bool:
        """Tell whether the size was 5 % below the limit since this was asked last."""
        relieved, self._relieved = self._relieved, False
        return relieved

    def _look(self, resident: int) -> None:
        resident = self.occupied = occupied_bytes()
        self._highest = max(self._highest, resident)
        if self._ceiling:
            self._slide()
        if resident >= self._warn and not self.warned:
            self.warned = True
            signals.pthread_kill(self._thread, self._signal)
        self._relieved = self._relieved or resident < self._limit - self._limit // 20
        if resident >= self._limit and time.monotonic() - self._asked >= _AGAIN:
            self._asked = time.monotonic()
            signals.pthread_kill(self._thread, self._signal)

    def _slide(self) -> None:
        import resource

        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
        page = resource.getpagesize()
        resident, data = int(fields[1]) * page, int(fields[5]) * page
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        room = ((max(self._ceiling - resident, 0) + data) & ~0xFFF) | self._mark
        if soft == self._ours and abs(room - soft) > _STEP and (self._soft < 0 or room <= self._soft):
            resource.setrlimit(resource.RLIMIT_DATA, (room, hard))
            self._ours = room

    def _spare_children(self) -> None:
        import resource

        import psutil

        for child in psutil.Process().children(recursive=True):
            try:
                soft, hard = resource.prlimit(child.pid, resource.RLIMIT_DATA)
                if soft >= 0 and soft & 0xFFF == self._mark:
                    resource.prlimit(child.pid, resource.RLIMIT_DATA, (self._soft, hard))
            except OSError:  # it has ended
                continue
