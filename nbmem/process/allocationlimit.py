"""The limit that the system itself puts on a process's allocations: ``RLIMIT_DATA`` (Linux ≥ 4.7)."""

from __future__ import annotations

import contextlib
import os
import sys

from nbmem.process.resident import data_bytes


class AllocationLimit:
    """The soft ``RLIMIT_DATA`` of this process, as it was and as we set it.

    Attributes
    ----------
    before, ours : int
        The limit as it was; and as we set it last, 0 while it is not set.
    mark : int
        The low bits of our limits. The kernel counts in pages, so they say nothing but whose a limit is, in
        children too.
    """

    def __init__(self) -> None:
        self.before = 0
        self.ours = 0
        self.mark = 0x800 | os.getpid() & 0x7FF

    def apply(self, room: int) -> None:
        """Let so many bytes be allocated from here on (Linux; elsewhere nothing is done)."""
        if not sys.platform.startswith("linux"):
            return
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if self.ours and soft != self.ours:
            self.ours = 0
            return  # somebody else set it meanwhile: it is theirs
        if not self.ours:
            self.before = soft
        wanted = ((data_bytes() + max(room, 0)) & ~0xFFF) | self.mark
        infinite = resource.RLIM_INFINITY
        if any(limit != infinite and wanted > limit for limit in (self.before, hard)):
            self.restore()  # there is a lower one: so it stays
            return
        with contextlib.suppress(ValueError, OSError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
            self.ours = wanted

    def restore(self) -> None:
        """Set it back, unless somebody else set it meanwhile."""
        if not self.ours:
            return
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft & 0xFFF == self.mark:
            resource.setrlimit(resource.RLIMIT_DATA, (self.before, hard))
        self.ours = 0
