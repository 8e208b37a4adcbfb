"""Who holds an object, and how to free it: ``nbmem.root_paths`` and its result."""

from __future__ import annotations

import shutil
from dataclasses import astuple, fields
from html import escape
from typing import TYPE_CHECKING

from nbmem._units import format_bytes, format_count
from nbmem.heap.rootpaths import Holding, RootPath, Step
from nbmem.reports.html import FAINT, small
from nbmem.reports.text import printable

if TYPE_CHECKING:
    import pandas as pd

_STATES = {
    "garbage": "nothing holds it: it is part of a cycle and waits for the collector; gc.collect() frees it",
    "temporary": "nothing holds it but this look",
    "immortal": "the interpreter holds it for ever",
    "interned": "the interpreter holds it, with all strings that are interned",
    "own": "it is nbmem's own",
}
_MOST_TITLE, _MOST_THROUGH = 80, 6
_MARK = "▸"


class RootPaths:
    """Who holds an object. It does not refer to the object.

    Attributes
    ----------
    title : str
        What was asked for.
    data : Holding
        The plain data.
    """

    def __init__(self, data: Holding, *, title: str = "") -> None:
        self.data = data
        self.title = title

    def __len__(self) -> int:
        return len(self.data.paths)

    @property
    def state(self) -> str:
        """``held``; ``garbage``: it waits for the collector; ``temporary``; ``immortal``; ``interned``."""
        return self.data.state

    @property
    def freed_bytes(self) -> int:
        """What is freed when all cures are done; 0 where something else would hold the object."""
        return self.data.freed_bytes

    @property
    def freed_if_deleted_bytes(self) -> int | None:
        """What would come back if only the name was deleted that was asked by; None: by no name."""
        return None if self.data.deletion is None else self.data.deletion.freed_bytes

    @property
    def rest_held_by(self) -> pd.DataFrame:
        """What would hold the rest then: one row per holder, columns ``path``, ``bytes``."""
        import pandas as pd

        rows = () if self.data.deletion is None else self.data.deletion.held_by
        return pd.DataFrame(rows, columns=pd.Index(["path", "bytes"])).astype({"bytes": "int64"})

    @property
    def paths(self) -> pd.DataFrame:
        """One row per path, the nearest named root first.

        Columns ``kind`` (of the root), ``root``, ``path``, ``count`` (ways that differ by an index only),
        ``length``, ``retained_bytes`` (of the first object after the root), ``cure``, ``advice``.
        """
        import pandas as pd

        names = ["kind", "root", "path", "count", "length", "retained_bytes", "cure", "advice"]
        rows = [
            (
                path.kind, path.root, path.text, path.count, len(path.steps) - 1,
                path.steps[min(1, len(path.steps) - 1)].retained_bytes, path.cure, path.advice,
            )
            for path in self.data.paths
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        return frame.astype(dict.fromkeys(("count", "length", "retained_bytes"), "int64"))

    @property
    def steps(self) -> pd.DataFrame:
        """One row per object on each path, from the root down.

        Columns ``path`` (its number, from 1), ``reference``, ``type``, ``shallow_bytes, retained_bytes``,
        ``status`` (expected, suspect, held), ``reason``, ``suspect`` (whether the reference that leads here
        may be the one too many), ``cut`` (whether the cure takes it away), ``address``.
        """
        import pandas as pd

        names = ["path", *(field.name for field in fields(Step))]
        rows = [
            (number, *astuple(step)) for number, path in enumerate(self.data.paths, 1) for step in path.steps
        ]
        return pd.DataFrame(rows, columns=pd.Index(names))

    @property
    def cures(self) -> list[str]:
        """What to type, each once, in the order of the paths."""
        return list(dict.fromkeys(path.cure for path in self.data.paths if path.cure))

    # -- as it is shown

    def headline(self) -> list[str]:
        """Say the figures as short phrases."""
        data = self.data
        parts = [f"retains {format_bytes(data.retained_bytes)}"]
        held = [path for path in data.paths if not path.asked]
        if data.state != "held":
            return [*parts, _STATES.get(data.state, data.state)]
        if not data.paths:
            return [*parts, "what holds it could not be found"]
        if not held:
            return [*parts, f"only the name {data.paths[0].text} holds it: {data.paths[0].cure} frees it"]
        one = len(held) == 1
        parts.append("1 path holds it" if one else f"{format_count(len(held))} paths hold it")
        if data.is_freed:
            parts.append(f"all cures together free {format_bytes(data.freed_bytes)}")
        return parts

    def deletion_line(self) -> str:
        """Say what would come of deleting the name that was asked by; empty if there is nothing to say."""
        found, named = self.data.deletion, [path for path in self.data.paths if path.asked]
        if found is None or not named or (len(self.data.paths) == 1 and not found.rest_bytes):
            return ""
        cure, freed, rest = named[0].cure, found.freed_bytes, found.rest_bytes
        if not rest:
            return f"{cure} alone frees {format_bytes(freed)}"
        held = ", ".join(
            f"{text} ({format_bytes(size)})" if len(found.held_by) > 1 else text
            for text, size in found.held_by
        )
        if not freed:
            line = f"{cure} alone frees nothing of {format_bytes(rest)}"
        else:
            line = f"{cure} alone frees {format_bytes(freed)} of {format_bytes(freed + rest)}"
        return f"{line}; {'the rest' if freed else 'all of it'} is held by {held}" if held else line

    def _heading(self) -> str:
        title = " ".join(self.title[:_MOST_TITLE].split()) + ("…" if len(self.title) > _MOST_TITLE else "")
        kind = self.data.type.rpartition(".")[2]
        return printable(f"{title} ({kind})" if title and title != kind else kind)

    def to_text(self, width: int = 120) -> str:
        """Write the paths as text.

        Parameters
        ----------
        width : int
            Columns; what does not fit is cut.
        """
        out = [f"{self._heading()}: {' · '.join(self.headline())}"]
        if self.deletion_line():
            out.append(_cut(printable(self.deletion_line()), width))
        for number, path in enumerate(self.data.paths, 1):
            out += ["", _cut(f"{number:>2}  {printable(_what(path))}", width)]
            objects = through(path)
            if objects:
                out.append(_cut(f"    {printable(objects)}", width))
            if path.also:
                more = f", and {len(path.also) - 2} more" if len(path.also) > 2 else ""
                out.append(_cut(f"    also {printable(', '.join(path.also[:2]))}{more}", width))
            # a cure is there to be copied: it is never cut
            out.append(f"    {printable(cure_text(path))}")
            if path.cure and path.advice:
                out.append(_cut(f"    ({printable(path.advice)})", width))
        out += [printable(f"note: {note}") for note in self.data.notes]
        return "\n".join(out)

    def to_html(self) -> str:
        """Write the paths as static HTML; all text that comes from objects is escaped."""
        head = f"<b>{escape(self._heading())}</b> &nbsp;{escape(' · '.join(self.headline()))}"
        if self.deletion_line():
            head += f"<br>{escape(printable(self.deletion_line()))}"
        paths = "".join(path_html(number, path) for number, path in enumerate(self.data.paths, 1))
        notes = "".join(small(f"note: {note}") for note in self.data.notes)
        return f'<div class="nbmem"><p style="margin:4px 0">{head}</p>{paths}{notes}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 80), 200))


def _what(path: RootPath) -> str:
    text = path.text if not path.asked else f"{path.text}, the name that was asked by"
    return f"{text}   {format_count(path.count)} times" if path.count > 1 else text


def cure_text(path: RootPath) -> str:
    """Write what to do about a path."""
    if path.cure:
        return f"cure: {path.cure}"
    return f"no cure: {path.advice}"


def _short(name: str) -> str:
    return name.rpartition(".")[2] if not name.startswith("(") else name


def _sized(step: Step) -> str:
    return f"{_short(step.type)} {format_bytes(step.retained_bytes)}"


def through(path: RootPath) -> str:
    """Write the objects of a path with what they retain; the reference to cut is marked."""
    steps = path.steps[1:] if len(path.steps) > 1 and path.kind != "native code" else path.steps
    if len(steps) > _MOST_THROUGH:
        half = _MOST_THROUGH // 2
        first, last = steps[:half], steps[-half:]
        gap = f" › … {format_count(len(steps) - 2 * half)} more … › "
        return " › ".join(map(_marked, first)) + gap + " › ".join(map(_marked, last))
    return " › ".join(map(_marked, steps))


def _marked(step: Step) -> str:
    return f"{_MARK if step.cut else ''}{_sized(step)}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def path_html(number: int, path: RootPath, remark: str = "") -> str:
    """Write one path as static HTML."""
    mono = "font-family:monospace;"
    what = f'<span style="{mono}overflow-wrap:anywhere"><b>{escape(printable(path.text))}</b></span>'
    if path.asked:
        what += f' <span style="{FAINT}">the name that was asked by</span>'
    if path.count > 1:
        what += f' <span style="{FAINT}">{format_count(path.count)} times</span>'
    if path.also:
        what += f' <span style="{FAINT}">also {escape(printable(", ".join(path.also[:3])))}</span>'
    if path.cure:
        cure = f'<code style="overflow-wrap:anywhere;user-select:all">{escape(printable(path.cure))}</code>'
        if path.advice:
            cure += f' <span style="{FAINT}">{escape(printable(path.advice))}</span>'
    else:
        cure = f'<span style="{FAINT}">no cure: {escape(printable(path.advice))}</span>'
    rows = "".join(_step_html(step) for step in path.steps)
    table = (
        f'<details><summary style="{FAINT}font-size:85%">{escape(printable(through(path)))}</summary>'
        '<table style="font-size:85%;border-collapse:collapse;margin:2px 0 4px 14px"><tbody>'
        f"{rows}</tbody></table></details>"
    )
    below = f'<div style="margin-left:18px">{cure}{table}</div>'
    return f'<div style="margin:6px 0"><div>{number}. {what}{remark}</div>{below}</div>'


_COLORS = {"expected": "#3d9a5f", "suspect": "#d9822b", "held": "#c0392b"}


def _step_html(step: Step) -> str:
    cell = "padding:1px 8px;text-align:left;vertical-align:top;border:0;"
    line = "text-decoration:underline wavy #d9822b;" if step.suspect else ""
    reference = escape(printable(step.reference))
    cut = f' <b title="the reference to cut">{_MARK} cut here</b>' if step.cut else ""
    kind, full = escape(printable(_short(step.type))), escape(printable(step.type))
    status = f'<span style="color:{_COLORS[step.status]}">●</span> {step.status}'
    return (
        f'<tr><td style="{cell}font-family:monospace"><span style="{line}">{reference}</span>{cut}</td>'
        f'<td style="{cell}" title="{full}">{kind}</td>'
        f'<td style="{cell}text-align:right;white-space:nowrap">{format_bytes(step.retained_bytes)}</td>'
        f'<td style="{cell}white-space:nowrap">{status}</td>'
        f'<td style="{cell}{FAINT}">{escape(printable(step.reason))}</td></tr>'
    )
