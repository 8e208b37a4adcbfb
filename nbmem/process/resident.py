"""The resident size of this process, now."""

from __future__ import annotations

import mmap
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Read it: from procfs (15 µs), elsewhere through psutil."""
    try:
        return int(_STATM.read_bytes().split(None, 2)[1]) * mmap.PAGESIZE
    except OSError:  # not Linux, or no descriptor left
        import psutil

        return int(psutil.Process().memory_info().rss)
