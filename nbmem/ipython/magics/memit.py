"""``%memit`` and ``%%memit``."""

from __future__ import annotations

import math
import re
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
    output_can_be_silenced,
)

from nbmem.ipython.statements import compile_statement
from nbmem.reports.memit import MemitResult, memit

FLAGS = ("-r", "-t", "-i", "-c", "-o", "-q")


@magics_class
class MemitMagics(Magics):
    """What a statement costs."""

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
        run = compile_statement(self.shell, statement, local_ns).run
        if setup and setup.strip():
            compile_statement(self.shell, setup, local_ns).run()
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
