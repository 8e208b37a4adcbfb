"""What the allocators themselves say is in use: the C library's malloc, and Python's pymalloc."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class MallocCounters:
    """glibc's own count, in bytes.

    Parameters
    ----------
    in_use_bytes : int
        Handed out from the heaps, block headers included (``uordblks``).
    mapped_bytes : int
        Handed out as mappings of their own, for large blocks (``hblkhd``).
    free_bytes : int
        Held by malloc, free for the next block (``fordblks``).
    releasable_bytes : int
        Of these, at the top of the heap (``keepcost``).
    """

    in_use_bytes: int
    mapped_bytes: int
    free_bytes: int
    releasable_bytes: int


@dataclass(frozen=True, slots=True)
class PymallocCounters:
    """CPython's small-object allocator, in bytes.

    Parameters
    ----------
    arenas_bytes : int
        All arenas that it holds.
    in_use_bytes : int
        Blocks in use, each rounded up to its size class.
    free_bytes : int
        Free blocks in used pools, and unused pools.
    block_count : int
        Blocks in use.
    size_classes : tuple of (int, int, int)
        Per size class: block size in bytes, blocks in use, blocks free.
    """

    arenas_bytes: int
    in_use_bytes: int
    free_bytes: int
    block_count: int
    size_classes: tuple[tuple[int, int, int], ...]


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


@cache
def _mallinfo2() -> Callable[[], Any] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc ≥ 2.33; musl has none
    if function is not None:
        function.restype = _Mallinfo2
        function.argtypes = ()
    return function


def malloc_counters() -> MallocCounters | None:
    """Read glibc's counters (≈ 10 µs); None where the C library has none."""
    function = _mallinfo2()
    if function is None:
        return None
    info = function()
    return MallocCounters(info.uordblks, info.hblkhd, info.fordblks, info.keepcost)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc; musl has none
    if function is not None:
        function.restype, function.argtypes = ctypes.c_int, (ctypes.c_size_t,)
    return function


def release_free_memory() -> None:
    """Have malloc give the memory that is free inside its heap back to the system.

    What is measured next then shows in the resident size even where it would have reused such memory:
    a second ``np.ones(10**6)`` otherwise seems to cost nothing. No object is touched.
    """
    function = _malloc_trim()
    if function is not None:
        function(0)


def releasable_bytes() -> int:
    """Estimate what :func:`release_free_memory` would give back: free in malloc's heap, and resident.

    0 where it cannot be told. ``fordblks`` alone does not tell: it also counts what was given back before.
    """
    counters = malloc_counters()
    if counters is None or _malloc_trim() is None:
        return 0
    resident = 0
    try:
        with open("/proc/self/smaps", "rb") as file:
            inside = False
            for line in file:
                if line[:1] in b"0123456789abcdef":
                    inside = line.rstrip().endswith(b"[heap]")
                elif inside and line.startswith(b"Rss:"):
                    resident += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return max(min(counters.free_bytes, resident - counters.in_use_bytes), 0)


def bytes_in_use() -> int | None:
    """Add up what malloc and pymalloc have handed out; None where neither tells."""
    malloc, small = malloc_counters(), pymalloc_counters()
    if malloc is None and small is None:
        return None
    total = 0 if malloc is None else malloc.in_use_bytes + malloc.mapped_bytes
    return total + (0 if small is None else small.in_use_bytes)


def pymalloc_counters() -> PymallocCounters | None:
    """Read pymalloc's counters; None where Python runs on another allocator.

    ``sys._debugmallocstats`` writes them to descriptor 2, which is led into an unnamed file for the
    moment; what another thread wrote to it just before the dump is passed on. Costs a walk over the pools,
    about 1 ms per 100 MB of small objects.
    """
    dump = getattr(sys, "_debugmallocstats", None)
    if dump is None or os.name != "posix":
        return None
    text = _captured_from_descriptor_2(dump)
    begin = text.find("Small block threshold")
    if begin < 0:
        return None
    if begin:
        os.write(2, text[:begin].encode())
    text = text[begin:]
    # class   size   num pools   blocks in use  avail blocks
    classes = tuple(
        (int(size), int(used), int(free))
        for size, used, free in re.findall(r"(?m)^\s*\d+\s+(\d+)\s+\d+\s+(\d+)\s+(\d+)\s*$", text)
    )
    return PymallocCounters(
        arenas_bytes=_total(r"\d+ arenas \* \d+ bytes/arena", text),
        in_use_bytes=_total("# bytes in allocated blocks", text),
        free_bytes=_total("# bytes in available blocks", text)
        + _total(r"\d+ unused pools \* \d+ bytes", text),
        block_count=sum(used for _, used, _ in classes),
        size_classes=classes,
    )


def _total(label: str, text: str) -> int:
    match = re.search(rf"(?m)^{label}\s*= +([\d,]+)$", text)
    return int(match.group(1).replace(",", "")) if match else 0


def _captured_from_descriptor_2(dump: object) -> str:
    assert callable(dump)
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        try:
            saved = os.dup(2)
        except OSError:  # no descriptor 2: a daemon without stderr
            return ""
        try:
            os.dup2(file.fileno(), 2)
            dump()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def allocated_block_count() -> int:
    """Count the blocks that Python's object allocator has in use (walks the pools; exact)."""
    return sys.getallocatedblocks()
