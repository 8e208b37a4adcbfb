"""The magics: each parses its line, calls one function, and displays."""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics

from nbmem.ipython.magics.memfree import MemfreeMagics
from nbmem.ipython.magics.memit import MemitMagics
from nbmem.ipython.magics.memlimit import MemlimitMagics
from nbmem.ipython.magics.memsize import MemsizeMagics
from nbmem.ipython.magics.memsnap import MemsnapMagics
from nbmem.ipython.magics.memtrace import MemtraceMagics
from nbmem.ipython.magics.memvars import MemvarsMagics
from nbmem.ipython.magics.memwatch import MemwatchMagics
from nbmem.ipython.magics.mprun import MprunMagics
from nbmem.ipython.magics.refchain import RefchainMagics
from nbmem.ipython.session import NbMem


def make_magics(shell: Any, session: NbMem) -> list[Magics]:
    """Make every magic of nbmem, for one shell."""
    return [
        MemitMagics(shell),
        MprunMagics(shell),
        MemtraceMagics(shell, session),
        MemwatchMagics(shell, session),
        MemlimitMagics(shell),
        MemsnapMagics(shell, session),
        MemvarsMagics(shell),
        MemsizeMagics(shell),
        RefchainMagics(shell),
        MemfreeMagics(shell),
    ]
