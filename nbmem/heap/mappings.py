"""Which memory mappings of Python's are memory: a mapped file can be dropped by the kernel, others cannot."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np

from nbmem.heap.registry import Buffer

_MAPS = Path("/proc/self/maps")


class Mappings:
    """The anonymous mappings of this process, read when they are first asked for."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] | None = None

    def has(self, address: int) -> bool:
        """Tell whether an address lies in a mapping of no file; False where the system does not say."""
        if self._ranges is None:
            try:
                self._ranges = sorted(_anonymous(_MAPS.read_text(errors="replace")))
            except OSError:
                self._ranges = []
        at = bisect_right(self._ranges, (address, 1 << 64)) - 1
        return at >= 0 and address < self._ranges[at][1]


def _anonymous(text: str) -> list[tuple[int, int]]:
    found = []
    for line in text.splitlines():
        # range, rights, offset, device, inode, path; shared anonymous memory is a /dev/zero of its own
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or fields[5] == "/dev/zero (deleted)":
            begin, end = fields[0].split("-")
            found.append((int(begin, 16), int(end, 16)))
    return found


def anonymous(mappings: Mappings, value: mmap.mmap) -> list[Buffer]:
    """Give the memory of a mapping, none if it is a file's or closed."""
    if type(value).__len__ is not mmap.mmap.__len__:
        return []  # somebody's subclass with methods of its own
    try:
        length = mmap.mmap.__len__(value)
        view: Any = np.frombuffer(value, np.uint8)
    except ValueError:  # closed
        return []
    address = int(view.__array_interface__["data"][0])
    del view  # as long as it lives the mapping cannot be closed
    if not mappings.has(address):
        return []
    return [Buffer(address, (length + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1), "anonymous mapping")]
