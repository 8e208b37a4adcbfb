"""What of a trace is shown: the headline, the lines that matter, the changes that matter."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from nbmem._units import KIB, format_bytes, format_count, format_seconds
from nbmem.heap import VariableChange
from nbmem.tracing import LineCost, StackCost, Trace

#: Reports show so many lines at most; frames have all of them.
MOST_LINES = 100
INEXACT_LEGEND = "~ not each run was measured: hits are those seen, other figures from those or from samples"
_MOST_VARIABLES = 8


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of one piece of source that are shown.

    Parameters
    ----------
    name : str
    lines : tuple of LineCost
    left_out : int
        Cheaper lines that are not shown.
    idle : int
        Lines of a function that did not run and are not shown (its docstring, other branches).
    """

    name: str
    lines: tuple[LineCost, ...]
    left_out: int
    idle: int

    @property
    def remark(self) -> str:
        """Say what is not shown."""
        parts = []
        if self.left_out:
            parts.append(f"{format_count(self.left_out)} cheaper lines")
        if self.idle:
            parts.append(f"{format_count(self.idle)} lines that did not run")
        return f"… {' and '.join(parts)} left out; .lines has them all" if parts else ""


def headline(trace: Trace) -> list[str]:
    """Give the totals as short phrases."""
    summary = trace.summary
    parts = [
        format_seconds(summary.seconds),
        f"peak {format_bytes(summary.peak_bytes, signed=True)}",
        f"after {format_bytes(summary.increment_bytes, signed=True)}",
    ]
    if summary.net_bytes is not None:
        parts.append(f"allocated and kept {format_bytes(summary.net_bytes, signed=True)}")
    if abs(summary.arrow_bytes or 0) >= KIB:
        parts.append(f"Arrow {format_bytes(summary.arrow_bytes or 0, signed=True)}")
    parts.append(f"resident now {format_bytes(summary.resident_after_bytes)}")
    if summary.gc_count:
        times = "time" if summary.gc_count == 1 else "times"
        parts.append(f"gc {format_count(summary.gc_count)} {times}, {format_seconds(summary.gc_seconds)}")
    parts.append("exact peak" if summary.exact else "peak NOT exact (polled)")
    return parts


def blocks(trace: Trace) -> list[Block]:
    """Group the lines by piece of source; of long ones, keep the costliest lines, in their order."""
    names = dict.fromkeys(line.function for line in trace.lines)
    result = []
    for name in names:
        lines = [line for line in trace.lines if line.function == name]
        while lines and not lines[-1].source.strip() and not lines[-1].hits:
            lines.pop()
        everything = len(lines)
        if name not in ("cell", "with"):
            lines = [line for line in lines if line.hits or line.net_bytes or line is lines[0]]
        idle = everything - len(lines)
        kept = lines
        if len(lines) > MOST_LINES:
            ranked = sorted(lines, key=_weight, reverse=True)[:MOST_LINES]
            chosen = {line.line for line in ranked}
            kept = [line for line in lines if line.line in chosen]
        result.append(Block(name, tuple(kept), len(lines) - len(kept), idle))
    return result


def dedented(block: Block) -> list[str]:
    """Give the text of a block's lines without the indentation that they share."""
    if not block.lines:
        return []
    return textwrap.dedent("\n".join(line.source.expandtabs() for line in block.lines)).split("\n")


def _weight(line: LineCost) -> tuple[int, float]:
    return max(line.spike_bytes or 0, abs(line.net_bytes or 0), abs(line.increment_bytes or 0)), line.seconds


def peak_line(trace: Trace) -> LineCost | None:
    """Find the line that made the peak: of those that saw it, or nearly, the one that rose most."""
    seen = [line for line in trace.lines if line.peak_bytes is not None and line.hits]
    if not seen or trace.summary.peak_bytes < 1 << 20:
        return None
    nearly = 0.99 * max(line.peak_bytes or 0 for line in seen)
    return max(
        (line for line in seen if (line.peak_bytes or 0) >= nearly),
        # where a function's line made it, its caller's line rose as much: the innermost is named
        key=lambda line: (line.spike_bytes or 0, line.function != "cell"),
    )


def is_cell_file(file: str) -> bool:
    """Tell whether a file name is one that IPython or ipykernel gives to a cell's code."""
    return re.search(r"ipykernel_\d+[/\\]\d+\.py$|^<ipython-input-", file) is not None


def frame_place(file: str, number: int) -> str:
    """Name a frame's place: a cell's file name is a number that says nothing."""
    if is_cell_file(file):
        return f"cell line {number}"
    return f"{file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{number}"


def notable(stacks: Sequence[StackCost]) -> list[StackCost]:
    """Keep at most ten stacks, none below half a percent of the whole."""
    least = sum(stack.live_bytes or 0 for stack in stacks) // 200
    return [stack for stack in stacks if max(stack.live_bytes or 0, abs(stack.net_bytes)) > max(least, KIB)][
        :10
    ]


def variable_phrases(changes: Sequence[VariableChange]) -> list[str]:
    """Say what became of the names, the largest first; the small ones are only counted."""
    shown = [change for change in changes if max(change.bytes, change.before_bytes) >= KIB][:_MOST_VARIABLES]
    phrases = [f"{change.change} {change.name} ({change.type}, {_sizes(change)})" for change in shown]
    rest = len(changes) - len(shown)
    if rest:
        phrases.append(f"{'and ' if shown else ''}{rest} small (see .variables)")
    return phrases


def _sizes(change: VariableChange) -> str:
    if change.change == "deleted":
        return format_bytes(change.before_bytes)
    if change.change == "new" or change.bytes == change.before_bytes:
        return format_bytes(change.bytes)
    return f"{format_bytes(change.before_bytes)} → {format_bytes(change.bytes)}"
