"""``%memfree``."""

from __future__ import annotations

import difflib
import keyword
import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand, output_can_be_silenced
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

from nbmem._errors import BadArgument

_KINDS = ("outputs", "errors", "figures", "widgets")
FLAGS = (*(f"--{kind}" for kind in _KINDS), "--all", "--dry-run", "-o", "-q", "--quiet")
_HINT = "it takes names, Out[n], --outputs, --errors, --figures, --widgets, --all, --dry-run, -o NAME, -q"


def _parser() -> MagicArgumentParser:
    parser = MagicArgumentParser("%memfree", add_help=False)
    parser.allow_abbrev = False  # --out could be either of two
    parser.add_argument("names", nargs="*")
    for kind in _KINDS:
        parser.add_argument(f"--{kind}", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", dest="output")
    parser.add_argument("-q", "--quiet", action="store_true")
    return parser


_PARSER = _parser()


@magics_class
class MemfreeMagics(Magics):
    """How to free it."""

    @no_var_expand
    @output_can_be_silenced
    @line_magic
    def memfree(self, line: str = "") -> None:
        """Release objects with all that the notebook keeps of them, and tell what came back.

        Usage::

            %memfree [--outputs] [--errors] [--figures] [--widgets] [--all] [--dry-run] [-o NAME] [-q]
                     [NAME ...]

        Without arguments it releases nothing: it tells what could be released, what that would free, exactly,
        and what to type. With arguments it asks nothing; then the collector runs, and malloc gives its free
        memory back. What lives on is told with the paths that hold it and the cures.

        NAME: delete the variable, every ``Out[n]``, ``_``, ``_n`` and hidden reference to the same object,
        and the last error if its frames hold it. Other variables are not touched.
            ``%memfree df``
        Out[n], _n, _: let go of what was displayed; variables are not touched.
            ``%memfree Out[4] _7``

        Options
        -------
        --outputs: all that was displayed.
            ``%memfree --outputs``
        --errors: the last error, with what its frames hold; ``%debug`` has nothing to debug then.
            ``%memfree --errors``
        --figures: close all figures of pyplot's.
            ``%memfree --figures``
        --widgets: close all widgets.
            ``%memfree --widgets``
        --all: outputs, errors, figures and widgets.
            ``%memfree --all df``
        --dry-run: change nothing; tell what would be released.
            ``%memfree --dry-run --all``
        -o NAME: store the result, a Freed, under this name.
            ``%memfree -o freed df``, then ``freed.frame``, ``freed.paths``, ``freed.system_bytes``
        -q, --quiet: show nothing.
            ``%memfree -q df``
        """
        # the engine and numpy are loaded when they are first needed
        from nbmem.ipython.releasing import release

        found = _parse(line)
        wanted = [kind for kind in _KINDS if getattr(found, kind) or found.all]
        try:
            result = release(found.names, wanted, dry_run=found.dry_run, frame=None)
        except BadArgument as error:
            raise UsageError(f"%memfree: {error}") from None
        if found.output is not None:
            self.shell.user_ns[found.output] = result
        if not found.quiet:
            display(result)


def _parse(line: str) -> Any:
    try:
        found, rest = _PARSER.parse_known_args(shlex.split(line, comments=True))
    except (UsageError, ValueError) as error:
        raise UsageError(f"%memfree: {error}; see %memfree?") from None
    if rest:
        near = difflib.get_close_matches(rest[0], FLAGS, 1)
        hint = f"did you mean {near[0]}?" if near else _HINT
        raise UsageError(f"%memfree does not know {rest[0]!r}; {hint}")
    # as after del: a, b
    found.names = [name for each in found.names for name in each.split(",") if name]
    if found.output is not None and (not found.output.isidentifier() or keyword.iskeyword(found.output)):
        raise UsageError(f"%memfree: -o takes the name of a variable, not {found.output!r}")
    return found
