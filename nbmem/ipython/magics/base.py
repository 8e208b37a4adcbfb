"""What the magics that need the session's state share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, magics_class

if TYPE_CHECKING:
    from nbmem.ipython.session import NbMem


@magics_class
class SessionMagics(Magics):
    """Magics that work on what nbmem keeps for this shell.

    Parameters
    ----------
    session : NbMem
    """

    def __init__(self, shell: Any, session: NbMem) -> None:
        super().__init__(shell)
        self.session = session
