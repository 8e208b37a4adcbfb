"""The heaps that are measured, and each way to measure them: a program of its own, for a fresh process.

``python -m bench.heaps WAY COUNT`` makes a heap of about so many objects and writes what it found as JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMES = 2
#: Objects of one record: 1 instance, 1 dict, 2 lists, 1 tuple, 1 set, 3 str, 3 floats, 2 ints.
_PER_RECORD = 14


class Record:
    """What an application keeps many of."""

    def __init__(self, number: int, before: Record | None) -> None:
        self.name = f"record {number}"
        self.values = [number / 7, number / 11, number / 13]
        self.place = (number * 1000, f"street {number}", self.name)
        self.notes = {"first": [self.place], "second": f"note {number}", "before": before}
        self.tags = {self.name, number * 1000 + 7}


def build(count: int) -> list[Record]:
    """Make records of about so many objects, each with a reference to an earlier one."""
    records: list[Record] = []
    for number in range(count // _PER_RECORD):
        records.append(Record(number, records[number // 2] if number else None))
    return records


def _best(call: Callable[[], Any], times: int = _TIMES) -> tuple[float, Any]:
    """Give the best time of some calls, in milliseconds, and the last result."""
    best, result = float("inf"), None
    for _ in range(times):
        del result
        gc.collect()
        began = time.perf_counter()
        result = call()
        best = min(best, (time.perf_counter() - began) * 1000)
    return best, result


def _of_nbmem(kept: list[Record]) -> dict[str, float]:
    from nbmem.heap.capture import capture
    from nbmem.heap.dominators import dominator_tree

    def dominate() -> Any:
        return dominator_tree(heap.indptr, heap.indices, heap.roots).retained(heap.shallow_bytes)

    first, heap = _best(capture, 1)
    del heap
    seconds, heap = _best(capture)
    assert heap.node_at(id(kept)) is not None
    return {
        "first": first,
        "capture": seconds,
        "dominators": _best(dominate)[0],
        "objects": len(heap),
        "references": len(heap.indices),
        "bytes": int(heap.shallow_bytes.sum()),
    }


def _of_twin(kept: list[Record]) -> dict[str, float]:
    # as if the native part had not been built
    sys.modules["nbmem.heap._walk"] = None  # type: ignore[assignment]
    return _of_nbmem(kept)


def _of_peak(kept: list[Record]) -> dict[str, float]:
    """Measure the extra memory of one capture, as the kernel counts it."""
    from nbmem.heap.capture import capture
    from nbmem.process.allocators import release_free_memory

    capture()
    gc.collect()
    release_free_memory()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    heap = capture()
    return {
        "extra": _status("VmHWM") - before,
        "kept": _status("VmRSS") - before,
        "objects": len(heap),
        "references": len(heap.indices),
    }


def _status(name: str) -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")
    )
    return int(line.split()[1]) * 1024


def _of_igraph(kept: list[Record]) -> dict[str, float]:
    import igraph
    import numpy as np

    from nbmem.heap.capture import capture

    heap = capture()
    n = len(heap)
    edges = np.concatenate(
        [
            np.stack([np.repeat(np.arange(n), np.diff(heap.indptr)), heap.indices], axis=1),
            np.stack([np.full(len(heap.roots), n), heap.roots], axis=1),
        ]
    )
    graph = igraph.Graph(n + 1, edges, directed=True)
    seconds, idom = _best(lambda: graph.dominator(n), 1)
    theirs = np.array(idom[:n], float)
    ours = np.where(heap.living, heap.tree.idom, np.nan)
    return {"dominators": seconds, "same": float(np.array_equal(theirs, ours, equal_nan=True))}


def _of_guppy(kept: list[Record]) -> dict[str, float]:
    from guppy import hpy

    def table() -> int:
        # the objects are put under types and sized when the table is asked for
        heap = session.heap()
        return len(str(heap)) and heap.count

    session = hpy()
    first, _ = _best(session.heap, 1)
    again, _ = _best(session.heap)
    seconds, count = _best(table)
    return {"heap": first, "again": again, "table": seconds, "objects": count}


def _of_muppy(kept: list[Record]) -> dict[str, float]:
    from pympler import muppy, summary

    seconds, rows = _best(lambda: summary.summarize(muppy.get_objects()))
    return {"heap": seconds, "objects": sum(count for _, count, _ in rows)}


def _of_sizeof(kept: list[Record]) -> dict[str, float]:
    from nbmem.heap.capture import capture_from

    seconds, heap = _best(lambda: capture_from([kept]))
    retained, _ = _best(lambda: capture_from([kept]).retained_bytes[0])
    return {
        "sizeof": seconds,
        "retained": retained,
        "objects": len(heap),
        "bytes": int(heap.shallow_bytes.sum()),
    }


def _of_asizeof(kept: list[Record]) -> dict[str, float]:
    from pympler.asizeof import asizeof

    seconds, size = _best(lambda: asizeof(kept, limit=10_000))
    return {"sizeof": seconds, "bytes": size}


def _of_refchain(kept: list[Record]) -> dict[str, float]:
    """Who holds one record among them, by nbmem and by objgraph, in turn."""
    import objgraph

    import __main__
    from nbmem.heap.pathwords import place_of
    from nbmem.heap.rootpaths import find_root_paths

    namespace = vars(__main__)
    namespace["records"] = kept
    number = len(kept) // 2

    def ask() -> Any:
        return find_root_paths(kept[number].notes, namespace=namespace, place=place_of)

    def chain() -> Any:
        return objgraph.find_backref_chain(kept[number].notes, objgraph.is_proper_module)

    first, found = _best(ask, 1)
    again, found = _best(ask)
    theirs, links = _best(chain)
    texts = [path.text for path in found.paths]
    assert f"records[{number}].notes" in texts, texts
    return {"first": first, "again": again, "objgraph": theirs, "found": float(len(links) > 1)}


WAYS: dict[str, Callable[[list[Record]], dict[str, float]]] = {
    "nbmem": _of_nbmem,
    "twin": _of_twin,
    "peak": _of_peak,
    "igraph": _of_igraph,
    "guppy3": _of_guppy,
    "muppy": _of_muppy,
    "sizeof": _of_sizeof,
    "asizeof": _of_asizeof,
    "refchain": _of_refchain,
}

if __name__ == "__main__":
    print(json.dumps(WAYS[sys.argv[1]](build(int(sys.argv[2])))))
