"""What ``%%memtrace`` says of a cell, against the kernel's counters, the allocators' and plain arithmetic."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernels import Kernel

MIB = 1 << 20
#: numpy asks for huge pages: resident size may rise by one more than was touched.
HUGE = 2.3e6


def lines(kernel: Kernel, name: str = "t") -> dict[int, dict[str, Any]]:
    """Give the cell's lines of a trace by number."""
    text = kernel.value(f"{name}.lines[{name}.lines.function == 'cell'].to_json(orient='records')")
    return {row["line"]: row for row in json.loads(text)}


def summary(kernel: Kernel, name: str = "t") -> dict[str, Any]:
    """Give a trace's totals."""
    return dict(json.loads(kernel.value(f"{name}.summary.to_json()")))


def test_each_line_gets_the_peak_and_the_net_of_an_expression_of_temporaries(kernel: Kernel) -> None:
    kernel.run("a = np.ones(4_000_000)")
    kernel.run("%%memtrace -q -o t\nx = 1\nb = ((a*2)+(a*3))-(a*4)\ny = 2")
    by_line = lines(kernel)
    array = 4_000_000 * 8
    assert by_line[3]["spike_bytes"] == pytest.approx(2 * array, rel=0.02)
    assert by_line[3]["peak_bytes"] == pytest.approx(2 * array, rel=0.02)
    assert by_line[3]["net_bytes"] == pytest.approx(array, rel=0.001)
    assert by_line[3]["live_bytes"] == pytest.approx(2 * array, rel=0.001)
    assert by_line[3]["exact"]
    assert abs(by_line[2]["spike_bytes"]) < 0.5 * MIB
    assert abs(by_line[4]["net_bytes"]) < 1000


def test_the_heap_net_of_a_cell_is_what_the_c_librarys_own_counter_shows(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace -q -o t\nkept = [np.ones(n) for n in (300_000, 700_000, 5_000)]\ngone = np.ones(10**6)\ndel gone"
    )
    total = summary(kernel)
    assert total["net_bytes"] == pytest.approx(1_005_000 * 8, rel=0.01)
    assert total["malloc_bytes"] == pytest.approx(total["net_bytes"], rel=0.02)


