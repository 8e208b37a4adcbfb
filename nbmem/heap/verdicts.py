"""Of each object on a path: is it expected to live, should it be gone, or may either be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from nbmem.heap.roots import Root

_ROOTS = {
    "variable": "a namespace",
    "module": "a loaded module",
    "class": "a class that its module has",
    "frame": "it is running",
    "thread": "it is running",
    "task": "it waits to run",
    "event loop": "it is running",
    "logger": "loggers live as long as the process",
    "shell": "the notebook itself",
    "exit callback": "until the process ends",
    "signal handler": "as long as it is installed",
    "trace function": "as long as it is installed",
    "context variable": "the current context",
}
_OVER = {
    "output": "it was displayed, and is kept to be asked for again",
    "error": "the error is over; it is kept for %debug",
    "figure": "pyplot keeps figures until they are closed",
    "comm": "comms are kept until they are closed",
    "widget": "ipywidgets keeps widgets until they are closed",
}


@dataclass(frozen=True, slots=True)
class Status:
    """What is thought of an object.

    Parameters
    ----------
    name : str
        ``expected``, ``suspect`` or ``held``.
    reason : str
    """

    name: str
    reason: str


def statuses(root: Root, values: Sequence[Any]) -> list[Status]:
    """Judge the objects of a path, from the root down.

    Notes
    -----
    As LeakCanary reasons: what is expected to live makes all that is above it expected, and what should be
    gone makes all that is below it so. The references between the last of the former and the first of the
    latter are the suspects.
    """
    found: list[Status] = []
    for number, value in enumerate(values):
        last = number == len(values) - 1
        if number == 0 and root.kind in _OVER:
            found.append(Status("held", _OVER[root.kind]))
        elif found and found[-1].name == "held":
            found.append(Status("held", "because of what holds it"))
        elif number == 0 and root.kind in _ROOTS and not (last and root.kind != "native code"):
            found.append(Status("expected", _ROOTS[root.kind]))
        elif last:
            found.append(Status("held", "it was asked about"))
        elif issubclass(type(value), (ModuleType, type, FunctionType, BuiltinFunctionType)):
            found = [each if each.name == "expected" else _LEADS for each in found]
            found.append(Status("expected", "part of a program"))
        else:
            found.append(Status("suspect", "nothing tells"))
    return found


_LEADS = Status("expected", "leads to what is expected")
