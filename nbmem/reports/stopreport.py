"""What stopped a cell at the memory limit, and what had grown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from nbmem._units import KIB, format_bytes, format_seconds
from nbmem.heap import reached_bytes, record_names
from nbmem.process.stops import Place, Stop
from nbmem.reports import svg
from nbmem.reports.html import small
from nbmem.reports.text import printable

_MOST_NAMES = 5
_LONGEST_SEARCH = 1.0


@dataclass(frozen=True, slots=True)
class HeldName:
    """A name and what it leads to: bytes; ``whole`` tells whether all of it was counted."""

    name: str
    type: str
    bytes: int
    whole: bool
    change: str


def largest_names(
    namespace: Mapping[str, object], changes: Mapping[str, str], hidden: frozenset[str] = frozenset()
) -> list[HeldName]:
    """Find the names that lead to most; what several lead to counts for each.

    Parameters
    ----------
    namespace : mapping
    changes : mapping of str to str
        What became of names: new, grown, rebound.
    hidden : frozenset of str
        Names to pass over, and those with an underscore.
    """
    records = record_names(namespace, hidden)
    # Those that changed first, then the large ones: the search has a second.
    order = sorted(records, key=lambda name: (name not in changes, -records[name][2]))
    found = []
    until = time.monotonic() + _LONGEST_SEARCH
    for name in order:
        size, whole = reached_bytes(namespace.get(name), ends=(namespace,))
        if size >= 64 * KIB:
            found.append(HeldName(name, records[name][1], size, whole, changes.get(name, "")))
        if time.monotonic() > until:
            break
    return sorted(found, key=lambda held: -held.bytes)[:_MOST_NAMES]


class StopReport:
    """What stopped a cell, and what had grown.

    Attributes
    ----------
    stop : Stop
        What the guard did.
    error : str
        The name of the error that the cell ended with; empty if it ended well.
    lines : tuple of str
        Where the code was, innermost first.
    names : tuple of HeldName
        What the largest names lead to.
    """

    def __init__(
        self,
        title: str,
        stop: Stop,
        *,
        error: str,
        lines: Sequence[str],
        names: Sequence[HeldName],
        occupied_bytes: int,
        let_go: Sequence[str] = (),
    ) -> None:
        self.title = title
        self.stop = stop
        self.error = error
        self.lines = tuple(lines)
        self.names = tuple(names)
        self.occupied_bytes = occupied_bytes
        self.let_go = tuple(let_go)

    def _sentences(self) -> list[str]:
        stop = self.stop
        what = f"{self.title} reached the memory limit of {format_bytes(stop.limit_bytes)}"
        if stop.before_bytes >= stop.limit_bytes:
            what = f"{self.title} began above the memory limit of {format_bytes(stop.limit_bytes)}, grew"
        if not stop.raised_count:
            what = f"{self.title} was refused an allocation"
            if stop.allocation_limit_bytes is not None:
                what += f" that would have led beyond {format_bytes(stop.allocation_limit_bytes)}"
            what += f"; the memory limit is {format_bytes(stop.limit_bytes)}"
        elif self.error and stop.interrupted:
            what += ", caught the error and went on: it was interrupted"
        elif self.error:
            what += " and was stopped"
        elif stop.threads:
            what += " in a thread, which was stopped"
        else:
            what += "; the error did not end the cell (it was caught, shown, or it ended a task)"
        out = [what]
        if self.lines:
            out.append("it was at " + ", called from ".join(self.lines[:3]))
        if stop.threads:
            out.append("stopped in thread " + ", ".join(stop.threads[:4]))
        out.append(
            f"occupied {format_bytes(stop.before_bytes)} at its start, "
            f"{format_bytes(max(stop.highest_bytes, self.occupied_bytes))} at most, "
            f"{format_bytes(self.occupied_bytes)} now"
        )
        if self.names:
            out.append("largest names: " + " · ".join(_name_text(held) for held in self.names))
        if self.let_go:
            out.append(
                "let go, so that the error does not hold them: the locals of " + ", ".join(self.let_go)
            )
        return [printable(sentence) for sentence in out]

    def to_text(self) -> str:
        """Write the report as text."""
        first, *rest = self._sentences()
        return "\n".join([f"nbmem: {first}", *(f"  {sentence}" for sentence in rest)])

    def to_html(self) -> str:
        """Write the report as static HTML, with the timeline."""
        first, *rest = self._sentences()
        parts = [
            f'<p style="margin:4px 0"><b>nbmem</b> &nbsp;{escape(first)}</p>',
            *(small(sentence) for sentence in rest),
        ]
        seconds, resident = self.stop.points
        if len(seconds) >= 2:
            picture = svg.timeline_svg(seconds, resident, base=resident[0])
            description = (
                f"Resident size over the {format_seconds(seconds[-1])} of the cell, above its start, up to "
                f"{format_bytes(max(resident) - resident[0], signed=True)}"
            )
            parts.append(svg.image(picture, description=description))
        return f'<div class="nbmem">{"".join(parts)}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text()


def _name_text(held: HeldName) -> str:
    about = "" if held.whole else "at least "
    change = f"{held.change} " if held.change else ""
    return f"{change}{held.name} ({held.type}, {about}{format_bytes(held.bytes)})"


def place_text(place: Place, source: str = "", *, cell: str = "") -> str:
    """Write where code was: line, what stands there, function."""
    file, line, function = place
    where = f"line {line} of {cell}" if cell else f"{file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{line}"
    what = f" `{source.strip()[:100]}`" if source.strip() else ""
    return f"{where}{what}" + (f" in {function}()" if function not in ("<module>", "") else "")
