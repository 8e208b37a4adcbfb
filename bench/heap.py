"""The picture of the whole heap: seconds and memory, against the tools that people use today."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from bench.claims import Claim, ratios

_ROOT = Path(__file__).resolve().parents[1]
_SMALL, _LARGE, _STRUCTURE = 1_000_000, 10_000_000, 700_000
#: Bytes that a capture may take beside the heap: per object, and per reference.
_PER_OBJECT, _PER_REFERENCE = 64, 12

#: Each way, the objects it is given, what it is left out without.
_WAYS = (
    ("nbmem", _SMALL, ""),
    ("guppy3", _SMALL, "guppy"),
    ("muppy", _SMALL, "pympler"),
    ("twin", _SMALL, "nbmem.heap._walk_twin"),
    ("igraph", _SMALL, "igraph"),
    ("peak", _SMALL, ""),
    ("sizeof", _STRUCTURE, ""),
    ("asizeof", _STRUCTURE, "pympler"),
    ("nbmem", _LARGE, ""),
    ("peak", _LARGE, ""),
)


def heap(rounds: int) -> Claim:
    """Measure captures, dominators and sizes of one structure, each in fresh processes."""
    claim = Claim(
        "the heap of 1 M objects",
        f"median of {rounds} rounds; in each, every way has a fresh process, which builds the same heap; "
        "of two the better counts, but for what is called first; guppy3's heap() has neither types nor "
        "sizes before its table is asked for, it and pympler's summary have no references, capture() has "
        "all three; igraph's figure is its dominator() alone; asizeof is given limit=10 000, as with its "
        "own 100 it does not get to the end",
    )
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for way, count, needs in _WAYS:
            name = way if count != _LARGE else f"{way}, large"
            if needs and importlib.util.find_spec(needs) is None:
                _note(claim, f"{name} left out: {needs} is not installed")
                continue
            answer = _run(claim, way, count)
            if answer is not None:
                found.setdefault(name, []).append(answer)
    _figures(claim, found)
    return claim


def _run(claim: Claim, way: str, count: int) -> dict[str, float] | None:
    command = [sys.executable, "-m", "bench.heaps", way, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, check=False)
    if done.returncode:
        _note(claim, f"{way} left out: {done.stderr.strip().splitlines()[-1]}")
        return None
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _note(claim: Claim, text: str) -> None:
    if text not in claim.notes:
        claim.notes.append(text)


def _figures(claim: Claim, found: dict[str, list[dict[str, float]]]) -> None:
    def of(way: str, what: str) -> list[float]:
        return [answer[what] for answer in found.get(way, [])]

    capture, dominators = of("nbmem", "capture"), of("nbmem", "dominators")
    asizeof = of("asizeof", "sizeof")
    claim.add("capture(), first", of("nbmem", "first"), "ms")
    claim.add("capture(), again", capture, "ms")
    claim.add("guppy3 heap(), first", of("guppy3", "heap"), "ms")
    claim.add("guppy3 heap(), again", of("guppy3", "again"), "ms")
    claim.add("guppy3 heap() and its table, again", of("guppy3", "table"), "ms")
    claim.add(
        "guppy3 above capture(), both first",
        ratios(of("guppy3", "heap"), of("nbmem", "first")),
        "x",
        at_least=6,
    )
    claim.add("both again", ratios(of("guppy3", "again"), capture), "x")
    claim.add(
        "both again, guppy3 with sizes by type", ratios(of("guppy3", "table"), capture), "x", at_least=6
    )
    claim.add("pympler muppy + summary", of("muppy", "heap"), "ms")
    claim.add("pympler, above capture()", ratios(of("muppy", "heap"), capture), "x", at_least=12)
    claim.add("capture(), twin in Python", of("twin", "capture"), "ms")
    claim.add("pympler, above the twin", ratios(of("muppy", "heap"), of("twin", "capture")), "x", at_least=1)
    claim.add("dominators and retained sizes of all", dominators, "ms")
    claim.add("the same, above capture()", ratios(dominators, capture), "x", at_most=1)
    claim.add("igraph dominator()", of("igraph", "dominators"), "ms")
    claim.add("igraph, above the same", ratios(of("igraph", "dominators"), dominators), "x", at_least=10)
    claim.add("capture_from(), 0.7 M objects", of("sizeof", "sizeof"), "ms")
    claim.add("the same and its retained size", of("sizeof", "retained"), "ms")
    claim.add("pympler asizeof", asizeof, "ms")
    claim.add("asizeof, above capture_from()", ratios(asizeof, of("sizeof", "sizeof")), "x", at_least=8)
    claim.add("asizeof, above the retained size", ratios(asizeof, of("sizeof", "retained")), "x", at_least=8)
    large = [
        one + other
        for one, other in zip(of("nbmem, large", "capture"), of("nbmem, large", "dominators"), strict=True)
    ]
    small = [one + other for one, other in zip(capture, dominators, strict=True)]
    claim.add("capture(), 10 M objects", of("nbmem, large", "capture"), "ms")
    claim.add("dominators of 10 M objects", of("nbmem, large", "dominators"), "ms")
    claim.add("10 M above 1 M, capture()", ratios(of("nbmem, large", "capture"), capture), "x", at_most=13)
    claim.add("10 M above 1 M, both", ratios(large, small), "x", at_most=13)
    for way, text in (("peak", "1 M"), ("peak, large", "10 M")):
        extra = [
            answer["extra"] / (_PER_OBJECT * answer["objects"] + _PER_REFERENCE * answer["references"])
            for answer in found.get(way, [])
        ]
        claim.add(f"memory at the peak, {text}, above 64 B + 12 B", extra, "x", worst=True, at_most=1)
        claim.add(f"memory at the peak, {text}", [each / 2**20 for each in of(way, "extra")], "MiB")
    if found.get("nbmem"):
        answer = found["nbmem"][-1]
        _note(
            claim,
            f"{answer['objects']:,} objects, {answer['references']:,} references with the interpreter's own",
        )
    if found.get("igraph"):
        same = all(of("igraph", "same"))
        _note(claim, f"igraph's dominators are {'the same, node for node' if same else 'OTHERS'}")
