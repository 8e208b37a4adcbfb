"""``%mprun`` and ``%%mprun``."""

from __future__ import annotations

import dis
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
    output_can_be_silenced,
)
from IPython.core.page import page
from IPython.display import display

from nbmem._errors import AlreadyRunning
from nbmem.ipython.functions import find_function
from nbmem.ipython.statements import Statement, compile_statement
from nbmem.reports.lineprofile import LineProfile, LineRecording
from nbmem.tracing import Source
from nbmem.tracing.sources import code_in, source_of_code, source_of_function

FLAGS = ("-f", "-T", "-r", "-c")


@dataclass(frozen=True, slots=True)
class MprunOptions:
    """What stands behind ``%mprun``, before the statement."""

    functions: tuple[str, ...]
    file: str | None
    returned: bool
    children: bool


@magics_class
class MprunMagics(Magics):
    """What each line of a function costs."""

    @no_var_expand
    @needs_local_scope
    @output_can_be_silenced
    @line_cell_magic
    def mprun(self, line: str = "", cell: str | None = None, local_ns: Any = None) -> LineProfile | None:
        """Measure what each line of a function costs in memory, exactly, while a statement runs.

        Usage, in line mode::

            %mprun -f FUNCTION [-f FUNCTION …] [-T FILE] [-r] [-c] statement

        In cell mode the statement is the rest of the first line and the body; it runs in your namespace, and
        functions that it defines may be named too. It may await: in a notebook in an event loop of its own,
        while the notebook's waits::

            %%mprun -f FUNCTION [options] [statement]
            body

        Functions may be defined in cells or in files: methods, generators, coroutines, decorated functions.
        Functions defined inside them are measured with them. If the statement raises, what ran until then is
        shown, and the error is raised.

        Options
        -------
        -f FUNCTION: measure the lines of this function; may be given several times.
            ``%mprun -f load -f Model.fit run()``
        -T FILE: write the text into this file too.
            ``%mprun -T profile.txt -f load load()``
        -r: return the profile, a LineProfile with a pandas frame.
            ``p = %mprun -r -f load load()``, then ``p.lines``
        -c: add child processes to all sizes (they are polled, so then nothing is exact).
            ``%mprun -c -f load load()``

        The columns
        -----------
        Mem usage: highest resident size of the process while the line ran. Increment: resident size after the
        line minus before, summed over its runs. Occurrences: how often it ran. In a notebook also Spike, the
        largest rise within one run of the line, given back or not, and Time.
        """
        __tracebackhide__ = True
        options, rest = parse_options(line)
        statement = rest if cell is None else f"{rest}\n{cell}"
        if not options.functions:
            raise UsageError(
                "%mprun needs -f FUNCTION: the function whose lines to measure, "
                "for example: %mprun -f load load()"
            )
        if not statement.strip():
            raise UsageError("%mprun needs a statement to run, for example: %mprun -f load load()")
        named = " ".join(f"-f {name}" for name in options.functions)
        compiled = compile_statement(self.shell, statement, local_ns)
        recording = LineRecording(
            self._sources(options, compiled, local_ns),
            include_children=options.children,
            places=self._places(),
        )
        profiles: list[LineProfile] = []

        def done(profile: LineProfile) -> None:
            profiles.append(profile)
            if not (options.returned and sys.exception() is None and _out_will_show(cell or line)):
                self._show(profile)
            if options.file is not None:
                _write(profile, options.file)

        try:
            recording.run(compiled.run, done)
        except AlreadyRunning:
            if profiles:
                raise  # the statement's own
            raise UsageError(
                "%mprun cannot run while a trace does; in a %%memtrace cell, name the functions there: "
                f"%%memtrace {named}"
            ) from None
        return profiles[0] if options.returned else None

    def _sources(self, options: MprunOptions, compiled: Statement, local_ns: Any) -> list[Source]:
        names = {**self.shell.user_ns, **(local_ns or {})}
        sources = []
        for name in options.functions:
            # One that the statement defines is the one that it calls.
            code = code_in(compiled.code, name)
            if code is None:
                sources.append(source_of_function(find_function(name, names, magic="%mprun")))
            else:
                sources.append(source_of_code(code))
        return sources

    def _places(self) -> dict[str, str]:
        known = getattr(self.shell.compile, "_filename_map", {})
        return {filename: f"In [{number}]" for filename, number in known.items()}

    def _show(self, profile: LineProfile) -> None:
        # A terminal has IPython's own publisher, which knows plain text only.
        if type(self.shell.display_pub) is DisplayPublisher:
            page(profile.to_text())
        else:
            display(profile)


def parse_options(line: str) -> tuple[MprunOptions, str]:
    """Split the line into the options and the statement, which is left as it is.

    Raises
    ------
    UsageError
        In one line that says what to do.
    """
    functions: list[str] = []
    files: list[str] = []
    flags = set()
    rest = line
    while begun := re.match(r"\s*-(\S)", rest):
        letter, rest = begun.group(1), rest[begun.end() :]
        if letter in "rc":
            flags.add(letter)
            # -rc is -r -c
            rest = f"-{rest}" if rest[:1].strip() else rest
        elif letter in "fT":
            value = re.match(r"""\s*("[^"]*"|'[^']*'|[^\s"']\S*)(?=\s|$)""", rest)
            if value is None:
                wanted = "the name of a function" if letter == "f" else "the name of a file"
                raise UsageError(f"%mprun: -{letter} takes {wanted}")
            (functions if letter == "f" else files).append(value.group(1).strip("\"'"))
            rest = rest[value.end() :]
        elif letter == "-" and not rest[:1].strip():
            break
        else:
            word = letter + rest.split(None, 1)[0] if rest[:1].strip() else letter
            raise UsageError(
                f"%mprun does not know -{word}; it takes -f FUNCTION -T FILE -r -c and a statement"
            )
    options = MprunOptions(tuple(functions), files[-1] if files else None, "r" in flags, "c" in flags)
    return options, rest.strip()


def _out_will_show(source: str) -> bool:
    """Tell whether IPython displays what the magic returns: where a cell ends with it, unassigned."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("IPython.", "nbmem.")):
        frame = frame.f_back
    following = (step.opname for step in dis.get_instructions(frame.f_code) if step.offset > frame.f_lasti)
    # The call is followed by the instruction of an interactive statement's value (3.11, 3.12 and newer).
    printed = next(following, "") in ("PRINT_EXPR", "CALL_INTRINSIC_1")
    return printed and not DisplayHook.semicolon_at_end_of_expression(source)


def _write(profile: LineProfile, file: str) -> None:
    try:
        with open(os.path.expanduser(file), "w", encoding="utf-8") as stream:
            stream.write(profile.to_text().rstrip() + "\n")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        print(f"nbmem: the profile was not saved to {file}: {reason}", file=sys.stderr)  # noqa: T201  # to the user
    else:
        print(f"\n*** Profile printout saved to text file {file}.")  # noqa: T201  # as memory_profiler does
