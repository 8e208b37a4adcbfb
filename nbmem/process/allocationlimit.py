"""The limit that the system itself puts on a process's allocations: ``RLIMIT_DATA`` (Linux ≥ 4.7)."""

from __future__ import annotations

import contextlib
import sys

from nbmem.process.resident import data_bytes

#: The kernel counts in pages, so the bits below mark a limit as ours, in children too (see _limitwatch.pyx).
MARK = 0xB3E


class AllocationLimit:
    """The soft ``RLIMIT_DATA`` of this process, as it was and as we set it."""

    def __init__(self) -> None:
        self.before = 0
        self.ours = 0

    def apply(self, room: int) -> None:
        """Let so many bytes be allocated from here on (Linux; elsewhere nothing is done)."""
        if not sys.platform.startswith("linux"):
            return
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if self.ours and soft != self.ours:
            self.ours = 0  # somebody else set it meanwhile: it is theirs
            self.before = -2
        if self.before == -2:
            return
        if not self.ours:
            self.before = soft
        wanted = ((data_bytes() + max(room, 0)) & ~0xFFF) | MARK
        infinite = resource.RLIM_INFINITY
        if any(limit != infinite and wanted > limit for limit in (self.before, hard)):
            return  # there is a lower one: so it stays
        with contextlib.suppress(ValueError, OSError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
            self.ours = wanted

    def restore(self) -> None:
        """Set it back, unless somebody else set it meanwhile."""
        if not self.ours:
            return
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft == self.ours or soft & 0xFFF == MARK:
            resource.setrlimit(resource.RLIMIT_DATA, (self.before, hard))
        self.ours = 0
