"""Sizes by nbmem and by peers beside the bytes that came back: the table of docs/sizes.md."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.claims import Claim
from bench.peersizes import PEERS
from tests.heap.judge import BYTES, PART, ROOT, Verdict, judged
from tests.heap.library_structures import LIMITS
from tests.heap.structures import STRUCTURES

PAGE = ROOT / "docs" / "sizes.md"
_TEXT = Path(__file__).with_name("sizes.md")
#: Of structures whose names tell no number.
_SCALE = 0.2
_PACKAGES = ("numpy", "pandas", "pyarrow", "polars", "scipy", "torch", "pympler", "guppy3")


@dataclass
class _Row:
    verdict: Verdict
    answers: dict[str, int | str | None] = field(default_factory=dict)

    def is_right(self, peer: str) -> bool | None:
        """Tell whether a peer is as near as is asked of nbmem; None: it does not answer for such objects."""
        answer = self.answers.get(peer)
        if answer is None:
            return None
        came = self.verdict.came_back_bytes
        return isinstance(answer, int) and abs(answer - came) <= max(BYTES, PART * came)


def sizes(rounds: int) -> Claim:
    """Judge all structures, ask the peers, write the page. One round: sizes do not vary as times do."""
    claim = Claim(
        "sizes of structures, against the bytes that came back",
        f"pymalloc's, malloc's and Arrow's counters, and mappings, before and after the structure is "
        f"dropped; right: within {PART:.0%} or {BYTES} bytes; every row is in docs/sizes.md",
    )
    rows: dict[str, _Row] = {}
    with ThreadPoolExecutor(2) as workers:
        for found in workers.map(lambda group: _rows(*group), _groups()):
            rows.update(found)
    missing = sorted(
        {library for each in STRUCTURES.values() for library in each.needs if not _is_there(library)}
    )
    claim.notes += [f"structures of {library} left out: it is not installed" for library in missing]
    claim.notes += [f"{peer} left out: it is not installed" for peer in _missing_peers()]
    in_order = [rows[name] for name in STRUCTURES if name in rows]
    plain = [row for row in in_order if row.verdict.name not in LIMITS]
    off = [
        100 * abs(row.verdict.off_bytes) / row.verdict.came_back_bytes
        for row in plain
        if row.verdict.came_back_bytes > 50_000
    ]
    claim.add("structures judged", [float(len(in_order))], "rows", at_least=40)
    claim.add(
        "right by nbmem, but for known limits",
        [100 * statistics.mean(row.verdict.is_right for row in plain)],
        "%",
        at_least=100,
    )
    claim.add("nbmem off, structures above 50 kB", off, "%", worst=True, at_most=3)
    for peer in PEERS:
        judgements = [right for row in in_order if (right := row.is_right(peer)) is not None]
        if judgements:
            claim.add(
                f"right by {_NAMES[peer]}, of {len(judgements)}", [100 * statistics.mean(judgements)], "%"
            )
    PAGE.write_text(_page(in_order, claim.notes), encoding="utf-8")
    return claim


_NAMES = {
    "pympler": "pympler",
    "guppy3": "guppy3",
    "getsizeof": "sys.getsizeof",
    "pandas": "pandas memory_usage",
}


def _is_there(library: str) -> bool:
    return importlib.util.find_spec(library.partition(".")[0]) is not None


def _missing_peers() -> list[str]:
    return [peer for peer, module in (("pympler", "pympler"), ("guppy3", "guppy")) if not _is_there(module)]


def _groups() -> Iterator[tuple[float, list[str]]]:
    """Put together what can be judged in one process: of the same libraries, at the same scale."""
    groups: dict[tuple[float, tuple[str, ...]], list[str]] = {}
    for name, each in STRUCTURES.items():
        if all(map(_is_there, each.needs)):
            scale = 1.0 if re.search(r"\d+ (k|M|MB|kB)\b", name) else _SCALE
            groups.setdefault((scale, each.needs), []).append(name)
    for (scale, _), names in groups.items():
        yield scale, names


def _rows(scale: float, names: list[str]) -> dict[str, _Row]:
    rows = {verdict.name: _Row(verdict) for verdict in judged(names, scale)}
    left = list(names)
    while left:
        command = [sys.executable, "-m", "bench.peersizes", str(scale), *left]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        begun = left[0]
        for line in done.stdout.splitlines():
            answer = json.loads(line)
            begun = answer["name"]
            if "peer" in answer:
                rows[begun].answers[answer["peer"]] = answer.get("bytes", answer.get("error"))
        if done.returncode == 0:
            break
        # a peer that ends the process has failed; the rest is asked in another
        for peer in PEERS[:2]:
            rows[begun].answers.setdefault(peer, "crashed")
        left = left[left.index(begun) + 1 :]
    return rows


def _page(rows: list[_Row], notes: list[str]) -> str:
    packages = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    head = ["structure", "came back", "nbmem", "", *(_NAMES[peer] for peer in PEERS)]
    lines = [
        _TEXT.read_text(encoding="utf-8").rstrip(),
        "",
        f"CPython {platform.python_version()}, {packages}.",
        "",
    ]
    lines += [f"{note.capitalize()}.\n" for note in notes]
    lines += [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    for row in rows:
        verdict = row.verdict
        name = f"{verdict.name} ¹" if verdict.name in LIMITS else verdict.name
        lines.append(
            _line(
                [
                    name,
                    f"{verdict.came_back_bytes:,}",
                    _marked(verdict.retained_bytes, verdict.is_right),
                    f"{100 * verdict.off_bytes / max(1, verdict.came_back_bytes):+.1f} %"
                    if verdict.came_back_bytes > BYTES
                    else "",
                    *(_marked(row.answers.get(peer), row.is_right(peer)) for peer in PEERS),
                ]
            )
        )
    right = [sum(bool(row.is_right(peer)) for row in rows) for peer in PEERS]
    asked = [sum(row.is_right(peer) is not None for row in rows) for peer in PEERS]
    lines.append(
        _line(
            [
                "**right**", "", f"**{sum(row.verdict.is_right for row in rows)} of {len(rows)}**", "",
                *(f"**{some} of {of}**" for some, of in zip(right, asked, strict=True)),
            ]
        )
    )  # fmt: skip
    lines += ["", "¹ Known limits:", ""]
    lines += [f"- {name}: {why}." for name, why in LIMITS.items()]
    return "\n".join(lines) + "\n"


def _marked(answer: int | str | None, is_right: bool | None) -> str:
    if answer is None:
        return ""
    return f"{answer:,}{' ✓' if is_right else ''}" if isinstance(answer, int) else answer


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
