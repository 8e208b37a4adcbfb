"""Who holds one object of a large heap: how long the answer takes, against objgraph."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from bench.claims import Claim, ratios

_ROOT = Path(__file__).resolve().parents[1]
_OBJECTS = 1_000_000


def refchain(rounds: int) -> Claim:
    """Ask who holds one record among a million objects, each time in a fresh process."""
    claim = Claim(
        "who holds it, on a heap of 1 M objects",
        f"median of {rounds} fresh processes; nbmem's first answer, and the best of two later ones; of "
        "objgraph the best of two: find_backref_chain(x, is_proper_module), which ends at one module and "
        "prints nothing yet",
    )
    if importlib.util.find_spec("objgraph") is None:
        claim.notes.append("left out: objgraph is not installed")
        return claim
    found = []
    for _ in range(rounds):
        command = [sys.executable, "-m", "bench.heaps", "refchain", str(_OBJECTS)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, check=False)
        if done.returncode:
            claim.notes.append(f"a process ended with {done.returncode}: {done.stderr.strip()[-200:]}")
            continue
        found.append(json.loads(done.stdout.splitlines()[-1]))
    first, again, theirs = ([each[name] for each in found] for name in ("first", "again", "objgraph"))
    claim.add("nbmem, first answer", first, "ms", at_most=1000)
    claim.add("nbmem, later answers", again, "ms")
    claim.add("objgraph.find_backref_chain", theirs, "ms")
    claim.add("nbmem's first answer, as part of objgraph's", ratios(first, theirs), "x")
    return claim
