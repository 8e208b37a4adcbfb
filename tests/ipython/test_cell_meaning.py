"""A traced cell means what it means without the magic. All in a real kernel."""

from __future__ import annotations

import time

import pytest

from tests.kernels import DESCRIPTORS, Kernel, Output

CELLS = {
    "last expression": "x = 20\nx + 1",
    "print and value": "print('hello')\n'value'",
    "semicolon": "1 + 1;",
    "await": "import asyncio\nawait asyncio.sleep(0.01)\n'awaited'",
    "async for and with": """\
import contextlib
@contextlib.asynccontextmanager
async def manager():
    yield 3
async def numbers():
    for i in range(3):
        yield i
async with manager() as m:
    out = [i async for i in numbers()]
(m, out)""",
    "line magic": "%precision 3\n3.14159",
    "shell command": "!echo from the shell",
    "assigned shell command": "lines = !echo a; echo b\nlines",
    "time": "%time y = 3\ny",
    "help": "?len",
    "multi-line string": 's = """a\n  b\n\n{x} $x %d"""\ns',
    "decorator": "import functools\n@functools.lru_cache\ndef f(n):\n    return n * 2\nf(4), f.cache_info().misses",
    "generator": "def g():\n    yield from range(3)\nlist(g())",
    "threads": """\
import threading
found = []
thread = threading.Thread(target=lambda: found.append(sum(range(10))))
thread.start(); thread.join()
found""",
    "rebinding": "a = 1\na = a + 1\ndel a\n'a' in globals()",
    "class": "class K:\n    z = 3\n    def m(self):\n        return self.z\nK().m()",
    "global": "def setter():\n    global made\n    made = 5\nsetter()\nmade",
    "walrus and comprehension": "[y := 1, y**2, [i * y for i in range(3)]]",
    "match": "match [1, 2]:\n    case [p, q]:\n        r = p + q\nr",
    "indented": "    v = 4\n    v",
    "comment only": "# nothing",
    "future": "from __future__ import annotations\ndef f(x: nowhere): pass\nf.__annotations__",
    "capture beneath": "%%capture kept\nprint('inside')\n7",
    "time beneath": "%%time\nz = 5\nprint(z)",
    "html beneath": "%%html\n<b>bold</b>",
    "display": "from IPython.display import display\ndisplay({'a': 1})\n2",
}


def essence(out: Output) -> dict[str, object]:
    displays = [data for data in out.displays if "nbmem" not in data.get("text/html", "")]
    stdout = "\n".join(
        line for line in out.stdout.splitlines() if not line.startswith(("CPU times", "Wall time"))
    )
    return {
        "status": out.status, "stdout": stdout, "result": out.result, "error": out.error,
        "displays": [data.get("text/plain") for data in displays], "stderr": out.stderr,
    }  # fmt: skip


@pytest.mark.parametrize("code", CELLS.values(), ids=CELLS.keys())
@pytest.mark.parametrize("flags", ["", " --rss"], ids=["allocations", "rss"])
def test_a_traced_cell_shows_what_the_plain_cell_shows(kernel: Kernel, code: str, flags: str) -> None:
    plain = kernel.run(code)
    traced = kernel.run(f"%%memtrace{flags}\n{code}")
    assert essence(traced) == essence(plain)
    assert any("nbmem" in data.get("text/html", "") for data in traced.displays)


ERRORS = {
    "exception": "a = 1\nb = 2\n1 / 0\nc = 3",
    "in a function": "def f():\n    x = 1\n    return x / 0\n\nf()",
    "syntax": "a = 1\nb = = 2",
    "system exit": "a = 1\nraise SystemExit(3)",
    "name": "nothing_like_this",
    "in await": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    raise KeyError('k')\nawait f()",
    "assertion": "x = [1]\nassert x == [2], 'differs'",
    "exception group": "raise ExceptionGroup('many', [ValueError(1), KeyError(2)])",
}


@pytest.mark.parametrize("code", ERRORS.values(), ids=ERRORS.keys())
def test_an_error_in_a_traced_cell_is_the_plain_cells_one_line_further_down(
    kernel: Kernel, code: str
) -> None:
    plain = kernel.run("# a line in the magic's place\n" + code)
    traced = kernel.run("%%memtrace\n" + code)
    assert traced.status == plain.status == "error"
    assert traced.error == plain.error

    def lines(text: str) -> list[str]:
        import re

        text = re.sub(r"In\[\d+\]|In \[\d+\]|ipython-input-\d+-\w+|ipykernel_\d+/\d+", "CELL", text)
        placeholders = re.compile(r"\s*1\s*($|# a line in the magic's place)")
        return [line for line in text.splitlines() if not placeholders.match(line)]

    assert lines(traced.traceback) == lines(plain.traceback)


