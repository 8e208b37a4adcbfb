"""Who is born while a picture of the heap lives: what tells an object from another at the same address."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nbmem.heap._births import AVAILABLE, Births
else:
    try:
        from nbmem.heap._births import AVAILABLE, Births
    except ImportError:  # built without the native part
        AVAILABLE, Births = False, None

_current: Births | None = None
_callback: Callable[[str, Any], None] | None = None
_watchers: list[weakref.ref[object]] = []


def current_births(*, start: bool = False) -> Births | None:
    """Give what takes note of births; None if nobody wants it, or this interpreter does not let us."""
    global _current, _callback  # noqa: PLW0603  # one for the process: there is one collector
    if _current is None and start and AVAILABLE:
        _current = Births()
        _callback = _current.on_collection
    if start and _current is not None:
        _current.put_last(_callback)  # also where somebody took it out, or put another behind it
    return _current


def watch_for(watcher: object) -> None:
    """Take note as long as an object lives."""
    if _current is not None:
        _watchers.append(weakref.ref(watcher, _forget))


def born_since(address: int, epoch: int) -> bool:
    """Tell whether something was born at an address since an epoch began; False where nobody took note."""
    if _current is None or not epoch:
        return False
    _current.note()
    return int(_current.born(np.array([address], np.uint64))[0]) >= epoch


def stop_unwatched() -> None:
    """Take no more note of births if there is nobody any more for whom."""
    global _current, _callback  # noqa: PLW0603
    if not _watchers and _current is not None:
        gc.callbacks[:] = [each for each in gc.callbacks if each is not _callback]
        _current = _callback = None


def _forget(watcher: weakref.ref[object]) -> None:
    _watchers[:] = [each for each in _watchers if each is not watcher]
    stop_unwatched()
