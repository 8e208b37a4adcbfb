"""Which threads are busy, and how to raise an error in one; without a lock, for signal handlers."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterable, Mapping


def processor_seconds(idents: Iterable[int]) -> dict[int, float]:
    """Read the processor time of threads (POSIX).

    Parameters
    ----------
    idents : iterable of int
        Of threads that have a frame now: those are alive while the GIL is held. The clock of a dead thread
        must not be asked for.
    """
    return {ident: time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents}


def busiest(before: Mapping[int, float], after: Mapping[int, float]) -> list[int]:
    """Tell which threads took processor time in between: at least a quarter of the most, and 1 ms."""
    spent = {ident: seconds - before.get(ident, 0.0) for ident, seconds in after.items()}
    most = max(spent.values(), default=0.0)
    return [ident for ident, seconds in spent.items() if seconds >= max(most / 4, 1e-3)]


def thread_name(ident: int) -> str:
    """Give the name of a Python thread; ``?`` where threading does not know it."""
    # threading.enumerate() takes a lock, which the code that a signal interrupted may hold
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    return thread.name if thread is not None else "?"


def raise_in_thread(ident: int, error: type[BaseException]) -> None:
    """Have an error raised in another thread, before its next instruction of Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))
