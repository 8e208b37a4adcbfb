"""The source that is watched: a cell, a function, the body of a with statement."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from nbmem._errors import BadArgument

#: SystemError: 3.11's parser when another thread parses at the same time.
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)
#: Wrappers around a function that are looked through.
_DEEPEST = 100
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
    """Find the source of a function, method, property or partial; decorators are looked through.

    Raises
    ------
    BadArgument
        If it is no Python function.
    """
    try:
        plain = _plain_function(function)
        code = plain.__code__ if isinstance(plain, FunctionType) else None
        names = plain.__globals__ if isinstance(plain, FunctionType) else None
    except Exception as error:  # noqa: BLE001  # a wrapper's attributes are somebody's code
        raise BadArgument(f"what {_short_name(function)} wraps cannot be found: {_said(error)}") from None
    if isinstance(function, type):
        name = _short_name(function)
        raise BadArgument(
            f"{name} has no Python code to watch, it is a class; name a method, such as {name}.__init__"
        )
    if isinstance(function, ModuleType):
        raise BadArgument(
            f"{_short_name(function)} has no Python code to watch, it is a module; name a function in it"
        )
    if code is None:
        raise BadArgument(
            f"{_short_name(function)} has no Python code to watch; name a function written in Python"
        )
    return source_of_code(code, names)


def source_of_code(code: CodeType, names: dict[str, object] | None = None) -> Source:
    """Find the source of a function's code; where its text is gone, the lines are empty.

    Parameters
    ----------
    code : CodeType
    names : dict, optional
        The function's globals, whose loader may have the text (a module in an archive).
    """
    linecache.checkcache(code.co_filename)  # the file of a module that was loaded again
    lines = linecache.getlines(code.co_filename, names)
    first = code.co_firstlineno
    last = max(_last_line(part) for part in (code, *_nested(code)))
    try:
        # What follows the last instruction: closing brackets, comments.
        last = max(last, first + len(inspect.getblock(lines[first - 1 :])) - 1)
    except (*_UNPARSABLE, tokenize.TokenError):
        pass
    text = tuple(line.rstrip("\n") for line in lines[first - 1 : last])
    text += ("",) * (last - first + 1 - len(text))
    return Source(f"{code.co_qualname}()", code.co_filename, first, text, 0, code, tuple(_nested(code)))


def code_in(code: CodeType, name: str) -> CodeType | None:
    """Find the function of a qualified name in compiled source; the last, where several have it."""
    parts = reversed([part for part in _nested(code) if part.co_flags & inspect.CO_OPTIMIZED])
    return next((part for part in parts if part.co_qualname == name), None)


def _plain_function(value: Any) -> Any:
    """Look through what stands around a function: descriptors, partials, decorators."""
    for _ in range(_DEEPEST):
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, (functools.partial, functools.partialmethod, functools.cached_property)):
            value = value.func
        elif isinstance(value, (MethodType, classmethod, staticmethod)):
            value = value.__func__
        elif callable(value) and not isinstance(value, type):
            inner = getattr(value, "__wrapped__", None)
            if inner is None:
                return getattr(value, "__func__", value)
            value = inner
        else:
            return value
    raise ValueError("it wraps too many others, or itself")


def _last_line(code: CodeType) -> int:
    return max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)


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


def _said(error: Exception) -> str:
    """Give the first line of an error's message; an error may fail to say anything."""
    try:
        return f"{type(error).__name__}: {error}".split("\n", 1)[0]
    except Exception:  # noqa: BLE001  # somebody's code
        return type(error).__name__


def _short_name(value: object) -> str:
    try:
        # a module has no qualified name
        name = getattr(value, "__name__" if isinstance(value, ModuleType) else "__qualname__", None)
    except Exception:  # noqa: BLE001  # somebody's code
        name = None
    return name if isinstance(name, str) else f"an object of type {type(value).__name__}"
