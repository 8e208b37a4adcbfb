"""Allocation stacks in the formats of the flame graph tools that people have."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from nbmem._errors import BadArgument, NotMeasured
from nbmem.reports.selection import frame_place
from nbmem.tracing import Frame, StackCost

Metric = Literal["live", "net", "count"]

ATTRIBUTES = {"live": "live_bytes", "net": "net_bytes", "count": "allocation_count"}


def weighed(stacks: Iterable[StackCost], metric: str) -> dict[tuple[Frame, ...], int]:
    """Sum one figure by stack, outermost frame first; stacks that have none of it are left out.

    Raises
    ------
    BadArgument
        If there is no such figure.
    NotMeasured
        If the trace does not have it.
    """
    if metric not in ATTRIBUTES:
        raise BadArgument(f"metric is {metric!r}; it takes one of {', '.join(ATTRIBUTES)}")
    weights: defaultdict[tuple[Frame, ...], int] = defaultdict(int)
    for stack in stacks:
        value = getattr(stack, ATTRIBUTES[metric])
        if value is None:
            reason = (
                "tracemalloc, which recorded it, knows only what is alive at the end; take metric='net'"
                if stack.live_bytes is None
                else "there were too many allocations to count; take metric='live' or 'net'"
            )
            raise NotMeasured(f"this trace has no {ATTRIBUTES[metric]} by stack: {reason}")
        if value > 0:
            weights[tuple(reversed(stack.frames))] += value
    return dict(weights)


def write_collapsed(path: str | os.PathLike[str], weights: dict[tuple[Frame, ...], int]) -> None:
    """Write one line per stack: frames separated by semicolons, a space, the weight (flamegraph.pl)."""
    lines = [
        ";".join(_label(frame).replace(";", ",") for frame in frames) + f" {weight}"
        for frames, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    ]
    Path(path).write_text(
        "\n".join(lines) + "\n" if lines else "", encoding="utf-8", errors="backslashreplace"
    )


def write_speedscope(
    path: str | os.PathLike[str], weights: dict[tuple[Frame, ...], int], *, name: str, metric: str
) -> None:
    """Write speedscope's file format (a sampled profile, one sample per stack)."""
    numbers: dict[Frame, int] = {}
    samples = [
        [numbers.setdefault(frame, len(numbers)) for frame in frames or (("(no Python frame)", "", 0),)]
        for frames in weights
    ]
    total = sum(weights.values())
    document: dict[str, Any] = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {
            "frames": [
                {"name": function or "?", "file": file, "line": line} for function, file, line in numbers
            ]
        },
        "profiles": [
            {
                "type": "sampled",
                "name": f"{name}: {ATTRIBUTES[metric]}",
                "unit": "none" if metric == "count" else "bytes",
                "startValue": 0,
                "endValue": total,
                "samples": samples,
                "weights": list(weights.values()),
            }
        ],
        "exporter": "nbmem",
        "name": name,
    }
    Path(path).write_text(json.dumps(document), encoding="utf-8")


def _label(frame: Frame) -> str:
    function, file, line = frame
    return f"{function or '?'} ({frame_place(file, line)})"
