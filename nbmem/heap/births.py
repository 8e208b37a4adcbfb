"""Who is born while a picture of the heap lives: what tells an object from another at the same address."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nbmem.heap._births import AVAILABLE, Births
else:
    try:
        from nbmem.heap._births import AVAILABLE, Births
    except ImportError:  # built without the native part
        AVAILABLE, Births = False, None

_current: Births | None = None
_watchers: list[weakref.ref[object]] = []


def current_births(*, start: bool = False) -> Births | None:
    """Give what takes note of births; None if nobody wants it, or this interpreter does not let us."""
    global _current  # noqa: PLW0603  # one for the process: there is one collector
    if _current is None and start and AVAILABLE:
        _current = Births()
        gc.callbacks.append(_current.on_collection)
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


def _forget(watcher: weakref.ref[object]) -> None:
    global _current  # noqa: PLW0603
    _watchers[:] = [each for each in _watchers if each is not watcher]
    if not _watchers and _current is not None:
        callback = _current.on_collection
        gc.callbacks[:] = [each for each in gc.callbacks if each != callback]
        _current = None
