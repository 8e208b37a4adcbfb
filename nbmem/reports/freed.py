"""What was released, or could be: the result of ``nbmem.free``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from nbmem._units import format_bytes, format_count
from nbmem.heap.released import Part, Release, Survivor
from nbmem.reports.html import CELL, FAINT, NET, SOURCE, bar, small
from nbmem.reports.rootpaths import cure_text, path_html, through
from nbmem.reports.text import printable

if TYPE_CHECKING:
    import pandas as pd

_STATES = {
    "could": "nothing is released; all together would free",
    "would": "dry run, nothing is released; it would free",
    "done": "released",
}
#: What nobody holds.
LEFTOVERS = ("garbage", "malloc")
_COMMAND = "to release it"
#: Rows of one kind that are shown.
_MOST = 10
_WIDE = 44


class Freed:
    """What was released, or could be. It refers to none of the objects.

    Attributes
    ----------
    data : Release
        The plain data.
    """

    def __init__(self, data: Release) -> None:
        self.data = data

    @property
    def released(self) -> bool:
        """Whether anything was released, or only told of."""
        return self.data.state == "done"

    @property
    def freed_bytes(self) -> int:
        """What becomes unreachable when all of it goes, by the graph."""
        return self.data.freed_bytes

    @property
    def python_bytes(self) -> int | None:
        """By how much what Python's and C's allocators have in use fell; None if nothing was released."""
        return self.data.python_bytes

    @property
    def system_bytes(self) -> int | None:
        """By how much the resident size fell; None if nothing was released."""
        return self.data.system_bytes

    @property
    def survivors(self) -> list[str]:
        """The objects that are still alive, as they were named."""
        return [each.name for each in self.data.survivors]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each thing that was released, or can be.

        Columns ``kind`` (variable, output, error, figure, widget, garbage, malloc), ``name``, ``type``,
        ``count``, ``freed_bytes`` (what becomes unreachable if only this goes), ``held_by`` (what else holds
        it), ``command`` (what releases it).
        """
        import pandas as pd

        names = ["kind", "name", "type", "count", "freed_bytes", "held_by", "command"]
        rows = [
            (part.kind, part.name, part.type, part.count, part.freed_bytes, _held(part), part.command)
            for whole in self.data.parts
            for part in (whole.parts or (whole,))
        ]
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        return frame.astype(dict.fromkeys(("count", "freed_bytes"), "int64"))

    @property
    def paths(self) -> pd.DataFrame:
        """One row for each path that holds an object which is still alive.

        Columns ``name`` (of the object), ``kind`` (of the root), ``root``, ``path``, ``count``, ``cure``,
        ``advice``.
        """
        import pandas as pd

        names = ["name", "kind", "root", "path", "count", "cure", "advice"]
        rows = [
            (each.name, path.kind, path.root, path.text, path.count, path.cure, path.advice)
            for each in self.data.survivors
            for path in each.paths
        ]
        return pd.DataFrame(rows, columns=pd.Index(names)).astype({"count": "int64"})

    # -- as it is shown

    def headline(self) -> list[str]:
        """Say the figures as short phrases."""
        data = self.data
        if data.state == "could" and not data.parts:
            return ["there is nothing to release"]
        phrases = [f"{_STATES[data.state]} {format_bytes(data.freed_bytes)}"]
        if data.state == "could":
            more = [part for part in data.parts if part.kind in LEFTOVERS]
            phrases += [f"{format_bytes(part.freed_bytes)} {part.name}" for part in more]
        if data.python_bytes is not None:
            phrases.append(f"back to Python {format_bytes(data.python_bytes)}")
        if data.system_bytes is not None:
            phrases.append(f"back to the system {format_bytes(data.system_bytes)}")
        return [*phrases, f"resident now {format_bytes(data.resident_bytes)}"]

    def _is_told(self, part: Part) -> bool:
        """Tell whether it is told below what holds an object."""
        return bool(self.data.survivors) and any(part is whole for whole in self.data.parts)

    def _remarks(self) -> Iterator[str]:
        for whole in self.data.parts:
            together = whole.freed_bytes - sum(part.freed_bytes for part in whole.parts)
            if whole.parts and together > 0:
                yield f"{whole.name} share {format_bytes(together)}: that goes with the last of them"
        apart = self.data.freed_bytes - sum(
            part.freed_bytes for part in self.data.parts if part.kind not in LEFTOVERS
        )
        if apart > 0 and len(self.data.parts) > 1:
            yield f"{format_bytes(apart)} go only with several of these together: they share it"
        yield from (f"note: {note}" for note in self.data.notes)

    def to_text(self, width: int = 120) -> str:
        """Write it as text.

        Parameters
        ----------
        width : int
            Columns; what does not fit is cut, but never a command.
        """
        rows = [row for whole in self.data.parts for row in _rows(whole)]
        out = [f"memfree: {' · '.join(self.headline())}"]
        if rows:
            wide = min(max(len(name) for name, _ in rows), _WIDE)
            plan = self.data.state != "done"
            out += ["", f"{'frees':>11}  {'what':<{wide}}  " + (_COMMAND if plan else "")]
            for name, part in rows:
                line = f"{_size(part):>11}  {_cut(printable(name), wide):<{wide}}"
                out.append(f"{line}  {printable(part.command) if plan else ''}".rstrip())
                if part.held_by and not self._is_told(part):
                    out.append(_cut(f"{'':>11}    still held by {printable(_held(part))}", width))
        for each in self.data.survivors:
            out += ["", printable(_alive(each))]
            for number, path in enumerate(each.paths, 1):
                out.append(_cut(f"{number:>2}  {printable(path.text)}", width))
                out.append(_cut(f"    {printable(through(path))}", width))
                out.append(f"    {printable(cure_text(path))}")
        out += [printable(remark) for remark in self._remarks()]
        return "\n".join(line.rstrip() for line in out)

    def to_html(self) -> str:
        """Write it as static HTML with bars; all text that comes from names and objects is escaped."""
        parts = [f'<p style="margin:4px 0"><b>memfree</b> &nbsp;{escape(" · ".join(self.headline()))}</p>']
        rows = [row for whole in self.data.parts for row in _rows(whole)]
        if rows:
            left = f"{CELL}text-align:left;"
            plan = self.data.state != "done"
            most = max(part.freed_bytes for _, part in rows)
            head = f'<th style="{CELL}" title="what becomes unreachable if only this goes">frees</th>'
            head += f'<th style="{left}">what</th><th style="{left}">type</th>'
            head += f'<th style="{left}">still held by</th>'
            head += f'<th style="{left}">{_COMMAND}</th>' if plan else ""
            body = "".join(
                _row_html(name, part, most, plan=plan, told=self._is_told(part)) for name, part in rows
            )
            parts.append(
                '<table style="font-size:90%;border-collapse:collapse;margin:4px 0"><thead><tr>'
                f"{head}</tr></thead><tbody>{body}</tbody></table>"
            )
        for each in self.data.survivors:
            parts.append(f'<p style="margin:6px 0 0 0">{escape(printable(_alive(each)))}</p>')
            parts += [path_html(number, path) for number, path in enumerate(each.paths, 1)]
        parts += [small(remark) for remark in self._remarks()]
        return f'<div class="nbmem">{"".join(parts)}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 80), 200))


