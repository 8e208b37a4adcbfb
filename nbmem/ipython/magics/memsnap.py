"""``%memsnap`` and ``%memdiff``."""

from __future__ import annotations

import keyword
import os
import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

from nbmem._errors import BadArgument, NotMeasured
from nbmem._units import format_bytes, format_count
from nbmem.ipython.magics.base import SessionMagics
from nbmem.ipython.snapshots import find_snapshot

_COMMON = ("-n", "--rows", "-o", "--output", "-q", "--quiet")
SNAP_FLAGS = (*_COMMON, "--save")
DIFF_FLAGS = _COMMON
_ROWS = 15


def _parser(magic: str, flags: tuple[str, ...]) -> MagicArgumentParser:
    parser = MagicArgumentParser(magic, add_help=False)
    parser.allow_abbrev = False
    parser.add_argument("-n", "--rows", default=str(_ROWS))
    parser.add_argument("-o", "--output")
    parser.add_argument("-q", "--quiet", action="store_true")
    if "--save" in flags:
        parser.add_argument("--save")
    return parser


_SNAP, _DIFF = _parser("%memsnap", SNAP_FLAGS), _parser("%memdiff", DIFF_FLAGS)
_TAKES = {
    "%memsnap": "a name, -n ROWS, -o NAME, --save FILE and -q",
    "%memdiff": "at most two snapshots, -n ROWS, -o NAME and -q",
}


@magics_class
class MemsnapMagics(SessionMagics):
    """The heap at a moment, and what became of it since."""

    @no_var_expand
    @line_magic
    def memsnap(self, line: str = "") -> None:
        """Take down all objects of the process: which types, how many bytes, what keeps what alive.

        Usage::

            %memsnap [NAME] [-n ROWS] [-o NAME] [--save FILE] [-q]

        About 0.3 s per million objects. The snapshot holds figures and names of types, none of your
        objects; nbmem's own are not in it. With `` ;`` at the end nothing is shown.

        NAME: store the snapshot in this variable, and say so in one line; %memdiff compares with it.
            ``%memsnap before``
        (nothing): show the types that keep most alive, and the biggest objects. The snapshot is kept for
            %memdiff until the next is taken.
            ``%memsnap``

        Options
        -------
        -n ROWS, --rows ROWS: show so many types.
            ``%memsnap -n 40``
        -o NAME, --output NAME: show it, and store it in this variable too.
            ``%memsnap -o before``, then ``before.types()``, ``before.biggest()``, ``before.suspects()``
        --save FILE: write it to a file; ``nbmem.HeapSnapshot.load(FILE)`` and %memdiff read it.
            ``%memsnap --save monday.npz``
        -q, --quiet: show nothing.
            ``%memsnap before -q``
        """
        found = _parse(_SNAP, "%memsnap", line, most=1)
        name = _name(found, self.shell.user_ns)
        if found.save == "":
            raise UsageError("%memsnap: --save takes the name of a file")
        taken = _taken("%memsnap", watch=True)
        if name is None:
            self.session.last_snapshot.keep(taken)
        else:
            self.shell.user_ns[name] = taken
            self.session.last_snapshot.remember(taken)
        if not found.quiet and found.names:
            size = f"{format_count(len(taken))} objects, {format_bytes(taken.total_bytes)}"
            print(f"{name}: {size}; %memdiff {name} compares it with later")  # noqa: T201  # to the user
        elif not found.quiet:
            _show(taken, found.rows)
        if found.save is not None:
            try:
                taken.save(os.path.expanduser(found.save))
            except OSError as error:
                reason = error.strerror or str(error)
                raise UsageError(f"%memsnap: not saved to {found.save!r}: {reason}") from None

    @no_var_expand
    @line_magic
    def memdiff(self, line: str = "") -> None:
        """Tell what became of the heap since a snapshot: new, dead and surviving objects of each type.

        Usage::

            %memdiff [A] [B] [-n ROWS] [-o NAME] [-q]

        Types whose bytes changed most come first, then the biggest new objects and what holds each.
        Garbage that waits for the collector counts as gone. With `` ;`` at the end nothing is shown.

        (nothing): compare the snapshot that was taken last with now.
            ``%memdiff``
        A: compare this snapshot with now. A snapshot is a variable or a file that %memsnap made.
            ``%memdiff before``
        A B: compare two snapshots, the earlier first.
            ``%memdiff before after``

        Options
        -------
        -n ROWS, --rows ROWS: show so many types.
            ``%memdiff before -n 40``
        -o NAME, --output NAME: store the result, a HeapDiff, in this variable.
            ``%memdiff before -o d``, then ``d.types()``, ``d.new()``, ``d.plot()``
        -q, --quiet: show nothing.
            ``%memdiff before -q -o d``
        """
        found = _parse(_DIFF, "%memdiff", line, most=2)
        if found.names:
            snapshots = [find_snapshot(word, self.shell.user_ns, magic="%memdiff") for word in found.names]
        else:
            last = self.session.last_snapshot.get()
            if last is None:
                raise UsageError("%memdiff: there is no snapshot to compare with; %memsnap takes one")
            snapshots = [last]
        if len(snapshots) == 1:
            snapshots.append(_taken("%memdiff", watch=False))
        try:
            result = snapshots[0].diff(snapshots[1])
        except BadArgument as error:
            raise UsageError(f"%memdiff: {error}") from None
        if found.output is not None:
            self.shell.user_ns[found.output] = result
        if not found.quiet:
            _show(result, found.rows)


