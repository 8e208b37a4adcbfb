"""``%refchain``."""

from __future__ import annotations

import keyword
import sys
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

from nbmem._errors import BadArgument
from nbmem.ipython.statements import compile_expression

FLAGS = ("-t", "-n", "-o", "-q")
_HINT = "it takes -n N, -o NAME, -q and an expression, or -t TYPE"


@magics_class
class RefchainMagics(Magics):
    """Who holds it."""

    @no_var_expand
    @needs_local_scope
    @output_can_be_silenced
    @line_magic
    def refchain(self, line: str = "", local_ns: Any = None) -> None:
        """Tell who holds an object, by name, and what to type so that it goes.

        Usage::

            %refchain [-n N] [-o NAME] [-q] EXPRESSION
            %refchain -t TYPE [-n N] [-o NAME] [-q]

        The shortest path from each thing that has a name: variables, ``Out``, the last error with function,
        line and local, figures, widgets, modules, classes, caches, closures, running frames, threads, tasks,
        loggers, exit callbacks; and what only native code holds. Paths that differ by an index or a key are
        one: ``items[*]``. Under each, its objects with what they retain, the reference to cut marked ▸, and
        the cure. The look itself, and the name that was asked by, are no answer. Nothing is kept alive.

        Options
        -------
        -t TYPE: the instances of a type, grouped by who holds them.
            ``%refchain -t DataFrame``
        -n N: at most so many paths, or groups. Default: 10
            ``%refchain -n 3 df``
        -o NAME: store the result, a RootPaths, under this name.
            ``%refchain -o held df``, then ``held.paths``, ``held.steps``, ``held.cures``
        -q: show nothing.
            ``%refchain -q -o held df``

        Examples
        --------
        ::

            In [1]: %refchain df_cache["2019"]
        """
        __tracebackhide__ = True
        # the engine and numpy are loaded when they are first needed
        from nbmem.ipython.holders import look

        found, expression = self._refchain_options(line)
        most = int(found.get("n", "10"))
        if "t" in found:
            from nbmem.ipython.holders import look_at_type

            try:
                result: Any = look_at_type(found["t"].strip(), most=most, frame=None)
            except BadArgument as error:
                raise UsageError(f"%refchain: {error}") from None
        else:
            value = compile_expression(self.shell, expression, local_ns, magic="%refchain")()
            try:
                result = look(value, title=expression, asked=expression, most=most, frame=_caller())
            finally:
                del value
        if "o" in found:
            self.shell.user_ns[found["o"]] = result
        if "q" not in found:
            display(result)

    def _refchain_options(self, line: str) -> tuple[Any, str]:
        try:
            found, rest = self.parse_options(
                line, "t:n:o:q", posix=False, strict=False, preserve_non_opts=True
            )
        except UsageError as error:
            reason = str(error).partition(" (")[0]
            raise UsageError(f"%refchain: {reason}; {_HINT}") from None
        most = found.get("n", "10")
        if not most.isdecimal() or int(most) < 1:
            raise UsageError(f"%refchain: -n takes a number of paths, 1 or more, not {most!r}")
        output = found.get("o", None)
        if output is not None and (not output.isidentifier() or keyword.iskeyword(output)):
            raise UsageError(f"%refchain: -o takes the name of a variable, not {output!r}")
        if "t" in found and rest.strip():
            raise UsageError(f"%refchain: -t takes one type and no expression, not {rest.strip()[:60]!r} too")
        if "t" not in found and not rest.strip():
            raise UsageError("%refchain needs an expression, for example: %refchain df")
        return found, rest.strip()


def _caller() -> Any:
    """Find the frame that runs the magic: the innermost that is neither IPython's nor nbmem's."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not str(name).startswith(("nbmem.", "IPython.")):
            return frame
        frame = frame.f_back
    return None
