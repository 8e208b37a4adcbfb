"""The resident size of this process, now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbmem.process._meter import memory_now
else:
    try:
        from nbmem.process._meter import memory_now
    except ImportError:  # built without the native part
        from nbmem.process._twin import memory_now

_STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Read it: from procfs (2 µs), elsewhere through psutil."""
    try:
        return memory_now()[0]
    except OSError:  # not Linux, or no descriptor left
        import psutil

        return int(psutil.Process().memory_info().rss)


def data_bytes() -> int:
    """Read the bytes of private writable memory, touched or not: what RLIMIT_DATA counts (Linux)."""
    return memory_now()[1]


def occupied_bytes() -> int:
    """Read the resident size without the pages of mapped files, which the system takes back when it must.

    Elsewhere than on Linux, the resident size.
    """
    try:
        text = _STATUS.read_bytes()
    except OSError:
        return resident_bytes()
    sizes = [text.partition(name)[2].split(None, 1) for name in (b"\nRssAnon:", b"\nRssShmem:")]
    return sum(int(found[0]) * 1024 for found in sizes) if all(sizes) else resident_bytes()
