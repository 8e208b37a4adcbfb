"""What became of the names of a shell's namespace, cell by cell, for whoever asks."""

from __future__ import annotations

from typing import Any

from nbmem.heap import NameWatch, VariableChange


class ShellNames:
    """The names of a shell, recorded before a cell and compared after it.

    Parameters
    ----------
    shell : InteractiveShell
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._watch: NameWatch | None = None
        self._changes: list[VariableChange] | None = None

    def before_cell(self) -> None:
        """Record the names, unless they were looked at after the last cell."""
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

    def forget(self) -> None:
        """Let go of the record."""
        self._watch = self._changes = None
