"""What nbmem keeps for one shell while it is loaded."""

from __future__ import annotations

from typing import Any

from traitlets.config import Configurable

from nbmem.ipython.measured import MeasuredCells


class NbMem(Configurable):
    """nbmem in this shell; ``%config NbMem`` shows its options.

    Parameters
    ----------
    shell : InteractiveShell
    """

    def __init__(self, shell: Any) -> None:
        super().__init__(parent=shell)
        self.cells = MeasuredCells(shell)
        #: What was registered, and what the shell had under those names before (filled by ``load``).
        self.magics: list[Any] = []
        self.replaced: dict[tuple[str, str], Any] = {}
