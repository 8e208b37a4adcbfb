"""``%memit``: what it takes, and whether it sees a spike."""

from __future__ import annotations

from itertools import product

from bench.claims import Claim, ratios
from bench.kernel import CellError, Kernel
from bench.peers import MEMORY_PROFILER

MIB = 2**20

#: Time a line magic; the seconds that the garbage collector took are told apart by its callbacks.
_TIMED = """
def bench_timed(magic):
    spent = []
    def note(phase, info):
        spent.append(bench_clock() if phase == "stop" else -bench_clock())
    gc.callbacks.append(note)
    try:
        began = bench_clock()
        get_ipython().run_line_magic(magic, "-q pass")
        seconds = bench_clock() - began
    finally:
        gc.callbacks.remove(note)
    return seconds * 1000, (seconds - sum(spent)) * 1000
"""

#: Both the collector's time and that of giving free memory back depend on what the kernel holds.
_HEAPS = {
    "bare kernel": "pass",
    "with pandas": "import pandas, numpy",
    "large heap": """
import pandas, numpy
kept = [[number] for number in range(1_000_000)]
blocks = [bytes(600 + number % 2_000) for number in range(300_000)]
del blocks[::2]
""",
}

_SPIKES_MIB = (50, 100, 200, 400)
#: The second takes some five times as long to fill its array, which gives a poller its chance.
_STATEMENTS = {"quick": "np.ones({count})", "slow": "rng.random({count})"}


def overhead(rounds: int) -> Claim:
    """Measure ``%memit pass`` against memory_profiler's."""
    claim = Claim(
        "%memit pass, overhead",
        f"median of {rounds} fresh kernels for each kind, 5 runs of both in turn in each; memory_profiler "
        "runs a full garbage collection first, nbmem one of the young objects: besides the collection "
        "compares the rest; first: the first run after the heap was made, with most to give back",
    )
    for kind, setup in _HEAPS.items():
        own: list[tuple[float, float]] = []
        peer: list[tuple[float, float]] = []
        first: list[float] = []
        for _ in range(rounds):
            with Kernel() as kernel:
                kernel.run(_TIMED)
                names = ["peer_memit"] if _with_peer(kernel, claim) else []
                kernel.run("%load_ext nbmem")
                for name in ("memit", *names):
                    kernel.value(f"bench_timed({name!r})")
                kernel.run(setup)
                first.append(kernel.value("bench_timed('memit')")[0])
                for _ in range(5):
                    own.append(kernel.value("bench_timed('memit')"))
                    peer += [kernel.value(f"bench_timed({name!r})") for name in names]
        whole, besides = [run[0] for run in own], [run[1] for run in own]
        claim.add(f"nbmem, {kind}", whole, "ms")
        claim.add(f"nbmem, {kind}, first", first, "ms")
        claim.add(f"memory_profiler, {kind}", [run[0] for run in peer], "ms")
        claim.add(f"times below, {kind}", ratios([run[0] for run in peer], whole), "x", at_least=50)
        claim.add(f"nbmem besides the collection, {kind}", besides, "ms")
        claim.add(f"memory_profiler besides the collection, {kind}", [run[1] for run in peer], "ms")
        claim.add(
            f"times below, besides the collection, {kind}",
            ratios([run[1] for run in peer], besides),
            "x",
            at_least=50,
        )
    return claim


def spikes(rounds: int) -> Claim:
    """Measure a spike that one statement allocates, fills and drops."""
    claim = Claim(
        "%memit of a spike that one statement allocates and drops",
        f"{', '.join(map(str, _SPIKES_MIB))} MiB, both tools in turn, {rounds} fresh kernels; distance from "
        "the bytes touched; the statements: quick " + ", slow ".join(_STATEMENTS.values()),
    )
    own: list[float] = []
    peer: dict[str, list[float]] = {kind: [] for kind in _STATEMENTS}
    for _ in range(rounds):
        with Kernel() as kernel:
            kernel.run("import numpy as np; rng = np.random.default_rng(0); rng.random(10)")
            with_peer = _with_peer(kernel, claim)
            kernel.run("%load_ext nbmem")
            for size, (kind, template) in product(_SPIKES_MIB, _STATEMENTS.items()):
                statement = template.format(count=size * MIB // 8)
                kernel.run(f"bench_found = %memit -q -o {statement}")
                own.append(_off(kernel.value("bench_found.increment_bytes"), size))
                if with_peer:
                    kernel.run(f"bench_found = %peer_memit -q -o {statement}")
                    seen = kernel.value("float(max(bench_found.mem_usage) - bench_found.baseline)")
                    peer[kind].append(_off(seen * MIB, size))
    claim.add("nbmem, worst", own, "%", worst=True, at_most=2)
    for kind, values in peer.items():
        claim.add(f"memory_profiler, {kind} statement, median", values, "%")
    return claim


def _off(seen: float, size: int) -> float:
    return abs(seen / (size * MIB) - 1) * 100


def _with_peer(kernel: Kernel, claim: Claim) -> bool:
    try:
        kernel.run(MEMORY_PROFILER)
    except CellError as error:
        note = f"memory_profiler left out: {error}"
        if note not in claim.notes:
            claim.notes.append(note)
        return False
    return True
