"""Allocation stacks merged into one tree, from the lines that were traced inwards to what they call."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from nbmem.tracing import Frame, LineCost, Trace

#: Longer stacks keep so many frames next to the cell and next to the allocation; a box stands for the rest.
OUTER_FRAMES, INNER_FRAMES = 22, 10

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_LIBRARY = re.escape(os.path.dirname(os.__file__))
_PACKAGES = r"[/\\](?:site|dist)-packages[/\\]"
#: What runs cells and measures them; no part of what people wrote, wherever it stands in a stack.
_MACHINERY = re.compile(rf"^{re.escape(_PACKAGE)}|{_PACKAGES}(?:IPython|ipykernel|traitlets)[/\\]")
#: What stands above everything in stacks that lead to no line: event loops, threads' beginnings.
_LOOPS = re.compile(
    rf"{_PACKAGES}(?:tornado|zmq|jupyter_client|uvloop|ipykernel_launcher\.py)"
    rf"|^{_LIBRARY}[/\\](?:asyncio[/\\]|concurrent[/\\]futures[/\\]|(?:threading|runpy)\.py$)"
    r"|^<frozen runpy>$"
)
_IMPORT_SYSTEM = "<frozen importlib"

Kind = Literal["whole", "line", "outside", "frame", "ellipsis"]
Role = Literal["", "machinery", "loop", "import"]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a frame is in the tree: where it is the same object below the same box, it shares a box.

    Parameters
    ----------
    kind : {"whole", "line", "outside", "frame", "ellipsis"}
        ``line``: one that was traced. ``outside``: the stacks that lead to none.
    function, file, line
        Of a frame; of a line, the name of its source (``"cell"``), its file and its number.
    source : str
        A line's text.
    inside : str
        For a line of a function that the cell defines, that function.
    role : {"", "machinery", "loop", "import"}
        Why a frame may be folded away.
    """

    kind: Kind
    function: str = ""
    file: str = ""
    line: int = 0
    source: str = ""
    inside: str = ""
    role: Role = ""


@dataclass(slots=True)
class Node:
    """A box: its weight and its allocations, those of the boxes below included.

    Parameters
    ----------
    step : Step
    weight, count : int
    repeats : int
        How often it follows itself at most (recursion); for an ellipsis, how many frames it hides at most.
    children : dict of Step to Node
    """

    step: Step
    weight: int = 0
    count: int = 0
    repeats: int = 1
    children: dict[Step, Node] = field(default_factory=dict)

    @property
    def own(self) -> int:
        """Give what it weighs without what it calls."""
        return self.weight - sum(child.weight for child in self.children.values())


def merge(
    title: str,
    trace: Trace,
    weights: Mapping[tuple[Frame, ...], int],
    counts: Mapping[tuple[Frame, ...], int],
) -> Node:
    """Merge stacks, outermost frame first, into a tree; linear in the number of their frames."""
    outside = {tuple(reversed(stack.frames)) for stack in trace.stacks if stack.line is None}
    in_cell = any(line.function == "cell" for line in trace.lines)
    elsewhere = Step("outside", "outside the cell" if in_cell else "outside the traced lines")
    ellipsis = Step("ellipsis", "…")
    lines = _TracedLines(trace)
    root = Node(Step("whole", title))
    for frames, weight in weights.items():
        if frames in outside:
            path = [(elsewhere, 1), *_path(frames, lines, outside=True)]
        else:
            path = _path(lines.from_cell(frames), lines, outside=False)
        inner = path[OUTER_FRAMES:-INNER_FRAMES]
        if len(inner) > 1:
            path[OUTER_FRAMES:-INNER_FRAMES] = [(ellipsis, sum(repeats for _, repeats in inner))]
        count = counts.get(frames, 0)
        node = root
        node.weight += weight
        node.count += count
        for step, repeats in path:
            below = node.children.get(step)
            if below is None:
                below = node.children[step] = Node(step)
            below.weight += weight
            below.count += count
            below.repeats = max(below.repeats, repeats)
            node = below
    return root


