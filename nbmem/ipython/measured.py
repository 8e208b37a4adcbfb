"""Measure a cell around its ordinary execution.

The magic's line is taken off by an input transformer that leaves an empty line in its place, and the
measuring starts and ends in ``pre_run_cell`` and ``post_run_cell``. So the cell keeps its meaning: line
numbers, ``await``, the displayed value, exceptions, names.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import classic_prompt, ipython_prompt, leading_indent

from nbmem._errors import NbmemError
from nbmem.ipython.traced import TracedCell, parse_options
from nbmem.tracing import Source

_NAME = "%%memtrace"
#: Cell magics that compile the cell's body themselves, and the file names that they give it.
_COMPILING = {"%%time": ("<timed exec>", "<timed eval>"), "%%timeit": ("<magic-timeit>",)}


@dataclass(frozen=True, slots=True)
class SplitCell:
    """A cell whose first line is our magic.

    Parameters
    ----------
    arguments : str
        What follows the magic's name.
    lines : tuple of str
        The whole cell without leading blank lines, without line ends.
    dropped : int
        Lines that do not reach the compiler: 0, as an empty line stands for the magic's; above another
        cell magic, which must come first, all lines before that one.
    """

    arguments: str
    lines: tuple[str, ...]
    dropped: int


def split(lines: list[str]) -> SplitCell | None:
    """Take a cell apart if its first line is our magic."""
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    plain = tuple(line.rstrip("\r\n") for line in lines[start:])
    if not plain:
        return None
    name, _, arguments = plain[0].partition(" ")
    if name.rstrip() != _NAME:
        return None
    following = next((number for number, line in enumerate(plain[1:], 1) if line.strip()), 0)
    above_magic = following and plain[following].startswith("%%")
    return SplitCell(arguments.strip(), plain, following if above_magic else 0)


def _hidden_beneath(lines: list[str]) -> str:
    """Name the cell magic that hides ours beneath it, if one does."""
    words = [line.split(None, 1)[0] for line in lines if line.strip()]
    for number, word in enumerate(words):
        if not word.startswith("%%"):
            break
        if word == _NAME and number:
            return words[0]
    return ""


class MeasuredCells:
    """The hooks that measure ``%%memtrace`` cells; at most one cell at a time is measured.

    Parameters
    ----------
    shell : InteractiveShell
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._traced: TracedCell | None = None
        self._split: SplitCell | None = None
        self._info: Any = None
        self._hidden = ""

    def let_go(self) -> None:
        """End the cell that is measured at the moment, unreported."""
        self._end(show=False)

    # IPython calls this several times per cell: nothing is remembered.
    def transform(self, lines: list[str]) -> list[str]:
        """Take the magic's line off, if its arguments can be used; else leave it to raise its UsageError."""
        cell = split(lines)
        if cell is None:
            return lines
        try:
            parse_options(cell.arguments, self._shell.user_ns)
        except (UsageError, NbmemError):
            return lines
        body = lines[len(lines) - len(cell.lines) + (cell.dropped or 1) :]
        if cell.dropped:
            return body
        # IPython has cleaned the cell up already, but saw only the magic's line as its beginning.
        blank = next((number for number, line in enumerate(body) if line.strip()), 0)
        code = body[blank:]
        for clean in (leading_indent, classic_prompt, ipython_prompt):
            code = clean(code)
        return ["\n", *body[:blank], *code]

    # Whether a cell is complete is asked of the cell as typed: a terminal then waits for the body of a cell
    # magic until a blank line, as it does for every other. (IPython passes over a transformer marked so.)
    transform.has_side_effects = True  # type: ignore[attr-defined]

    def before(self, info: Any) -> None:
        """Start to measure, if the cell asks for it."""
        lines = info.raw_cell.splitlines(keepends=True)
        if self._traced is not None and info.store_history:
            self._end(show=True)  # its end was lost: this is the next cell, not one inside it
        if self._traced is not None:
            self._watch_nested(info)
            return
        cell = split(lines)
        if cell is None:
            hidden = _hidden_beneath(lines)
            if hidden and info.store_history:  # a cell of the user's, not one that a magic makes
                self._hidden, self._info = hidden, info
            return
        self._hidden = ""
        try:
            options = parse_options(cell.arguments, self._shell.user_ns)
        except (UsageError, NbmemError):
            return  # the magic itself is about to say so
        names = self._file_names(info)
        first = cell.dropped + 1 if cell.dropped else 2
        source = Source("cell", names[0], first, cell.lines[first - 1 :], cell.dropped)
        traced = TracedCell(self._shell, source, options, self.number_of(info))
        for name in names[1:]:
            traced.watch_alias(name, cell.dropped)
        self._watch_compiled(traced, cell, cell.dropped)
        self._traced, self._split, self._info = traced, cell, info
        try:
            traced.start()
        except BaseException:
            self._traced = None
            raise

    def after(self, result: Any) -> bool:
        """Stop and show, when the cell that was measured has ended; tell whether it showed a report."""
        if self._hidden and result is not None and result.info is self._info:
            print(  # noqa: T201  # to the user, under the cell
                f"nbmem: {_NAME} did not measure this cell; put it on the first line, above {self._hidden}",
                file=sys.stderr,
            )
            self._hidden, self._info = "", None
        if self._traced is not None and self._is_ours(result):
            never_ran = result is not None and result.error_before_exec is not None
            return self._end(show=not never_ran)
        return False

    def _is_ours(self, result: Any) -> bool:
        # No result: the cell was cancelled, and it can only be ours or one inside ours.
        if result is None or result.info is self._info:
            return True
        # Where running failed in IPython itself (an exception whose __str__ raises), its info is a new one.
        return result.error_in_exec is not None and result.info.raw_cell == self._info.raw_cell

    def _end(self, *, show: bool) -> bool:
        traced, self._traced = self._traced, None
        self._split = self._info = None
        return traced is not None and traced.finish(show=show)

    @property
    def measuring(self) -> bool:
        """Whether a cell is being measured."""
        return self._traced is not None

    def _watch_nested(self, info: Any) -> None:
        """Count the lines of a cell that a cell magic made of the rest of the measured one."""
        assert self._traced is not None
        assert self._split is not None
        lines, own = self._split.lines, tuple(info.raw_cell.rstrip("\n").splitlines())
        whole = tuple("\n".join(lines).rstrip("\n").splitlines())
        if own and len(own) < len(whole) and whole[-len(own) :] == own and self._split.dropped:
            # IPython strips leading blank lines before it numbers them
            blank = next((number for number, line in enumerate(own) if line.strip()), 0)
            offset = len(whole) - len(own) + blank
            for name in self._file_names(info):
                self._traced.watch_alias(name, offset)

    def _watch_compiled(self, traced: TracedCell, cell: SplitCell, start: int) -> None:
        """``%%time`` and ``%%timeit`` beneath compile the body under names of their own."""
        at = start
        names: tuple[str, ...] = ()
        while cell.dropped and at < len(cell.lines):
            word = cell.lines[at].split(None, 1)
            if word and not word[0].startswith("%%"):
                break
            if word:
                names = _COMPILING.get(word[0], names)
            at += 1
        # A %time in the body compiles under the same name, with line numbers of its own.
        if any("%time" in line for line in cell.lines[at:]):
            return
        for name in names:
            traced.watch_alias(name, at)

    def _file_names(self, info: Any) -> list[str]:
        """Tell under which file names this cell's code is compiled: one, or two where that depends.

        Up to IPython 9.15 the execution count is raised after ``pre_run_cell``, since then before it.
        """
        transformed = getattr(info, "transformed_cell", None) or self._shell.transform_cell(info.raw_cell)
        count = self._shell.execution_count
        names = [
            self._shell.compile.get_code_name(info.raw_cell, transformed, number)
            for number in (self.number_of(info), count)
        ]
        return list(dict.fromkeys(names))

    def number_of(self, info: Any) -> int:
        """Tell a cell's execution count, from within ``pre_run_cell``."""
        count: int = self._shell.execution_count
        history = self._shell.user_ns.get("In", ())
        # Raised already? Then In does not have this cell's entry yet, but the count is one ahead.
        raised = info.store_history and count > len(history)
        return count - 1 if raised else count
