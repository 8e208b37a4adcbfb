"""``%mprun``: what line by line takes, and whether a line's own peak is seen."""

from __future__ import annotations

from bench.claims import Claim, ratios
from bench.kernel import CellError, Kernel
from bench.peers import MEMORY_PROFILER

#: memory_profiler takes no functions of cells.
_FILE = """
import numpy as np

def loop(count):
    x = 0
    y = []
    for i in range(count):
        x += i * 2
        if i % 3 == 0:
            y.append(x)

def vectors(count):
    a = np.random.default_rng(0).random(count)
    b = np.sort(a)
    c = np.log1p(b) + np.sqrt(a)
    order = np.argsort(c)
    return float(c[order].cumsum()[-1])

def spike(count):
    total = np.ones(count).sum()
    return total
"""

_SHORT, _LONG, _COUNT = 20_000, 3_000_000, 3_000_000
_SPIKES_MIB = (50, 100, 200, 400)
_REPETITIONS = 3


def line_by_line(rounds: int) -> Claim:
    """Measure ``%mprun`` against the plain call and against memory_profiler's."""
    claim = Claim(
        "%mprun, functions of a file",
        f"median of {rounds} fresh kernels, {_REPETITIONS} runs of each in turn; from the request until "
        f"idle, the report or the pager included; loop: {_SHORT:,} turns for both, {_LONG:,} for nbmem "
        "against the plain call before and after; vectors: sort, logarithm, cumulative sum of 3 M numbers; "
        f"spike: {', '.join(map(str, _SPIKES_MIB))} MiB that one line allocates, fills and drops, distance "
        "from the bytes touched",
    )
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with Kernel() as kernel:
            (kernel.directory / "bench_lines.py").write_text(_FILE, encoding="utf-8")
            kernel.run("import sys; sys.path.insert(0, '.'); import bench_lines")
            magics = ["mprun"]
            try:
                kernel.run(MEMORY_PROFILER)
                magics.append("peer_mprun")
            except CellError as error:
                claim.notes = [f"memory_profiler left out: {error}"]
            kernel.run("%load_ext nbmem")
            _loops(kernel, magics, found)
            _vectors(kernel, magics, found)
            _spikes(kernel, magics, found)
    claim.add(f"nbmem, loop of {_SHORT:,} turns", found["loop, mprun"], "ms")
    claim.add(f"memory_profiler, loop of {_SHORT:,} turns", found.get("loop, peer_mprun", []), "ms")
    below = ratios(found.get("loop, peer_mprun", []), found["loop, mprun"])
    claim.add("times below, loop", below, "x", at_least=20)
    claim.add(f"nbmem, loop of {_LONG:,} turns, of the plain call", found["long loop"], "x", at_most=2)
    claim.add("nbmem, vectors, of the plain call", found["vectors, mprun"], "x", at_most=1.2)
    claim.add("memory_profiler, vectors, of the plain call", found.get("vectors, peer_mprun", []), "x")
    claim.add("nbmem, spike of a line, worst", found["spike, mprun"], "%", worst=True, at_most=2)
    claim.add("memory_profiler, spike of a line, median", found.get("spike, peer_mprun", []), "%")
    return claim


def _loops(kernel: Kernel, magics: list[str], found: dict[str, list[float]]) -> None:
    kernel.run("%mprun -f bench_lines.loop bench_lines.loop(10)")  # the first imports the report
    for _ in range(_REPETITIONS):
        for magic in magics:
            seconds = kernel.run(f"%{magic} -f bench_lines.loop bench_lines.loop({_SHORT})").seconds
            found.setdefault(f"loop, {magic}", []).append(seconds * 1000)
    for _ in range(_REPETITIONS):
        _against_plain(kernel, "mprun", f"loop({_LONG})", found.setdefault("long loop", []))


def _vectors(kernel: Kernel, magics: list[str], found: dict[str, list[float]]) -> None:
    for _ in range(_REPETITIONS):
        for magic in magics:
            _against_plain(kernel, magic, f"vectors({_COUNT})", found.setdefault(f"vectors, {magic}", []))


def _against_plain(kernel: Kernel, magic: str, call: str, values: list[float]) -> None:
    """Add the ratios to the plain call right before and right after."""
    function = call.partition("(")[0]
    before = kernel.run(f"bench_lines.{call};").seconds
    profiled = kernel.run(f"%{magic} -f bench_lines.{function} bench_lines.{call}").seconds
    after = kernel.run(f"bench_lines.{call};").seconds
    values += [profiled / before, profiled / after]


def _spikes(kernel: Kernel, magics: list[str], found: dict[str, list[float]]) -> None:
    seen = {
        "mprun": "max(line.spike_bytes or 0 for line in bench_found.data.lines) / 2**20",
        # its line's "Mem usage" above that of the function's first line
        "peer_mprun": "(lambda rows: float(rows[1][1] - rows[0][1]))"
        "([row for _, row in next(iter(bench_found.code_map.items()))[1] if row])",
    }
    for size in _SPIKES_MIB:
        call = f"bench_lines.spike({size << 17})"
        for magic in magics:
            kernel.run(f"bench_found = %{magic} -r -f bench_lines.spike {call}")
            off = abs(kernel.value(seen[magic]) / size - 1) * 100
            found.setdefault(f"spike, {magic}", []).append(off)