def _rows(whole: Part) -> Iterator[tuple[str, Part]]:
    """List the rows of a kind: itself, and what it consists of if that is more than one."""
    if len(whole.parts) == 1:
        part = whole.parts[0]
        yield _named(part), part
        return
    yield _named(whole), whole
    ranked = sorted(whole.parts, key=lambda part: -part.freed_bytes)
    shown = ranked[:_MOST]
    # those that something else holds free nothing: they are told of after those that free something
    for part in shown:
        yield f"  {_named(part)}", part
    if len(ranked) > _MOST:
        rest = ranked[_MOST:]
        name = f"  … {format_count(len(rest))} more"
        yield name, Part(whole.kind, name, "", len(rest), sum(part.freed_bytes for part in rest))


def _named(part: Part) -> str:
    kind = part.type.rpartition(".")[2]
    return f"{part.name} ({kind})" if kind and part.kind != "error" else part.name


def _held(part: Part) -> str:
    return ", ".join(part.held_by)


def _size(part: Part) -> str:
    return format_bytes(part.freed_bytes) if part.freed_bytes else "·"


def _alive(survivor: Survivor) -> str:
    kind = survivor.type.rpartition(".")[2]
    found = f"{survivor.name} ({kind}) is still alive and retains {format_bytes(survivor.retained_bytes)}"
    if survivor.state != "held":
        return f"{found}: {survivor.state}"
    return f"{found}; what holds it could not be found" if not survivor.paths else f"{found}, held by"


def _row_html(name: str, part: Part, most: int, *, plan: bool, told: bool) -> str:
    text = f"{SOURCE}max-width:280px;"
    indent = "padding-left:22px;" if name.startswith("  ") else ""
    kind = part.type.rpartition(".")[2]
    label, full = escape(printable(part.name.strip())), escape(printable(part.type))
    wrap = f"{CELL}text-align:left;white-space:normal;overflow-wrap:anywhere;max-width:300px;{FAINT}"
    cells = f'<td style="{CELL}">{_size(part)}{bar(part.freed_bytes, most, NET)}</td>'
    cells += f'<td style="{text}{indent}" title="{label}">{label}</td>'
    cells += f'<td style="{text}" title="{full}">{escape(printable(kind))}</td>'
    cells += f'<td style="{wrap}">{escape(printable("" if told else _held(part)))}</td>'
    if plan:
        code = (
            f'<code style="user-select:all">{escape(printable(part.command))}</code>' if part.command else ""
        )
        cells += f'<td style="{CELL}text-align:left;white-space:normal">{code}</td>'
    return f"<tr>{cells}</tr>"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
