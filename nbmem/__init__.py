"""nbmem: what did this cell cost, which line, which variable; exact memory inspection for notebooks.

In a notebook: ``%load_ext nbmem``, then ``%memit statement`` or a cell that begins with ``%%memtrace``.
In Python: the functions listed here. Importing nbmem loads neither pandas nor IPython.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbmem._errors import (
    AlreadyRunning,
    BadArgument,
    MemoryLimitExceeded,
    MemoryLimitInterrupt,
    NbmemError,
    NotMeasured,
)

if TYPE_CHECKING:
    from nbmem.heap.registry import register_type
    from nbmem.ipython.holders import root_paths, type_paths
    from nbmem.ipython.notebook import variables
    from nbmem.ipython.releasing import free
    from nbmem.reports.celltrace import CellTrace
    from nbmem.reports.freed import Freed
    from nbmem.reports.heapdiff import HeapDiff
    from nbmem.reports.history import SessionReport, history, session
    from nbmem.reports.limit import MemoryLimit, limit
    from nbmem.reports.lineprofile import LineProfile, profile_lines
    from nbmem.reports.memit import MemitResult, memit
    from nbmem.reports.objectsize import ObjectSize, sizeof
    from nbmem.reports.recording import trace
    from nbmem.reports.rootpaths import RootPaths
    from nbmem.reports.snapshot import HeapSnapshot, snapshot
    from nbmem.reports.typepaths import TypePaths

__version__ = "0.1.0"

__all__ = [
    "AlreadyRunning",
    "BadArgument",
    "CellTrace",
    "Freed",
    "HeapDiff",
    "HeapSnapshot",
    "LineProfile",
    "MemitResult",
    "MemoryLimit",
    "MemoryLimitExceeded",
    "MemoryLimitInterrupt",
    "NbmemError",
    "NotMeasured",
    "ObjectSize",
    "RootPaths",
    "SessionReport",
    "TypePaths",
    "free",
    "history",
    "limit",
    "memit",
    "profile_lines",
    "register_type",
    "root_paths",
    "session",
    "sizeof",
    "snapshot",
    "trace",
    "type_paths",
    "variables",
]

_PLACES = {
    "register_type": "nbmem.heap.registry",
    "CellTrace": "nbmem.reports.celltrace",
    "SessionReport": "nbmem.reports.history",
    "history": "nbmem.reports.history",
    "session": "nbmem.reports.history",
    "LineProfile": "nbmem.reports.lineprofile",
    "profile_lines": "nbmem.reports.lineprofile",
    "MemoryLimit": "nbmem.reports.limit",
    "limit": "nbmem.reports.limit",
    "MemitResult": "nbmem.reports.memit",
    "memit": "nbmem.reports.memit",
    "ObjectSize": "nbmem.reports.objectsize",
    "sizeof": "nbmem.reports.objectsize",
    "trace": "nbmem.reports.recording",
    "RootPaths": "nbmem.reports.rootpaths",
    "root_paths": "nbmem.ipython.holders",
    "Freed": "nbmem.reports.freed",
    "free": "nbmem.ipython.releasing",
    "HeapDiff": "nbmem.reports.heapdiff",
    "HeapSnapshot": "nbmem.reports.snapshot",
    "snapshot": "nbmem.reports.snapshot",
    "TypePaths": "nbmem.reports.typepaths",
    "type_paths": "nbmem.ipython.holders",
    "variables": "nbmem.ipython.notebook",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'nbmem' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Load the magics: what ``%load_ext nbmem`` calls. Prints nothing; loading twice changes nothing."""
    from nbmem.ipython.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Undo loading: what ``%unload_ext nbmem`` calls."""
    from nbmem.ipython.extension import unload

    unload(shell)
