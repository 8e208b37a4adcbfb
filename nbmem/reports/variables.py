"""What the names of a namespace hold: the frame of ``nbmem.variables`` and the table of ``%memvars``."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from html import escape
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nbmem._errors import BadArgument
from nbmem._units import format_bytes, format_count
from nbmem.heap.holders import Holder
from nbmem.heap.holdings import Holding, Holdings, holdings
from nbmem.reports.html import CELL, FAINT, NET, PEAK, SOURCE, bar, small
from nbmem.reports.text import printable

if TYPE_CHECKING:
    import pandas as pd

#: The columns of the frame, in order.
COLUMNS = (
    "name", "type", "shape", "shallow_bytes", "retained_bytes", "freed_if_deleted_bytes", "shared_bytes",
    "held_by",
)  # fmt: skip
#: What rows can be sorted by, and the field that is meant.
SORTS = {
    "freed": "freed_if_deleted_bytes",
    "retained": "retained_bytes",
    "shallow": "shallow_bytes",
    "shared": "shared_bytes",
    "name": "name",
    "type": "type",
}
_SHARED = "#8a63d2"
_HEADS = (
    ("freed", "what del NAME would free; nothing where something else holds the object"),
    ("retained", "what would be freed if the object went, whoever holds it"),
    ("shared", "what it leads to that would stay, because something else holds it too"),
    ("shallow", "the object itself, with the buffers that it owns"),
)
_WIDE, _NARROW = 24, 12


def listed_names(namespace: dict[str, Any], hidden: Collection[str] = ()) -> list[str]:
    """List the names that are shown: no modules, none that begin with an underscore, none that are hidden."""
    return [
        name
        for name, value in list(dict.items(namespace))
        if type(name) is str
        and not name.startswith("_")
        and name not in hidden
        and not issubclass(type(value), ModuleType)
    ]


class Variables:
    """What the names of a namespace hold. It refers to none of the objects.

    Parameters
    ----------
    data : Holdings
    sort : str
        One of ``SORTS``.
    most : int
        Rows that text and HTML show.
    """

    def __init__(self, data: Holdings, *, sort: str = "freed", most: int = 20) -> None:
        self.data = data
        self._most = most
        self._rows: Sequence[Holding] = data.names
        if sort != "freed":
            field = SORTS[sort]
            textual = sort in ("name", "type")
            self._rows = sorted(data.names, key=lambda row: getattr(row, field), reverse=not textual)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per name; see :func:`nbmem.variables` for the columns."""
        import pandas as pd

        rows = [[*(getattr(row, name) for name in COLUMNS[:-1]), held_text(row)] for row in self._rows]
        frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
        return frame.astype({name: "int64" for name in COLUMNS if name.endswith("_bytes")})

    def totals(self) -> list[str]:
        """Say what all of the names hold together."""
        count = len(self._rows)
        if not count:
            return ["no such names"]
        which = "it" if count == 1 else f"all {format_count(count)}"
        parts = [f"deleting {which} frees {format_bytes(self.data.freed_together_bytes)}"]
        if self.data.shared_bytes:
            parts.append(f"shared between them {format_bytes(self.data.shared_bytes)}")
        return parts

    def _remark(self) -> str:
        left_out = len(self._rows) - self._most
        return f"… {format_count(left_out)} more; -n {len(self._rows)} shows all" if left_out > 0 else ""

    def to_text(self, width: int = 120) -> str:
        """Write the table as text.

        Parameters
        ----------
        width : int
            Columns; what does not fit is cut.
        """
        shown = self._rows[: self._most]
        names = [_cut(printable(row.name), _WIDE) for row in shown]
        kinds = [_cut(printable(_short_type(row.type)), _WIDE) for row in shown]
        wide = [max([4, *map(len, column)]) for column in (names, kinds)]
        sizes = "{:>11} {:>11} {:>11} {:>11}"
        out = ["names: " + " · ".join(self.totals())]
        if shown:
            head = f"{'name':<{wide[0]}}  {'type':<{wide[1]}} {'shape':>{_NARROW}} "
            out += ["", head + sizes.format(*(head for head, _ in _HEADS)) + "   held by"]
        for row, name, kind in zip(shown, names, kinds, strict=True):
            line = f"{name:<{wide[0]}}  {kind:<{wide[1]}} {_shape_text(row.shape):>{_NARROW}} "
            line += sizes.format(*(_size(size) for size in _sizes(row))) + "   " + printable(held_text(row))
            out.append(_cut(line.rstrip(), width))
        out += [note for note in (self._remark(), *(f"note: {note}" for note in self.data.notes)) if note]
        return "\n".join(out)

    def to_html(self) -> str:
        """Write the table as static HTML with bars; all text that comes from names is escaped."""
        shown = self._rows[: self._most]
        title = escape(" · ".join(self.totals()))
        parts = [f'<p style="margin:4px 0"><b>names</b> &nbsp;{title}</p>']
        if shown:
            left = f"{CELL}text-align:left;"
            head = "".join(f'<th style="{left}">{name}</th>' for name in ("name", "type"))
            head += f'<th style="{CELL}">shape</th>'
            head += "".join(f'<th style="{CELL}" title="{hint}">{name}</th>' for name, hint in _HEADS)
            most = [max(sizes) for sizes in zip(*map(_sizes, shown), strict=True)]
            rows = "".join(_row(row, most) for row in shown)
            parts.append(
                '<table style="font-size:90%;border-collapse:collapse;margin:4px 0"><thead><tr>'
                f'{head}<th style="{left}">held by</th></tr></thead><tbody>{rows}</tbody></table>'
            )
        remarks = [self._remark(), *(f"note: {note}" for note in self.data.notes)]
        parts += [small(words) for words in remarks if words]
        return f'<div class="nbmem">{"".join(parts)}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text(width=min(max(shutil.get_terminal_size((120, 24)).columns, 90), 200))


