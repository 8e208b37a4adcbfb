"""``%memvars``."""

from __future__ import annotations

import keyword
import shlex
from fnmatch import fnmatchcase
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand, output_can_be_silenced
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

FLAGS = ("-n", "--most", "-a", "--all", "-s", "--sort", "-o", "--output", "-q", "--quiet")


def _parser() -> MagicArgumentParser:
    parser = MagicArgumentParser("%memvars", add_help=False)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("-n", "--most", default="20")
    parser.add_argument("-a", "--all", action="store_true")
    parser.add_argument("-s", "--sort", default="freed")
    parser.add_argument("-o", "--output")
    parser.add_argument("-q", "--quiet", action="store_true")
    return parser


_PARSER = _parser()


@magics_class
class MemvarsMagics(Magics):
    """Which variable."""

    @no_var_expand
    @output_can_be_silenced
    @line_magic
    def memvars(self, line: str = "") -> None:
        """Tell of each variable what deleting it would free, what it shares, and who else holds it.

        Usage::

            %memvars [-n N] [-a] [-s COLUMN] [-o NAME] [-q] [PATTERN ...]

        freed: what ``del NAME`` would free, exactly; nothing where another name, ``Out``, another object
        or the last error holds it too, and "held by" says which. retained: what would be freed if the object
        went. shared: what it leads to that would stay. shallow: the object itself. The first line adds up.
        Modules, names that begin with an underscore, and IPython's own are left out.

        PATTERN: only names like these.
            ``%memvars df* cache``

        Options
        -------
        -n N, --most N: show so many rows. Default: 20
            ``%memvars -n 50``
        -a, --all: with modules, names that begin with an underscore, and IPython's own.
            ``%memvars -a``
        -s COLUMN, --sort COLUMN: sort by freed, retained, shared, shallow, name or type.
            ``%memvars -s retained``
        -o NAME, --output NAME: store the frame under this name.
            ``%memvars -o frame``
        -q, --quiet: show nothing.
            ``%memvars -q -o frame``
        """
        # the engine and numpy are loaded when they are first needed
        from nbmem.ipython.notebook import notebook_holders
        from nbmem.reports.variables import listed_names, measure_variables

        found = _parse(line)
        namespace = self.shell.user_ns
        names = list(namespace) if found.all else listed_names(namespace, self.shell.user_ns_hidden)
        if found.patterns:
            names = [name for name in names if any(fnmatchcase(name, each) for each in found.patterns)]
            if not names:
                hint = "" if found.all else "; -a looks among hidden names and modules too"
                raise UsageError(f"%memvars: no name is like {' or '.join(found.patterns)}{hint}")
        holders = notebook_holders(self.shell)
        report = measure_variables(namespace, names, holders=holders, sort=found.sort, most=found.most)
        if found.output is not None:
            namespace[found.output] = report.frame
        if not found.quiet:
            display(report)


def _parse(line: str) -> Any:
    from nbmem.reports.variables import SORTS

    try:
        found, rest = _PARSER.parse_known_args(shlex.split(line, comments=True))
    except (UsageError, ValueError) as error:
        raise UsageError(f"%memvars: {error}; see %memvars?") from None
    if rest:
        raise UsageError(
            f"%memvars does not know {rest[0]!r}; it takes -n N, -a, -s COLUMN, -o NAME, -q and names"
        )
    if not found.most.isdecimal() or int(found.most) < 1:
        raise UsageError(f"%memvars: -n takes a number of rows, 1 or more, not {found.most!r}")
    found.most = int(found.most)
    if found.sort not in SORTS:
        raise UsageError(f"%memvars: -s takes one of {', '.join(SORTS)}, not {found.sort!r}")
    if found.output is not None and (not found.output.isidentifier() or keyword.iskeyword(found.output)):
        raise UsageError(f"%memvars: -o takes the name of a variable, not {found.output!r}")
    return found
