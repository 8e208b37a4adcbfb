"""What one object holds: ``nbmem.sizeof`` and its result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from nbmem._units import format_bytes, format_count
from nbmem.heap.objectsize import Measured, measure
from nbmem.heap.parts import Part
from nbmem.reports.html import FAINT, PEAK, small
from nbmem.reports.text import printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Levels that are shown, and of these how many HTML shows unfolded.
LEVELS, _UNFOLDED = 4, 2
_CHAIN = 0.99  # a part that holds nearly nothing but another is told in one line with it
_MOST_TITLE = 100


class ObjectSize:
    """What one object holds. It does not refer to the object.

    Attributes
    ----------
    title : str
        What was asked for.
    data : Measured
        The plain data.
    """

    def __init__(self, data: Measured, *, title: str = "", levels: int = LEVELS) -> None:
        self.data = data
        self.title = title
        self._levels = levels

    @property
    def type_name(self) -> str:
        """The type, with its module; those of the builtins without."""
        return self.data.type

    @property
    def shallow_bytes(self) -> int:
        """The object itself, with the buffers that it owns."""
        return self.data.shallow_bytes

    @property
    def retained_bytes(self) -> int:
        """What would be freed if the object went, whoever holds it now."""
        return self.data.retained_bytes

    @property
    def reachable_bytes(self) -> int:
        """All that it leads to, itself included; classes and modules do not count."""
        return self.data.reachable_bytes

    @property
    def shared_bytes(self) -> int:
        """What it leads to that would stay, because something else holds it too."""
        return self.data.shared_bytes

    @property
    def object_count(self) -> int:
        """How many objects would be freed if it went."""
        return self.data.object_count

    @property
    def exact(self) -> bool:
        """Whether everything could be seen; ``data.notes`` says what not."""
        return self.data.exact

    @property
    def tree(self) -> Part:
        """Where the retained bytes are: parts within parts; each adds up."""
        return self.data.tree

    @property
    def parts(self) -> pd.DataFrame:
        """The tree as a frame, one row per part, each after what holds it.

        Columns ``level, path`` (of the names), ``type, count, shallow_bytes, retained_bytes``.
        """
        import pandas as pd

        rows = [
            (level, path, part.type or "(smaller)", part.count, part.shallow_bytes, part.retained_bytes)
            for level, path, part in _flat(self.data.tree)
        ]
        names = ("level", "path", "type", "count", "shallow_bytes", "retained_bytes")
        return pd.DataFrame(rows, columns=pd.Index(names))

    def types(self) -> pd.DataFrame:
        """Give what would be freed, by type, the largest first: ``type, count, shallow_bytes``."""
        import pandas as pd

        rows = [(each.type, each.count, each.shallow_bytes) for each in self.data.types]
        frame = pd.DataFrame(rows, columns=pd.Index(("type", "count", "shallow_bytes")))
        return frame.astype({"count": "int64", "shallow_bytes": "int64"})

    def headline(self) -> list[str]:
        """Give the figures as short phrases."""
        data = self.data
        objects = "object" if data.object_count == 1 else "objects"
        parts = [
            f"retains {format_bytes(data.retained_bytes)} in {format_count(data.object_count)} {objects}",
            f"itself {format_bytes(data.shallow_bytes)}",
        ]
        if data.shared_bytes:
            parts.append(f"shared with others {format_bytes(data.shared_bytes)}")
        return parts if data.exact else [*parts, "NOT exact"]

    def _heading(self) -> str:
        title = " ".join(self.title[:_MOST_TITLE].split()) + ("…" if len(self.title) > _MOST_TITLE else "")
        return printable(f"{title} ({self.type_name})" if title else self.type_name)

    def to_text(self, width: int = 120) -> str:
        """Write the figures and the tree as text.

        Parameters
        ----------
        width : int
            Columns; what does not fit is cut.
        """
        out = [f"{self._heading()}: {' · '.join(self.headline())}"]
        whole = max(self.retained_bytes, 1)
        if self.data.tree.parts:
            out.append("")
        for level, part in _shown(self.data.tree, self._levels):
            share = f"{100 * part.retained_bytes / whole:5.1f} % {format_bytes(part.retained_bytes):>11}  "
            line = share + "  " * level + printable(_label(part))
            out.append(line if len(line) <= width else line[: width - 1] + "…")
        out += [printable(f"note: {note}") for note in self.data.notes]
        return "\n".join(out)

    def to_html(self) -> str:
        """Write the figures and the tree as static HTML; all text from the object is escaped."""
        title = f"<b>{escape(self._heading())}</b> &nbsp;{escape(' · '.join(self.headline()))}"
        tree = _items(self.data.tree, max(self.retained_bytes, 1), 1, self._levels)
        body = f'<div style="font-size:90%">{tree}</div>' if tree else ""
        notes = "".join(small(f"note: {note}") for note in self.data.notes)
        return f'<div class="nbmem"><p style="margin:4px 0">{title}</p>{body}{notes}</div>'

    def plot(self) -> Figure:
        """Draw the parts as bars, by matplotlib; return the figure."""
        from nbmem.reports.plot import plot_shares

        rows = [
            (printable("  " * (level - 1) + _label(part)), part.retained_bytes)
            for level, part in _shown(self.data.tree, min(self._levels, 2))
        ]
        return plot_shares(rows[:30], title=f"{self._heading()}: {' · '.join(self.headline())}")

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text()


def sizeof(obj: object) -> ObjectSize:
    """Tell what an object holds, exactly, and where the bytes are.

    Parameters
    ----------
    obj : object
        Anything. Who holds it does not matter: a variable, a temporary value, an element of another.

    Returns
    -------
    ObjectSize
        ``retained_bytes`` (what would be freed if it went), ``shallow_bytes``, ``reachable_bytes``,
        ``shared_bytes``, ``object_count``; ``tree``, ``parts`` and ``types()`` tell where the bytes are.

    Notes
    -----
    Milliseconds for what holds thousands of objects. For a class, a module, a frame or a traceback, and for
    instances of classes that their module does not name, the whole heap is looked at: a third of a second in
    an ordinary kernel. A class or module that is only an element of a container is not counted. No code of
    the object's runs but a ``__sizeof__`` of its class, after the walk, and nothing of it is kept alive.

    Examples
    --------
    >>> nbmem.sizeof(bytearray(1 << 20)).retained_bytes >> 20
    1
    """
    return ObjectSize(measure(obj))


def joined(part: Part) -> Part:
    """Leave out parts that hold nearly nothing but one other: what is below is told with the way to it."""
    way, last = "", part
    while last.count == 1 and last.parts and last.parts[0].name and last.parts[0].parts:
        below = last.parts[0]
        if below.count > 1 or below.retained_bytes < _CHAIN * last.retained_bytes:
            break
        way, last = way + below.name, below
    named = [replace(each, name=way + each.name) if each.type else each for each in last.parts]
    return replace(part, parts=tuple(named))


def _shown(part: Part, levels: int, level: int = 0) -> Iterator[tuple[int, Part]]:
    if level:
        yield level, part
    if level < levels:
        for each in joined(part).parts:
            yield from _shown(each, levels, level + 1)


def _flat(part: Part, level: int = 0, path: str = "") -> Iterator[tuple[int, str, Part]]:
    here = path + part.name
    yield level, here, part
    for each in part.parts:
        yield from _flat(each, level + 1, here)


def _label(part: Part) -> str:
    if not part.type:
        return f"… {format_count(part.count)} smaller" if part.count > 0 else "… smaller"
    kind = part.type.rpartition(".")[2] if not part.type.startswith("(") else part.type
    many = f"{format_count(part.count)} × " if part.count > 1 else ""
    return f"{part.name}  {many}{kind}" if part.name else f"{many}{kind}"


def _items(part: Part, whole: int, level: int, levels: int) -> str:
    if level > levels:
        return ""
    return "".join(_item(each, whole, level, levels) for each in joined(part).parts)


def _item(part: Part, whole: int, level: int, levels: int) -> str:
    share = part.retained_bytes / whole
    width = min(max(round(60 * share), 1), 60)
    meter = (
        '<span style="display:inline-block;height:6px;width:60px;margin:0 8px;'
        'background-color:rgba(128,128,128,0.18)">'
        f'<span style="display:block;height:6px;width:{width}px;background-color:{PEAK}"></span></span>'
    )
    figures = (
        f'<span style="display:inline-block;width:84px;text-align:right">{format_bytes(part.retained_bytes)}'
        f'</span><span style="display:inline-block;width:56px;text-align:right;{FAINT}">{100 * share:.1f} %'
        "</span>"
    )
    text = f'<span style="font-family:monospace" title="{escape(printable(part.type))}">'
    if part.type and part.name:
        kind = _label(part)[len(part.name) :].strip()
        text += f"{escape(printable(part.name))}</span> <span>{escape(printable(kind))}</span>"
    else:
        text += f"{escape(printable(_label(part)))}</span>"
    row = f"{figures}{meter}{text}"
    below = _items(part, whole, level + 1, levels)
    inner = "margin-left:18px;white-space:nowrap"
    if not below:
        # as far in as the text behind a marker
        return f'<div style="{inner};padding-left:14px">{row}</div>'
    opened = " open" if level < _UNFOLDED else ""
    return f'<details{opened} style="{inner}"><summary>{row}</summary>{below}</details>'
