"""The kernel that does not die: ``%memlimit``. All in a real kernel with a limit of a few hundred MB."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pexpect
import pytest

from tests.kernels import Kernel, Output

LIMIT = 400_000_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def module_kernel() -> Iterator[Kernel]:
    """One kernel for the module: that it lives on is what is tested."""
    kernel = Kernel()
    kernel.run("%load_ext nbmem\nimport numpy as np, pandas as pd, asyncio, threading, time")
    yield kernel
    kernel.stop()


@pytest.fixture
def limited(module_kernel: Kernel) -> Iterator[Kernel]:
    """Give a kernel with a limit and a name that must survive."""
    kernel = module_kernel
    kernel.run(
        "%reset -f\nimport numpy as np, pandas as pd, asyncio, threading, time, gc\nsurvivor = list(range(1000))"
    )
    kernel.run("def eat(rows):\n    while True:\n        rows.append(bytearray(100_000))")
    assert "memory limit 381.5 MiB (400MB)" in kernel.run("%memlimit 400MB").stdout
    yield kernel
    kernel.run("%memlimit off")


def report(out: Output) -> str:
    """Give the guard's report."""
    assert "nbmem:" in out.report, (out.status, out.error, out.stderr, out.traceback)
    return out.report


def highest_mib(out: Output) -> float:
    """Read the highest resident size from the report."""
    return float(report(out).split(" at its start, ")[1].split(" MiB at most")[0])


def lives_on(kernel: Kernel) -> bool:
    """Tell whether the kernel answers, with its namespace, and runs the next cell."""
    return kernel.run("sum(survivor)").result == "499500"


