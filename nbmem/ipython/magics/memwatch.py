"""``%memwatch``."""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class, no_var_expand, output_can_be_silenced
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

from nbmem._errors import BadArgument
from nbmem._units import format_bytes, format_count, parse_bytes
from nbmem.ipython.magics.base import SessionMagics
from nbmem.reports.history import SessionReport, ledger, session

WORDS = ("on", "off", "report", "plot", "clear")
FLAGS = ("-q", "--quiet", "-t", "--threshold")


def _parser() -> MagicArgumentParser:
    parser = MagicArgumentParser("%memwatch", add_help=False)
    parser.add_argument("action", nargs="?", default="status")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("-t", "--threshold")
    return parser


_PARSER = _parser()


@magics_class
class MemwatchMagics(SessionMagics):
    """What every cell costs."""

    @no_var_expand
    @output_can_be_silenced
    @line_magic
    def memwatch(self, line: str = "") -> SessionReport | None:
        """Record what each cell costs from now on, without touching the cells.

        Usage::

            %memwatch [on|off|report|plot|clear] [-q] [-t SIZE]

        Each executed cell adds a row to ``nbmem.history()``: its exact peak and what it left, in resident
        size, its time, its garbage collections, how it ended, and the names that are new, grown or gone.
        Under cells that took or left at least 1 MiB a line says so. Less than a millisecond per cell;
        nothing of yours is kept alive.

        on: record from the next cell on.
            ``%memwatch on``
        off: stop; the rows stay.
            ``%memwatch off``
        report: the cells, costliest first, and where the resident size went.
            ``%memwatch report``
        plot: resident size over the session, the cells as bands.
            ``%memwatch plot``
        clear: forget the rows.
            ``%memwatch clear``
        (nothing): tell whether it is on.
            ``%memwatch``

        Options
        -------
        -q, --quiet: record, and show no line under the cells.
            ``%memwatch on -q``
        -t SIZE, --threshold SIZE: show a line only under cells that took or left so much.
            ``%memwatch on -t 100MB``

        To have it in every notebook, in ``ipython_config.py``::

            c.InteractiveShellApp.extensions = ["nbmem"]
            c.NbMem.watch = True
        """
        found = _parse(line)
        if found.action == "report":
            return session()
        getattr(self, f"_{found.action}")(found)
        return None

    def _on(self, found: Any) -> None:
        self.session.footer = not found.quiet
        if found.threshold is not None:
            self.session.threshold = found.threshold
        self.session.watch = True
        print(self._described())  # noqa: T201  # to the user, under the cell

    def _off(self, found: Any) -> None:
        self.session.watch = False

    def _clear(self, found: Any) -> None:
        ledger.clear()

    def _plot(self, found: Any) -> None:
        display(session().plot())

    def _status(self, found: Any) -> None:
        print(self._described())  # noqa: T201  # to the user, under the cell

    def _described(self) -> str:
        count = session().cell_count
        kept = f"{format_count(count)} {'cell' if count == 1 else 'cells'} recorded"
        if not self.session.watch:
            return f"%memwatch is off, {kept}; %memwatch on records each cell from now on"
        least = format_bytes(parse_bytes(self.session.threshold))
        line = f"a line under those from {least}" if self.session.footer else "no line under them"
        return f"%memwatch is on: each cell is recorded, {line}; {kept}"


def _parse(line: str) -> Any:
    try:
        found, rest = _PARSER.parse_known_args(shlex.split(line, comments=True))
    except (UsageError, ValueError) as error:
        raise UsageError(f"%memwatch: {error}; see %memwatch?") from None
    known = [*WORDS, "status"]
    if rest or found.action not in known:
        unknown = rest[0] if rest else found.action
        raise UsageError(f"%memwatch does not know {unknown!r}; it takes {', '.join(WORDS)}, -q and -t SIZE")
    if (found.quiet or found.threshold is not None) and found.action != "on":
        raise UsageError("%memwatch: -q and -t go with on, for example: %memwatch on -t 10MB")
    if found.threshold is not None:
        try:
            parse_bytes(found.threshold)
        except BadArgument as error:
            raise UsageError(f"%memwatch -t: {error}") from None
    return found
