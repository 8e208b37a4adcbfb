"""What became of the heap between two snapshots: the result of ``HeapSnapshot.diff``."""

from __future__ import annotations

from dataclasses import astuple
from functools import cached_property
from typing import TYPE_CHECKING

from nbmem._errors import NotMeasured
from nbmem.heap.growth import Growth, growth
from nbmem.reports.heaprows import (
    ChangeRow,
    GroupRow,
    change_rows,
    counted_rows,
    group_rows,
    object_rows,
    whole,
)
from nbmem.reports.heapview import diff_html, diff_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nbmem.reports.snapshot import HeapSnapshot

_MOST_GROUPS = 10
_INEXACT = (
    "births were not noted all the time since the first snapshot: what lies at the address of a dead object "
    "of its type may count as survived"
)
_OTHER_PROCESS = "the snapshots are of different processes: only the sums by type are compared"


class HeapDiff:
    """What became of the heap between two snapshots.

    Living objects are compared; garbage that waits for the collector counts as gone. An object at the
    address of a dead one is another: births are noted while the earlier snapshot lives (``watch=True``). Of
    what the collector does not track, such as strings and numbers, one of the same type counts as the same.
    Snapshots of different processes have no object in common: only the sums by type are compared then.

    Attributes
    ----------
    before, after : HeapSnapshot
    """

    def __init__(self, before: HeapSnapshot, after: HeapSnapshot) -> None:
        self.before = before
        self.after = after
        self._growth: Growth | None = None
        if before.data.origin == after.data.origin:
            self._growth = growth(before.data, after.data)

    @property
    def same_process(self) -> bool:
        """Whether objects can be told apart; if not, only sums by type are known."""
        return self._growth is not None

    @property
    def exact(self) -> bool:
        """Whether births were noted since the first snapshot; if not, one may have taken another's place."""
        return self._growth is not None and self._growth.exact

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the figures."""
        other = () if self.exact else (_INEXACT if self.same_process else _OTHER_PROCESS,)
        return (*other, *dict.fromkeys([*self.before.notes, *self.after.notes]))

    @property
    def seconds(self) -> float:
        """Time between the snapshots."""
        return self.after.data.taken - self.before.data.taken

    @property
    def delta_count(self) -> int:
        """Living objects after minus before."""
        return self.after.object_count - self.before.object_count

    @property
    def delta_bytes(self) -> int:
        """Bytes of living objects after minus before."""
        return self.after.total_bytes - self.before.total_bytes

    @cached_property
    def _changes(self) -> list[ChangeRow]:
        if self._growth is None:
            return counted_rows(self.before.data, self.after.data)
        return change_rows(self._growth)

    def types(self) -> pd.DataFrame:
        """Compare the living objects by type; those whose bytes changed most first.

        Returns
        -------
        pandas.DataFrame
            Columns ``type, new_count, dead_count, survived_count, delta_count, new_bytes, dead_bytes,
            delta_bytes``: objects that only the later snapshot has, only the earlier, both; the change in
            all; shallow bytes of the new and of the dead; the change in all, with what survivors grew.
            ``<NA>`` where the snapshots are of different processes.
        """
        import pandas as pd

        names = [
            "type", "new_count", "dead_count", "survived_count", "delta_count", "new_bytes", "dead_bytes",
            "delta_bytes",
        ]  # fmt: skip
        frame = pd.DataFrame([astuple(row) for row in self._changes], columns=pd.Index(names))
        kinds = {name: "int64" if name.startswith("delta") else "Int64" for name in names[1:]}
        return frame.astype(kinds)

    def new(self, n: int = 20) -> pd.DataFrame:
        """List the new objects that keep most alive.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        pandas.DataFrame
            Columns ``type, what, shallow_bytes, retained_bytes, held_by``, as in ``HeapSnapshot.biggest``.

        Raises
        ------
        NotMeasured
            If the snapshots are of different processes.
        """
        import pandas as pd

        names = ["type", "what", "shallow_bytes", "retained_bytes", "held_by"]
        found = object_rows(self.after.data, self._known_growth().new_nodes, whole(n))
        rows = [tuple(getattr(row, name) for name in names) for row in found]
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        return frame.astype({"shallow_bytes": "int64", "retained_bytes": "int64"})

    def new_by_holder(self, n: int = 20) -> pd.DataFrame:
        """Sum the new objects by their type and by what alone holds them: where the heap grows.

        Objects that others of them keep alive are in the bytes of those.

        Parameters
        ----------
        n : int
            How many groups.

        Returns
        -------
        pandas.DataFrame
            Columns ``type, count, retained_bytes, held_by``; those that keep most alive first.

        Raises
        ------
        NotMeasured
            If the snapshots are of different processes.
        """
        import pandas as pd

        rows = group_rows(self.after.data, self._known_growth().new_nodes, whole(n))
        names = ["type", "count", "retained_bytes", "held_by"]
        frame = pd.DataFrame([astuple(row) for row in rows], columns=pd.Index(names))
        return frame.astype({"count": "int64", "retained_bytes": "int64"})

    def _known_growth(self) -> Growth:
        if self._growth is None:
            raise NotMeasured(f"which objects are new is not known: {_OTHER_PROCESS}")
        return self._growth

    def _groups(self, n: int) -> list[GroupRow]:
        if self._growth is None:
            return []
        return group_rows(self.after.data, self._growth.new_nodes, min(n, _MOST_GROUPS))

    # -- as it is shown

    def to_text(self, n: int = 15) -> str:
        """Write the totals and the types that changed most as text."""
        return diff_text(self, self._changes, self._groups(n), n=whole(n))

    def to_html(self, n: int = 15) -> str:
        """Write totals, types and what holds the new objects as static HTML."""
        return diff_html(self, self._changes, self._groups(n), n=whole(n))

    def plot(self, n: int = 15) -> Figure:
        """Draw the types whose bytes changed most, by matplotlib; return the figure."""
        from nbmem.reports.heapplot import plot_changes

        return plot_changes([row for row in self._changes if row.delta_bytes][: whole(n)])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text()
