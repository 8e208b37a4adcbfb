"""What stays on: ``%memwatch``'s cost per cell, and what ``%memlimit`` survives."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench.claims import Claim, ratios
from bench.kernel import CellError, Kernel
from bench.workloads import LOOP, PANDAS, Workload

#: A shell without messages around it, so that a millisecond can be told; each pair is measured in turn.
_SHELL = """
import json, statistics, sys, time
from IPython.core.interactiveshell import InteractiveShell
import numpy as np, pandas as pd
shell = InteractiveShell.instance()
made = (int, float, lambda n: str(n) * 9, lambda n: list(range(20)), lambda n: dict.fromkeys(range(10)),
        lambda n: np.ones(100), lambda n: (1, 2, 3), lambda n: (lambda: 0), str, lambda n: [n],
        lambda n: {n}, lambda n: None, lambda n: np.arange(9), lambda n: "x" * n, bytes,
        lambda n: {"a": n}, lambda n: [], int, int, str, float, lambda n: (n,), lambda n: np.zeros(n),
        lambda n: pd.Series([1, 2, 3]), lambda n: pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}))
for number in range(1000):
    shell.user_ns[f"name{number}"] = made[number % len(made)](number)
def run():
    began = time.perf_counter()
    shell.run_cell("pass", store_history=True)
    return (time.perf_counter() - began) * 1000
def extra(on, off, rounds=150):
    plain, with_it = [], []
    for _ in range(rounds):
        off(); run(); plain.append(run())
        on(); run(); with_it.append(run())
    off()
    return statistics.median(with_it) - statistics.median(plain)
for _ in range(20):
    run()
import nbmem
nbmem.load_ipython_extension(shell)
session = next(known for known in shell.configurables if type(known).__name__ == "NbMem")
def watch(on): session.watch = on
found = {"%memwatch": extra(lambda: watch(True), lambda: watch(False))}
found["%memlimit"] = extra(lambda: nbmem.limit("90%"), lambda: nbmem.limit("off"), 60)
def both(on): session.watch = on; nbmem.limit("90%" if on else "off")
found["both"] = extra(lambda: both(True), lambda: both(False), 60)
nbmem.unload_ipython_extension(shell)
try:
    import contextlib, io, builtins
    builtins.get_ipython = lambda: shell
    import ipython_memory_usage.ipython_memory_usage as imu
    def peer(on):
        with contextlib.redirect_stdout(io.StringIO()):
            (imu.start_watching_memory if on else imu.stop_watching_memory)()
    with contextlib.redirect_stdout(io.StringIO()):
        found["ipython_memory_usage"] = extra(lambda: peer(True), lambda: peer(False), 10)
except Exception as error:
    found["peer"] = repr(error)
