"""Run the benchmarks: ``python -m bench``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from bench import (
    cells,
    dominators,
    heap,
    holders,
    lineprofile,
    refchain,
    report,
    session,
    sizes,
    statements,
    traced,
)
from bench.claims import Claim

#: Each benchmark and its rounds, so that all take about fifteen minutes.
_BENCHMARKS: dict[str, tuple[Callable[[int], Claim], int]] = {
    "memit": (statements.overhead, 2),
    "spikes": (statements.spikes, 2),
    "pandas": (traced.pandas_cell, 3),
    "loop": (traced.python_loop, 3),
    "empty": (cells.empty_cell, 2),
    "arrays": (cells.arrays, 2),
    "lines": (lineprofile.line_by_line, 2),
    "watch": (session.watch, 2),
    "limit": (session.limit, 2),
    "heap": (heap.heap, 2),
    "dominators": (dominators.dominators, 2),
    "sizes": (sizes.sizes, 1),
    "holders": (holders.holders, 1),
    "refchain": (refchain.refchain, 2),
}


def main() -> int:
    """Run what was asked for, print a table per claim, and write the figures down.

    Returns
    -------
    int
        0 always: the figures are those of this machine at this hour, no verdict on the code.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHMARKS)}; all if none")
    parser.add_argument("--rounds", type=int, help="fresh kernels for each, instead of its own number")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(_BENCHMARKS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(_BENCHMARKS)}")
    source = report.fingerprint()
    began = time.perf_counter()
    claims = []
    for name in asked.names or _BENCHMARKS:
        measure, rounds = _BENCHMARKS[name]
        claims.append(measure(asked.rounds or rounds))
        print(report.table(claims[-1]), end="\n\n", flush=True)
    seconds = time.perf_counter() - began
    print(report.summary(claims))
    if report.fingerprint() != source:
        print("nbmem's files changed during this run: these figures are of no one version; run it again")
    path = report.save(claims, seconds, source, "-".join(asked.names) or "latest")
    print(f"{seconds:.0f} s; written to {path}")
    return 0


raise SystemExit(main())
