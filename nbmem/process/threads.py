"""Which threads take memory, and how to raise an error in one; without a lock, for signal handlers."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbmem.process._limitwatch import fault_counts
else:
    try:
        from nbmem.process._limitwatch import fault_counts
    except ImportError:  # built without the native part
        from nbmem.process._limitwatch_twin import fault_counts

#: Page faults below which a thread takes no memory to speak of; one of them may be a huge page.
_LEAST_FAULTS = 4
#: Where threads take locks and wait for work: an error raised there would leave a lock locked, or end a
#: pool's worker, and the pool with it.
_WAITING_FILES = tuple(
    os.path.join(os.path.dirname(threading.__file__), *name)
    for name in (
        ("threading.py",),
        ("queue.py",),
        ("selectors.py",),
        ("concurrent", "futures", "thread.py"),
        ("concurrent", "futures", "_base.py"),
        ("logging", "__init__.py"),
    )
)


def page_faults(idents: Iterable[int]) -> dict[int, int]:
    """Count the pages that threads have touched first (Linux; elsewhere nothing is known).

    A thread that Python's threading does not know gets the count of the busiest unknown one.
    """
    counts = fault_counts()
    known = {ident: getattr(threading._active.get(ident), "native_id", None) for ident in idents}  # type: ignore[attr-defined]
    others = max((count for tid, count in counts.items() if tid not in known.values()), default=0)
    return {ident: others if tid is None else counts.get(tid, 0) for ident, tid in known.items()}


def takers(before: Mapping[int, int], after: Mapping[int, int]) -> list[int]:
    """Tell which threads touched new pages in between: of those of the most at least a sixteenth."""
    taken = {ident: count - before.get(ident, 0) for ident, count in after.items()}
    least = max(_LEAST_FAULTS, max(taken.values(), default=0) / 16)
    return [ident for ident, count in taken.items() if count >= least]


def is_waiting_place(file: str) -> bool:
    """Tell whether this is code of the standard library that takes locks, or waits for work."""
    return file in _WAITING_FILES


def thread_name(ident: int) -> str:
    """Give the name of a Python thread; ``?`` where threading does not know it."""
    # threading.enumerate() takes a lock, which the code that a signal interrupted may hold
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    return thread.name if thread is not None else "?"


def raise_in_thread(ident: int, error: type[BaseException]) -> None:
    """Have an error raised in another thread, before its next instruction of Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))
