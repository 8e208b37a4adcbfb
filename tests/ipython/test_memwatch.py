"""Every cell accounted for: ``%memwatch``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.kernels import Kernel

MIB = 1 << 20
# Arrays here have more than 32 MiB: smaller ones may come out of memory that malloc holds free.
ROWS = (
    "[tuple(row) for row in __import__('nbmem').history()[['execution_count', 'source', 'rss_before_bytes',"
    " 'peak_bytes', 'increment_bytes', 'status', 'variables']].itertuples(index=False)]"
)


@pytest.fixture
def watched(kernel: Kernel) -> Iterator[Kernel]:
    """Give the shared kernel with its cells recorded from here on."""
    kernel.run("%memwatch clear", store_history=False)
    kernel.run("%memwatch on", store_history=False)
    yield kernel
    kernel.run("%memwatch off\n%memwatch clear", store_history=False)


def rows(kernel: Kernel) -> list[tuple[Any, ...]]:
    """Give the ledger's rows."""
    return list(kernel.value(ROWS))


def test_each_cell_adds_a_row_with_its_peak_what_it_left_and_its_names(watched: Kernel) -> None:
    out = watched.run("a = np.ones(50 << 17)\nb = a * 2\ndel a")
    ((count, source, before, peak, increment, status, variables),) = rows(watched)
    assert (count, source, status) == (out.execution_count, "a = np.ones(50 << 17)", "ok")
    assert before > 20 * MIB
    assert abs(peak - 100 * MIB) < 3 * MIB
    assert abs(increment - 50 * MIB) < 3 * MIB
    assert variables == "new b (ndarray, 50.0 MiB)"


def test_the_peak_is_the_one_that_memit_measures(watched: Kernel) -> None:
    watched.run("x = sum(np.ones(40 << 17))")
    out = watched.run("%memit sum(np.ones(40 << 17))")
    printed = float(out.stdout.split("increment: ")[1].split()[0])
    assert abs(rows(watched)[0][3] / MIB - printed) < 2.5


def test_a_line_under_the_cell_says_what_it_cost_as_text_and_as_html(watched: Kernel) -> None:
    out = watched.run("a = np.ones(50 << 17)\n'value'")
    assert out.result == "'value'"
    (footer,) = out.displays
    assert set(footer) == {"text/plain", "text/html"}
    for part in ("peak +50.", "after +50.", "resident ", "new a (ndarray, 50.0 MiB)"):
        assert part in footer["text/plain"]
        assert part in footer["text/html"]
    assert len(footer["text/html"]) < 500


def test_small_cells_have_a_row_and_no_line(watched: Kernel) -> None:
    out = watched.run("a = 1")
    assert out.displays == []
    assert [row[1] for row in rows(watched)] == ["a = 1"]


def test_the_line_is_quiet_by_option_and_from_a_size_on(watched: Kernel) -> None:
    watched.run("%memwatch on -q", store_history=False)
    assert watched.run("a = np.ones(50 << 17)").displays == []
    watched.run("%memwatch on -t 80MiB", store_history=False)
    assert watched.run("a = np.ones(50 << 17)").displays == []
    assert len(watched.run("a = np.ones(100 << 17)").displays) == 1
    watched.run("%memwatch on -t 1MiB", store_history=False)
    assert len(rows(watched)) == 3


def test_how_a_cell_ended_is_told(watched: Kernel) -> None:
    watched.run("1 / 0")
    watched.run("def f(:")
    watched.run("fine = 1")
    assert [row[5] for row in rows(watched)] == ["error", "error", "ok"]


@pytest.mark.parametrize("wait", ["import time; time.sleep(60)", "import asyncio\nawait asyncio.sleep(5)"])
def test_an_interrupted_cell_has_its_row_and_the_next_one_too(watched: Kernel, wait: str) -> None:
    message = watched.send(f"a = np.ones(36 << 17)\n{wait}")
    time.sleep(1.5)
    watched.manager.interrupt_kernel()
    out = watched.collect(message)
    watched.run("b = 1")
    first, second = rows(watched)
    # ipykernel may let the awaiting cell end before it delivers the interrupt
    assert first[5] == ("interrupted" if out.status == "error" else "ok")
    assert abs(first[4] - 36 * MIB) < 6 * MIB, "what IPython needs to show the traceback is in it"
    assert second[5] == "ok"


def test_a_cell_that_awaits_is_measured_to_its_end(watched: Kernel) -> None:
    watched.run("import asyncio\nawait asyncio.sleep(0.01)\na = np.ones(44 << 17)\nawait asyncio.sleep(0.01)")
    ((*_, increment, status, _),) = rows(watched)
    assert status == "ok"
    assert abs(increment - 44 * MIB) < 3 * MIB


