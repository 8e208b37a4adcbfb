"""``%%memtrace`` on small cells: its fixed cost, and whether its figures are right."""

from __future__ import annotations

from bench.claims import Claim
from bench.kernel import CellError, Kernel
from bench.peers import function_cells
from bench.workloads import Workload

#: 4 million float64: 30.5 MiB.
_ARRAY = "import numpy as np\na = np.ones(4_000_000)"
_FORMULA = "result = ((a * 2) + (a * 3)) - (a * 4)"
_ARRAYS = Workload(
    setup=_ARRAY,
    body=f"before = 1\n{_FORMULA}\nafter = 2",
    names=("before", "result", "after"),
    inputs=("a",),
    function_body=f"before = 1\n{_FORMULA}\nafter = 2",
)


def empty_cell(rounds: int) -> Claim:
    """Measure what a traced cell costs that does nothing."""
    claim = Claim(
        "%%memtrace, fixed cost of an empty cell",
        "median of the whole round trip of a traced `pass` minus that of a plain one, 8 pairs in turn in "
        f"each of {rounds} fresh kernels; first: the very first traced cell of a kernel, with all imports",
    )
    for kind, setup in (("bare kernel", "pass"), ("with pandas", "import pandas, numpy")):
        first: list[float] = []
        full: list[float] = []
        resident: list[float] = []
        for _ in range(rounds):
            with Kernel() as kernel:
                kernel.run(setup)
                kernel.run("%load_ext nbmem")
                first.append(_extra(kernel, "%%memtrace"))
                _extra(kernel, "%%memtrace --rss")
                for _ in range(8):
                    full.append(_extra(kernel, "%%memtrace"))
                    resident.append(_extra(kernel, "%%memtrace --rss"))
        claim.add(f"%%memtrace, {kind}", full, "ms", at_most=60)
        claim.add(f"%%memtrace --rss, {kind}", resident, "ms", at_most=60)
        claim.add(f"first %%memtrace, {kind}", first, "ms")
    return claim


def _extra(kernel: Kernel, magic: str) -> float:
    """Give the milliseconds that a traced empty cell takes above a plain one right before it."""
    plain = kernel.run("pass").seconds
    return (kernel.run(f"{magic}\npass").seconds - plain) * 1000


def arrays(rounds: int) -> Claim:
    """Measure a formula whose peak and result are known from its arrays."""
    claim = Claim(
        "((a * 2) + (a * 3)) - (a * 4), a of 30.5 MiB: peak +61.0, net +30.5 MiB, on its line",
        f"median of {rounds} fresh kernels, targets ± 2 %; numpy adds in place what nothing else holds, so "
        "two arrays live at once; after is resident size: the C library may keep a freed array for the next",
    )
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with Kernel() as kernel:
            kernel.run(_ARRAY)
            kernel.run("%load_ext nbmem")
            kernel.run("%%memtrace -q -o bench_trace\npass")
            kernel.run(f"%%memtrace -q -o bench_trace\n{_ARRAYS.body}")
            rows = kernel.value(
                "[(line.source, line.peak_bytes, line.increment_bytes, line.live_bytes, line.net_bytes) "
                "for line in bench_trace.data.lines]"
            )
            for source, *sizes in rows:
                place = "its line" if source.startswith("result") else "other lines, worst"
                for name, size in zip(("peak", "after", "live at the peak", "net"), sizes, strict=True):
                    if place == "its line":
                        found.setdefault(f"{name}, {place}", []).append((size or 0) / 2**20)
                    elif name in ("after", "net"):
                        found.setdefault(f"{name}, {place}", []).append(abs(size or 0) / 2**20)
            _peer(kernel, claim, found)
    for name, near in (("peak", 61.0), ("live at the peak", 61.0), ("net", 30.5)):
        claim.add(
            f"{name}, its line", found[f"{name}, its line"], "MiB", at_least=near * 0.98, at_most=near * 1.02
        )
    claim.add("after, its line", found["after, its line"], "MiB")
    for name in ("after", "net"):
        claim.add(
            f"{name}, other lines, worst",
            found[f"{name}, other lines, worst"],
            "MiB",
            worst=True,
            at_most=0.6,
        )
    claim.add("memory_profiler %mprun, its increment", found.get("%mprun", []), "MiB")
    return claim


def _peer(kernel: Kernel, claim: Claim, found: dict[str, list[float]]) -> None:
    """Ask memory_profiler's %mprun for the increment of the formula's line; it has no peak to tell."""
    try:
        _, profiled = function_cells(kernel, _ARRAYS)
        kernel.run(profiled.replace("%peer_mprun", "bench_profile = %peer_mprun -r"))
        lines = "next(iter(bench_profile.code_map.items()))[1]"
        increments = kernel.value(f"[float(row[1][0]) for row in {lines} if row[1] and row[0] == 3]")
    except CellError as error:
        claim.notes = [f"memory_profiler %mprun left out: {error}"]
    else:
        found.setdefault("%mprun", []).extend(increments)
