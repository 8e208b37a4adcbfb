"""Finding the source that is watched."""

from __future__ import annotations

import functools
import textwrap

import pytest

from nbmem import BadArgument
from nbmem.tracing import Source
from nbmem.tracing.sources import is_one_line, source_of_function


def sample(value: int) -> int:
    """Be a function with a nested one."""

    def inner() -> int:
        return value + 1

    return inner()


class Holder:
    def method(self) -> int:
        return 1

    @classmethod
    def of_class(cls) -> int:
        return 2


def test_a_functions_source_spans_its_lines_with_those_nested_in_it() -> None:
    source = source_of_function(sample)
    assert source.name == "sample()"
    assert source.lines[0] == "def sample(value: int) -> int:"
    assert source.lines[-1] == "    return inner()"
    assert source.first_line == sample.__code__.co_firstlineno
    assert [code.co_name for code in source.nested] == ["inner"]


def test_methods_and_decorated_functions_are_looked_through() -> None:
    @functools.wraps(sample)
    def wrapper(*args: int) -> int:
        return sample(*args)

    assert source_of_function(wrapper).name == "sample()"
    assert source_of_function(functools.partial(sample, 1)).name == "sample()"
    assert source_of_function(property(sample)).name == "sample()"  # type: ignore[arg-type]
    assert source_of_function(Holder().method).name == "Holder.method()"
    assert source_of_function(Holder.of_class).name == "Holder.of_class()"


@pytest.mark.parametrize("thing", [len, 3, "text", None, int])
def test_what_has_no_python_code_is_refused_by_name(thing: object) -> None:
    with pytest.raises(BadArgument, match="has no Python code to watch"):
        source_of_function(thing)  # type: ignore[arg-type]


def test_the_lines_of_loops_are_those_that_may_run_again() -> None:
    code = "a = 1\nfor i in a:\n    b = 2\n    c = 3\nd = [x\n     for x in a]\ndef f():\n    return 1"
    source = Source("cell", "<x>", 2, tuple(code.splitlines()))
    assert source.loop_lines() == {3, 4, 5, 6, 7}


def test_where_the_source_does_not_parse_every_line_may_run_again() -> None:
    source = Source("cell", "<x>", 1, ("%time x", "y = 1"))
    assert source.loop_lines() == {1, 2}


def test_only_what_is_written_on_one_line_within_another_is_part_of_it() -> None:
    code = compile(textwrap.dedent("""
        f = lambda: 1
        g = (x
             for x in [])
        def h(): pass
        """), "<x>", "exec")  # fmt: skip
    inner = {c.co_name: is_one_line(c) for c in code.co_consts if hasattr(c, "co_name")}
    assert inner == {"<lambda>": True, "<genexpr>": False, "h": False}
    assert not is_one_line(code)