@pytest.mark.parametrize("keep", ["False", "True"])
def test_a_cell_that_runs_cells_is_one_row_with_their_cost(watched: Kernel, keep: str) -> None:
    watched.run(
        f"r = get_ipython().run_cell('a = np.ones(44 << 17)', store_history={keep})\nb = np.ones(34 << 17)"
    )
    watched.run("c = 1")
    first, second = rows(watched)
    assert abs(first[4] - 78 * MIB) < 3 * MIB
    assert second[1] == "c = 1"


def test_memtrace_and_memit_inside_are_counted_once(watched: Kernel) -> None:
    traced = watched.run("%%memtrace\na = np.ones(44 << 17)")
    assert len(traced.displays) == 1, "the report says it all, so no line"
    watched.run("%memit b = np.ones(36 << 17)")
    assert [row[1] for row in rows(watched)] == [
        "%%memtrace ⏎ a = np.ones(44 << 17)",
        "%memit b = np.ones(36 << 17)",
    ]
    assert abs(rows(watched)[0][4] - 44 * MIB) < 3 * MIB
    assert abs(rows(watched)[1][3] - 36 * MIB) < 3 * MIB


def test_a_traced_cell_reports_the_same_with_and_without_the_watch(watched: Kernel) -> None:
    code = "%%memtrace -q -o t\na = np.ones(44 << 17)\nb = a * 2\ndel a"
    figures = "[int(v) for v in t.lines[['net_bytes', 'live_bytes']].fillna(0).to_numpy().ravel()]"
    watched.run(code)
    with_watch = watched.value(figures)
    watched.run("%reset -f\n%memwatch off\nimport numpy as np", store_history=False)
    watched.run(code)
    assert watched.value(figures) == with_watch


def test_cells_and_what_came_between_add_up_to_the_growth(watched: Kernel) -> None:
    watched.run("a = np.ones(44 << 17)")
    watched.run("unseen = np.ones(35 << 17)", store_history=False)
    watched.run("b = np.ones(34 << 17)")
    first, last, cells, between = watched.value(
        "(lambda s: (s.first_bytes, s.last_bytes, s.cells_bytes, s.between_bytes))(__import__('nbmem').session())"
    )
    assert last - first == cells + between
    assert abs(cells - 78 * MIB) < 3 * MIB
    assert abs(between - 35 * MIB) < 3 * MIB


def test_the_report_shows_the_costliest_cell_first(watched: Kernel) -> None:
    watched.run("a = np.ones(34 << 17)")
    watched.run("b = np.ones(60 << 17)")
    out = watched.run("%memwatch report", store_history=False)
    assert out.result is not None
    lines = out.result.splitlines()
    assert lines[0].startswith("session: 2 cells")
    assert "b = np.ones(60 << 17)" in lines[3]
    assert "a = np.ones(34 << 17)" in lines[5]
    html = watched.value("__import__('nbmem').session().to_html()")
    assert html.index("60 &lt;&lt; 17") < html.index("34 &lt;&lt; 17")


def test_the_plot_is_a_picture_and_registers_nothing_with_pyplot(watched: Kernel) -> None:
    watched.run("a = np.ones(34 << 17)")
    watched.run("1 / 0")
    out = watched.run("%memwatch plot", store_history=False)
    assert "image/png" in out.displays[-1]
    assert watched.value("__import__('matplotlib.pyplot').pyplot.get_fignums()") == []


def test_no_object_of_the_users_is_kept_alive(watched: Kernel) -> None:
    watched.run(
        "import weakref, gc\nclass Big: pass\nbig = Big(); big.data = bytearray(20 << 20)\nref = weakref.ref(big)"
    )
    watched.run("kind = weakref.ref(Big)")
    watched.run("del big, Big; gc.collect();")
    assert watched.value("(ref() is None, kind() is None)") == (True, True)