def _sizes(row: Holding) -> tuple[int, int, int, int]:
    return row.freed_if_deleted_bytes, row.retained_bytes, row.shared_bytes, row.shallow_bytes


def _row(row: Holding, most: Sequence[int]) -> str:
    text = f"{SOURCE}max-width:150px;"
    cells = f'<td style="{text}" title="{_shown(row.name)}">{_shown(row.name)}</td>'
    cells += f'<td style="{text}" title="{_shown(row.type)}">{_shown(_short_type(row.type))}</td>'
    cells += f'<td style="{CELL}">{_shape_text(row.shape)}</td>'
    colors = (NET, PEAK, _SHARED, "")
    for size, largest, color in zip(_sizes(row), most, colors, strict=True):
        cells += f'<td style="{CELL}">{_size(size)}{bar(size, largest, color) if color else ""}</td>'
    held = escape(printable(held_text(row)))
    wrap = f"{CELL}text-align:left;white-space:normal;overflow-wrap:anywhere;max-width:300px;min-width:120px;"
    return f'<tr>{cells}<td style="{wrap}{FAINT}">{held}</td></tr>'


def held_text(row: Holding) -> str:
    """Say who else holds the object of a name, and with which names it shares what it leads to."""
    parts = []
    if row.held_by:
        parts.append(", ".join(row.held_by))
    if row.shared_with:
        parts.append(f"shares with {', '.join(row.shared_with)}")
    return "; ".join(parts)


def _size(size: int) -> str:
    return format_bytes(size) if size else "·"


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else " × ".join(map(format_count, shape)) or "()"


def _short_type(name: str) -> str:
    return name.rpartition(".")[2]


def _shown(text: str) -> str:
    return escape(printable(text))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def measure_variables(
    namespace: dict[str, Any],
    names: Collection[str],
    *,
    holders: Sequence[Holder] = (),
    sort: str = "freed",
    most: int = 20,
) -> Variables:
    """Find out what names of a namespace hold.

    Parameters
    ----------
    namespace : dict
    names : collection of str
        Which of them.
    holders : sequence of Holder
        What else holds objects and has a name of its own.
    sort, most
        As for :class:`Variables`.

    Raises
    ------
    BadArgument
        If it is no dict: only of a namespace can it be told what ``del`` frees.
    """
    if not issubclass(type(namespace), dict):
        raise BadArgument(
            f"variables takes a namespace, a dict such as globals(), not {type(namespace).__name__}"
        )
    return Variables(holdings(namespace, names, holders=holders), sort=sort, most=most)
