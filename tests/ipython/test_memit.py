"""``%memit`` in a real kernel."""

from __future__ import annotations

import re
import time

import pytest

from tests.kernels import DESCRIPTORS, Kernel

pytestmark = pytest.mark.twin

LINE = re.compile(r"peak memory: (\d+\.\d\d) MiB, increment: (-?\d+\.\d\d) MiB")


def increment(text: str) -> float:
    """Read the increment of the printed line, MiB."""
    match = LINE.match(text)
    assert match, text
    return float(match.group(2))


@pytest.mark.parametrize("mebibytes", [50, 120, 400])
def test_a_spike_that_is_dropped_in_the_statement_is_measured_within_two_percent(
    kernel: Kernel, mebibytes: int
) -> None:
    out = kernel.run(f"%memit np.ones({mebibytes} << 17)")
    assert increment(out.stdout) == pytest.approx(mebibytes, rel=0.02)


def test_a_spike_of_malloc_memory_that_was_free_before_is_measured_too(kernel: Kernel) -> None:
    kernel.run("x = bytearray(20 << 20); del x")
    for _ in range(2):
        out = kernel.run("%memit bytearray(20 << 20)")
        assert increment(out.stdout) == pytest.approx(20, abs=2.3)


def test_without_o_nothing_is_returned_and_with_it_memory_profilers_result(kernel: Kernel) -> None:
    assert kernel.run("%memit 1").result is None
    kernel.run("r = %memit -q -o -r2 -t9.5 -i0.2 -c np.ones(10**6)")
    assert kernel.value("[type(r).__name__, len(r.mem_usage), r.repeat, r.timeout, r.interval, r.include_children]") == [
        "MemitResult", 2, 2, 9.5, 0.2, True,
    ]  # fmt: skip
    assert kernel.value("r.baseline > 10 and max(r.mem_usage) >= r.baseline")
    out = kernel.run("%memit -o 1")
    assert out.result is not None
    assert out.result.startswith("<MemitResult : peak memory: ")


def test_the_same_statement_by_function_and_by_magic_gives_the_same(kernel: Kernel) -> None:
    kernel.run(
        "import nbmem\nr = nbmem.memit(lambda: np.ones(40 << 17))\ns = nbmem.memit('np.ones(40 << 17)')"
    )
    assert kernel.value("r.increment_bytes / 2**20") == pytest.approx(40, rel=0.03)
    assert kernel.value("s.increment_bytes / 2**20") == pytest.approx(40, rel=0.03)
    assert kernel.value("r.exact and s.exact")


def test_what_stays_is_the_net(kernel: Kernel) -> None:
    kernel.run("r = %memit -q -o kept = np.ones(60 << 17); gone = np.ones(60 << 17); del gone")
    assert kernel.value("r.net_bytes / 2**20") == pytest.approx(60, rel=0.03)
    assert kernel.value("r.increment_bytes / 2**20") == pytest.approx(120, rel=0.03)
    assert kernel.value("kept.size") == 60 << 17


def test_each_of_several_runs_is_reported(kernel: Kernel) -> None:
    kernel.run("store = []")
    out = kernel.run("%memit -r3 store.append(np.ones(40 << 17)) if not store else None")
    second = out.stdout.splitlines()[1]
    figures = [float(text) for text in re.findall(r"-?\d+\.\d\d", second)]
    assert figures[0] == pytest.approx(40, rel=0.03)
    assert figures[1:] == pytest.approx([0, 0], abs=0.5)


def test_the_body_is_measured_and_the_setup_is_not(kernel: Kernel) -> None:
    out = kernel.run("%%memit base = np.ones(80 << 17)\ntwice = base[: 1 << 17] * 2\ntwice.sum()")
    assert increment(out.stdout) < 10
    assert kernel.value("[base.size, twice.size]") == [80 << 17, 1 << 17]


def test_names_that_the_statement_binds_stay(kernel: Kernel) -> None:
    kernel.run("%memit a = 5")
    assert kernel.value("a") == 5


def test_the_statement_may_hold_magics_and_braces(kernel: Kernel) -> None:
    out = kernel.run("a = 3\n%memit s = f'{a}' + '$a {a}'")
    assert out.status == "ok", out.traceback
    assert kernel.value("s") == "3$a {a}"
    out = kernel.run("%%memit\nfiles = !echo one\n%time y = 2")
    assert out.status == "ok", out.traceback
    assert kernel.value("[list(files), y]") == [["one"], 2]


def test_flags_after_the_statement_belong_to_the_statement(kernel: Kernel) -> None:
    kernel.run("def f(*a): return a\n%memit s = f(-1) or -r")
    assert kernel.value("s") == (-1,)


@pytest.mark.parametrize("flags", ["-oq", "-qo", "-q -o", "-coq", "-qor2", "-r2 -oq"])
def test_flags_may_stand_together(kernel: Kernel, flags: str) -> None:
    out = kernel.run(f"r = %memit {flags} s = 5 - q if False else 4")
    assert out.status == "ok", out.traceback
    assert out.stdout == ""
    assert kernel.value("[s, type(r).__name__]") == [4, "MemitResult"]


def test_a_traceback_shows_the_statement_and_not_nbmem(kernel: Kernel) -> None:
    text = kernel.run("%memit 1 / 0").traceback
    assert "1 / 0" in text
    assert "measure_runs" not in text


