"""What a guard did while code ran: plain data."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

#: Where code was: file, line, function.
Place = tuple[str, int, str]


@dataclass(slots=True)
class Stop:
    """What the guard did while code ran.

    Parameters
    ----------
    limit_bytes, before_bytes, highest_bytes : int
        The limit; resident size when the watch began, and the highest that was seen.
    allocation_limit_bytes : int or None
        The size at which allocations fail.
    resident_bytes : int
        Resident size when the error was raised first; 0 if it was not.
    raised_count : int
        How often it was raised.
    interrupted : bool
        Whether the interrupt had to be raised.
    places : tuple of (str, int, str)
        Where the code was then: file, line, function, innermost first; only code of the user's.
    threads : tuple of str
        Threads in which it was raised.
    points : tuple of arrays
        Seconds and resident bytes over time.
    """

    limit_bytes: int
    before_bytes: int
    allocation_limit_bytes: int | None = None
    highest_bytes: int = 0
    resident_bytes: int = 0
    raised_count: int = 0
    interrupted: bool = False
    places: tuple[Place, ...] = ()
    threads: tuple[str, ...] = ()
    points: tuple[array[float], array[int]] = field(default_factory=lambda: (array("d"), array("q")))
