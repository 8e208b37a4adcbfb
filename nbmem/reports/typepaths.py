"""Who holds the instances of a type: ``nbmem.type_paths`` and its result."""

from __future__ import annotations

import shutil
from html import escape
from typing import TYPE_CHECKING

from nbmem._units import format_bytes, format_count
from nbmem.heap.rootgroups import Group, TypeHolding
from nbmem.reports.html import FAINT, small
from nbmem.reports.rootpaths import cure_text, path_html, through
from nbmem.reports.text import printable

if TYPE_CHECKING:
    import pandas as pd

_MOST_TYPES = 4


class TypePaths:
    """Who holds the instances of a type. It refers to none of them.

    Attributes
    ----------
    data : TypeHolding
        The plain data.
    """

    def __init__(self, data: TypeHolding) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.groups)

    @property
    def groups(self) -> pd.DataFrame:
        """One row per group of instances that are held alike, those that retain most first.

        Columns ``kind`` (of the root), ``root``, ``path`` (to the one that retains most), ``count``,
        ``shallow_bytes, retained_bytes`` (of all of them), ``cure``, ``advice``.
        """
        import pandas as pd

        names = ["kind", "root", "path", "count", "shallow_bytes", "retained_bytes", "cure", "advice"]
        rows = [
            (
                group.path.kind, group.path.root, group.path.text, group.count, group.shallow_bytes,
                group.retained_bytes, group.path.cure, group.path.advice,
            )
            for group in self.data.groups
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        return frame.astype(dict.fromkeys(("count", "shallow_bytes", "retained_bytes"), "int64"))

    def headline(self) -> list[str]:
        """Say the figures as short phrases."""
        data = self.data
        count = f"{format_count(data.count)} instance{'s' if data.count != 1 else ''}"
        parts = [count, f"retain{'s' if data.count == 1 else ''} {format_bytes(data.retained_bytes)}"]
        if data.group_count > 1:
            parts.append(f"held in {format_count(data.group_count)} ways")
        if data.garbage_count:
            parts.append(f"{format_count(data.garbage_count)} more wait for the collector")
        return parts

    def _heading(self) -> str:
        more = len(self.data.types) - _MOST_TYPES
        return printable(", ".join(self.data.types[:_MOST_TYPES]) + (f", … {more} more" if more > 0 else ""))

    def _remark(self) -> str:
        more = self.data.group_count - len(self.data.groups)
        return f"… {format_count(more)} more ways; -n {self.data.group_count} shows all" if more > 0 else ""

    def to_text(self, width: int = 120) -> str:
        """Write the groups as text.

        Parameters
        ----------
        width : int
            Columns; what does not fit is cut.
        """
        out = [f"{self._heading()}: {' · '.join(self.headline())}"]
        for number, group in enumerate(self.data.groups, 1):
            out.append("")
            out += [
                line if len(line) <= width else line[: width - 1] + "…"
                for line in (
                    f"{number:>2}  {printable(group.path.text)}   {_counted(group)}",
                    f"    {printable(through(group.path))}",
                )
            ]
            out.append(f"    {printable(cure_text(group.path))}")
        out += [line for line in (self._remark(), *(f"note: {each}" for each in self.data.notes)) if line]
        return "\n".join(out)

    def to_html(self) -> str:
        """Write the groups as static HTML; all text that comes from objects is escaped."""
        head = f"<b>{escape(self._heading())}</b> &nbsp;{escape(' · '.join(self.headline()))}"
        groups = "".join(
            path_html(number, group.path, f' <span style="{FAINT}">{escape(_counted(group))}</span>')
            for number, group in enumerate(self.data.groups, 1)
        )
        notes = [
            small(line) for line in (self._remark(), *(f"note: {each}" for each in self.data.notes)) if line
        ]
        return f'<div class="nbmem"><p style="margin:4px 0">{head}</p>{groups}{"".join(notes)}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 80), 200))


def _counted(group: Group) -> str:
    many = f"{format_count(group.count)} × " if group.count > 1 else ""
    return f"{many}retain{'s' if group.count == 1 else ''} {format_bytes(group.retained_bytes)}"
