"""How much one object holds: ``%memsize``."""

from __future__ import annotations

import pytest

from tests.kernels import Kernel

MIB = 1 << 20


def test_it_tells_what_the_object_retains_and_where_the_bytes_are(kernel: Kernel) -> None:
    kernel.run("model = {'weights': np.ones(3 << 17), 'rows': [[float(i)] for i in range(10_000)]}")
    report = kernel.run("%memsize model").report
    lines = report.splitlines()
    assert lines[0].startswith("model (dict): retains 4.")
    assert "['weights']  ndarray" in lines[2]
    assert "['rows']  list" in lines[3]
    assert "[*]  10,000 × list" in lines[4]


def test_a_temporary_value_counts_as_whole_and_goes_at_once(kernel: Kernel) -> None:
    kernel.run(
        "import weakref\nclass Big: pass\n"
        "def make():\n    global ref\n    big = Big(); big.data = bytearray(5 << 20); ref = weakref.ref(big)\n"
        "    return big"
    )
    out = kernel.run("%memsize -o size make()")
    assert out.result is None
    assert "make() (__main__.Big): retains 5.0 MiB" in out.report
    assert kernel.value("(ref() is None, 5 << 20 < size.retained_bytes < 5.1 * (1 << 20))") == (True, True)


def test_neither_out_nor_the_underscore_gets_the_object(kernel: Kernel) -> None:
    kernel.run("x = [1.5]")
    before = kernel.run("'marker'").execution_count
    kernel.run("%memsize x")
    assert kernel.value("(_, max(Out))") == ("marker", before)


def test_a_view_shares_what_another_variable_holds(kernel: Kernel) -> None:
    kernel.run("big = np.ones(4 << 17)")
    assert "shared with others 4.0 MiB" in kernel.run("%memsize big[:10]").report
    assert "retains 4.0 MiB" in kernel.run("%memsize np.ones(4 << 17)[:10]").report


def test_locals_of_the_function_that_calls_it_are_seen(kernel: Kernel) -> None:
    out = kernel.run(
        "def f():\n    local = bytearray(1 << 20)\n    get_ipython().run_line_magic('memsize', 'local')\nf()"
    )
    assert "local (bytearray): retains 1.0 MiB" in out.report


def test_ipythons_own_syntax_and_tuples_are_expressions_too(kernel: Kernel) -> None:
    kernel.run("a = [1.5]; b = [2.5]")
    assert "(tuple)" in kernel.run("%memsize a, b").report
    assert "SList" in kernel.run("%memsize !!echo one").report
    assert "(dict)" in kernel.run("%memsize {i: [i + .5] for i in range(10)}").report


def test_an_expression_may_await_while_the_notebooks_loop_waits(kernel: Kernel) -> None:
    kernel.run(
        "import asyncio\nasync def load(n):\n    await asyncio.sleep(0.01)\n    return np.ones(n << 17)\n"
        "async def each():\n    yield 1.5"
    )
    assert "await load(4) (numpy.ndarray): retains 4.0 MiB" in kernel.run("%memsize await load(4)").report
    assert "(list): retains 2.0 MiB" in kernel.run("%memsize [await load(1), await load(1)]").report
    assert "(list)" in kernel.run("%memsize [x async for x in each()]").report
    out = kernel.run(
        "background = asyncio.create_task(asyncio.sleep(0, 'done'))\n%memsize -q await load(1)\nawait background"
    )
    assert out.result == "'done'"
    # the coroutine itself is an object too
    assert "(coroutine)" in kernel.run("c = load(4)\n%memsize c\nc.close()").report
    assert kernel.run("%memsize await nope()").error == "NameError"


def test_a_size_method_of_the_users_is_asked_once(kernel: Kernel) -> None:
    kernel.run(
        "asked = []\nclass Named:\n    def __sizeof__(self):\n        asked.append(type(self)); return 1000\n"
        "def unnamed():\n    class Local(Named): pass\n    return Local()"
    )
    for expression in ("Named()", "unnamed()", "[unnamed(), Named]"):
        kernel.run(f"asked.clear()\n%memsize -q {expression}")
        assert kernel.value("len(asked)") == 1


def test_depth_quiet_and_output(kernel: Kernel) -> None:
    kernel.run(
        "deep = {'a': {'b': {'c': bytearray(1 << 20), 'd': [bytearray(1 << 18)]}, 'e': bytearray(1 << 18)}}"
    )
    short, long = kernel.run("%memsize -d1 deep").report, kernel.run("%memsize -d 6 deep").report
    assert len(short.splitlines()) < len(long.splitlines())
    out = kernel.run("%memsize -q -o size deep")
    assert out.displays == []
    assert kernel.value("(type(size).__name__, list(size.types().columns))") == (
        "ObjectSize", ["type", "count", "shallow_bytes"],
    )  # fmt: skip


def test_the_errors_of_the_expression_are_the_users(kernel: Kernel) -> None:
    for line, error in (("nope", "NameError"), ("1 / 0", "ZeroDivisionError"), ("[1, 2", "SyntaxError")):
        out = kernel.run(f"%memsize {line}")
        assert out.error == error
        assert "objectsize.py" not in out.traceback


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%memsize", "%memsize needs an expression, for example: %memsize df"),
        ("%memsize -q", "%memsize needs an expression"),
        ("%memsize x = 5", "%memsize takes one expression, not a statement"),
        ("%memsize -d many x", "-d takes a number of levels, 1 or more, not 'many'"),
        ("%memsize -o 1x x", "-o takes the name of a variable, not '1x'"),
        ("%memsize -z x", "%memsize: option -z not recognized; it takes -d DEPTH -o NAME -q"),
    ],
)
def test_what_it_cannot_use_gives_one_clear_line(kernel: Kernel, line: str, message: str) -> None:
    out = kernel.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1


def test_hostile_objects_are_measured_and_not_run(kernel: Kernel) -> None:
    kernel.run(
        "class Hostile:\n"
        "    __class__ = property(lambda self: 1 / 0)\n"
        "    def __getattribute__(self, name): raise RuntimeError(name)\n"
        "    def __repr__(self): raise RuntimeError\n"
        "hostile = Hostile()\nkey = '<img onerror=1>'"
    )
    assert "retains" in kernel.run("%memsize hostile").report
    out = kernel.run("%memsize {key: [hostile, bytearray(1 << 20)]}")
    assert "<img" not in out.displays[-1]["text/html"]
    assert "&lt;img" in out.displays[-1]["text/html"]
