"""Write the claims as tables, and as JSON."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbmem
from bench.claims import Claim, Figure

RESULTS = Path(__file__).parent / "results"

_PACKAGES = (
    "nbmem",
    "ipython",
    "ipykernel",
    "numpy",
    "pandas",
    "memory_profiler",
    "memray",
    "pympler",
    "guppy3",
    "objgraph",
    "igraph",
)
_VERDICTS = {True: "met", False: "NOT MET", None: ""}


def table(claim: Claim) -> str:
    """Write one claim as a table of text."""
    head = ("measured", "figure", "lowest – highest", "target", "")
    rows = [head, *(_row(figure) for figure in claim.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [claim.title, "=" * len(claim.title)]
    for number, row in enumerate(rows):
        cells = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)).rstrip())
        if number == 0:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    lines.append(f"({claim.method})")
    lines += [f"note: {note}" for note in claim.notes]
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    spread = f"{_number(figure.low, figure.unit)} – {_number(figure.high, figure.unit)}"
    target = ""
    if figure.at_least is not None and figure.at_most is not None:
        target = f"{figure.at_least:.1f} – {figure.at_most:.1f}"
    elif figure.at_most is not None:
        target = f"≤ {figure.at_most:g}"
    elif figure.at_least is not None:
        target = f"≥ {figure.at_least:g}"
    shown = f"{_number(figure.value, figure.unit)} {figure.unit}"
    return figure.what, shown, spread, target, _VERDICTS[figure.met]


def _number(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit != "ms" and abs(value) < 100 else f"{value:.1f}"


def summary(claims: Sequence[Claim]) -> str:
    """Count the targets, and name those that were missed."""
    judged = [(claim, figure) for claim in claims for figure in claim.figures if figure.met is not None]
    missed = [(claim, figure) for claim, figure in judged if not figure.met]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} targets met"]
    lines += [f"  missed: {claim.title} – {figure.what}: {_row(figure)[1]}" for claim, figure in missed]
    return "\n".join(lines)


def fingerprint() -> str:
    """Give a short hash of nbmem's source and compiled files: which nbmem the figures are of."""
    folder = Path(nbmem.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".pyx", ".so", ".pyd")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def save(claims: Sequence[Claim], seconds: float, source: str, name: str) -> Path:
    """Write the figures and what they were taken with as JSON; give the path."""
    data = {
        "seconds": round(seconds, 1),
        "nbmem_source": source,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "claims": [
            {**asdict(claim), "figures": [{**asdict(figure), "met": figure.met} for figure in claim.figures]}
            for claim in claims
        ],
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
