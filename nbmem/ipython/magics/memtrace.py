"""``%%memtrace``."""

from __future__ import annotations

from IPython.core.error import UsageError
from IPython.core.magic import cell_magic, magics_class, no_var_expand

from nbmem.ipython.magics.base import SessionMagics
from nbmem.ipython.traced import parse_options


@magics_class
class MemtraceMagics(SessionMagics):
    """What each line of a cell costs."""

    @no_var_expand
    @cell_magic
    def memtrace(self, line: str, cell: str) -> None:
        """Tell what each line of the cell costs in memory, exactly.

        The cell runs as if the magic were not there: ``await``, the displayed value, errors, line numbers
        and names are the same. It must be the first line of the cell; other cell magics may follow it.

        Usage::

            %%memtrace [-s] [--objects] [--rss] [-f FUNCTION] [--cells] [-o NAME] [-q]

        Options
        -------
        -s, --stacks: show the allocation stacks that hold most at the peak.
            ``%%memtrace -s``
        --objects: trace each small Python object too, not only the blocks they live in (slower).
            ``%%memtrace --objects``
        --rss: resident figures only, no allocation tracing: the least overhead.
            ``%%memtrace --rss``
        -f FUNCTION: measure the lines of this function too; may be given several times.
            ``%%memtrace -f load -f Model.fit``
        --cells: measure the lines of the functions defined in earlier cells too.
            ``%%memtrace --cells``
        -o NAME: store the result, a CellTrace, under this name.
            ``%%memtrace -o t``, then ``t.lines``, ``t.stacks``, ``t.plot()``
        -q: show nothing.
            ``%%memtrace -q -o t``

        The columns
        -----------
        peak: highest resident size while the line ran, above the cell's start. spike: the largest rise
        within one run of the line, given back or not. after: resident size after the line minus before.
        net: heap bytes that the line allocated and that are still alive when the cell ends.
        """
        parse_options(line, self.shell.user_ns)
        if self.session.cells.measuring:
            raise UsageError("%%memtrace: this cell is being traced already; one %%memtrace is enough")
        # Called by its name from code: a cell of its own then.
        self.shell.run_cell(f"%%memtrace {line}\n{cell}", store_history=False)
