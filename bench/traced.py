"""Traced cells: how much longer a cell takes under ``%%memtrace``, and under the peers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.claims import Claim
from bench.kernel import CellError, Kernel
from bench.peers import AGAIN, NBMEM, PEERS, PLAIN, Variant, function_cells, usable
from bench.workloads import LOOP, PANDAS, Workload

_METHOD = (
    "median of the ratios of a cell to the plain cell right before and to that right after it; nbmem "
    "{repetitions} times in each of {rounds} fresh kernels, the peers once in {peer_rounds} of them; body: "
    "the cell's own lines; whole: from the request until idle, with reading the allocations and, for nbmem, "
    "rendering the report; plain again: the noise of this machine at this hour"
)
_REPETITIONS = 4


class _Times:
    """Ratios of body and of whole round trip by variant, and the milliseconds around the body."""

    def __init__(self) -> None:
        self.body: defaultdict[str, list[float]] = defaultdict(list)
        self.whole: defaultdict[str, list[float]] = defaultdict(list)
        self.around: defaultdict[str, list[float]] = defaultdict(list)

    def measure(self, kernel: Kernel, workload: Workload, variants: Sequence[Variant]) -> None:
        """Run each variant once, with a plain cell before it and after it."""
        before = _run(kernel, PLAIN, workload)
        for variant in variants:
            body, whole = _run(kernel, variant, workload)
            after = _run(kernel, PLAIN, workload)
            # A ratio to each: one to their mean is below 1 for equal cells, as noise only slows.
            self.body[variant.name] += [body / before[0], body / after[0]]
            self.whole[variant.name] += [whole / before[1], whole / after[1]]
            self.around[variant.name].append((whole - body) * 1000)
            before = after


def _run(kernel: Kernel, variant: Variant, workload: Workload) -> tuple[float, float]:
    """Run the body once; give its seconds and those of the round trip."""
    whole = kernel.run(variant.code(workload.body)).seconds
    body = float(kernel.value(variant.seconds))
    _clean(kernel, workload)
    return body, whole


def _clean(kernel: Kernel, workload: Workload) -> None:
    names = (*workload.names, "bench_found", "bench_trace")
    kernel.run("\n".join(f"globals().pop({name!r}, None)" for name in names) + "\ngc.collect();")


def _line_by_line(kernel: Kernel, workload: Workload) -> float:
    """Give the ratio of memory_profiler's %mprun to the plain call of the same function."""
    plain, profiled = function_cells(kernel, workload)
    kernel.run(plain)
    return kernel.run(profiled).seconds / kernel.run(plain).seconds


def _round(times: _Times, workload: Workload, number: int, *, with_peers: bool) -> list[str]:
    """Measure every variant in one fresh kernel; give the notes on those that were left out."""
    with Kernel() as kernel:
        kernel.run(workload.setup)
        own, notes = usable(kernel, (*NBMEM, AGAIN))
        for variant in (PLAIN, *own):
            _run(kernel, variant, workload)
        for repetition in range(_REPETITIONS):
            first = (number + repetition) % len(own)
            times.measure(kernel, workload, own[first:] + own[:first])
        if not with_peers:
            return notes
        peers, missing = usable(kernel, PEERS)
        notes += missing
        times.measure(kernel, workload, peers)
        try:
            times.whole["memory_profiler %mprun"].append(_line_by_line(kernel, workload))
        except CellError as error:
            notes.append(f"memory_profiler %mprun left out: {error}")
    return notes


def _measure(
    title: str, workload: Workload, targets: dict[str, float], rounds: int, peer_rounds: int
) -> Claim:
    peer_rounds = min(rounds, peer_rounds)
    claim = Claim(title, _METHOD.format(rounds=rounds, peer_rounds=peer_rounds, repetitions=_REPETITIONS))
    times = _Times()
    for number in range(rounds):
        notes = _round(times, workload, number, with_peers=number < peer_rounds)
        claim.notes += [note for note in notes if note not in claim.notes]
    for name in times.whole:
        target = targets.get(name)
        if name in times.body:
            claim.add(f"{name}, body", times.body[name], "x", at_most=target)
        claim.add(f"{name}, whole", times.whole[name], "x", at_most=target)
        if target is not None:
            claim.add(f"{name}, before and after the body", times.around[name], "ms")
    if workload.function_note:
        claim.notes.append(f"%mprun: {workload.function_note}")
    return claim


def pandas_cell(rounds: int) -> Claim:
    """Measure a cell of pandas and numpy of about a second."""
    targets = {"%%memtrace": 1.3, "%%memtrace --rss": 1.1}
    return _measure("%%memtrace, a numpy/pandas cell on 2 M rows", PANDAS, targets, rounds, 3)


def python_loop(rounds: int) -> Claim:
    """Measure a loop of three million turns."""
    targets = {"%%memtrace": 3.0, "%%memtrace --rss": 2.0}
    return _measure("%%memtrace, a pure-Python loop of 3 M turns", LOOP, targets, rounds, 1)
