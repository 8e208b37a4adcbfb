"""A cell that is traced: its options, its recording, its report."""

from __future__ import annotations

import keyword
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

from nbmem.ipython.functions import find_function
from nbmem.reports.recording import Recording
from nbmem.tracing import Source
from nbmem.tracing.sources import source_of_function


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What stands behind ``%%memtrace``."""

    stacks: bool
    objects: bool
    rss: bool
    functions: tuple[Callable[..., object], ...]
    all_cells: bool
    output: str | None
    quiet: bool


def _parser() -> MagicArgumentParser:
    parser = MagicArgumentParser("%%memtrace", add_help=False)
    parser.add_argument("-s", "--stacks", action="store_true")
    parser.add_argument("--objects", action="store_true")
    parser.add_argument("--rss", action="store_true")
    parser.add_argument("-f", "--function", action="append", default=[])
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("-o", "--output")
    parser.add_argument("-q", "--quiet", action="store_true")
    return parser


_PARSER = _parser()

FLAGS = (
    "-s",
    "--stacks",
    "--objects",
    "--rss",
    "-f",
    "--function",
    "--cells",
    "-o",
    "--output",
    "-q",
    "--quiet",
)


def parse_options(line: str, namespace: Mapping[str, object]) -> TraceOptions:
    """Read the arguments.

    Raises
    ------
    UsageError
        In one line that says what to do.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%%memtrace: {error} in {line!r}") from None
    try:
        found, rest = _PARSER.parse_known_args(words)
    except UsageError as error:
        raise UsageError(f"%%memtrace: {error}; see %%memtrace?") from None
    if rest:
        raise UsageError(
            f"%%memtrace does not know {rest[0]!r}; it takes -s --objects --rss -f FUNCTION --cells -o NAME "
            "-q, and the code goes on the lines below"
        )
    if found.output is not None and (not found.output.isidentifier() or keyword.iskeyword(found.output)):
        raise UsageError(f"%%memtrace: -o takes the name of a variable, not {found.output!r}")
    if found.rss and (found.objects or found.stacks):
        raise UsageError(
            "%%memtrace: --rss traces no allocations, so it does not go with --objects or --stacks"
        )
    return TraceOptions(
        stacks=found.stacks,
        objects=found.objects,
        rss=found.rss,
        functions=tuple(find_function(name, namespace, magic="%%memtrace") for name in found.function),
        all_cells=found.cells,
        output=found.output,
        quiet=found.quiet,
    )


class TracedCell:
    """One cell on its way: started before it runs, finished after.

    Parameters
    ----------
    shell : InteractiveShell
    source : Source
        The cell's lines.
    options : TraceOptions
    number : int
        Its execution count, for the heading.
    """

    def __init__(self, shell: Any, source: Source, options: TraceOptions, number: int) -> None:
        self._shell = shell
        self._source = source
        self._options = options
        sources = [source, *(source_of_function(function) for function in options.functions)]
        if options.all_cells:
            sources += _earlier_cells(shell, source.filename)
        self._recording = Recording(
            f"In [{number}]",
            sources,
            shell.user_ns,
            hidden={*shell.user_ns_hidden, *([] if options.output is None else [options.output])},
            rss=options.rss,
            objects=options.objects,
            stacks=options.stacks,
        )

    def watch_alias(self, filename: str, offset: int) -> None:
        """Count another file name's lines, moved by ``offset``, as the cell's."""
        self._recording.tracer.watch_alias(filename, self._source, offset)

    def start(self) -> None:
        """Start to record."""
        self._recording.start()

    def finish(self, *, show: bool) -> bool:
        """Stop; show the report and store it as asked for; tell whether it was shown."""
        output = self._options.output
        result = self._recording.stop()
        if not show:
            return False
        if output is not None:
            self._shell.user_ns[output] = result
        if not self._options.quiet:
            display(result)
        return not self._options.quiet


def _earlier_cells(shell: Any, own: str) -> list[Source]:
    """List the sources of the cells that ran before, under the names they were compiled with."""
    import linecache

    known = getattr(shell.compile, "_filename_map", {})
    sources = []
    for filename, number in known.items():
        lines = tuple(line.rstrip("\n") for line in linecache.getlines(filename))
        if filename != own and lines:
            sources.append(Source(f"In [{number}]", filename, 1, lines))
    return sources