def _taken(magic: str, *, watch: bool) -> Any:
    from nbmem.reports.snapshot import snapshot

    try:
        return snapshot(watch=watch)
    except (MemoryError, NotMeasured) as error:
        raise UsageError(f"{magic}: {error or 'there is not enough memory for it'}") from None


def _show(result: Any, rows: int) -> None:
    # Not returned: Out would keep the arrays.
    display({"text/plain": result.to_text(rows), "text/html": result.to_html(rows)}, raw=True)


def _parse(parser: MagicArgumentParser, magic: str, line: str, *, most: int) -> Any:
    line = line.strip()
    try:
        found, rest = parser.parse_known_args(shlex.split(line.rstrip("; ")))
    except (UsageError, ValueError) as error:
        raise UsageError(f"{magic}: {error}; see {magic}?") from None
    found.names = [word for word in rest if not word.startswith("-")]
    unknown = [word for word in rest if word.startswith("-")] + found.names[most:]
    if unknown:
        raise UsageError(f"{magic} does not know {unknown[0][:200]!r}; it takes {_TAKES[magic]}")
    if not found.rows.isdecimal():
        raise UsageError(f"{magic}: -n takes a number of rows, not {found.rows[:200]!r}")
    if found.output is not None:
        _check_name(found.output, f"{magic}: -o")
    found.rows = int(found.rows)
    found.quiet = found.quiet or line.endswith(";")
    return found


def _name(found: Any, namespace: dict[str, Any]) -> str | None:
    """Tell under which name a snapshot is stored; a variable with something else is not lost by a typo."""
    from nbmem.reports.snapshot import HeapSnapshot

    name: str | None = found.names[0] if found.names else found.output
    if not found.names:
        return name
    assert name is not None
    _check_name(name, "%memsnap")
    if found.output is not None:
        raise UsageError("%memsnap: give the name alone, or with -o to see the snapshot too")
    if name in namespace and type(namespace[name]) is not HeapSnapshot:
        raise UsageError(
            f"%memsnap stores the snapshot under the name given, and {name} is a "
            f"{type(namespace[name]).__name__[:80]}: take another name, or -o {name} to replace it"
        )
    return name


def _check_name(name: str, who: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"{who} takes the name of a variable, not {name[:200]!r}")