def test_inside_a_function_locals_are_seen(kernel: Kernel) -> None:
    out = kernel.run(
        "def f():\n    n = 5\n    get_ipython().run_line_magic('memit', '-q x = n')\n    return n\nf()"
    )
    assert out.status == "ok", out.traceback


def test_an_error_passes_through_and_no_other_process_is_touched(kernel: Kernel) -> None:
    kernel.run("import subprocess\nchild = subprocess.Popen(['sleep', '60'])")
    out = kernel.run("%memit -c 1 / 0")
    assert out.error == "ZeroDivisionError"
    assert kernel.value("child.poll()") is None
    kernel.run("child.kill(); child.wait()")
    assert LINE.match(kernel.run("%memit 1").stdout)


def test_children_are_counted_on_request_and_then_it_is_not_exact(kernel: Kernel) -> None:
    kernel.run("import subprocess, sys\ncode = 'x = bytearray(150 << 20); import time; time.sleep(1)'")
    out = kernel.run("%memit -c -i0.02 subprocess.run([sys.executable, '-c', code])")
    assert increment(out.stdout) > 140
    assert "not exact" in out.stdout
    assert increment(kernel.run("%memit subprocess.run([sys.executable, '-c', 'pass'])").stdout) < 20


def test_children_that_were_there_before_are_in_the_baseline(kernel: Kernel) -> None:
    kernel.run(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'x = bytearray(150 << 20); print(1, flush=True); import time; time.sleep(60)'], stdout=-1)\n"
        "child.stdout.readline()"
    )
    out = kernel.run("%memit -c -i0.02 time.sleep(0.2)")
    kernel.run("child.kill(); child.wait(); child.stdout.close()")
    assert increment(out.stdout) < 20


def test_a_statement_beyond_its_time_is_stopped_and_said_so(kernel: Kernel) -> None:
    began = time.monotonic()
    out = kernel.run("import time\n%memit -t0.5 -r3 exec('while True: time.sleep(0.01)')")
    assert time.monotonic() - began < 20
    assert out.status == "ok", out.traceback
    assert "stopped after 500.0 ms: 0 of 3 runs finished" in out.stdout
    assert kernel.value("__import__('signal').getitimer(0)") == (0.0, 0.0)


def test_an_interrupt_stops_the_statement(kernel: Kernel) -> None:
    message = kernel.send("import time\n%memit time.sleep(60)")
    time.sleep(1.5)
    kernel.manager.interrupt_kernel()
    assert kernel.collect(message).error == "KeyboardInterrupt"
    assert LINE.match(kernel.run("%memit 1").stdout)


BAD = {
    "nothing": ("%memit", "needs a statement"),
    "only flags": ("%memit -r3", "needs a statement"),
    "no runs": ("%memit -r 0 1", "-r"),
    "negative runs": ("%memit -r -2 1", "-r"),
    "runs that are no number": ("%memit -r many 1", "many"),
    "fraction of runs": ("%memit -r 1.5 1", "1.5"),
    "no time": ("%memit -t 0 1", "-t"),
    "time that is no number": ("%memit -t soon 1", "soon"),
    "time without end": ("%memit -t inf 1", "inf"),
    "no interval": ("%memit -i 0 1", "-i"),
    "unknown flag": ("%memit -z 1", "-z"),
    "empty body": ("%%memit x = 1\n", "empty"),
}


@pytest.mark.parametrize(("code", "word"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_clear_line(kernel: Kernel, code: str, word: str) -> None:
    out = kernel.run(code)
    message = (out.stderr + out.traceback).strip()
    assert "UsageError" in message
    assert len(message.splitlines()) == 1
    assert word in message


def test_a_statement_may_await_while_the_notebooks_loop_waits(kernel: Kernel) -> None:
    out = kernel.run(
        "import asyncio\nasync def load():\n    await asyncio.sleep(0.01)\n    return np.ones(50 << 17)\n"
        "background = asyncio.create_task(asyncio.sleep(0, 'done'))\n%memit kept = await load()\n"
        "(kept.nbytes, await background, asyncio.get_running_loop() is asyncio.get_event_loop())"
    )
    assert 49 < float(out.stdout.split("increment: ")[1].split()[0]) < 52
    assert out.result == "(52428800, 'done', True)"


def test_a_syntax_error_in_the_statement_is_shown_as_one(kernel: Kernel) -> None:
    assert kernel.run("%memit x = = 1").error == "SyntaxError"


def test_measuring_leaves_nothing_behind(kernel: Kernel) -> None:
    state = f"[{DESCRIPTORS}, __import__('threading').active_count(), len(__import__('gc').callbacks)]"
    kernel.run("%memit -q 1")
    before = kernel.value(state)
    for cell in (
        "%memit -q 1",
        "%memit -q 1/0",
        "%memit -q -r3 [0]*1000",
        "%memit -q -c 1",
        "%memit -q -t1 1",
    ):
        kernel.run(cell)
    assert kernel.value(state) == before


def test_help_shows_an_example_of_each_flag(kernel: Kernel) -> None:
    page = kernel.value("get_ipython().magics_manager.magics['line']['memit'].__doc__")
    for flag in "rtcoq":
        assert f"``%memit -{flag}" in page or f"%memit -{flag}" in page
