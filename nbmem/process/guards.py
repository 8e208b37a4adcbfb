"""The guard that is on: one at a time in a process."""

from __future__ import annotations

import os
import threading

from nbmem._errors import BadArgument
from nbmem.process.limit import Guard
from nbmem.process.stops import Stop

_current: list[Guard] = []
_ended: list[Stop] = []


def current_guard() -> Guard | None:
    """Return the guard that is on."""
    return _current[0] if _current else None


def set_guard(guard: Guard | None) -> None:
    """Put a guard in the place of the one that is on; it begins to watch at once.

    Raises
    ------
    BadArgument
        Off the main thread; what was on stays on then.
    """
    previous = current_guard()
    if threading.current_thread() is not threading.main_thread():
        raise BadArgument("a memory limit can be set on the main thread only")
    if previous is not None:
        _current.clear()
        stop = previous.switch_off()
        if stop is not None and stop.raised_count:
            _ended.append(stop)
            del _ended[:-10]
    if guard is not None:
        guard.switch_on()
        _current.append(guard)
        guard.begin()


def take_ended() -> list[Stop]:
    """Give what guards did that were switched off since this was asked last, such as one of a block."""
    ended = _ended[:]
    _ended.clear()
    return ended


def _in_child() -> None:
    if _current:
        _current.pop().forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
