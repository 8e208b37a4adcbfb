"""What is told about who holds an object: plain data, which refers to nothing of the user's."""

from __future__ import annotations

from dataclasses import dataclass

from nbmem.heap.shapes import Shape


@dataclass(frozen=True, slots=True)
class Step:
    """One object on a path; it refers to nothing of the user's.

    Parameters
    ----------
    reference : str
        How the one before refers to it: ``['2019']``, ``.frame``, ``(local x)``; empty for the first.
    type : str
    shallow_bytes, retained_bytes : int
    status : str
        ``expected`` to live, ``suspect``, or ``held``: it should be gone, and is not.
    reason : str
    suspect : bool
        Whether the reference that leads here may be the one too many.
    cut : bool
        Whether it is the one that the cure takes away.
    address : int
    """

    reference: str
    type: str
    shallow_bytes: int
    retained_bytes: int
    status: str
    reason: str
    suspect: bool
    cut: bool
    address: int


@dataclass(frozen=True, slots=True)
class RootPath:
    """One way by which something holds an object.

    Parameters
    ----------
    kind : str
        What it begins with; see ``Root``.
    root : str
        That, in words.
    text : str
        The whole path in one line.
    steps : tuple of Step
        From the root down to the object.
    count : int
        How many ways there are that differ only by an index or a key, or are as short.
    cure : str
        What to type so that it holds no longer; empty if there is nothing.
    advice : str
        Why not, or what the cure does besides.
    asked : bool
        Whether it is only the name by which the object was asked for.
    also : tuple of str
        Paths of other roots that go through the reference that the cure takes away.
    cut_at_root : bool
        Whether the cure lets go of what the path begins with.
    """

    kind: str
    root: str
    text: str
    steps: tuple[Step, ...]
    count: int
    cure: str
    advice: str
    asked: bool = False
    also: tuple[str, ...] = ()
    cut_at_root: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """What would come of deleting one name.

    Parameters
    ----------
    freed_bytes : int
        What would come back.
    rest_bytes : int
        What the object leads to and would stay.
    held_by : tuple of (str, int)
        Paths that would hold the rest, and how much of it: those that hold most first.
    """

    freed_bytes: int
    rest_bytes: int
    held_by: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds an object.

    Parameters
    ----------
    type : str
    shape : tuple of int or None
    shallow_bytes, retained_bytes : int
    refcount : int
        Without the references of the look itself.
    paths : tuple of RootPath
        The nearest named roots first, what only native code holds last, and the name that was asked by.
    freed_bytes : int
        What is freed when all the cures are done, and the name that was asked by is deleted; 0 if something
        holds the object still. Of what nothing holds: what goes with it.
    is_freed : bool
        Whether the object itself goes then.
    state : str
        ``held``, ``garbage`` (it waits for the collector), ``temporary`` (only this look holds it),
        ``immortal``, ``interned``.
    notes : tuple of str
        What could not be seen.
    deletion : Deletion or None
        What would come of deleting only the name by which the object was asked for.
    """

    type: str
    shape: Shape | None
    shallow_bytes: int
    retained_bytes: int
    refcount: int
    paths: tuple[RootPath, ...]
    freed_bytes: int
    is_freed: bool
    state: str
    notes: tuple[str, ...] = ()
    deletion: Deletion | None = None
