"""``%memsize``."""

from __future__ import annotations

import keyword
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
    output_can_be_silenced,
)
from IPython.display import display

from nbmem.ipython.statements import compile_expression

FLAGS = ("-d", "-o", "-q")


@magics_class
class MemsizeMagics(Magics):
    """How much one object holds."""

    @no_var_expand
    @needs_local_scope
    @output_can_be_silenced
    @line_magic
    def memsize(self, line: str = "", local_ns: Any = None) -> None:
        """Tell what an object holds, exactly, and where the bytes are.

        Usage::

            %memsize [-d DEPTH] [-o NAME] [-q] EXPRESSION

        retains: what would be freed if the object went, whoever holds it now. itself: the object, with the
        buffers that it owns. shared with others: what it leads to that would stay. Below, where the retained
        bytes are: each part under what holds it, alike parts together. Nothing is kept alive, and neither
        ``_`` nor ``Out`` gets the object.

        Options
        -------
        -d DEPTH: show so many levels. Default: 4
            ``%memsize -d 8 model``
        -o NAME: store the result, an ObjectSize, under this name.
            ``%memsize -o size df``, then ``size.types()``, ``size.parts``, ``size.plot()``
        -q: show nothing.
            ``%memsize -q -o size df``

        Examples
        --------
        ::

            In [1]: %memsize {"2019": df, "2020": other}
            In [2]: %memsize await load("2019")
        """
        __tracebackhide__ = True
        # the engine and numpy are loaded when they are first needed
        from nbmem.heap.objectsize import measure
        from nbmem.reports.objectsize import LEVELS, ObjectSize

        depth, output, quiet, expression = self._memsize_options(line)
        value = compile_expression(self.shell, expression, local_ns, magic="%memsize")()
        try:
            result = ObjectSize(measure(value), title=expression, levels=depth or LEVELS)
        finally:
            del value
        if output is not None:
            self.shell.user_ns[output] = result
        if not quiet:
            display(result)

    def _memsize_options(self, line: str) -> tuple[int | None, str | None, bool, str]:
        try:
            found, rest = self.parse_options(line, "d:o:q", posix=False, strict=False, preserve_non_opts=True)
        except UsageError as error:
            reason = str(error).partition(" (")[0]
            raise UsageError(f"%memsize: {reason}; it takes -d DEPTH -o NAME -q and an expression") from None
        depth = found.get("d", None)
        if depth is not None and (not depth.isdecimal() or int(depth) < 1):
            raise UsageError(f"%memsize: -d takes a number of levels, 1 or more, not {depth!r}")
        output = found.get("o", None)
        if output is not None and (not output.isidentifier() or keyword.iskeyword(output)):
            raise UsageError(f"%memsize: -o takes the name of a variable, not {output!r}")
        if not rest.strip():
            raise UsageError("%memsize needs an expression, for example: %memsize df")
        return None if depth is None else int(depth), output, "q" in found, rest.strip()
