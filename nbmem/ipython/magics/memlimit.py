"""``%memlimit``."""

from __future__ import annotations

import shlex

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from nbmem._errors import BadArgument
from nbmem.reports.limit import limit

WORDS = ("auto", "off", "status")
FLAGS = ("-c", "--children")


@magics_class
class MemlimitMagics(Magics):
    """Stop the cell before the kernel dies."""

    @no_var_expand
    @line_magic
    def memlimit(self, line: str = "") -> None:
        """Set a memory limit: a cell that reaches it is stopped, and the kernel lives.

        Usage::

            %memlimit [SIZE|auto|off|status] [-c]

        At 80 % of the limit a warning is printed. At the limit ``nbmem.MemoryLimitExceeded``, a
        MemoryError, is raised in the cell (or in the thread that takes the memory), and the display says
        what grew: the line that was running, the names, the timeline. One huge allocation fails at once
        with MemoryError (Linux). The namespace stays as it is; only the locals of the functions that were
        stopped are let go, so that the error does not hold the memory.

        SIZE: resident size of the kernel, in bytes or as a share of what it can have.
            ``%memlimit 8GB``
            ``%memlimit 75%``
        auto: nine tenths of the memory of this machine or of its container, whichever is less.
            ``%memlimit auto``
        off: no limit; everything is put back.
            ``%memlimit off``
        status, or nothing: tell what is set.
            ``%memlimit``

        Options
        -------
        -c, --children: child processes inherit the limit on allocations.
            ``%memlimit 8GB -c``
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"%memlimit: {error}") from None
        children = any(word in FLAGS for word in words)
        rest = " ".join(word for word in words if word not in FLAGS)
        if rest.startswith("-"):
            raise UsageError(
                f"%memlimit does not know {rest!r}; it takes a size, auto, off or status, and -c"
            )
        try:
            print(limit(rest or None, children=children))  # noqa: T201  # to the user, under the cell
        except BadArgument as error:
            raise UsageError(f"%memlimit: {error}") from None