print(json.dumps(found))
"""


def watch(rounds: int) -> Claim:
    """Measure what recording every cell costs."""
    claim = Claim(
        "%memwatch, what it adds to each cell",
        f"median of {rounds} fresh processes: a `pass` in a shell with 1 000 names (integers, strings, "
        "lists, dicts, arrays, 40 frames, 40 series), with it minus without, in turn; then a cell of "
        "work in a real kernel, with it divided by without, the plain cell before and after",
    )
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", _SHELL], capture_output=True, text=True, check=True)
        for name, value in json.loads(done.stdout.strip().splitlines()[-1]).items():
            if isinstance(value, str):
                claim.notes = [f"ipython_memory_usage left out: {value}"]
            else:
                found.setdefault(name, []).append(value)
    claim.add("%memwatch, 1 000 names", found["%memwatch"], "ms", at_most=1.0)
    claim.add("%memlimit, 1 000 names", found["%memlimit"], "ms")
    claim.add("both, 1 000 names", found["both"], "ms")
    claim.add("ipython_memory_usage, 1 000 names", found.get("ipython_memory_usage", []), "ms")
    for title, workload in (("pandas cell", PANDAS), ("loop of 3 M turns", LOOP)):
        with_it, again = [], []
        for _ in range(rounds):
            pairs = _pairs(workload)
            with_it += pairs[0]
            again += pairs[1]
        claim.add(f"%memwatch and %memlimit, {title}", with_it, "x", at_most=1.1)
        claim.add(f"plain again, {title}", again, "x")
    return claim


def _pairs(workload: Workload) -> tuple[list[float], list[float]]:
    """Run a cell plain and watched in turn; give the ratios of watched and of plain to the plain before."""
    plain, watched = [], []
    with Kernel() as kernel:
        kernel.run(workload.setup)
        kernel.run("%load_ext nbmem")
        clean = "\n".join(f"globals().pop({name!r}, None)" for name in workload.names) + "\ngc.collect();"
        kernel.run(workload.body)
        kernel.run(clean)
        for _ in range(4):
            kernel.run("%memwatch off\n%memlimit off")
            plain.append(kernel.run(workload.body).seconds)
            kernel.run(clean)
            kernel.run("%memwatch on\n%memlimit 90%")
            watched.append(kernel.run(workload.body).seconds)
            kernel.run(clean)
    return [*ratios(watched, plain), *ratios(watched[:-1], plain[1:])], ratios(plain[1:], plain)


_LIMIT_MIB = 400
#: The cell is to be stopped; each runs in a kernel of its own.
_CASES = {
    "many small steps": "held = []\nwhile True:\n    held.append(np.ones(20_000))",
    "small objects": "held = []\nfor number in range(10**9):\n    held.append(str(number))",
    "one huge step, np.ones of 50 GB": "held = np.ones(50 * 10**9 // 8)",
    "inside pandas": (
        "frame = pd.DataFrame({'k': np.arange(300_000), 'v': 1.0})\nheld = []\n"
        "while True:\n    held.append((frame * 2).groupby('k').cumsum())"
    ),
    "a huge step inside pandas": "held = pd.DataFrame({'a': 1.0}, index=range(10)).reindex(range(10**10))",
    "list(itertools.count())": "import itertools\nheld = list(itertools.count())",
    "a thread of the cell": (
        "import threading\nthread = threading.Thread(target=eat)\nthread.start(); thread.join()\n1 / 0"
    ),
    "an await cell": (
        "held = []\nwhile True:\n    held.append(bytearray(100_000))\n    await asyncio.sleep(0)"
    ),
    "a pool that the cell awaits": "await asyncio.get_running_loop().run_in_executor(None, eat)",
    "except MemoryError swallows": (
        "held = []\nwhile True:\n    try:\n        held.append(bytearray(100_000))\n"
        "    except MemoryError:\n        pass"
    ),
    "while stdout floods": "held = []\nwhile True:\n    held.append(bytearray(50_000)); print('x' * 100)",
}
_EAT = "def eat():\n    rows = []\n    while True:\n        rows.append(bytearray(100_000))"


def limit(rounds: int) -> Claim:
    """Measure what ``%memlimit`` survives, and what it costs to be on."""
    claim = Claim(
        f"%memlimit {_LIMIT_MIB}MiB: highest resident size of the kernel; it lives, its names too",
        "the highest of all rounds, by the kernel's VmHWM as read from another process; a case in which the "
        "kernel died, lost a name or did not run the next cell counts as 99999; target: the limit and the "
        "head-room of 128 MiB, 5 % more for what lies between two looks, and 64 MiB of mapped files, "
        "which do not count for the limit",
    )
    for case, code in _CASES.items():
        highest = [_survive(code) for _ in range(rounds)]
        claim.add(case, highest, "MiB", worst=True, at_most=(_LIMIT_MIB + 128) * 1.05 + 64)
    shares = [_share() for _ in range(rounds)]
    claim.add("processor time of the watcher, share of a core", shares, "%", at_most=0.5)
    return claim


def _survive(code: str) -> float:
    with Kernel() as kernel:
        kernel.run("import numpy as np, pandas as pd, asyncio\nsurvivor = list(range(1000))")
        kernel.run(_EAT)
        kernel.run("%load_ext nbmem")
        kernel.run(f"%memlimit {_LIMIT_MIB}MiB")
        process = Path("/proc", str(kernel.value("__import__('os').getpid()")))
        (process / "clear_refs").write_text("5")
        try:
            kernel.run(code)
        except CellError:
            pass
        else:
            return 99999.0
        try:
            alive = kernel.value("sum(survivor)") == 499500
            text = (process / "status").read_text()
        except (CellError, OSError, TimeoutError):
            return 99999.0
        return int(text.partition("\nVmHWM:")[2].split()[0]) / 1024 if alive else 99999.0


def _share() -> float:
    """Give the processor time of a sleeping cell under a limit, in percent of a core."""
    with Kernel() as kernel:
        kernel.run("%load_ext nbmem\nimport time")
        body = (
            "began = time.process_time(), time.monotonic()\ntime.sleep(4)\n"
            "share = (time.process_time() - began[0]) / (time.monotonic() - began[1]) * 100"
        )
        found = []
        for command in ("%memlimit off", "%memlimit 90%"):
            kernel.run(command)
            kernel.run(body)
            found.append(float(kernel.value("share")))
        return max(found[1] - found[0], 0.0) if statistics.fmean(found) < 50 else found[1]
