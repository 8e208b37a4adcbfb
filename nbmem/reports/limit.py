"""``nbmem.limit``: a guard that stops the code, not the process."""

from __future__ import annotations

import math
import os
import re
import sys
from types import TracebackType
from typing import Self

from nbmem._errors import BadArgument
from nbmem._units import format_bytes, format_count, parse_bytes
from nbmem.process import occupied_bytes, release_free_memory
from nbmem.process.guards import current_guard, set_guard
from nbmem.process.limit import Guard
from nbmem.process.machine import memory_ceiling
from nbmem.reports.selection import is_cell_file

AUTO_SHARE = 0.9
_MACHINERY = (
    r"[/\\](?:IPython[/\\]core[/\\](?:ultratb|tbtools|displayhook|events)\.py|(?:ipykernel|zmq)[/\\])"
)
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


class MemoryLimit:
    """The memory limit of this process, as it is now; as a context manager, on for a block.

    Attributes
    ----------
    limit_bytes : int or None
        Resident size at which code is stopped; None: there is no limit.
    set_by : str
        What was asked for.
    occupied_bytes : int
        Resident size now, without the pages of mapped files, which the system can take back.
    allocation_limit_bytes : int or None
        Resident size at which a single allocation fails with MemoryError; None where nothing is set.
    stop_count : int
        How often code was stopped.
    """

    def __init__(self, previous: Guard | None = None) -> None:
        guard = current_guard()
        self._previous = previous
        self.limit_bytes = guard.limit_bytes if guard is not None else None
        self.set_by = guard.words if guard is not None else ""
        self.allocation_limit_bytes = guard.allocation_limit_bytes if guard is not None else None
        self.stop_count = guard.stop_count if guard is not None else 0
        self.occupied_bytes = occupied_bytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        set_guard(self._previous)

    def __repr__(self) -> str:
        if self.limit_bytes is None:
            return (
                f"no memory limit is set, {format_bytes(self.occupied_bytes)} occupied; "
                "set one with %memlimit 8GB, 75% or auto"
            )
        share = self.occupied_bytes / self.limit_bytes
        parts = [
            f"memory limit {format_bytes(self.limit_bytes)} ({self.set_by})",
            f"occupied {format_bytes(self.occupied_bytes)}, {share:.0%} of it",
        ]
        if self.allocation_limit_bytes is not None:
            parts.append(f"allocations beyond {format_bytes(self.allocation_limit_bytes)} fail")
        if self.stop_count:
            times = "once" if self.stop_count == 1 else f"{format_count(self.stop_count)} times"
            parts.append(f"stopped {times}")
        return " · ".join(parts)


def limit(size: str | float | None = None, *, children: bool = False) -> MemoryLimit:
    """Set, lift or tell the memory limit of this process.

    When the resident size reaches the limit, :class:`~nbmem.MemoryLimitExceeded` (a MemoryError) is raised
    in the code that runs on the main thread, or in the threads that take the memory; at 80 % a warning
    is printed. A single allocation that would go far beyond fails with MemoryError (Linux). In a notebook
    only the code of cells is stopped, never the kernel.

    Parameters
    ----------
    size : str or number, optional
        ``"8GB"``, ``"75%"`` (of the memory that this process can have), ``"auto"`` (90 % of it), ``"off"``,
        or bytes. None changes nothing.
    children : bool
        Whether child processes inherit the limit on allocations.

    Returns
    -------
    MemoryLimit
        As a context manager, it puts the previous limit back at the end of the block.

    Raises
    ------
    BadArgument
        If it is no size, below what is resident, or above what the machine has; off the main thread.

    Examples
    --------
    >>> import nbmem
    >>> with nbmem.limit("20GB" if nbmem.limit("auto").limit_bytes > 20e9 else "auto"):
    ...     rows = list(range(1000))
    >>> nbmem.limit("off").limit_bytes is None
    True
    """
    if size is None or size == "status":
        return MemoryLimit()
    previous = current_guard()
    if size == "off":
        set_guard(None)
        return MemoryLimit(previous)
    ceiling = memory_ceiling()
    wanted, words = _wanted(size, ceiling.bytes, ceiling.set_by)
    resident = occupied_bytes()
    if wanted <= resident:
        release_free_memory()  # what malloc holds free is not occupied
        resident = occupied_bytes()
    if wanted > ceiling.bytes:
        raise BadArgument(
            f"{format_bytes(wanted)} is more than the {format_bytes(ceiling.bytes)} of {ceiling.set_by}; "
            "a limit of auto leaves some room"
        )
    if wanted <= resident:
        raise BadArgument(
            f"{format_bytes(wanted)} is below the {format_bytes(resident)} that the process occupies "
            "already: set a higher limit, or free some first"
        )
    set_guard(
        Guard(
            wanted,
            ceiling,
            children=children,
            words=words,
            is_users=_is_cells if _in_shell() else None,
            is_machinery=_is_machinery,
            warn=_warn,
        )
    )
    return MemoryLimit(previous)


def _wanted(size: str | float, most: int, set_by: str) -> tuple[int, str]:
    """Give the limit in bytes, and what was asked for in words."""
    if isinstance(size, bool) or not isinstance(size, (str, int, float)):
        raise BadArgument(f"a limit is a size, not {type(size).__name__}; write 8GB, 75%, auto or off")
    if isinstance(size, float) and not math.isfinite(size):
        raise BadArgument(f"{size!r} is not a limit; write for example 8GB, 75%, auto or off")
    if not isinstance(size, str):
        return int(size), f"{int(size)} bytes"
    text = size.strip()
    if text == "auto":
        return int(most * AUTO_SHARE), f"auto: {AUTO_SHARE:.0%} of {set_by}, {format_bytes(most)}"
    if match := re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*%", text):
        share = float(match.group(1)) / 100
        if not 0 < share <= 1:
            raise BadArgument(f"{text!r} is no share of the memory; write for example 75%")
        return int(most * share), f"{text} of {set_by}, {format_bytes(most)}"
    try:
        return parse_bytes(text), f"{text}"
    except BadArgument:
        raise BadArgument(f"{size!r} is not a limit; write for example 8GB, 75%, auto or off") from None


def _is_cells(file: str) -> bool:
    # what %%time, %timeit and %%timeit compile is a cell's too
    return is_cell_file(file) or file.startswith(("<timed ", "<magic-timeit"))


def _is_machinery(file: str, function: str) -> bool:
    """Tell of code that shows errors and sends output: to stop it would lose what is to be shown."""
    own = file.startswith(_PACKAGE) or function == "showtraceback"
    return own or re.search(_MACHINERY, file) is not None


def _in_shell() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return shell is not None and shell() is not None


def _warn(resident: int, limit_bytes: int) -> None:
    print(  # noqa: T201  # to the user, while the code runs
        f"nbmem: {format_bytes(resident)} are occupied, {resident / limit_bytes:.0%} of the memory limit "
        f"({format_bytes(limit_bytes)}); at the limit the code is stopped",
        file=sys.stderr,
        flush=True,
    )