def _path(frames: tuple[Frame, ...], lines: _TracedLines, *, outside: bool) -> list[tuple[Step, int]]:
    """Give the steps of a stack that are not folded away, each with how often it follows itself."""
    path: list[tuple[Step, int]] = []
    for frame in frames:
        step = lines.step(frame)
        if step.role == "machinery" or (outside and step.role == "loop"):
            continue
        if path and path[-1][0].role == "import":
            path.pop()  # it only leads to a module's code, or further into itself
        if path and path[-1][0] is step:
            # A comprehension, a frame of its own on CPython 3.11, is part of its line.
            path[-1] = step, path[-1][1] + _has_name(frame[0])
        else:
            path.append((step, 1))
    return path


def _has_name(function: str) -> bool:
    return bool(function) and not function.endswith(">")  # <module>, f.<locals>.<listcomp>


class _TracedLines:
    """Find the traced line that a frame is in.

    A stack tells the line that it counts for, not which of its frames is there. The files in which the
    lines are, and by how much the numbers are moved there, are learnt from all stacks together.
    """

    def __init__(self, trace: Trace) -> None:
        self._lines: dict[tuple[str, int], LineCost] = {
            (line.function, line.line): line for line in trace.lines
        }
        self._steps: dict[Frame, Step] = {}
        self._line_steps: dict[tuple[str, int], Step] = {}
        self._role = cache(_role)
        self._compiled_anew: set[str] = set()
        votes: Counter[tuple[str, str, int]] = Counter()
        for stack in trace.stacks:
            if stack.line is not None and stack.frames:
                votes[self._place(stack.frames, stack.function, stack.line)] += 1
        self._places: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for (file, function, moved), _ in votes.most_common():
            self._places[file].append((function, moved))
        # Where a traced function has all the bytes, no stack counts for the line that calls it; but the
        # outermost frame of a stack that counts is in a traced line.
        names = list(dict.fromkeys(line.function for line in trace.lines))
        for outermost in {
            stack.frames[-1] for stack in trace.stacks if stack.line is not None and stack.frames
        }:
            if self._find(outermost).kind != "line":
                places = [(name, 0) for name in names if (name, outermost[2]) in self._lines]
                self._places[outermost[1]] += places[:1]

    def _place(self, frames: tuple[Frame, ...], function: str, line: int) -> tuple[str, str, int]:
        """Find the file in which a stack, innermost frame first, met its line: file, function, moved by."""
        own = frames[-1][1]
        # Outermost first: further in, a library's frame may have this number by accident.
        met = [frame[1] for frame in reversed(frames) if frame[2] == line]
        if function not in ("cell", "with"):
            # The line that calls it may have this number too. Its own frames are in a file with its name.
            plain = function.removesuffix("()").rpartition(".")[2]
            named = {frame[1] for frame in frames if frame[0].rpartition(".")[2] == plain}
            met.sort(key=lambda file: (file not in named, file == own))
            return next(iter(met), own), function, 0
        if own in met or function == "with":
            return own, function, 0
        file = own
        below = [frame[1] for frame in frames if frame[1] != own and self._role(frame[1]) != "machinery"]
        source = self._lines.get((function, line))
        if below and source is not None and not source.source.lstrip().startswith("%%"):
            # A magic beneath (%%time, %%capture) had the rest of the cell compiled anew: the next frame.
            file = below[-1]
            self._compiled_anew.add(file)
        return file, function, line - next(frame[2] for frame in frames if frame[1] == file)

    def from_cell(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """Leave out, of a stack with the outermost frame first, what runs the cell for a magic beneath."""
        if self._compiled_anew:
            for index, frame in enumerate(frames):
                if frame[1] in self._compiled_anew:
                    return frames[index:]
        return frames

    def step(self, frame: Frame) -> Step:
        """Give a frame's step."""
        step = self._steps.get(frame)
        if step is None:
            step = self._steps[frame] = self._find(frame)
        return step

    def _find(self, frame: Frame) -> Step:
        name, file, number = frame
        for function, moved in self._places.get(file, ()):
            line = self._lines.get((function, number + moved))
            if line is not None:
                inside = name if function == "cell" and _has_name(name) else ""
                new = Step("line", function, file, line.line, line.source, inside)
                return self._line_steps.setdefault((function, line.line), new)
        return Step("frame", *frame, role=self._role(file))


def _role(file: str) -> Role:
    if _MACHINERY.search(file):
        return "machinery"
    if file.startswith(_IMPORT_SYSTEM):
        return "import"
    return "loop" if _LOOPS.search(file) else ""
