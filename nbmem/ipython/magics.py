"""The magics."""

from __future__ import annotations

import math
import re
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
    output_can_be_silenced,
)

from nbmem.ipython.measured import MeasuredCells
from nbmem.ipython.traced import parse_options
from nbmem.reports.memit import MemitResult, memit


@magics_class
class NbMem(Magics):
    """nbmem's magics; ``%config NbMem`` shows their options."""

    #: What the shell had under our names before (filled by ``load``).
    replaced: dict[tuple[str, str], Any]

    def __init__(self, shell: Any, cells: MeasuredCells) -> None:
        super().__init__(shell)
        self.cells = cells
        self.replaced = {}

    @no_var_expand
    @needs_local_scope
    @output_can_be_silenced
    @line_cell_magic
    def memit(self, line: str = "", cell: str | None = None, local_ns: Any = None) -> MemitResult | None:
        """Measure the peak memory of a statement, exactly.

        Usage, in line mode::

            %memit [-r<R>] [-t<T>] [-i<I>] [-c] [-o] [-q] statement

        In cell mode the statement on the first line is setup code (run, not measured), and the body of
        the cell is measured; it runs in your namespace::

            %%memit [options] setup
            body

        The peak is the kernel's own counter, so no peak is too short to be seen.

        Options
        -------
        -r<R>: run <R> times; the increment of each run is reported.
            ``%memit -r3 df.copy()``
        -t<T>: stop after <T> seconds in all (may be a fraction).
            ``%memit -t0.5 slow()``
        -i<I>: seconds between two looks where something must be polled: children, or systems without an
            exact counter. Default: 0.1
            ``%memit -c -i0.01 run_in_processes()``
        -c: count child processes too (then the peak is not exact).
            ``%memit -c run_in_processes()``
        -o: return the result, a MemitResult with the bytes and a frame of the runs.
            ``result = %memit -o df.copy()``
        -q: print nothing.
            ``result = %memit -q -o df.copy()``

        Examples
        --------
        ::

            In [1]: %memit b = bytearray(100 << 20)
            peak memory: 170.31 MiB, increment: 100.02 MiB
        """
        __tracebackhide__ = True
        options, rest = self._memit_options(line)
        statement, setup = (rest, None) if cell is None else (cell, rest)
        if not statement.strip():
            raise UsageError("%memit needs a statement to measure, for example: %memit sorted(values)")
        run = self._runner(statement, local_ns)
        if setup and setup.strip():
            self._runner(setup, local_ns)()
        quiet = options.pop("quiet")
        output = options.pop("output")
        result = memit(run, **options)
        if not quiet:
            print(result)  # noqa: T201  # as %timeit and memory_profiler's %memit do
        return result if output else None

    def _memit_options(self, line: str) -> tuple[dict[str, Any], str]:
        # Put together (-oq), IPython would take the first apart and leave the rest to the statement.
        while match := re.match(r"((?:\s*-\S+)*?\s*)-([coq])([coqrti]\S*)(\s.*|)$", line, re.DOTALL):
            line = f"{match.group(1)}-{match.group(2)} -{match.group(3)}{match.group(4)}"
        try:
            found, rest = self.parse_options(
                line, "r:t:i:coq", posix=False, strict=False, preserve_non_opts=True
            )
        except UsageError as error:
            reason = str(error).partition(" (")[0]
            raise UsageError(f"%memit: {reason}; it takes -r -t -i -c -o -q and a statement") from None
        repeat = _number(found, "r", "a whole number of runs, 1 or more", 1, int)
        timeout = _number(found, "t", "a number of seconds above 0", None, float)
        interval = _number(found, "i", "a number of seconds above 0", 0.1, float)
        options = {
            "repeat": repeat,
            "timeout": timeout,
            "interval": interval,
            "include_children": "c" in found,
            "output": "o" in found,
            "quiet": "q" in found,
        }
        return options, rest

    def _runner(self, statement: str, local_ns: Any) -> Any:
        """Compile a statement as IPython would, for the user's namespace; give what runs it."""
        shell = self.shell
        source = shell.transform_cell(statement)
        # under a name that IPython knows the source of, for tracebacks
        name = shell.compile.cache(source, shell.execution_count, raw_code=statement)
        try:
            tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
            code = shell.compile(tree, name, "exec")
        except SyntaxError as error:
            if "'await' outside" in str(error) or "asynchronous" in str(error):
                raise UsageError(
                    "%memit cannot await; begin the cell with %%memtrace instead, it keeps the cell as it is"
                ) from None
            raise
        names = shell.user_ns

        def run() -> None:
            __tracebackhide__ = True
            if local_ns is None or local_ns is names:
                exec(code, names)
            else:
                exec(code, names, local_ns)

        return run

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
        if self.cells.measuring:
            raise UsageError("%%memtrace: this cell is being traced already; one %%memtrace is enough")
        # Called by its name from code: a cell of its own then.
        self.shell.run_cell(f"%%memtrace {line}\n{cell}", store_history=False)


def _number(found: Any, flag: str, wanted: str, default: Any, kind: type) -> Any:
    text = found.get(flag, None)
    if text is None:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not math.isfinite(value) or value <= 0:
        raise UsageError(f"%memit: -{flag} takes {wanted}, not {text!r}")
    return value
