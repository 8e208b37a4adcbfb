"""All objects of the process at one moment: ``nbmem.snapshot`` and its result."""

from __future__ import annotations

import os
from dataclasses import astuple, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbmem._errors import BadArgument, NotMeasured
from nbmem.heap.births import born_since
from nbmem.heap.capture import capture, this_process
from nbmem.heap.graph import UNTRACKED, Heap
from nbmem.heap.references import reference_names
from nbmem.heap.typenames import name_of

# All that shows a snapshot is loaded before the first is taken: else it would stand in the first difference.
from nbmem.reports.heapdiff import HeapDiff
from nbmem.reports.heaprows import Nodes, TypeRow, object_rows, suspect_rows, type_rows, whole
from nbmem.reports.heapview import shown, snapshot_html, snapshot_text
from nbmem.reports.snapshotfile import load_heap, save_heap

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class HeapSnapshot:
    """All objects of the process at one moment, what refers to what, and what each keeps alive.

    It holds figures and names of types only, no object of the user's. Sizes are bytes as the allocator
    counts them. Living is what something outside the heap leads to; the rest is garbage in cycles, which
    waits for the collector.

    Attributes
    ----------
    data : Heap
        The plain data: arrays.
    """

    def __init__(self, data: Heap) -> None:
        self.data = data

    def __getstate__(self) -> dict[str, Any]:
        # births are noted for the snapshot itself, not for a copy
        return {"data": replace(self.data, epoch=0, born=None)}

    # -- what it sums up

    def __len__(self) -> int:
        return self.object_count

    @cached_property
    def object_count(self) -> int:
        """Living objects."""
        return int(np.count_nonzero(self.data.living))

    @property
    def reference_count(self) -> int:
        """References among all objects."""
        return len(self.data.indices)

    @cached_property
    def total_bytes(self) -> int:
        """Bytes of the living objects."""
        return int(self.data.shallow_bytes.sum(where=self.data.living))

    @property
    def garbage_count(self) -> int:
        """Objects that nothing leads to and that wait for the collector."""
        return len(self.data) - self.object_count

    @cached_property
    def garbage_bytes(self) -> int:
        """Bytes of the garbage."""
        return int(self.data.shallow_bytes.sum(where=~self.data.living))

    @property
    def taken(self) -> pd.Timestamp:
        """When it was taken (UTC)."""
        import pandas as pd

        return pd.Timestamp(self.data.taken, unit="s", tz="UTC")

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be seen."""
        return self.data.notes

    @property
    def nbytes(self) -> int:
        """Bytes that the snapshot takes itself, with what was derived from it until now."""
        return _array_bytes(vars(self.data).values())

    # -- tables

    @cached_property
    def _types(self) -> list[TypeRow]:
        return type_rows(self.data)

    def types(self) -> pd.DataFrame:
        """Sum the living objects by type; those that keep most alive first.

        Returns
        -------
        pandas.DataFrame
            Columns ``type, count, shallow_bytes, retained_bytes``. Retained is what would be freed if all
            objects of the type went, counted over those that no other of the type keeps alive.
        """
        import pandas as pd

        names = ["type", "count", "shallow_bytes", "retained_bytes"]
        frame = pd.DataFrame([astuple(row) for row in self._types], columns=pd.Index(names))
        return frame.astype(dict.fromkeys(names[1:], "int64"))

    def biggest(self, n: int = 20) -> pd.DataFrame:
        """List the objects that keep most alive.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        pandas.DataFrame
            Columns ``type, what`` (a module, a namespace, a function's locals, where that is known),
            ``shallow_bytes, retained_bytes, refcount, held_by`` (what alone keeps it alive: its immediate
            dominator), ``address``.
        """
        return self._objects(np.flatnonzero(self.data.living), whole(n))

    def _objects(self, nodes: Nodes, n: int) -> pd.DataFrame:
        import pandas as pd

        rows = object_rows(self.data, nodes, n)
        names = ["type", "what", "shallow_bytes", "retained_bytes", "refcount", "held_by", "address"]
        frame = pd.DataFrame([astuple(row) for row in rows], columns=pd.Index(names))
        return frame.astype(dict.fromkeys(("shallow_bytes", "retained_bytes", "refcount"), "int64"))

    def suspects(self, share: float = 0.1) -> pd.DataFrame:
        """List what keeps more than a share of the heap alive: an object, or all of one type together.

        Parameters
        ----------
        share : float
            Of all living bytes.

        Returns
        -------
        pandas.DataFrame
            Columns ``type, count, what, retained_bytes, share, accumulation`` (where below it things pile
            up), ``accumulation_bytes`` (what that keeps alive). Empty if nothing stands out.
        """
        import pandas as pd

        if not 0 < share < 1:
            raise BadArgument(f"share is {share!r}; it takes a part of the heap, for example 0.1")
        names = [
            "type", "count", "what", "retained_bytes", "share", "accumulation", "accumulation_bytes",
        ]  # fmt: skip
        rows = [astuple(row) for row in suspect_rows(self.data, share)]
        frame = pd.DataFrame(rows, columns=pd.Index(names))
        kinds = {"count": "int64", "retained_bytes": "int64", "share": "float64"}
        return frame.astype({**kinds, "accumulation_bytes": "Int64"})

    # -- one object

    def shallow_bytes(self, value: object) -> int:
        """Tell the bytes of one object and of the buffers that it owned, at the time.

        Raises
        ------
        NotMeasured
            If the object is not in the snapshot.
        """
        return int(self.data.shallow_bytes[self._node_of(value)])

    def retained_bytes(self, *values: object) -> int:
        """Tell what would have been freed if an object had gone, or several at once.

        Parameters
        ----------
        *values : object
            Objects that were there. What they only keep alive together counts too, so it may be more than
            the sum of each.

        Raises
        ------
        NotMeasured
            If an object is not in the snapshot.
        BadArgument
            If none is given.
        """
        if not values:
            raise BadArgument("retained_bytes takes the object that it is about, or several")
        nodes = [self._node_of(value) for value in values]
        if len(nodes) == 1:
            return int(self.data.retained_bytes[nodes[0]])
        return self.data.retained_together(nodes)

    def references(self, value: object, n: int = 100) -> pd.DataFrame:
        """List what an object refers to, by name, as far as it refers to it still.

        Parameters
        ----------
        value : object
            An object that was there.
        n : int
            How many at most; those that keep most alive first.

        Returns
        -------
        pandas.DataFrame
            Columns ``name`` (``.attribute``, ``['key']``, ``[index]``; empty where it has none, or no longer
            is), then those of :meth:`biggest`.

        Raises
        ------
        NotMeasured
            If the object is not in the snapshot.
        """
        node = self._node_of(value)
        nodes = np.unique(self.data.referents(node))
        frame = self._objects(nodes, whole(n))
        addresses = [int(address, 16) for address in frame["address"]]
        names = reference_names(value, set(addresses))
        texts = [names[each].text if each in names else "" for each in addresses]
        frame.insert(0, "name", texts)
        return frame

    def referrers(self, value: object, n: int = 100) -> pd.DataFrame:
        """List what referred to an object; those that keep most alive first.

        Parameters
        ----------
        value : object
            An object that was there.
        n : int
            How many at most.

        Returns
        -------
        pandas.DataFrame
            The columns of :meth:`biggest`. What refers to it from outside the heap is in no row.

        Raises
        ------
        NotMeasured
            If the object is not in the snapshot.
        """
        return self._objects(np.unique(self.data.referrers(self._node_of(value))), whole(n))

    def _node_of(self, value: object) -> int:
        heap, kind = self.data, type(value)
        if heap.origin != this_process():
            raise NotMeasured("the snapshot is of another process: it cannot know an object of this one")
        node = heap.node_at(id(value))
        number = None if node is None else int(heap.type_index[node])
        # an address may have come to another object since: its type may tell, or that one was born there
        if (
            node is None
            or number is None
            or int(heap.type_addresses[number]) != id(kind)
            or heap.types[number] != name_of(kind)
            or (heap.states[node] < UNTRACKED and born_since(id(value), heap.epoch))
        ):
            raise NotMeasured(
                f"this {shown(name_of(kind), 120)} is not in the snapshot: it was made after it, "
                "or is nbmem's own"
            )
        return node

    # -- with others

    def diff(self, other: HeapSnapshot) -> HeapDiff:
        """Compare with a later snapshot: what is new in that, what is dead.

        Parameters
        ----------
        other : HeapSnapshot
            The later one.

        Returns
        -------
        HeapDiff
        """
        if not isinstance(other, HeapSnapshot):
            raise BadArgument(f"diff takes another snapshot, not {type(other).__name__}")
        return HeapDiff(self, other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, whole or not at all; :meth:`load` reads it."""
        save_heap(path, self.data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HeapSnapshot:
        """Read a file that :meth:`save` wrote. Nothing in it is executed.

        Raises
        ------
        BadArgument
            If it is no such file, or damaged.
        """
        return cls(load_heap(path))

    # -- as it is shown

    def to_text(self, n: int = 15) -> str:
        """Write the totals and the first types as text."""
        return snapshot_text(self.data, self._types, self._totals(), n=whole(n))

    def to_html(self, n: int = 15) -> str:
        """Write totals, types and the biggest objects as static HTML."""
        return snapshot_html(self.data, self._types, self._totals(), n=whole(n))

    def plot(self, n: int = 15) -> Figure:
        """Draw the types that keep most alive, by matplotlib; return the figure."""
        from nbmem.reports.heapplot import plot_types

        return plot_types(self._types[: whole(n)])

    def _totals(self) -> dict[str, int]:
        return {
            "object_count": self.object_count,
            "total_bytes": self.total_bytes,
            "garbage_count": self.garbage_count,
            "garbage_bytes": self.garbage_bytes,
            "nbytes": self.nbytes,
        }

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text()


def snapshot(*, watch: bool = True) -> HeapSnapshot:
    """Take down all objects of the process and what refers to what, at this moment.

    Parameters
    ----------
    watch : bool
        As long as the snapshot lives, note where objects are born, so that a difference from it is exact: a
        callback of the collector, some 10 ns for each object that lives longer than a moment.

    Returns
    -------
    HeapSnapshot

    Raises
    ------
    MemoryError
        If there is no room for it: some 64 bytes per object and 12 per reference.

    Notes
    -----
    Nothing is collected first: garbage in cycles is told apart. Objects of nbmem's own are left out.

    Examples
    --------
    >>> import nbmem
    >>> before = nbmem.snapshot()
    >>> rows = [bytearray(1000) for _ in range(5000)]
    >>> changes = before.diff(nbmem.snapshot()).types()
    >>> int(changes.set_index("type").new_count["bytearray"])
    5000
    """
    return HeapSnapshot(capture(watch=watch))


def _array_bytes(values: Any) -> int:
    """Sum arrays, those in tuples and dominator trees too."""
    total = 0
    for value in values:
        if isinstance(value, np.ndarray):
            total += value.nbytes
        elif isinstance(value, tuple):
            total += _array_bytes(each for each in value if isinstance(each, np.ndarray))
        elif hasattr(value, "idom"):
            total += value.idom.nbytes + value.order.nbytes
    return total
