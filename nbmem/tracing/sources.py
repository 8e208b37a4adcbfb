"""The source that is watched: a cell, a function, the body of a with statement."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType

from nbmem._errors import BadArgument

#: SystemError: 3.11's parser when another thread parses at the same time.
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of source whose lines are measured.

    Parameters
    ----------
    name : str
        ``"cell"``, ``"with"``, or a function's qualified name with ``()``.
    filename : str
        What its code was compiled under.
    first_line : int
        Line number of ``lines[0]``.
    lines : tuple of str
        Without line ends.
    offset : int
        What is added to the line numbers of the code to give those of the source.
    code : CodeType, optional
        The one code object that is meant; None means all code of the file.
    nested : tuple of CodeType
        The code objects inside ``code``.
    runs_already : bool
        Whether its first line runs when the trace begins, so that its start is not seen.
    """

    name: str
    filename: str
    first_line: int
    lines: tuple[str, ...]
    offset: int = 0
    code: CodeType | None = None
    nested: tuple[CodeType, ...] = field(default=(), repr=False)
    runs_already: bool = False

    def __contains__(self, line: int) -> bool:
        return self.first_line <= line < self.first_line + len(self.lines)

    def text_of(self, line: int) -> str:
        """Give one line's text."""
        return self.lines[line - self.first_line] if line in self else ""

    def loop_lines(self) -> frozenset[int]:
        """List the lines that may run more than once in one call: those in loops and comprehensions.

        Where the source does not parse (magics in it, parts of a file), every line may.
        """
        try:
            tree = ast.parse(textwrap.dedent("\n".join(self.lines)))
        except _UNPARSABLE:
            return frozenset(range(self.first_line, self.first_line + len(self.lines)))
        shift = self.first_line - 1
        return frozenset(
            line + shift
            for node in ast.walk(tree)
            if isinstance(node, _LOOPS)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        )


def source_of_function(function: Callable[..., object]) -> Source:
    """Find the source of a function, method or class method; decorators are looked through.

    Raises
    ------
    BadArgument
        If it is no Python function.
    """
    try:
        plain = function.fget if isinstance(function, property) else function
        plain = plain.func if isinstance(plain, functools.partial) else plain
        plain = inspect.unwrap(plain) if callable(plain) else plain
        plain = getattr(plain, "__func__", plain)
        code = getattr(plain, "__code__", None)
    except Exception as error:  # noqa: BLE001  # a wrapper's attributes are somebody's code
        raise BadArgument(f"what {_short_name(function)} wraps cannot be found: {error}") from None
    if isinstance(function, type):
        name = _short_name(function)
        raise BadArgument(
            f"{name} has no Python code to watch, it is a class; name a method, such as {name}.__init__"
        )
    if not isinstance(code, CodeType):
        raise BadArgument(
            f"{_short_name(function)} has no Python code to watch; name a function written in Python"
        )
    lines = linecache.getlines(code.co_filename)
    last = max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)
    for nested in _nested(code):
        last = max([last, *(line for *_, line in nested.co_lines() if line is not None)])
    text = tuple(line.rstrip("\n") for line in lines[code.co_firstlineno - 1 : last])
    text += ("",) * (last - code.co_firstlineno + 1 - len(text))
    return Source(
        f"{code.co_qualname}()", code.co_filename, code.co_firstlineno, text, 0, code, tuple(_nested(code))
    )


def source_of_with(frame: FrameType) -> Source:
    """Find the body of the ``with`` statement that a frame is entering; without source, the whole file."""
    code, line = frame.f_code, frame.f_lineno
    lines = [text.rstrip("\n") for text in linecache.getlines(code.co_filename, frame.f_globals)]
    first, last = line, max((number for *_, number in code.co_lines() if number), default=line)
    try:
        tree = ast.parse("\n".join(lines)) if lines else None
    except _UNPARSABLE:
        tree = None
    if tree is not None:
        for node in ast.walk(tree):
            if isinstance(node, (ast.With, ast.AsyncWith)) and node.lineno <= line <= _header_end(node):
                first, last = node.body[0].lineno, node.end_lineno or last
    text = lines[first - 1 : last]
    text += [""] * (last - first + 1 - len(text))
    inside = tuple(nested for nested in _nested(code) if first <= nested.co_firstlineno <= last)
    return Source("with", code.co_filename, first, tuple(text), 0, code, inside, runs_already=first <= line)


def _header_end(node: ast.With | ast.AsyncWith) -> int:
    """Find the last line of what stands between ``with`` and the colon."""
    parts = [part for item in node.items for part in (item.context_expr, item.optional_vars)]
    return max(part.end_lineno or part.lineno for part in parts if part is not None)


def is_one_line(code: CodeType) -> bool:
    """Tell whether this is a comprehension, generator expression or lambda written on one line."""
    if code.co_name[:1] != "<" or code.co_name == "<module>":
        return False
    return all(line in (None, code.co_firstlineno) for *_, line in code.co_lines())


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and not is_one_line(constant):
            yield constant
            yield from _nested(constant)


def _short_name(value: object) -> str:
    try:
        name = getattr(value, "__qualname__", None)
    except Exception:  # noqa: BLE001  # somebody's code
        name = None
    return name if isinstance(name, str) else f"an object of type {type(value).__name__}"
