"""What the allocators say of a structure: build it, read their counters, drop it, read again.

Run as a program, ``python -m tests.heap.judge SCALE NAME…``, it judges in a process of its own and writes one
line of JSON per structure.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tests.heap.library_structures  # noqa: F401  # enters them
from tests.heap.structures import STRUCTURES, Structure

ROOT = Path(__file__).resolve().parents[2]
#: What a size may be off: 3 % and 1 kB.
PART, BYTES = 0.03, 1024


@dataclass(frozen=True)
class Verdict:
    """One structure judged.

    Parameters
    ----------
    name : str
    retained_bytes : int
        What nbmem said of the holder.
    together_bytes : int
        The same, asked in the other way.
    came_back_bytes : int
        What the allocators had more before it was dropped.
    """

    name: str
    retained_bytes: int
    together_bytes: int
    came_back_bytes: int

    @property
    def off_bytes(self) -> int:
        """How far nbmem is off; below 0: it said too little."""
        return self.retained_bytes - self.came_back_bytes

    @property
    def is_right(self) -> bool:
        """Whether that is within the bounds."""
        return abs(self.off_bytes) <= max(BYTES, PART * self.came_back_bytes)


def in_use_bytes() -> int:
    """Add up all that the allocators of this process have handed out."""
    from nbmem.process.allocators import malloc_counters, pymalloc_counters

    pymalloc, malloc = pymalloc_counters(), malloc_counters()
    assert pymalloc is not None
    assert malloc is not None
    total = pymalloc.in_use_bytes + malloc.in_use_bytes + malloc.mapped_bytes + _shared_mappings()
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        total += arrow.total_allocated_bytes()
    return total


def resident_bytes() -> int:
    """Read what is resident and of no file: for a library whose allocator has no counter."""
    status = Path("/proc/self/status").read_text()
    return sum(int(kib) * 1024 for kib in re.findall(r"(?m)^Rss(?:Anon|Shmem):\s+(\d+) kB$", status))


def _shared_mappings() -> int:
    """Sum the anonymous mappings that Python's ``mmap`` makes."""
    maps = Path("/proc/self/maps").read_text()
    found = re.findall(r"(?m)^([0-9a-f]+)-([0-9a-f]+) .* /dev/zero \(deleted\)$", maps)
    return sum(int(end, 16) - int(begin, 16) for begin, end in found)


def judge(structure: Structure, scale: float) -> Verdict:
    """Judge one structure in this process."""
    from nbmem.heap.capture import capture

    for _ in range(2):  # what is only made once is made now
        drop(structure.build(scale))
    gc.collect()
    # one reference and one name, in no frame of nbmem's: nothing else may lead to it
    holder = structure.build(scale)
    gc.collect()
    heap = capture()
    node = heap.node_at(id(holder))
    retained = together = 0
    if node is not None:
        retained, together = int(heap.retained_bytes[node]), heap.retained_together([node])
    del heap
    gc.collect()
    read = resident_bytes if "polars" in structure.needs else in_use_bytes
    read()  # a structure may have emptied caches that it needs
    gc.collect()
    before = read()
    drop(holder)
    del holder
    gc.collect()
    return Verdict(structure.name, retained, together, before - read())


def drop(holder: Any) -> None:
    """End what would complain when it goes."""
    if type(holder) is list and holder and hasattr(holder[0], "cr_frame"):
        for each in holder:
            each.close()


def judged(names: list[str], scale: float, python: str = sys.executable) -> Iterator[Verdict]:
    """Judge structures in a process of their own."""
    # freed blocks that a thread keeps for itself, malloc counts as in use
    environment = {
        **os.environ,
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=131072",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    command = [python, "-m", "tests.heap.judge", str(scale), *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    for line in done.stdout.splitlines():
        yield Verdict(**json.loads(line))
    if done.returncode:
        raise RuntimeError(done.stderr)


def main(scale: float, names: list[str]) -> None:
    """Judge, and write the verdicts."""
    for library in dict.fromkeys(library for name in names for library in STRUCTURES[name].needs):
        importlib.import_module(library)
    from nbmem.heap.capture import capture

    capture()
    in_use_bytes()
    for name in names:
        print(json.dumps(asdict(judge(STRUCTURES[name], scale))), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