def test_after_an_error_the_report_still_comes_and_run_all_stops(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace\nb = bytearray(30 << 20)\n1 / 0")
    assert out.status == "error"
    assert "b = bytearray(30 << 20)" in out.report
    first = kernel.send("%%memtrace\n1 / 0")
    second = kernel.send("reached = True")
    kernel.collect(first)
    assert kernel.collect(second).status in ("aborted", "error")
    assert kernel.value("'reached' in globals()") is False


def test_an_interrupt_ends_the_cell_and_the_report_tells_where_it_was(kernel: Kernel) -> None:
    message = kernel.send("%%memtrace\nb = bytearray(20 << 20)\nimport time\ntime.sleep(60)")
    time.sleep(2)
    kernel.manager.interrupt_kernel()
    out = kernel.collect(message)
    assert out.error == "KeyboardInterrupt"
    assert "time.sleep(60)" in out.report
    assert kernel.run("1 + 1").result == "2"


def test_an_interrupt_in_a_hot_loop_ends_the_cell(kernel: Kernel) -> None:
    message = kernel.send("%%memtrace\nx = 0\nwhile True:\n    x += 1")
    time.sleep(2)
    kernel.manager.interrupt_kernel()
    out = kernel.collect(message)
    assert out.error == "KeyboardInterrupt"
    assert "x += 1" in out.report


def test_an_interrupt_of_an_awaiting_cell_ends_the_trace(kernel: Kernel) -> None:
    # ipykernel itself lets the sleep end before it cancels the cell (7.4), so the sleep is short
    message = kernel.send("%%memtrace\nimport asyncio\nawait asyncio.sleep(4)")
    time.sleep(1)
    kernel.manager.interrupt_kernel()
    out = kernel.collect(message)
    assert out.error == "CancelledError"
    out = kernel.run("%%memtrace\n1 + 1")
    assert out.result == "2"
    assert "running already" not in out.report + out.stderr + out.stdout


def test_functions_keep_their_source_and_their_line_numbers(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q\ndef f(x):\n    return x + 1\n")
    assert kernel.value("__import__('inspect').getsource(f)") == "def f(x):\n    return x + 1\n"
    assert kernel.value("f.__code__.co_firstlineno") == 2


def test_a_traced_cell_adds_no_name(kernel: Kernel) -> None:
    names = "sorted(k for k in globals() if not k.startswith('_i') and not k[1:].isdigit())"
    kernel.run("%%memtrace\n1")
    before = kernel.value(names)
    kernel.run("%%memtrace\n1")
    assert kernel.value(names) == before


def test_a_traced_cell_leaves_nothing_behind(kernel: Kernel) -> None:
    state = f"""__import__('json').dumps([
        __import__('gc').isenabled(), len(__import__('gc').callbacks), repr(__import__('sys').gettrace()),
        repr(__import__('sys').getprofile()), __import__('tracemalloc').is_tracing(),
        {DESCRIPTORS}, __import__('threading').active_count(),
        len(__import__('os').listdir('/proc/self/task')),
        sorted(f for f in __import__('os').listdir(__import__('tempfile').gettempdir()) if 'nbmem-trace' in f),
        len(get_ipython().events.callbacks['post_run_cell']), repr(__import__('threading')._profile_hook),
    ])""".replace("\n", " ")
    kernel.run("%%memtrace\nx = [0] * 1000")
    kernel.value(
        "__import__('time').sleep(0.2)"
    )  # a thread that ended is gone from the system a moment later
    before = kernel.value(state)
    for cell in ("%%memtrace\nx = [0] * 1000", "%%memtrace --rss\n1/0", "%%memtrace --objects\ny = 1",
                 "%%memtrace\nb = = 1", "%%memtrace -s -q\nfor i in range(10**6): pass"):  # fmt: skip
        kernel.run(cell)
    kernel.value("__import__('time').sleep(0.2)")
    assert kernel.value(state) == before


def test_history_has_the_cell_as_it_was_typed(kernel: Kernel) -> None:
    kernel.run("%%memtrace --rss\nq = 17")
    assert kernel.value("get_ipython().history_manager.input_hist_raw[-1]") == "%%memtrace --rss\nq = 17"


def test_an_object_that_was_traced_is_freed_when_its_name_is_deleted(kernel: Kernel) -> None:
    kernel.run("%%memtrace -o t\nimport weakref\nclass Big(list): pass\nbig = Big([0]); r = weakref.ref(big)")
    kernel.run("del big")
    assert kernel.value("r() is None") is True


def test_an_exception_that_cannot_be_shown_ends_the_trace_all_the_same(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace\nclass E(Exception):\n    def __str__(self): raise RuntimeError\n    __repr__ = __str__\nraise E()"
    )
    out = kernel.run("%%memtrace\nx = 17\nx")
    assert out.result == "17"
    assert "x = 17" in out.report


def test_names_that_cannot_be_encoded_do_not_lose_the_report(kernel: Kernel) -> None:
    out = kernel.run(
        "%%memtrace\nglobals()['\\ud800'] = bytearray(10**6)\nglobals()['a\\x1b[31m'] = bytearray(10**6)"
    )
    assert "bytearray" in out.report
    assert "\x1b" not in out.report
    kernel.run("del globals()['\\ud800'], globals()['a\\x1b[31m']")


def test_a_cell_that_rebinds_the_builtins_runs_and_is_reported(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace\nlen = id = dict = list = open = getattr = print = None\nx = 5\nx")
    kernel.run("del len, id, dict, list, open, getattr, print")
    assert out.result == "5"
    assert "x = 5" in out.report


def test_a_cell_that_clears_the_namespace_runs_and_is_reported(kernel: Kernel) -> None:
    out = kernel.run("y = 1")
    out = kernel.run("%%memtrace\n%reset -f\nz = 3")
    assert out.status == "ok", out.traceback
    assert "z = 3" in out.report
