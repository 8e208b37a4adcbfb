"""What was released, or could be, and what lives on: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from nbmem.heap.rootpaths import RootPath


@dataclass(frozen=True, slots=True)
class Part:
    """Something that can be released; it refers to nothing of the user's.

    Parameters
    ----------
    kind : str
        ``variable``, ``output``, ``error``, ``figure``, ``widget``, ``garbage``, ``malloc``.
    name : str
        What holds, in words: ``Out[4], _``.
    type : str
        Of the object that is held; empty where there are several.
    count : int
        How many objects.
    freed_bytes : int
        What becomes unreachable if only this is released.
    held_by : tuple of str
        What else holds the object, so that releasing this alone does not free it.
    command : str
        What to type to release it.
    parts : tuple of Part
    """

    kind: str
    name: str
    type: str
    count: int
    freed_bytes: int
    held_by: tuple[str, ...] = ()
    command: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Survivor:
    """An object that lives on although it was to be released.

    Parameters
    ----------
    name, type : str
    retained_bytes : int
    state : str
        As of ``Holding``.
    paths : tuple of RootPath
        What holds it still, with the cures.
    """

    name: str
    type: str
    retained_bytes: int
    state: str
    paths: tuple[RootPath, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """What was released, or could be.

    Parameters
    ----------
    state : str
        ``could``: nothing was asked for; ``would``: it was a dry run; ``done``.
    parts : tuple of Part
    freed_bytes : int
        What becomes unreachable if all of them are released; garbage and malloc's own are not in it.
    python_bytes : int or None
        What the allocators of Python and of C had in use before, less what they have afterwards; None where
        they do not tell, or nothing was done.
    system_bytes : int or None
        By how much the resident size fell; None if nothing was done.
    resident_bytes : int
        That at the end.
    survivors : tuple of Survivor
    notes : tuple of str
    """

    state: str
    parts: tuple[Part, ...]
    freed_bytes: int
    python_bytes: int | None
    system_bytes: int | None
    resident_bytes: int
    survivors: tuple[Survivor, ...] = ()
    notes: tuple[str, ...] = ()
