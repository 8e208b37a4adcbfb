"""Compile a magic's statement as IPython would compile a cell."""

from __future__ import annotations

import ast
import asyncio
import inspect
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import CodeType
from typing import Any

from IPython.core.error import UsageError


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that can run.

    Parameters
    ----------
    code : CodeType
    run : callable
        Executes it in the user's namespace; what it raises passes through.
    """

    code: CodeType
    run: Callable[[], None]


def compile_statement(shell: Any, statement: str, local_ns: Any) -> Statement:
    """Compile a statement that may hold magics, and may await.

    Parameters
    ----------
    shell : InteractiveShell
    statement : str
    local_ns : dict or None
        The locals of the function that called the magic.

    Raises
    ------
    SyntaxError
        As in a cell.
    """
    # IPython strips blank lines at the top, and with them the line numbers of the cell.
    source = "\n" * (len(statement) - len(statement.lstrip("\n"))) + shell.transform_cell(statement)
    # Under a name that IPython knows the source of, for tracebacks. From IPython 9.15 on the count is that of
    # the next cell already.
    number = min(shell.execution_count, len(shell.history_manager.input_hist_parsed) - 1)
    name = shell.compile.cache(source, number, raw_code=statement)
    try:
        tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
        code = shell.compile(tree, name, "exec")
    except SyntaxError as error:
        if not _awaits(error):
            raise
        with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            code = shell.compile(tree, name, "exec")
    names = shell.user_ns
    local = names if local_ns is None else local_ns

    def run() -> None:
        __tracebackhide__ = True
        if code.co_flags & inspect.CO_COROUTINE:
            _awaited(shell, eval(code, names, local))
        elif local is names:
            exec(code, names)
        else:
            exec(code, names, local)

    return Statement(code, run)


def compile_expression(shell: Any, expression: str, local_ns: Any, *, magic: str) -> Callable[[], Any]:
    """Compile a magic's expression; what is given back evaluates it in the user's namespace.

    The expression may hold magics, and may await.

    Parameters
    ----------
    shell : InteractiveShell
    expression : str
    local_ns : dict or None
        The locals of the function that called the magic.
    magic : str
        Who asks, for the message.

    Raises
    ------
    SyntaxError
        As in a cell.
    UsageError
        If it is a statement.
    """
    source = expression.strip()
    try:
        ast.parse(source, mode="eval")
    except SyntaxError:
        # Plain Python is not transformed: IPython asks the object of a bare name whether to call it.
        source = shell.transform_cell(expression).strip()
    number = min(shell.execution_count, len(shell.history_manager.input_hist_parsed) - 1)
    name = shell.compile.cache(source, number, raw_code=expression)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        raise UsageError(f"{magic} takes one expression, not a statement, for example: {magic} df")
    expression_tree = ast.Expression(tree.body[0].value)
    try:
        code = shell.compile(expression_tree, name, "eval")
    except SyntaxError as error:
        if not _awaits(error):
            raise
        with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            code = shell.compile(expression_tree, name, "eval")
    names = shell.user_ns
    local = names if local_ns is None else local_ns

    def evaluate() -> Any:
        __tracebackhide__ = True
        value = eval(code, names, local)
        return _awaited(shell, value) if code.co_flags & inspect.CO_COROUTINE else value

    return evaluate


def _awaits(error: SyntaxError) -> bool:
    """Tell whether code was refused for an ``await`` in it alone."""
    return "'await' outside" in str(error) or "asynchronous" in str(error)


def _awaited(shell: Any, coroutine: Coroutine[Any, Any, Any]) -> Any:
    __tracebackhide__ = True
    return _run_in_own_loop(coroutine) if _loop_runs() else shell.loop_runner(coroutine)


def _loop_runs() -> bool:
    return asyncio._get_running_loop() is not None


def _run_in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end while a loop runs already, which waits meanwhile.

    asyncio refuses to run one loop within another; that one runs is noted per thread, and the note is taken
    off and put back here, as whoever implements a loop may do.
    """
    outer = asyncio.get_running_loop()
    task = asyncio.current_task(outer)
    loop = asyncio.new_event_loop()
    if task is not None:
        _leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        try:
            return loop.run_until_complete(coroutine)
        finally:
            left = asyncio.all_tasks(loop)
            for each in left:
                each.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
    finally:
        asyncio._set_running_loop(outer)
        if task is not None:
            _enter_task(outer, task)
