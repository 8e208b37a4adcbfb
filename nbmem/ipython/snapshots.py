"""The heap snapshots of a session: the last one, and those that its variables name."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from nbmem._errors import BadArgument

if TYPE_CHECKING:
    from nbmem.reports.snapshot import HeapSnapshot


class LastSnapshot:
    """The snapshot that was taken last: kept here only if no variable has it."""

    def __init__(self) -> None:
        self._kept: HeapSnapshot | None = None
        self._named: weakref.ref[HeapSnapshot] | None = None

    def keep(self, snapshot: HeapSnapshot) -> None:
        """Keep one that has no name; the one before is let go."""
        self._kept, self._named = snapshot, None

    def remember(self, snapshot: HeapSnapshot) -> None:
        """Remember one that a variable has; the one before is let go."""
        self._kept, self._named = None, weakref.ref(snapshot)

    def get(self) -> HeapSnapshot | None:
        """Give it, if it still is."""
        return self._named() if self._named is not None else self._kept

    def forget(self) -> None:
        """Let it go."""
        self._kept = self._named = None


def find_snapshot(word: str, namespace: Mapping[str, object], *, magic: str) -> HeapSnapshot:
    """Find a snapshot by the name of a variable, or of a file; nothing is evaluated.

    Raises
    ------
    UsageError
        If there is none, in one line.
    """
    from nbmem.reports.snapshot import HeapSnapshot

    if word in namespace:
        value = namespace[word]
        if type(value) is HeapSnapshot:
            return value
        raise UsageError(
            f"{magic}: {word} is a {type(value).__name__[:80]}, no heap snapshot; %memsnap NAME takes one"
        )
    if os.path.isfile(os.path.expanduser(word)):
        try:
            return HeapSnapshot.load(os.path.expanduser(word))
        except (BadArgument, OSError) as error:
            raise UsageError(f"{magic}: {error}") from None
    if word.isidentifier():
        raise UsageError(f"{magic}: there is no {word!r}; %memsnap {word} takes a snapshot under that name")
    raise UsageError(f"{magic} takes names of snapshots, or of files of them; {word[:200]!r} is neither")
