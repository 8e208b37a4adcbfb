"""What became of the names of a shell's namespace, cell by cell, for whoever asks."""

from __future__ import annotations

from typing import Any

from nbmem.heap import NameWatch, VariableChange


class ShellNames:
    """The names of a shell, recorded before a cell and compared after it; no object is kept alive.

    Parameters
    ----------
    shell : InteractiveShell
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._watch: NameWatch | None = None
        self._changes: list[VariableChange] | None = None
        self._marks: dict[str, tuple[int, int]] = {}

    def before_cell(self, *, sized: bool) -> None:
        """Record the names.

        Parameters
        ----------
        sized : bool
            With their sizes, for :meth:`changes` after each cell; without, only :meth:`kinds` can tell,
            for a tenth of the time.
        """
        if not sized:
            self._watch = self._changes = None
            self._marks = self._marked()
            return
        self._marks = {}
        if self._watch is None:
            self._watch = NameWatch(self._shell.user_ns, self._shell.user_ns_hidden)
        elif self._changes is None:
            self._watch.look(self._shell.user_ns)
        self._changes = None

    def changes(self) -> list[VariableChange]:
        """Tell what the cell that has ended changed, the largest first."""
        if self._watch is None:
            return []
        if self._changes is None:
            self._changes = self._watch.look(self._shell.user_ns)
        return self._changes

    def kinds(self) -> dict[str, str]:
        """Tell of each name that changed how: new, rebound, grown, shrunk."""
        if self._watch is not None:
            return {change.name: change.change for change in self.changes()}
        found = {}
        for name, (address, length) in self._marked().items():
            before = self._marks.get(name)
            if before is None:
                found[name] = "new"
            elif before[0] != address:
                found[name] = "rebound"
            elif before[1] != length:
                found[name] = "grown" if length > before[1] else "shrunk"
        return found

    def _marked(self) -> dict[str, tuple[int, int]]:
        marks = {}
        for name, value in dict(self._shell.user_ns).items():
            kind = type(value)
            # of these the length can be asked for without running anybody's code
            known = kind is list or kind is dict or kind is set or kind is bytearray
            marks[name] = id(value), len(value) if known else 0
        return marks

    def forget(self) -> None:
        """Let go of the record."""
        self._watch = self._changes = None
        self._marks = {}