def test_a_peak_in_the_middle_of_a_line_that_gives_all_back_is_seen_in_full(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t --rss\nn = np.ones(50 << 17).sum()")
    spike = lines(kernel)[2]["spike_bytes"]
    assert spike == pytest.approx(50 * MIB, rel=0.02)


def test_the_live_bytes_of_the_lines_add_up_to_the_heaps_peak(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t\na = np.ones(10**6)\nb = a * 2\nc = a - b\ndel a")
    by_line, total = lines(kernel), summary(kernel)
    assert sum(row["live_bytes"] for row in by_line.values()) == pytest.approx(
        total["heap_peak_bytes"], rel=0.02
    )
    assert total["heap_peak_bytes"] == pytest.approx(3 * 8e6, rel=0.02)


def test_hits_count_how_often_each_line_ran(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace -q -o t\ns = 0\nfor i in range(7):\n    if i % 2:\n        s += i\nelse:\n    s += 1\nx = [i for i in range(100)]"
    )
    assert {line: row["hits"] for line, row in lines(kernel).items()} == {
        2: 1, 3: 8, 4: 7, 5: 3, 6: 0, 7: 1, 8: 1,
    }  # fmt: skip


def test_a_function_named_by_f_gets_lines_of_its_own(kernel: Kernel) -> None:
    kernel.run("def load(n):\n    x = np.ones(n)\n    return x * 2")
    kernel.run("%%memtrace -q -o t -f load\ny = load(2_000_000)")
    rows = json.loads(kernel.value("t.lines[t.lines.function == 'load()'].to_json(orient='records')"))
    assert [row["source"] for row in rows] == ["def load(n):", "    x = np.ones(n)", "    return x * 2"]
    assert rows[1]["increment_bytes"] == pytest.approx(16e6, abs=HUGE)
    assert rows[2]["spike_bytes"] == pytest.approx(16e6, abs=HUGE)
    assert rows[2]["net_bytes"] == pytest.approx(16e6, rel=0.01)


def test_a_method_and_a_library_function_can_be_named_by_f(kernel: Kernel) -> None:
    kernel.run(
        "class Model:\n    def fit(self):\n        self.w = np.ones(10**6)\n        return self\nimport textwrap"
    )
    out = kernel.run(
        "%%memtrace -o t -f Model.fit -f textwrap.dedent\nm = Model().fit()\ntextwrap.dedent('  a')"
    )
    assert out.status == "ok", out.traceback
    assert "Model.fit()" in out.report
    assert "dedent()" in out.report
    assert kernel.value("int(t.lines[t.lines.source.str.contains('np.ones')].hits.sum())") == 1


def test_functions_of_earlier_cells_are_measured_on_request(kernel: Kernel) -> None:
    kernel.run("def earlier():\n    return np.ones(10**6)")
    kernel.run("%%memtrace -q -o t --cells\nz = earlier()")
    found = kernel.value("[list(r) for r in t.lines[t.lines.hits > 0][['source', 'hits']].values]")
    assert ["    return np.ones(10**6)", 1] in found


def test_awaiting_counts_for_the_line_that_awaits(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t\nimport asyncio\nawait asyncio.sleep(0.3)\nx = np.ones(10**6)")
    by_line = lines(kernel)
    assert 0.25 < by_line[3]["seconds"] < 3
    assert by_line[4]["increment_bytes"] == pytest.approx(8e6, abs=HUGE)
    assert by_line[3]["hits"] == 1


def test_a_generators_work_counts_for_its_own_lines(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace -q -o t\ndef g():\n    for i in range(3):\n        part = np.ones(10**6)\n        yield part.sum()\ntotal = sum(g())"
    )
    by_line = lines(kernel)
    assert by_line[4]["hits"] == 3
    assert by_line[4]["spike_bytes"] >= 7 * MIB
    assert by_line[6]["hits"] == 1


def test_a_recursive_line_counts_its_growth_once(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace -q -o t\nkept = []\ndef down(n):\n    kept.append(np.ones(10**6))\n    if n:\n        down(n - 1)\ndown(4)"
    )
    by_line = lines(kernel)
    assert by_line[4]["hits"] == 5
    assert by_line[4]["increment_bytes"] == pytest.approx(5 * 8e6, rel=0.05)
    assert by_line[6]["increment_bytes"] == pytest.approx(4 * 8e6, rel=0.05)


def test_lines_under_time_and_capture_are_the_cells(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t\n%%time\na = np.ones(10**6)\nb = np.ones(2 * 10**6)")
    by_line = lines(kernel)
    assert by_line[3]["increment_bytes"] == pytest.approx(8e6, abs=HUGE)
    assert by_line[4]["net_bytes"] == pytest.approx(16e6, rel=0.01)
    assert by_line[4]["source"] == "b = np.ones(2 * 10**6)"
    kernel.run("%%memtrace -q -o t\n%%capture\n\nc = np.ones(3 * 10**6)")
    assert lines(kernel)[4]["increment_bytes"] == pytest.approx(24e6, abs=HUGE)


def test_capture_above_captures_the_report(kernel: Kernel) -> None:
    out = kernel.run("%%capture kept\n%%memtrace\na = 1\na")
    assert out.displays == []
    assert "a = 1" in kernel.value("kept.outputs[-1].data['text/plain']")


def test_under_a_magic_that_runs_the_cell_itself_the_user_is_told_that_nothing_was_measured(
    kernel: Kernel,
) -> None:
    out = kernel.run("%%time\n%%memtrace\nx = 1")
    assert "put it on the first line, above %%time" in out.stderr
    assert kernel.value("x") == 1
    assert "did not measure" not in kernel.run("%%capture c\n%%memtrace\nx = 1").stderr


def test_a_hot_loop_is_sampled_and_says_so_while_the_total_stays_exact(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace -q -o t\nx = 0\nfor i in range(1_000_000):\n    x += i\n    y = x\nkept = np.ones(4_000_000)"
    )
    by_line, total = lines(kernel), summary(kernel)
    assert total["exact"]
    assert total["peak_bytes"] == pytest.approx(32e6, abs=HUGE)
    assert by_line[2]["exact"], "a line outside every loop runs once"
    assert not by_line[4]["exact"]
    assert by_line[6]["increment_bytes"] == pytest.approx(32e6, abs=HUGE)
    seconds = sum(row["seconds"] for row in by_line.values())
    # the probe's own time is in the total, not in the lines
    assert 0.4 * total["seconds"] < seconds <= total["seconds"]
    assert "sampled" in kernel.value("t.notes")[0]


def test_objects_are_traced_one_by_one_on_request(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t --objects\nkept = [float(i) for i in range(10_000)]")
    row = lines(kernel)[2]
    # 24 bytes each as Python asks for them, and the list of pointers
    assert row["net_bytes"] == pytest.approx(10_000 * 24 + 85_176, rel=0.03)
    assert row["allocation_count"] >= 10_000


def test_rss_only_leaves_heap_figures_out(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace --rss -o t\na = np.ones(10**6)")
    assert " net" not in out.report.splitlines()[2]
    row = lines(kernel)[2]
    assert row["net_bytes"] is None
    assert row["increment_bytes"] == pytest.approx(8e6, abs=HUGE)
    assert summary(kernel)["allocations_by"] == "not traced"


def test_stacks_lead_from_the_allocation_to_the_cells_line(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace -s -o t\ndef make():\n    return np.ones(10**6)\na = make()")
    assert "make" in out.report.split("stacks by bytes")[1]
    frames = kernel.value(
        "[list(r) for r in t.stacks[t.stacks.live_bytes > 7_000_000][['function', 'cell_line']].values]"
    )
    assert [name for name, _ in frames] == ["<module>", "make", "ones"]
    assert {line for _, line in frames} == {3}


def test_names_that_the_cell_made_grew_bound_anew_or_deleted_are_told(kernel: Kernel) -> None:
    kernel.run("old = [1]; grows = np.ones(10); gone = np.ones(1000); same = 'text'")
    kernel.run(
        "%%memtrace -q -o t\nnew = np.ones(500)\nold = {}\ngrows.resize(10_000, refcheck=False)\ndel gone\nsame"
    )
    changes = {name: (kind, size, before) for name, kind, size, before in kernel.value(
        "[list(r) for r in t.variables[['name', 'change', 'bytes', 'before_bytes']].values]")}  # fmt: skip
    assert changes["new"][0] == "new"
    assert changes["new"][1] == pytest.approx(4000 + 112, abs=32)
    assert changes["old"][0] == "rebound"
    assert changes["grows"][0] == "grown"
    assert changes["gone"] == ("deleted", 0, pytest.approx(8112, abs=32))
    assert "same" not in changes
    assert "t" not in changes


def test_the_timeline_rises_with_the_line_that_allocates_though_it_holds_the_gil(kernel: Kernel) -> None:
    kernel.run("big = np.arange(8_000_000)[::-1].copy()")
    kernel.run("%%memtrace -q -o t\ny = np.sort(big)\nz = np.sort(big)")
    points = kernel.value("t.timeline[['resident_bytes', 'line']].values.tolist()")
    seen = {line for _, line in points}
    assert {2, 3} <= seen
    assert max(size for size, _ in points) - points[0][0] > 100 * MIB
    assert len(points) > 20


def test_collections_are_listed_with_their_pauses(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t\nimport gc\na = []; a.append(a); del a\ngc.collect()")
    rows = kernel.value("t.gc[['generation', 'collected_count']].values.tolist()")
    assert [2, 1] in [[int(g), int(c >= 1)] for g, c in rows]
    assert summary(kernel)["gc_count"] >= 1
    assert 0 < summary(kernel)["gc_seconds"] < 5


def test_an_empty_cell_gives_a_report_without_lines(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace -o t\n")
    assert out.status == "ok"
    assert "peak" in out.report
    assert kernel.value("len(t.lines)") == 0


def test_a_cell_with_a_syntax_error_gives_the_error_and_no_report(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace\nb = = 2")
    assert out.error == "SyntaxError"
    assert out.displays == []


BAD = {
    "unknown flag": ("%%memtrace --nonsense\nran = 1", "--nonsense"),
    "function that is not there": ("%%memtrace -f nowhere\nran = 1", "nowhere"),
    "built-in function": ("%%memtrace -f len\nran = 1", "no Python code"),
    "f without a name": ("%%memtrace -f\nran = 1", "-f"),
    "o that is no name": ("%%memtrace -o 3x\nran = 1", "3x"),
    "code behind the magic": ("%%memtrace x = 1\nran = 1", "lines below"),
    "keyword": ("%%memtrace -o class\nran = 1", "class"),
    "class": ("%%memtrace -f Exception\nran = 1", "a method"),
    "open quote": ("%%memtrace -o 'x\nran = 1", "quot"),
    "rss and objects": ("%%memtrace --rss --objects\nran = 1", "--rss"),
    "twice": ("%%memtrace\n%%memtrace\nran = 1", "already"),
}


@pytest.mark.parametrize(("code", "word"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_clear_line_and_does_not_run_the_cell(
    kernel: Kernel, code: str, word: str
) -> None:
    out = kernel.run(code)
    assert "UsageError" in out.stderr + out.traceback
    message = (out.stderr + out.traceback).strip()
    assert len(message.splitlines()) == 1
    assert word in message
    assert kernel.value("'ran' in globals()") is False


def test_a_trace_inside_a_traced_cell_is_refused_and_the_outer_one_goes_on(kernel: Kernel) -> None:
    out = kernel.run(
        "%%memtrace\nimport nbmem\ntry:\n    with nbmem.trace():\n        pass\nexcept nbmem.AlreadyRunning as e:\n    print(e)\nx = 1"
    )
    assert "running already" in out.stdout
    assert "x = 1" in out.report


def test_memit_inside_a_traced_cell_loses_neither_of_the_peaks(kernel: Kernel) -> None:
    out = kernel.run("%%memtrace -q -o t\na = np.ones(5 * 10**6)\n%memit np.ones(20 << 17)\nb = 1")
    assert "increment: 20." in out.stdout or "increment: 19.9" in out.stdout
    assert lines(kernel)[3]["spike_bytes"] == pytest.approx(20 * MIB, rel=0.05)
    assert summary(kernel)["peak_bytes"] == pytest.approx(40e6 + 20 * MIB, rel=0.03)


def test_under_a_debugger_the_report_says_what_is_missing(kernel: Kernel) -> None:
    kernel.run("import sys\ndef tracer(*a): return None\nsys.settrace(tracer)")
    out = kernel.run("%%memtrace -o t\na = np.ones(10**6)")
    kernel.run("sys.settrace(None)")
    if kernel.value("sys.version_info < (3, 12)"):
        assert "holds the trace function" in out.report
    assert lines(kernel)[2]["net_bytes"] == pytest.approx(8e6, rel=0.01)


def test_a_trace_function_that_the_cell_sets_is_left_alone(kernel: Kernel) -> None:
    kernel.run("import sys\nseen = []\ndef tracer(*a):\n    seen.append(1)\n    return None")
    kernel.run("%%memtrace -o t\nsys.settrace(tracer)\ndef f(): pass\nf()")
    assert kernel.value("sys.gettrace() is tracer")
    kernel.run("sys.settrace(None)")
    assert kernel.value("len(seen) > 0")


def test_while_memray_is_in_use_allocations_are_left_to_it(kernel: Kernel) -> None:
    kernel.run(
        "import memray, tempfile, os\nfolder = tempfile.mkdtemp()\n"
        "tracker = memray.Tracker(os.path.join(folder, 'x')); tracker.__enter__()"
    )
    out = kernel.run("%%memtrace -o t\na = np.ones(10**6)")
    kernel.run("tracker.__exit__(None, None, None); import shutil; shutil.rmtree(folder)")
    assert "memray is in use already" in out.report
    assert lines(kernel)[2]["increment_bytes"] == pytest.approx(8e6, abs=HUGE)


def test_html_of_a_cell_escapes_what_the_user_wrote(kernel: Kernel) -> None:
    out = kernel.run('%%memtrace\nx = "<script>alert(1)</script>"; y = "\\x1b[31mred & \\"quoted\\""')
    page = out.displays[-1]["text/html"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_cell_of_thousands_of_lines_shows_the_costly_ones(kernel: Kernel) -> None:
    body = "\n".join(f"x{i} = {i}" for i in range(3000)) + "\nbig = np.ones(10**7)"
    out = kernel.run("%%memtrace -o t\n" + body)
    assert "big = np.ones(10**7)" in out.report
    assert "cheaper lines left out" in out.report
    assert len(out.report.splitlines()) < 250
    assert kernel.value("len(t.lines)") == 3001
