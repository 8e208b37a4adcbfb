"""``%mprun`` in a real kernel and in a terminal."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from tests.kernels import DESCRIPTORS, Kernel, Output

pytestmark = pytest.mark.twin

HEADER = "Line #    Mem usage    Increment  Occurrences   Line Contents"

LOAD = """
import asyncio
def load(kept, spike=0):
    a = np.ones(kept << 17)
    total = np.ones(spike << 17).sum()
    return total

class Model:
    @property
    def size(self):
        calls.append('size')
        return len(bytearray(20 << 20))
    def fit(self, times):
        for number in range(times):
            self.state = bytearray(10 << 20)
        return self
    @staticmethod
    def fixed():
        return 1

def numbers():
    yield bytearray(10 << 20)
    yield 2

async def fetch():
    await asyncio.sleep(0)
    return 1

def fails():
    block = bytearray(30 << 20)
    raise KeyError('theirs')
calls = []
model = Model()
"""


@pytest.fixture
def loaded(kernel: Kernel) -> Kernel:
    kernel.run(LOAD)
    return kernel


def row(text: str, source: str) -> tuple[float, float, int]:
    """Read a row: memory, increment, occurrences."""
    pattern = r"^ +\d+ +(\S+) MiB +(\S+) MiB +~?(\d+)   .*" + re.escape(source)
    match = re.search(pattern, text, re.MULTILINE)
    assert match, text
    return float(match.group(1)), float(match.group(2)), int(match.group(3))


def test_a_function_of_a_cell_is_measured_line_by_line(loaded: Kernel) -> None:
    out = loaded.run("%mprun -f load load(50, 100)")
    assert out.status == "ok", out.traceback
    assert out.stdout == ""
    assert HEADER in out.report
    before = float(re.search(r"resident (\S+) MiB before", out.report).group(1))  # type: ignore[union-attr]
    used, kept, hits = row(out.report, "a = np.ones(kept")
    assert (kept, hits) == (pytest.approx(50, abs=1), 1)
    assert used - before == pytest.approx(50, abs=1.5)
    used_by_spike, increment, _ = row(out.report, "total = np.ones(spike")
    assert increment == pytest.approx(0, abs=1)
    assert used_by_spike - used == pytest.approx(100, abs=1.5)
    assert re.match(r"Filename: In \[\d+\]\n\n", out.report)
    page = out.displays[-1]["text/html"]
    assert "<table" in page
    assert "Spike" in page


def test_several_functions_have_a_table_each_and_the_uncalled_a_line(loaded: Kernel) -> None:
    report = loaded.run("%mprun -f load -f Model.fit -f numbers load(1); model.fit(3)").report
    assert report.count(HEADER) == 2
    assert row(report, "self.state = bytearray")[2] == 3
    assert "\nnumbers() never ran: it was not called, or nothing iterated over it" in report


@pytest.mark.parametrize(
    ("named", "statement", "source"),
    [
        ("model.fit", "model.fit(2)", "self.state ="),
        ("Model.size", "model.size", "return len(bytearray(20 << 20))"),
        ("model.size", "model.size", "return len(bytearray(20 << 20))"),
        ("model.fixed", "model.fixed()", "return 1"),
        ("numbers", "list(numbers())", "yield bytearray(10 << 20)"),
    ],
)
def test_methods_properties_and_generators_are_measured(
    loaded: Kernel, named: str, statement: str, source: str
) -> None:
    out = loaded.run(f"%mprun -f {named} {statement}")
    assert row(out.report, source)[2] >= 1
    # naming a property does not ask for it
    assert len(loaded.value("calls")) == ("size" in statement)


def test_a_function_of_a_file_is_shown_with_its_path(loaded: Kernel, tmp_path: Path) -> None:
    (tmp_path / "work_of_a_file.py").write_text("def work():\n    return len(bytearray(20 << 20))\n")
    loaded.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import work_of_a_file")
    report = loaded.run("%mprun -f work_of_a_file.work work_of_a_file.work()").report
    assert report.startswith(f"Filename: {tmp_path / 'work_of_a_file.py'}\n")
    assert row(report, "return len")[2] == 1
    loaded.run("sys.path.pop(0)")


def test_cell_mode_runs_the_first_line_and_the_body_in_the_users_namespace(loaded: Kernel) -> None:
    out = loaded.run("%%mprun -f load first = 5\nsecond = first + 1\nthird = load(10)\n'shown by nobody'")
    assert out.status == "ok", out.traceback
    assert row(out.report, "a = np.ones(kept")[1] == pytest.approx(10, abs=1)
    assert loaded.value("[first, second, float(third)]") == [5, 6, 0.0]
    out = loaded.run("%%mprun -f load\nload(1)")
    assert row(out.report, "a = np.ones(kept")[2] == 1


def test_functions_that_the_body_defines_are_measured_and_not_those_of_before(loaded: Kernel) -> None:
    out = loaded.run(
        "%%mprun -f load -f New.method\n"
        "def load():\n    again = bytearray(20 << 20)\n"
        "class New:\n    def method(self):\n        return load()\n"
        "New().method()"
    )
    assert row(out.report, "again = ")[2] == 1
    assert row(out.report, "return load()")[2] == 1
    assert "np.ones" not in out.report


def test_the_statement_may_hold_magics_quotes_and_braces(loaded: Kernel) -> None:
    out = loaded.run("""%mprun -f load s = f'{3}' + "$a {a}"; load(1)""")
    assert out.status == "ok", out.traceback
    assert loaded.value("s") == "3$a {a}"
    loaded.run("%%mprun -f load\nfiles = !echo one\n%time y = load(1)")
    assert loaded.value("list(files)") == ["one"]


def test_flags_after_the_statement_belong_to_the_statement(loaded: Kernel) -> None:
    loaded.run("f = lambda *a: a\nr = 2")
    loaded.run("%mprun -f load -- s = f(-1) or -r")
    assert loaded.value("s") == (-1,)


@pytest.mark.parametrize(
    "flags", ["-r -c -f load", "-rc -f load", "-rcfload", "-f load -cr", "-f 'load' -rc"]
)
def test_flags_may_stand_together(loaded: Kernel, flags: str) -> None:
    out = loaded.run(f"p = %mprun {flags} load(1)")
    assert out.status == "ok", out.traceback
    assert loaded.value("p.summary['exact']") is False


def test_r_returns_the_profile_with_a_frame_and_shows_it_once(loaded: Kernel) -> None:
    out = loaded.run("p = %mprun -r -f load load(50)")
    assert len(out.displays) == 1
    assert loaded.value("type(p).__name__") == "LineProfile"
    assert loaded.value("float(p.lines.set_index('line').increment_bytes.max() / 2**20)") == pytest.approx(
        50, abs=1
    )
    out = loaded.run("%mprun -r -f load load(1)")
    assert out.result is not None
    assert HEADER in out.result
    assert out.displays == []
    out = loaded.run("%%mprun -r -f load\nload(1)")
    assert out.result is not None
    assert out.displays == []
    out = loaded.run("%mprun -r -f load load(1);")
    assert out.result is None
    assert len(out.displays) == 1
    assert loaded.run("%mprun -f load load(1)").result is None


def test_T_writes_the_text_and_says_so(loaded: Kernel, tmp_path: Path) -> None:  # noqa: N802
    file = tmp_path / "the profile.txt"
    out = loaded.run(f"%mprun -T '{file}' -f load load(1)")
    assert out.stdout == f"\n*** Profile printout saved to text file {file}.\n"
    assert file.read_text() == out.report.rstrip() + "\n"
    bad = tmp_path / "nowhere" / "x.txt"
    out = loaded.run(f"p = %mprun -r -T {bad} -f load load(1)")
    assert out.status == "ok"
    assert HEADER in out.report
    assert out.stderr == f"nbmem: the profile was not saved to {bad}: No such file or directory\n"
    assert loaded.value("type(p).__name__") == "LineProfile"


def test_children_are_added_on_request(loaded: Kernel) -> None:
    loaded.run(
        "import subprocess, sys\ncode = 'x = bytearray(150 << 20); import time; time.sleep(1)'\n"
        "def start():\n    subprocess.run([sys.executable, '-c', code])"
    )
    loaded.run("p = %mprun -r -c -f start start()")
    assert loaded.value("int(p.lines.spike_bytes.max()) / 2**20") > 140
    out = loaded.run("%mprun -c -f start start()")
    assert "nothing is exact" in out.report
    assert "~" not in out.report.split("note:")[0]


def test_what_ran_is_shown_when_the_statement_raises_and_the_error_is_the_users(loaded: Kernel) -> None:
    out = loaded.run("%mprun -f fails fails()")
    assert out.error == "KeyError"
    assert "raise KeyError('theirs')" in out.traceback
    assert "recording.run" not in out.traceback
    assert "_tracer" not in out.traceback
    assert row(out.report, "block = bytearray")[1] == pytest.approx(30, abs=1)
    assert row(out.report, "raise KeyError")[2] == 1
    out = loaded.run("p = %mprun -r -f fails fails()")
    assert HEADER in out.report
    out = loaded.run("%%mprun -f load\n\nload(1)\nfails()")
    assert f"Cell In[{out.execution_count}], line 4" in out.traceback
    assert row(loaded.run("%mprun -f load load(1)").report, "a = np.ones")[2] == 1


def test_an_interrupt_shows_what_ran_and_stops_the_statement(loaded: Kernel) -> None:
    loaded.run("import time\ndef wait():\n    block = bytearray(10 << 20)\n    time.sleep(60)")
    message = loaded.send("%mprun -f wait wait()")
    time.sleep(2)
    loaded.manager.interrupt_kernel()
    out = loaded.collect(message)
    assert out.error == "KeyboardInterrupt"
    assert row(out.report, "time.sleep(60)")[2] == 1


def test_sys_exit_in_the_statement_shows_the_profile(loaded: Kernel) -> None:
    out = loaded.run("import sys\ndef leave():\n    sys.exit(3)\n%mprun -f leave leave()")
    assert row(out.report, "sys.exit(3)")[2] == 1
    assert loaded.value("1") == 1


def test_a_coroutine_that_is_driven_by_the_statement_is_measured(loaded: Kernel) -> None:
    out = loaded.run(
        "def drive():\n    coroutine = fetch()\n    try:\n        while True: coroutine.send(None)\n"
        "    except StopIteration: pass\n%mprun -f fetch drive()"
    )
    assert row(out.report, "await asyncio.sleep(0)")[2] == 1


@pytest.mark.parametrize("code", ["%mprun -f fetch await fetch()", "%%mprun -f fetch\nawait fetch()"])
def test_a_statement_may_await_while_the_notebooks_loop_waits(loaded: Kernel, code: str) -> None:
    out = loaded.run(code)
    assert out.status == "ok", out.traceback
    assert row(out.report, "await asyncio.sleep(0)")[2] == 1
    assert loaded.run("import asyncio\nawait asyncio.sleep(0, 'as before')").result == "'as before'"


def test_an_error_in_an_awaiting_statement_is_the_users_and_leaves_no_task(loaded: Kernel) -> None:
    loaded.run(
        "import asyncio\nasync def fail():\n    asyncio.create_task(asyncio.sleep(60))\n"
        "    await asyncio.sleep(0)\n    1 / 0"
    )
    out = loaded.run("%mprun -f fail await fail()")
    assert out.error == "ZeroDivisionError"
    assert row(out.report, "await asyncio.sleep(0)")[2] == 1
    assert loaded.run("await asyncio.sleep(0, 'as before')").result == "'as before'"
    assert "never retrieved" not in out.stderr


def test_locals_of_the_calling_function_are_seen(loaded: Kernel) -> None:
    out = loaded.run(
        "def caller():\n    def own(n):\n        return bytearray(n)\n    size = 10 << 20\n"
        "    get_ipython().run_line_magic('mprun', '-f own own(size)')\ncaller()"
    )
    assert out.status == "ok", out.traceback
    assert row(out.report, "return bytearray(n)")[2] == 1


BAD = {
    "nothing": ("%mprun", "needs -f FUNCTION"),
    "no function": ("%mprun load(1)", "needs -f FUNCTION"),
    "no statement": ("%mprun -f load", "needs a statement"),
    "empty body": ("%%mprun -f load\n   \n", "needs a statement"),
    "flag without a function": ("%mprun -f", "-f takes the name of a function"),
    "flag without a file": ("%mprun -f load -T", "-T takes the name of a file"),
    "unknown flag": ("%mprun -z -f load load(1)", "does not know -z"),
    "unknown long flag": ("%mprun --function load load(1)", "does not know --function"),
    "unknown name": ("%mprun -f lod load(1)", "there is no 'lod'"),
    "unknown method": ("%mprun -f Model.fid load(1)", "there is no 'Model.fid'"),
    "a call": ("%mprun -f model.fit(1) load(1)", "not 'model.fit(1)'"),
    "a nested function": ("%mprun -f outer.<locals>.inner load(1)", "-f takes the name of a function"),
    "built in": ("%mprun -f len len([])", "len has no Python code"),
    "of numpy": ("%mprun -f np.ones_like.foo len([])", "there is no"),
    "a ufunc": ("%mprun -f np.add len([])", "no Python code"),
    "a number": ("%mprun -f calls len([])", "an object of type list has no Python code"),
    "a class": ("%mprun -f Model Model()", "name a method, such as Model.__init__"),
    "a module": ("%mprun -f np np.ones(1)", "it is a module"),
    "in a trace": ("%%memtrace -q\n%mprun -f load load(1)", "%%memtrace -f load"),
}


@pytest.mark.parametrize(("code", "word"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_clear_line(loaded: Kernel, code: str, word: str) -> None:
    out = loaded.run(code)
    message = (out.stderr + out.traceback).strip()
    assert "UsageError" in message
    assert len(message.splitlines()) == 1, message
    assert word in message


def test_a_syntax_error_in_the_statement_is_shown_as_one(loaded: Kernel) -> None:
    assert loaded.run("%mprun -f load x = = 1").error == "SyntaxError"


def test_an_object_that_raises_at_any_attribute_is_refused_in_one_line(loaded: Kernel) -> None:
    loaded.run(
        "class Hostile:\n    def __getattr__(self, name): raise RuntimeError(f'no {name}\\nat all')\n"
        "    def __call__(self): pass\nh = Hostile()"
    )
    for code in ("%mprun -f h h()", "%mprun -f h.method h()"):
        message = loaded.run(code).stderr.strip()
        assert message.startswith("UsageError")
        assert len(message.splitlines()) == 1


def test_it_goes_with_other_magics(loaded: Kernel) -> None:
    assert row(loaded.run("%%time\n%mprun -f load load(1)").report, "a = np.ones")[2] == 1
    loaded.run("%%capture seen\n%mprun -f load load(1)")
    assert loaded.value("len(seen.outputs)") == 1
    out = loaded.run("%memit -q -o load(1)\n%mprun -f load get_ipython().run_line_magic('memit', 'load(1)')")
    assert row(out.report, "a = np.ones")[2] == 1


def test_measuring_leaves_nothing_behind(loaded: Kernel) -> None:
    state = f"[{DESCRIPTORS}, __import__('threading').active_count(), len(__import__('gc').callbacks), __import__('sys').gettrace()]"
    loaded.run("%mprun -f load load(1)")
    names = "sorted(name for name in globals() if name[:1] != '_')"
    before, known = loaded.value(state), loaded.value(names)
    for cell in (
        "%mprun -f load load(1)",
        "%mprun -f fails fails()",
        "%mprun -c -f load load(1)",
        "%mprun -f x 1",
    ):
        loaded.run(cell)
    assert loaded.value(state) == before
    assert loaded.value(names) == known


def test_nothing_of_the_users_is_kept_alive(loaded: Kernel) -> None:
    loaded.run(
        "import weakref, gc\nclass Big: pass\ndef make():\n    big = Big()\n    made.append(weakref.ref(big))\n    return big\nmade = []"
    )
    loaded.run("p = %mprun -r -f make make()")
    assert loaded.value("made[0]() is None")


def test_the_same_by_function_shows_itself_at_the_end_of_a_cell(loaded: Kernel) -> None:
    out = loaded.run("import nbmem\nnbmem.profile_lines(load, lambda: load(50))")
    assert out.result is not None
    assert out.result.startswith("Filename: a cell\n")
    assert row(out.result, "a = np.ones(kept")[1] == pytest.approx(50, abs=1)


def test_help_shows_an_example_of_each_flag(kernel: Kernel) -> None:
    page = kernel.value("get_ipython().magics_manager.magics['line']['mprun'].__doc__")
    for flag in "fTrc":
        assert f"``%mprun -{flag}" in page or f"``p = %mprun -{flag}" in page


def test_flags_are_completed(kernel: Kernel) -> None:
    kernel.run("import warnings; warnings.simplefilter('ignore')")
    for code in ("%mprun -", "%%mprun -f load -"):
        found = kernel.value(f"[c.text for c in get_ipython().Completer.completions({code!r}, {len(code)})]")
        assert set(found[:4]) == {"-f", "-T", "-r", "-c"}


def test_in_a_terminal_it_is_text_through_the_pager_and_may_await(tmp_path: Path) -> None:
    import pexpect

    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--colors=nocolor", "--no-banner", "--no-confirm-exit", "--quick"],
        encoding="utf-8", timeout=60, dimensions=(60, 150),
        env={**__import__("os").environ, "IPYTHONDIR": str(tmp_path), "PAGER": "cat", "TERM": "xterm"},
    )  # fmt: skip

    def ask(text: str) -> str:
        child.sendline(text)
        child.sendline("print('do' + 'ne')")
        child.expect("\r\ndone\r\n|: done\r\n")
        return str(child.before).replace("\r\n", "\n")

    child.expect(r"In \[1\]: ")
    (tmp_path / "worked.py").write_text(
        "import asyncio\ndef work():\n    return len(bytearray(20 << 20))\n"
        "async def fetch():\n    await asyncio.sleep(0)\n    return len(bytearray(30 << 20))\n"
    )
    ask("%load_ext nbmem")
    ask(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import asyncio, worked")
    out = ask("%mprun -f worked.work worked.work()")
    assert row(out, "return len(bytearray(20 << 20))")[2] == 1
    assert "<div" not in out
    out = ask("%mprun -f worked.fetch asyncio.run(worked.fetch())")
    assert row(out, "return len(bytearray(30 << 20))")[2] == 1
    out = ask("%mprun -f worked.fetch size = await worked.fetch()")
    assert row(out, "return len(bytearray(30 << 20))")[2] == 1
    assert str(30 << 20) in ask("print(size)")
    typo = ask("%mprun -x 1")
    assert "UsageError" in typo
    assert "Traceback" not in typo
    child.sendline("exit")
    child.expect(pexpect.EOF)


def run_twice(kernel: Kernel, code: str) -> tuple[Output, Output]:
    return kernel.run(code), kernel.run(code)


def test_a_cell_that_runs_again_gives_the_same_figures(loaded: Kernel) -> None:
    first, second = run_twice(
        loaded, "def again():\n    return len(bytearray(40 << 20))\n%mprun -f again again()"
    )
    used = [row(out.report, "return len")[1:] for out in (first, second)]
    assert used[0][1] == used[1][1] == 1
    assert [increment for increment, _ in used] == pytest.approx([0, 0], abs=1)
