"""The allocation stacks of a trace as an icicle: callers above what they call, as wide as what they cost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from html import escape
from itertools import count
from typing import TYPE_CHECKING

from nbmem._errors import NotMeasured
from nbmem._units import format_bytes, format_count
from nbmem.reports import stackfiles, svg
from nbmem.reports.calltree import Node, Step, merge
from nbmem.reports.html import small
from nbmem.reports.selection import frame_place
from nbmem.reports.text import printable
from nbmem.tracing import Frame, Trace

if TYPE_CHECKING:
    import pandas as pd

_MEANINGS = {
    "live": "alive at the heap's peak",
    "net": "allocated and alive at the end",
    "count": "made",
}
_WIDTHS = {
    "live": "bytes alive at the heap's peak",
    "net": "bytes allocated and alive at the end",
    "count": "allocations",
}
_NOTHING = {
    "live": "nothing was alive at the heap's peak",
    "net": "nothing that was allocated is alive at the end",
    "count": "nothing was allocated",
}
_MOST_TEXT_LINES, _LEAST_TEXT_SHARE = 60, 0.01
#: What hover titles and boxes say of one name, so that no name makes the picture large.
_LONGEST_NAME = 160


@dataclass(frozen=True, slots=True)
class _Rest:
    """Boxes that are not shown one by one."""

    boxes: int
    weight: int
    count: int


class FlameGraph:
    """The allocation stacks of a trace, drawn: the cell's lines first, below each what it calls.

    A box is as wide as its share, what it calls included. Frames of IPython and nbmem are left out, repeated
    ones (recursion) and the inner part of very long stacks share one box.

    Parameters
    ----------
    title : str
        What was traced.
    trace : Trace
        Its stacks and lines.
    weights : mapping
        From each stack, outermost frame first, to how wide it is.
    metric : {"live", "net", "count"}
        What the weights are.
    """

    def __init__(
        self, title: str, trace: Trace, weights: Mapping[tuple[Frame, ...], int], metric: stackfiles.Metric
    ) -> None:
        self.title = title
        self.metric = metric
        self._counts = _counts(trace)
        self._root = merge(title, trace, weights, self._counts or {})
        self._notes = list(trace.notes)
        freed = sum(min(stack.net_bytes, 0) for stack in trace.stacks) if metric == "net" else 0
        if freed:
            self._notes.append(
                f"stacks that freed more than they allocated ({format_bytes(freed)}) are not drawn"
            )

    @property
    def frames(self) -> pd.DataFrame:
        """One row per box, also of those too small to be drawn, each followed by what it calls.

        Columns ``depth, kind, function, file, line, source``, the metric's own (``live_bytes``, ``net_bytes``
        or ``allocation_count``), ``share``. ``depth`` 0 is the whole; ``kind`` is ``whole``, ``line`` (a line
        that was traced), ``outside`` (stacks that lead to none), ``frame`` or ``ellipsis``.
        """
        import pandas as pd

        column = stackfiles.ATTRIBUTES[self.metric]
        rows = [
            (depth, step.kind, step.function, step.file, step.line or None, step.source, node.weight)
            for depth, _, node in self._boxes(sys.maxsize, 0.0)
            if isinstance(node, Node)
            for step in [node.step]
        ]
        names = ("depth", "kind", "function", "file", "line", "source", column)
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        frame = frame.astype({"depth": "Int64", "line": "Int64", column: "Int64"})
        frame["share"] = frame[column].astype(float) / max(self._root.weight, 1)
        return frame

    # -- what people see

    def to_svg(self) -> str:
        """Draw the picture: text, and hover titles, that a browser finds; no script, no style sheet."""
        return self._svg(hints=True)

    def to_html(self) -> str:
        """Write the picture as static HTML that an untrusted notebook shows too.

        Where ``<style>`` is obeyed, the inline picture shows, whose text can be searched and hovered. A
        sanitiser takes that, and the ``<svg>`` from around its text; what is left of it is hidden, and the
        same picture shows as an image.
        """
        title = printable(self.title)
        words = f"width: {_WIDTHS[self.metric]}, calls included" if self._root.weight else self._total()
        head = f'<p style="margin:4px 0"><b>{escape(title)}</b> &nbsp;{escape(words)}</p>'
        notes = "".join(small(f"note: {note}") for note in self._notes)
        if not self._root.weight:
            return f'<div class="nbmem">{head}{notes}</div>'
        image = svg.image(
            self._svg(hints=False),
            description=f"{title}: {self._total()}, by line and function; the text below has the figures",
        )
        text = escape("\n".join(self._tree_lines(110)))
        return (
            f'<div class="nbmem">{_STYLE}{head}'
            f'<div class="nbmem-flame-inline" style="display:none">{self._svg(hints=True)}</div>'
            f'<div class="nbmem-flame-image">{image}</div>'
            f'<details style="font-size:90%;margin:4px 0"><summary>as text</summary><pre style="{_TEXT}">'
            f"{text}</pre></details>{notes}</div>"
        )

    def to_text(self, width: int = 120) -> str:
        """Write the heaviest branches as an indented tree, for a terminal of that many columns."""
        head = f"{printable(self.title)}: {self._total()}"
        notes = [printable(f"note: {note}") for note in self._notes]
        tree = ["", *self._tree_lines(width)] if self._root.weight else []
        return "\n".join([head, *tree, *notes])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 60), 200))

    # -- how

    def _total(self) -> str:
        weight = self._root.weight
        return f"{self._amount(weight)} {_MEANINGS[self.metric]}" if weight else _NOTHING[self.metric]

    def _amount(self, weight: int) -> str:
        if self.metric != "count":
            return format_bytes(weight)
        return f"{format_count(weight)} allocation{'' if weight == 1 else 's'}"

    def _boxes(self, most: int, least: float) -> Iterator[tuple[int, int, Node | _Rest]]:
        """Walk down the heaviest boxes: depth, start, and the box; those left out below a box as one.

        Parameters
        ----------
        most : int
            So many boxes; as many again may stand for those left out.
        least : float
            The share from which boxes are walked to.
        """
        pending: list[tuple[int, int, Node | _Rest]] = [(0, 0, self._root)]
        chosen = _heaviest(self._root, most, least * self._root.weight)
        while pending:
            depth, start, node = box = pending.pop()
            yield box
            if isinstance(node, _Rest):
                continue
            below: list[tuple[int, int, Node | _Rest]] = []
            others = []
            for child in sorted(node.children.values(), key=_order(node)):
                if id(child) in chosen:
                    below.append((depth + 1, start, child))
                    start += child.weight
                else:
                    others.append(child)
            rest = _Rest(len(others), sum(child.weight for child in others), sum(o.count for o in others))
            if others and rest.weight >= least * self._root.weight:
                below.append((depth + 1, start, rest))
            pending += reversed(below)

    def _svg(self, *, hints: bool) -> str:
        total = self._root.weight
        description = f"{printable(self.title)}: {self._total()}"
        if not total:
            return svg.icicle(
                lambda *_: [svg.Box(0, 0, 1, (description,), "", "whole")], description=description
            )

        def boxes(most: int, least: float) -> Iterator[svg.Box]:
            for depth, start, node in self._boxes(most, least):
                hint = self._hint(node) if hints else ""
                yield svg.Box(depth, start / total, node.weight / total, *self._look(node), hint)

        return svg.icicle(boxes, description=description)

    def _look(self, node: Node | _Rest) -> tuple[tuple[str, ...], str, svg.Tone, str]:
        """Give the words of a box, the most first, its amount, its tone, and what its shade is made from."""
        if isinstance(node, _Rest):
            return (_others(node), "…"), "", "rest", ""
        step, amount, name = node.step, self._amount(node.weight), _name(node)
        if step.kind == "whole":
            return (f"{name}: {self._total()}", amount), "", "whole", ""
        if step.kind == "frame":
            place = printable(frame_place(step.file, step.line))
            words = (f"{name} · {place}", name) if step.function else (name,)
            return words, amount, "frame", f"{step.function} {step.file}"
        return (name,), amount, "line" if step.kind == "line" else "rest", f"line {step.line}"

    def _hint(self, node: Node | _Rest) -> str:
        """Tell all about a box, a line for each thing."""
        share = f"{node.weight / self._root.weight:.1%}"
        figures = f"{self._amount(node.weight)}, {share}"
        if self.metric != "count" and self._counts is not None:
            figures += f", {format_count(node.count)} allocation{'' if node.count == 1 else 's'}"
        if isinstance(node, _Rest):
            return f"{_others(node)}\n{figures}"
        place = _cut(printable(_full_place(node.step)), 2 * _LONGEST_NAME)
        own = node.own
        here = f"of which here itself: {self._amount(own)}" if own and node.children else ""
        return "\n".join(part for part in (_name(node), place, figures, here) if part)

    def _tree_lines(self, width: int) -> list[str]:
        lines = []
        heaviest = max((child.weight for child in self._root.children.values()), default=0)
        # where all are small, the largest of them all the same; a little less, for the division's sake
        least = min(_LEAST_TEXT_SHARE, 0.999 * heaviest / self._root.weight)
        for depth, _, node in self._boxes(_MOST_TEXT_LINES, least):
            if not depth:
                continue  # the headline has it
            amount = format_count(node.weight) if self.metric == "count" else format_bytes(node.weight)
            name = _others(node) if isinstance(node, _Rest) else _name(node)
            if isinstance(node, Node) and node.step.kind == "frame" and node.step.function:
                name += f"  {printable(frame_place(node.step.file, node.step.line))}"
            # deep branches move right more slowly, so that something of them is read
            indent = "  " * min(depth - 1, 8) + " " * max(depth - 9, 0)
            lines.append(_cut(f"{amount:>11} {node.weight / self._root.weight:>7.1%}  {indent}{name}", width))
        return lines


_TEXT = "margin:2px 16px;font-size:90%;overflow:auto;background-color:transparent"
_STYLE = (
    "<style>.nbmem-flame-inline{display:block!important}.nbmem-flame-image{display:none}"
    ".nbmem-flame-inline g:hover>rect{stroke:#d0342c;stroke-width:1.5}</style>"
)


def _counts(trace: Trace) -> dict[tuple[Frame, ...], int] | None:
    try:
        return stackfiles.weighed(trace.stacks, "count")
    except NotMeasured:
        return None


def _heaviest(root: Node, most: int, least: float) -> set[int]:
    """Choose the heaviest boxes, of equal ones the upper: those above a chosen one are chosen too."""
    chosen: set[int] = set()
    numbers = count()
    waiting = [(-root.weight, 0, next(numbers), root)]
    while waiting and len(chosen) < most:
        _, depth, _, node = heappop(waiting)
        chosen.add(id(node))
        for child in node.children.values():
            if child.weight >= least:
                heappush(waiting, (-child.weight, depth + 1, next(numbers), child))
    return chosen


def _order(parent: Node) -> Callable[[Node], tuple[object, ...]]:
    """Sort the cell's lines as they stand in the cell, what they call by weight."""

    def as_written(node: Node) -> tuple[object, ...]:
        step = node.step
        return step.kind != "line", step.function not in ("cell", "with"), step.function, step.line

    def heaviest_first(node: Node) -> tuple[object, ...]:
        return -node.weight, node.step.function, node.step.file, node.step.line

    return as_written if parent.step.kind == "whole" else heaviest_first


def _name(node: Node) -> str:
    """Say in words what a box stands for."""
    step = node.step
    if step.kind == "ellipsis":
        return f"… up to {format_count(node.repeats)} more frames"
    name = step.function
    if step.kind == "line":
        owner = step.inside if step.function in ("cell", "with") else step.function
        name = f"{owner} line {step.line}: {' '.join(step.source.split())}".lstrip()
    elif not name:  # tracemalloc knows no functions
        name = frame_place(step.file, step.line)
    often = f" (up to {format_count(node.repeats)} times in itself)" if node.repeats > 1 else ""
    return _cut(printable(name), _LONGEST_NAME) + often


def _full_place(step: Step) -> str:
    """Name a file in full, unless it is a cell's, whose name is a number."""
    place = frame_place(step.file, step.line) if step.file else ""
    if place.startswith("cell line"):
        return "" if step.kind == "line" else place  # lines are named by number anyway
    return f"{step.file}:{step.line}" if place else ""


def _others(rest: _Rest) -> str:
    return f"… {format_count(rest.boxes)} smaller"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
