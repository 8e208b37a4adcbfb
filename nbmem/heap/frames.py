"""Frames, generators and coroutines: what their locals are called, where they stand, who runs them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

from nbmem.heap.own import is_own

if TYPE_CHECKING:
    from nbmem.heap._frames import AVAILABLE, exit_callbacks, frame_address, frame_line, frame_locals
else:
    try:
        from nbmem.heap._frames import AVAILABLE, exit_callbacks, frame_address, frame_line, frame_locals
    except ImportError:  # built without the native part
        AVAILABLE = False

        def frame_address(value):
            """Nobody can tell."""
            return 0

        def exit_callbacks():
            """Nobody can list them."""
            return []


#: What has a frame of its own while it is suspended.
SUSPENDABLE = (GeneratorType, CoroutineType, AsyncGeneratorType)
#: Since CPython 3.13 ``f_locals`` shows the frame itself and keeps nothing alive (PEP 667).
_HARMLESS = sys.version_info >= (3, 13)
_PARTS: dict[type, tuple[str, str]] = {
    GeneratorType: ("gi_frame", "gi_code"),
    CoroutineType: ("cr_frame", "cr_code"),
    AsyncGeneratorType: ("ag_frame", "ag_code"),
}


def locals_of(value: Any) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Go through what a frame, a generator or a coroutine holds: name, value, addresses of what lies between.

    What is in use at the moment and has no name has the name ``""``. Nothing if this interpreter does not
    let us look without keeping alive what we see.
    """
    if AVAILABLE:
        found, mapping = frame_locals(value)
        for name, each, cell in found:
            yield name, each, () if cell is None else (id(cell),)
        if type(mapping) is dict:
            for name, each in list(dict.items(mapping)):
                yield str(name) if type(name) is str else "", each, (id(mapping),)
    elif _HARMLESS:
        frame = value if type(value) is FrameType else frame_of(value)
        if frame is not None:
            for name, each in list(frame.f_locals.items()):
                yield name, each, ()


def frame_of(value: Any) -> FrameType | None:
    """Give the frame of a generator or a coroutine; None where it has ended."""
    parts = _PARTS.get(type(value))
    frame: FrameType | None = None if parts is None else getattr(value, parts[0])
    return frame


def code_of(value: Any) -> CodeType | None:
    """Give the code of a frame, a generator or a coroutine."""
    if type(value) is FrameType:
        return value.f_code
    parts = _PARTS.get(type(value))
    code: CodeType | None = None if parts is None else getattr(value, parts[1])
    return code


def line_of(value: Any, *, raised: int | None = None) -> int:
    """Tell the line that a frame, a generator or a coroutine has come to."""
    if raised is not None:
        return raised
    if AVAILABLE and type(value) is not FrameType:
        return frame_line(value) or _first_line(value)
    frame = value if type(value) is FrameType else frame_of(value)
    if frame is None:
        return _first_line(value)
    return frame.f_lineno or frame.f_code.co_firstlineno


def _first_line(value: Any) -> int:
    code = code_of(value)
    return code.co_firstlineno if code is not None else 0


def live_frames() -> dict[int, tuple[FrameType, int]]:
    """List the frames that run in all threads, by the addresses of their nodes: frame object and thread.

    nbmem's own are left out. They are no roots, and one that held itself would keep what it holds alive.
    """
    found: dict[int, tuple[FrameType, int]] = {}
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = top
        while frame is not None:
            address = frame_address(frame)
            if address and not _is_own(frame):
                found[address] = frame, thread
            frame = frame.f_back
    del top  # it is this very frame
    return found


def _is_own(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return type(name) is str and is_own(name)


def thread_name(ident: int) -> str:
    """Name a thread."""
    active: dict[int, Any] = vars(threading).get("_active", {})
    thread = active.get(ident)
    name = None if thread is None else vars(threading.Thread)["name"].fget(thread)
    return name if type(name) is str else str(ident)


__all__ = [
    "SUSPENDABLE",
    "code_of",
    "exit_callbacks",
    "frame_of",
    "line_of",
    "live_frames",
    "locals_of",
    "thread_name",
]