# The error may also come between the try statements, where nothing catches it.
SWALLOWED = "MemoryLimitInterrupt MemoryLimitExceeded"
CASES = {
    "many small steps": ("held = []\nwhile True:\n    held.append(np.ones(20_000))", "MemoryLimitExceeded"),
    "small objects": (
        "held = []\nfor number in range(10**9):\n    held.append(str(number))",
        "MemoryLimitExceeded",
    ),
    "one huge step": ("held = np.ones(50 * 10**9 // 8)", "MemoryError"),
    "a huge step inside pandas": (
        "held = pd.DataFrame({'a': 1.0}, index=range(10)).reindex(range(10**10))",
        "MemoryError",
    ),
    "pandas, step by step": (
        "df = pd.DataFrame({'k': np.arange(300_000), 'v': 1.0})\nheld = []\nwhile True:\n    held.append((df * 2).groupby('k').cumsum())",
        "MemoryLimitExceeded",
    ),
    "in a function": ("eat([])", "MemoryLimitExceeded"),
    "in a comprehension": ("held = [bytearray(100_000) for _ in range(10**9)]", "MemoryLimitExceeded"),
    "in an await cell": (
        "held = []\nwhile True:\n    held.append(bytearray(100_000))\n    await asyncio.sleep(0)",
        "MemoryLimitExceeded",
    ),
    "in a pool that the cell awaits": (
        "await asyncio.get_running_loop().run_in_executor(None, eat, [])",
        "MemoryLimitExceeded",
    ),
    "in a pool that the cell waits for": (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n    pool.submit(eat, []).result()",
        "MemoryLimitExceeded",
    ),
    "while stdout floods": (
        "held = []\nwhile True:\n    held.append(bytearray(50_000)); print('x' * 100)",
        "MemoryLimitExceeded",
    ),
    "swallowed": (
        "held = []\nwhile True:\n    try:\n        held.append(bytearray(100_000))\n    except MemoryError:\n        pass",
        SWALLOWED,
    ),
    "swallowed by except Exception": (
        "held = []\nwhile True:\n    try:\n        eat(held)\n    except Exception:\n        pass",
        SWALLOWED,
    ),
    "timed": ("%%time\nheld = []\neat(held)", "MemoryLimitExceeded"),
    "traced": ("%%memtrace\nheld = []\neat(held)", "MemoryLimitExceeded"),
    "measured": ("%memit eat([])", "MemoryLimitExceeded"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cell_is_stopped_and_the_kernel_lives(limited: Kernel, case: str) -> None:
    code, error = CASES[case]
    out = limited.run(code)
    assert out.error in error.split()
    # 381.5 MiB, and the head-room of 128 MiB for what cannot be stopped at once
    assert highest_mib(out) < 381.5 + 128 + 16
    assert lives_on(limited)
    limited.run("held = None; gc.collect();")
    assert limited.run("len([bytearray(MIB) for MIB in [1 << 20] * 40])").result == "40"


def test_a_c_loop_that_never_returns_to_python_is_stopped_by_its_allocations(own_kernel: Kernel) -> None:
    # In a kernel of its own: memory that was in use before and given back needs no new allocation.
    own_kernel.run("%load_ext nbmem\nimport itertools\nsurvivor = list(range(1000))")
    own_kernel.run("%memlimit 400MB")
    out = own_kernel.run("held = list(itertools.count())")
    assert out.error == "MemoryError"
    assert "was refused an allocation that would have led beyond 509.5 MiB" in report(out)
    assert highest_mib(out) < 381.5 + 128 + 16
    assert lives_on(own_kernel)


HOLDING = {
    "a list": "import itertools\nheld = []\nheld.extend(map(float, itertools.count()))",
    "a deque": "import itertools, collections\nheld = collections.deque()\nheld.extend(map(str, itertools.count()))",
    "a dict": "import itertools\nheld = {}\nheld.update(zip(itertools.count(), itertools.repeat(1.5)))",
}


@pytest.mark.parametrize("case", HOLDING)
def test_a_c_loop_that_leaves_no_memory_behind_ends_with_its_error_shown(
    own_kernel: Kernel, case: str
) -> None:
    own_kernel.run("%load_ext nbmem\nsurvivor = list(range(1000))")
    own_kernel.run("%memlimit 400MB")
    out = own_kernel.run(HOLDING[case])
    assert out.error in ("MemoryError", "MemoryLimitExceeded"), out.traceback
    assert "held." in out.traceback
    assert "Unexpected exception" not in out.traceback + out.stdout + out.stderr
    assert "was refused an allocation" in report(out) or "was stopped" in report(out)
    assert "largest names: new held (" in report(out)
    assert lives_on(own_kernel)
    own_kernel.run("del held\nimport gc; gc.collect();")
    assert own_kernel.run("len(bytearray(100 << 20))").result == str(100 << 20)


def test_sizes_that_were_not_counted_to_the_end_say_so(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem")
    own_kernel.run("%memlimit 300MB")
    out = own_kernel.run("held = []\nfor number in range(10**9): held.append(float(number))")
    assert "new held (list, at least " in report(out)


def test_the_report_names_the_line_the_function_and_the_names_that_grew(limited: Kernel) -> None:
    limited.run("def load(rows):\n    while True:\n        rows.append(np.ones(20_000))")
    text = report(limited.run("first = 1\nchunks = []\nload(chunks)"))
    first, where, sizes, names = text.splitlines()[:4]
    assert first.startswith("nbmem: In [")
    assert first.endswith("reached the memory limit of 381.5 MiB and was stopped")
    assert "line 3 of In [" in where
    assert "`rows.append(np.ones(20_000))` in load()" in where
    assert "`load(chunks)`" in where
    assert "at its start" in sizes
    assert "new chunks (list, " in names
    size = float(names.split("chunks (list, ")[1].split(" MiB")[0])
    before, most = (float(sizes.split(part)[0].split()[-2]) for part in (" at its start", " at most"))
    # what malloc held free at the start is used again
    assert most - before - 5 < size < most - 60


def test_the_report_has_a_picture_of_the_timeline_and_no_script(limited: Kernel) -> None:
    html = str(limited.run("eat([])").displays[-1]["text/html"])
    assert 'src="data:image/svg+xml;base64,' in html
    assert "<script" not in html
    assert "Resident size over the" in html


def test_what_the_stopped_functions_held_is_free_again(limited: Kernel) -> None:
    out = limited.run("def load():\n    rows = []\n    eat(rows)\nload()")
    assert "the locals of load(), eat()" in report(out)
    assert float(report(out).split("at most, ")[1].split(" MiB now")[0]) < 250


def test_the_warning_comes_while_the_cell_runs(limited: Kernel) -> None:
    limited.run("from nbmem.process import occupied_bytes\nroom = int(0.88 * 400e6) - occupied_bytes()")
    out = limited.run("held = bytearray(room)\ntime.sleep(0.3)\nprint('ended')")
    assert out.stdout == "ended\n"
    assert "at the limit the code is stopped" in out.stderr
    assert out.stderr.count("nbmem:") == 1
    assert out.displays == []


def test_a_cell_that_begins_near_the_limit_may_free_memory(limited: Kernel) -> None:
    limited.run("held = []\neat(held)")
    out = limited.run("total = sum(len(row) for row in held)\ndel held\ntotal > 10**8")
    assert (out.status, out.result) == ("ok", "True")
    assert limited.run("more = [bytearray(1 << 20) for _ in range(100)]; len(more)").result == "100"


def test_a_thread_that_eats_is_stopped_and_the_cell_goes_on(limited: Kernel) -> None:
    out = limited.run(
        "thread = threading.Thread(target=eat, args=([],), name='eater')\nthread.start(); thread.join()\n'done'"
    )
    assert (out.status, out.result) == ("ok", "'done'")
    assert "MemoryLimitExceeded" in out.stderr
    assert "in a thread, which was stopped" in report(out)
    assert "stopped in thread eater" in report(out)
    assert lives_on(limited)


def test_a_thread_that_eats_after_its_cell_has_ended_is_stopped_too(limited: Kernel) -> None:
    limited.run(
        "def later():\n    time.sleep(0.5)\n    eat([])\nthread = threading.Thread(target=later)\nthread.start()"
    )
    deadline = time.monotonic() + 20
    while limited.value("thread.is_alive()") and time.monotonic() < deadline:
        time.sleep(0.3)
    assert limited.value("thread.is_alive()") is False
    assert lives_on(limited)


def test_a_background_task_that_eats_is_ended_and_the_kernel_is_not(limited: Kernel) -> None:
    limited.run(
        "async def background():\n    rows = []\n    while True:\n        rows.append(bytearray(100_000)); await asyncio.sleep(0)"
    )
    out = limited.run(
        "task = asyncio.create_task(background())\nawait asyncio.wait([task])\nrepr(task.exception())[:19]"
    )
    assert out.result == "'MemoryLimitExceeded'"
    assert "it ended a task" in report(out)
    limited.run("del task")
    assert lives_on(limited)


def test_a_background_task_that_swallows_the_error_does_not_end_the_kernel(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem\nimport asyncio\nsurvivor = list(range(1000))")
    own_kernel.run(
        "async def background():\n    rows = []\n    while True:\n        try:\n            rows.append(bytearray(200_000))\n"
        "            await asyncio.sleep(0)\n        except MemoryError:\n            pass"
    )
    own_kernel.run("%memlimit 400MB")
    own_kernel.run("task = asyncio.create_task(background())\nawait asyncio.sleep(3)")
    assert own_kernel.run("task.done()").result == "True"
    assert lives_on(own_kernel)


def test_a_pools_workers_live_on(limited: Kernel) -> None:
    out = limited.run(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\n"
        "futures = [pool.submit(eat, []) for _ in range(4)]\n[future.result() for future in futures]"
    )
    assert out.error == "MemoryLimitExceeded"
    limited.run("futures = None; gc.collect();")
    assert limited.run("pool.submit(int).result(timeout=20)").result == "0"


def test_a_thread_that_takes_no_memory_is_let_alone(limited: Kernel) -> None:
    out = limited.run(
        "going = True\ndef spin():\n    while going: pass\ninnocent = threading.Thread(target=spin)\ninnocent.start()\n"
        "try:\n    eat([])\nfinally:\n    alive = innocent.is_alive()"
    )
    assert out.error == "MemoryLimitExceeded"
    assert "stopped in thread" not in report(out)
    assert (
        limited.run("was = innocent.is_alive(), alive\ngoing = False\ninnocent.join()\nwas").result
        == "(True, True)"
    )


def test_a_generator_that_keeps_an_error_is_not_closed(limited: Kernel) -> None:
    limited.run(
        "log = []\ndef rows():\n    try: 1 / 0\n    except ZeroDivisionError as error:\n        log.append(error)\n"
        "        yield 1\n        yield 2\nit = rows(); first = next(it)"
    )
    out = limited.run("try: raise log[0]\nexcept ZeroDivisionError: eat([])")
    assert out.error == "MemoryLimitExceeded"
    assert limited.run("list(it)").result == "[2]"


def test_pages_of_mapped_files_do_not_count(limited: Kernel) -> None:
    out = limited.run(
        "import tempfile\nfile = tempfile.TemporaryFile()\nfile.truncate(600 << 20)\n"
        "mapped = np.memmap(file, mode='r', dtype='u1')\nmapped[::4096].sum()"
    )
    assert (out.status, out.result) == ("ok", "np.uint64(0)")
    limited.run("del mapped, file")


def test_shared_memory_counts(limited: Kernel) -> None:
    out = limited.run(
        "import mmap\nheld = mmap.mmap(-1, 600 << 20)\nfor at in range(0, 600 << 20, 4096): held[at] = 1"
    )
    assert out.error == "MemoryLimitExceeded"
    limited.run("held.close()")


def test_a_limit_of_a_block_in_a_cell_reports_and_puts_the_outer_one_back(limited: Kernel) -> None:
    out = limited.run("import nbmem\nwith nbmem.limit('300MB'):\n    eat([])")
    assert out.error == "MemoryLimitExceeded"
    assert "reached the memory limit of 286.1 MiB and was stopped" in report(out)
    assert "memory limit 381.5 MiB (400MB)" in limited.run("%memlimit").stdout
    limited.run("%memlimit off")
    out = limited.run("with nbmem.limit('300MB'):\n    eat([])")
    assert "reached the memory limit of 286.1 MiB and was stopped" in report(out)
    assert "the locals of eat()" in report(out)
    assert limited.run("%memlimit").stdout.startswith("no memory limit is set")


def test_a_memory_error_that_the_user_raises_is_left_as_it_is(limited: Kernel) -> None:
    out = limited.run("def fail():\n    big = bytearray(10)\n    raise MemoryError('mine')\nfail()")
    assert (out.error, out.displays) == ("MemoryError", [])
    assert (
        limited.run(
            "import sys; 'big' in sys.last_value.__traceback__.tb_next.tb_next.tb_frame.f_locals"
        ).result
        == "True"
    )


def test_between_cells_allocations_are_not_limited(limited: Kernel) -> None:
    assert limited.run("import resource; resource.getrlimit(resource.RLIMIT_DATA)[0] > 0").result == "True"
    limited.run(
        "seen = []\nasyncio.get_running_loop().call_later(0.3, lambda: seen.append(resource.getrlimit(resource.RLIMIT_DATA)))"
    )
    time.sleep(0.8)
    assert limited.value("seen") == [(-1, -1)]


def test_a_cell_of_a_subshell_does_not_take_the_guard_off(limited: Kernel) -> None:
    client = limited.client
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    reply = client.get_control_msg(timeout=20)
    if "subshell_id" not in reply["content"]:
        pytest.skip("this ipykernel has no subshells")
    main = limited.send("time.sleep(1.5)\neat([])")
    time.sleep(0.4)
    content = {
        "code": "other = 1", "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
        "stop_on_error": True,
    }  # fmt: skip
    message = client.session.msg("execute_request", content)
    message["header"]["subshell_id"] = reply["content"]["subshell_id"]
    client.shell_channel.send(message)
    assert limited.collect(main).error == "MemoryLimitExceeded"
    assert limited.run("other").result == "1"


def test_run_all_stops_at_the_stopped_cell(limited: Kernel) -> None:
    first = limited.send("eat([])", stop_on_error=True)
    second = limited.send("after = 1")
    assert limited.collect(first).error == "MemoryLimitExceeded"
    limited.collect(second)
    assert limited.run("'after' in globals()").result == "False"


def test_an_interrupt_under_a_limit_is_an_interrupt(limited: Kernel) -> None:
    message = limited.send("time.sleep(60)")
    time.sleep(0.7)
    limited.manager.interrupt_kernel()
    out = limited.collect(message)
    assert (out.error, out.displays) == ("KeyboardInterrupt", [])
    assert limited.run("eat([])").error == "MemoryLimitExceeded"


def test_a_memory_error_without_a_limit_is_left_as_it_is(limited: Kernel) -> None:
    limited.run("%memlimit off")
    out = limited.run("raise MemoryError('mine')")
    assert (out.error, out.displays) == ("MemoryError", [])


def test_status_and_off_say_what_is_set(limited: Kernel) -> None:
    for command in ("%memlimit", "%memlimit status"):
        assert "memory limit 381.5 MiB (400MB) · occupied " in limited.run(command).stdout
    assert limited.run("%memlimit off").stdout.startswith("no memory limit is set")
    assert limited.run("import resource; resource.getrlimit(resource.RLIMIT_DATA)").result == "(-1, -1)"
    assert "auto: 90% of " in limited.run("%memlimit auto").stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%memlimit lots", "%memlimit: 'lots' is not a limit; write for example 8GB, 75%, auto or off"),
        ("%memlimit 1MB", "set a higher limit, or free some first"),
        ("%memlimit 900TB", "a limit of auto leaves some room"),
        ("%memlimit -x", "%memlimit does not know '-x'"),
        ("%memlimit '", "%memlimit: No closing quotation"),
        ("%memlimit 8GB 9GB", "is not a limit"),
    ],
)
def test_what_it_does_not_know_gives_one_clear_line_and_changes_nothing(
    limited: Kernel, line: str, message: str
) -> None:
    out = limited.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert "381.5 MiB" in limited.run("%memlimit").stdout


def test_a_size_may_have_a_space(limited: Kernel) -> None:
    assert "memory limit 2.0 GiB (2 GiB)" in limited.run("%memlimit 2 GiB").stdout


def test_the_ledger_tells_of_the_stopped_cell(limited: Kernel) -> None:
    limited.run("%memwatch clear\n%memwatch on")
    limited.run("eat([])")
    limited.run("%memwatch off", store_history=False)
    (row,) = limited.value(
        "[(r.status, r.peak_bytes) for r in __import__('nbmem').history().itertuples()][-1:]"
    )
    assert row[0] == "error"
    assert 150 * MIB < row[1] < LIMIT


def test_unloading_lifts_the_limit(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem")
    own_kernel.run("%memlimit 1GB")
    own_kernel.run("%unload_ext nbmem")
    code = "import resource, signal; resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGURG) is signal.SIG_DFL"
    assert own_kernel.run(code).result == "((-1, -1), True)"


def test_in_the_terminal_the_cell_is_stopped_and_the_shell_lives() -> None:
    shell = pexpect.spawn(
        sys.executable, ["-m", "IPython", "--simple-prompt", "--colors=nocolor", "--no-banner"],
        encoding="utf-8", timeout=60, dimensions=(40, 160),
    )  # fmt: skip
    try:
        shell.expect_exact("In [1]: ")
        shell.sendline("%load_ext nbmem")
        shell.expect_exact("In [2]: ")
        shell.sendline("%memlimit 300MB")
        shell.expect_exact("memory limit 286.1 MiB (300MB)")
        shell.expect_exact("In [3]: ")
        shell.sendline("held = [bytearray(100_000) for _ in range(10**9)]")
        shell.expect("MemoryLimitExceeded: the resident size is")
        shell.expect(r"nbmem: In \[3\] reached the memory limit of 286.1 MiB and was stopped")
        shell.expect_exact("In [4]: ")
        shell.sendline("40 + 2")
        shell.expect_exact("Out[4]: 42")
    finally:
        shell.terminate(force=True)
