"""Hold an interrupt back while something is being put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended; for blocks of milliseconds.

    A KeyboardInterrupt in the middle of starting or stopping recorders would leave some of them on. Only
    the main thread gets interrupts, so elsewhere nothing is done.
    """
    previous = signal.getsignal(signal.SIGINT)
    # None: the handler was not set from Python, and could not be put back
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield
        return
    came: list[FrameType | None] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(None)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if came and callable(previous):
            previous(signal.SIGINT, None)