def test_the_ledger_of_ten_thousand_cells_is_bounded_and_still_adds_up() -> None:
    code = """
import tracemalloc
from nbmem.heap import VariableChange
from nbmem.reports.history import CellCost, CellLedger, SessionReport
def cost(n):
    changes = tuple(VariableChange(f'name{n}{i}', 'ndarray', 'new', n, 0) for i in range(5))
    return CellCost(n, f'{n:0120d}', 1.0 * n, 0.5, 1000 * n, 1500, 1000, True, 0.0, 'ok', changes, 7)
ledger = CellLedger()
tracemalloc.start()
sizes = []
for n in range(30_000):
    ledger.add(cost(n))
    if n in (10_000, 29_999):
        sizes.append(tracemalloc.get_traced_memory()[0])
report = SessionReport(ledger)
print(sizes[0] < 20e6, sizes[1] - sizes[0] < 1e6, report.cell_count, report.cells_bytes, report.between_bytes, len(report.data))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "30000", "30000000", "0", "10000"]


def test_hostile_names_and_sources_are_shown_as_text(watched: Kernel) -> None:
    watched.run("'<img onerror=1>\\x1b[31m'; a = np.ones(36 << 17)")
    html = watched.value("__import__('nbmem').session().to_html()")
    assert "<img" not in html
    assert "\x1b" not in html


def test_hostile_objects_in_the_namespace_run_no_code_and_lose_no_row(watched: Kernel) -> None:
    watched.run(
        "class Meta(type):\n"
        "    def __hash__(self): raise RuntimeError('hash')\n"
        "    def __eq__(self, other): raise RuntimeError('eq')\n"
        "class Hostile(metaclass=Meta):\n"
        "    def __sizeof__(self): raise RuntimeError('sizeof')\n"
        "    def __getattribute__(self, name): raise RuntimeError(name)\n"
        "    def __repr__(self): raise RuntimeError('repr')\n"
        "    __class__ = property(lambda self: 1 / 0)\n"
        "hostile = Hostile()"
    )
    out = watched.run("other = Hostile()")
    assert (out.stderr, out.status) == ("", "ok")
    assert [row[5] for row in rows(watched)] == ["ok", "ok"]


def test_off_stops_and_keeps_the_rows_and_clear_forgets_them(watched: Kernel) -> None:
    watched.run("a = 1")
    watched.run("%memwatch off")
    watched.run("b = 1")
    assert [row[1] for row in rows(watched)] == ["a = 1"]
    watched.run("%memwatch clear")
    assert rows(watched) == []


def test_the_cells_that_switch_it_on_and_unload_nbmem_end_well(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem")
    own_kernel.run("%memwatch on")
    own_kernel.run("import nbmem\nx = bytearray(5 << 20)")
    out = own_kernel.run("%unload_ext nbmem")
    assert (out.status, out.stderr, out.displays) == ("ok", "", [])
    assert len(own_kernel.value("list(nbmem.history().source)")) == 1
    assert own_kernel.run("y = bytearray(5 << 20)").displays == []


def test_nothing_recorded_is_said_in_one_line(kernel: Kernel) -> None:
    kernel.run("%memwatch clear", store_history=False)
    out = kernel.run("%memwatch report", store_history=False)
    assert out.result == "no cell has been recorded; %memwatch on records each cell from now on"
    assert kernel.value("__import__('nbmem').history().shape") == (0, 11)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "%memwatch foo",
            "%memwatch does not know 'foo'; it takes on, off, report, plot, clear, -q and -t SIZE",
        ),
        ("%memwatch on -t much", "%memwatch -t: 'much' is not a size"),
        ("%memwatch off -q", "-q and -t go with on"),
        ("%memwatch on -z", "does not know '-z'"),
        ("%memwatch on -t", "%memwatch: "),
        ("%memwatch 'on", "%memwatch: No closing quotation"),
    ],
)
def test_what_it_does_not_know_gives_one_clear_line(kernel: Kernel, line: str, message: str) -> None:
    out = kernel.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1


def test_the_option_switches_it_on_and_off(kernel: Kernel) -> None:
    kernel.run("%memwatch clear\n%config NbMem.watch = True", store_history=False)
    kernel.run("a = 1")
    kernel.run("%config NbMem.watch = False", store_history=False)
    kernel.run("b = 1")
    assert [row[1] for row in rows(kernel)] == ["a = 1"]
    assert "is not a size" in kernel.run("%config NbMem.threshold = 'much'").stderr


def test_a_profile_switches_it_on_for_each_session_and_the_terminal_shows_the_line(tmp_path: Path) -> None:
    (tmp_path / "profile_default").mkdir()
    (tmp_path / "profile_default" / "ipython_config.py").write_text(
        "c = get_config()\nc.InteractiveShellApp.extensions = ['nbmem']\nc.NbMem.watch = True\n"
    )
    shell = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--colors=nocolor", f"--ipython-dir={tmp_path}"],
        encoding="utf-8", timeout=60, dimensions=(40, 160),
    )  # fmt: skip
    try:
        shell.expect_exact("In [1]: ")
        shell.sendline("a = bytearray(30 << 20)")
        shell.expect(r"nbmem: .* peak \+30\.\d MiB .* new a \(bytearray, 30\.0 MiB\)")
        shell.expect_exact("In [2]: ")
        shell.sendline("%memwatch")
        shell.expect_exact(
            "%memwatch is on: each cell is recorded, a line under those from 1.0 MiB; 1 cell recorded"
        )
    finally:
        shell.terminate(force=True)
