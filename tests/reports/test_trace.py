"""``nbmem.trace`` and its result, in this process."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import textwrap
import threading
import weakref

import numpy as np
import pandas as pd
import pytest

import nbmem
from nbmem.reports.plot import plot_trace

pytestmark = pytest.mark.twin

MIB = 1 << 20


def measured(size: int) -> int:
    block = bytearray(size)
    return len(block)


def test_the_lines_of_a_with_body_are_measured() -> None:
    with nbmem.trace() as t:
        a = np.ones(5_000_000)
        b = a * 2
        del b
    lines = t.lines
    assert list(lines.source.str.strip()) == ["a = np.ones(5_000_000)", "b = a * 2", "del b"]
    assert list(lines.hits) == [1, 1, 1]
    assert lines.increment_bytes.iloc[0] == pytest.approx(40e6, rel=0.05)
    assert lines.net_bytes.iloc[0] == pytest.approx(40e6, rel=0.01)
    assert lines.exact.all()
    assert t.summary["exact"]
    assert t.summary["peak_bytes"] == pytest.approx(80e6, rel=0.05)
    assert t.summary["increment_bytes"] == pytest.approx(40e6, rel=0.1)


def test_frames_have_the_columns_that_are_promised() -> None:
    with nbmem.trace() as t:
        measured(10)
    assert list(t.lines.columns) == [
        "line", "source", "hits", "seconds", "peak_bytes", "increment_bytes", "spike_bytes", "live_bytes",
        "net_bytes", "allocation_count", "exact", "function",
    ]  # fmt: skip
    assert list(t.stacks.columns) == [
        "stack", "depth", "function", "file", "line", "cell_line", "live_bytes", "net_bytes", "allocation_count",
    ]  # fmt: skip
    assert list(t.variables.columns) == ["name", "type", "change", "bytes", "before_bytes"]
    assert list(t.timeline.columns) == ["seconds", "resident_bytes", "line", "function"]
    assert list(t.gc.columns) == ["start", "generation", "seconds", "collected_count", "uncollectable_count"]
    for name, kind in t.lines.dtypes.items():
        if name.endswith(("_bytes", "_count")) or name in ("line", "hits"):
            assert str(kind) == "Int64"


def test_functions_are_measured_on_request() -> None:
    with nbmem.trace([measured]) as t:
        measured(64 * MIB)
    lines = t.lines[t.lines.function == "measured()"]
    assert list(lines.hits) == [0, 1, 1]
    assert lines.spike_bytes.iloc[1] == pytest.approx(64 * MIB, rel=0.03)


def test_a_result_that_is_read_too_early_says_so() -> None:
    with nbmem.trace() as t:
        with pytest.raises(nbmem.NotMeasured, match="still running"):
            t.lines
        assert "running" in repr(t)


def test_an_error_in_the_body_passes_and_the_result_is_there() -> None:
    with contextlib.suppress(KeyError), nbmem.trace() as t:
        a = bytearray(30 * MIB)
        raise KeyError(len(a))
    assert t.lines.hits.sum() >= 2


def test_a_second_trace_at_a_time_is_refused() -> None:
    with nbmem.trace() as outer:
        inner = nbmem.trace()
        with pytest.raises(nbmem.AlreadyRunning, match="running already"):
            inner.__enter__()
        x = 1
    assert outer.summary["seconds"] > 0
    assert x == 1


def test_a_trace_on_another_thread_measures_that_thread() -> None:
    found = []

    def work() -> None:
        with nbmem.trace() as t:
            block = bytearray(48 * MIB)
            total = 0
            for i in range(200_000):
                total += i
            del block
        found.append(t)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    lines = found[0].lines
    assert lines.increment_bytes.iloc[0] == pytest.approx(48 * MIB, rel=0.05)
    assert lines.hits.iloc[3] == 200_000


def test_what_is_no_function_is_refused_before_anything_starts() -> None:
    with pytest.raises(nbmem.BadArgument, match="len has no Python code"):
        nbmem.trace([len])


def test_the_result_keeps_nothing_of_the_body_alive() -> None:
    class Thing:
        pass

    with nbmem.trace() as t:
        thing = Thing()
    reference = weakref.ref(thing)
    del thing
    assert reference() is None
    assert len(t.lines) == 1


def test_a_script_of_its_own_has_its_names_compared() -> None:
    code = textwrap.dedent("""
        import nbmem
        with nbmem.trace() as t:
            kept = bytearray(1_000_000)
        print(t.variables.values.tolist())
        print(t.lines.source.tolist())
        """)
    out = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True).stdout
    assert "['kept', 'bytearray', 'new'" in out
    assert "'t'" not in out


def test_without_memray_tracemalloc_gives_the_net_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "memray", None)
    with nbmem.trace() as t:
        a = np.ones(2_000_000)
    assert a.size
    assert t.summary["allocations_by"] == "tracemalloc"
    assert t.lines.net_bytes.iloc[0] == pytest.approx(16e6, rel=0.01)
    assert pd.isna(t.lines.live_bytes.iloc[0])
    assert any("memray is not installed" in note for note in t.notes)


def test_under_a_profiler_allocations_are_left_out_and_it_goes_on() -> None:
    def theirs(*_: object) -> None: ...

    sys.setprofile(theirs)
    try:
        with nbmem.trace() as t:
            a = np.ones(2_000_000)
        assert sys.getprofile() is theirs
    finally:
        sys.setprofile(None)
    assert a.size
    assert any("a profiler holds the profile function" in note for note in t.notes)
    assert t.lines.increment_bytes.iloc[0] > 10e6


def test_where_no_file_can_be_written_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with nbmem.trace() as t:
        a = np.ones(2_000_000)
    assert a.size
    assert any("allocations cannot be recorded" in note for note in t.notes)
    assert t.lines.increment_bytes.iloc[0] > 10e6


def test_the_text_is_no_wider_than_asked_and_shows_every_line() -> None:
    with nbmem.trace() as t:
        a = np.ones(10_000); b = a + a; c = "a long line of source that is far too long for the report" * 3  # noqa: E702, F841  # fmt: skip
        d = bytearray(40 * MIB)  # noqa: F841
    text = t.to_text(width=100)
    assert "bytearray(40 * MIB)" in text
    assert "peak" in text
    table = text.split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= 100


def test_the_html_is_static_and_complete() -> None:
    with nbmem.trace(stacks=True) as t:
        a = "<b>&\"'"  # noqa: F841
        d = bytearray(40 * MIB)  # noqa: F841
    page = t.to_html()
    assert "&lt;b&gt;&amp;" in page
    assert not re.search(r"<script|<style|<svg|var\(|currentColor|https?://(?!www\.w3\.org)", page)
    assert re.search(r'<img alt="Resident size over time[^"]*"', page)
    assert "bytearray(40 * MIB)" in page


def test_the_figure_shows_itself_and_is_not_kept_by_pyplot() -> None:
    import matplotlib._pylab_helpers as helpers

    with nbmem.trace() as t:
        d = bytearray(40 * MIB)  # noqa: F841
    figure = t.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert not helpers.Gcf.figs
    upper, lower = figure.axes
    assert upper.get_lines()[0].get_ydata().max() > 35
    assert len(lower.patches) >= 1
    assert plot_trace(t.data, title="again").axes[0].get_title(loc="left") == "again"


def test_memit_takes_source_or_a_callable_and_refuses_the_rest() -> None:
    result = nbmem.memit("kept = bytearray(50 << 20)", namespace=(space := {}))
    assert result.increment_bytes == pytest.approx(50 * MIB, rel=0.02)
    assert len(space["kept"]) == 50 << 20
    again = nbmem.memit(lambda: bytearray(50 << 20), repeat=2)
    assert list(again.runs.increment_bytes) == pytest.approx([50 * MIB] * 2, rel=0.02)
    assert again.exact
    assert again.finished
    assert str(again).startswith("peak memory: ")
    for wrong in ({"repeat": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"interval": 0}):
        with pytest.raises(nbmem.BadArgument):
            nbmem.memit("pass", **wrong)  # type: ignore[arg-type]
    with pytest.raises(nbmem.BadArgument, match="source or a callable"):
        nbmem.memit(3)  # type: ignore[arg-type]


def test_memit_without_the_kernels_counter_says_that_it_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbmem.process.peak.has_exact_peak", lambda: False)
    result = nbmem.memit("import time; x = bytearray(80 << 20); time.sleep(0.3)", interval=0.01, namespace={})
    assert not result.exact
    assert result.increment_bytes == pytest.approx(80 * MIB, rel=0.1)
    assert "not exact" in str(result)


def test_the_doctests_of_the_public_functions_hold() -> None:
    import doctest

    from nbmem import _units
    from nbmem.reports import memit, recording

    for module in (_units, memit, recording):
        assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_a_trace_that_only_frees_draws_no_bar_beyond_its_cell() -> None:
    block = bytearray(60 * MIB)
    with nbmem.trace() as t:
        del block
        x = 1
        y = [0] * 1000  # noqa: F841
    assert x == 1
    widths = [int(width) for width in re.findall(r"height:3px;width:(\d+)px", t.to_html())]
    assert max(widths, default=0) <= 60
    assert "+1 B" not in t.to_html()


def test_a_mapping_that_is_reserved_and_not_used_is_left_out_with_a_note() -> None:
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent("""
            import mmap, nbmem
            def reserve():
                return mmap.mmap(-1, 1 << 30), bytearray(1000), bytearray(2000)
            with nbmem.trace([reserve]) as t:
                kept = reserve()
            print(t.summary["net_bytes"] < 10**6, t.summary["heap_peak_bytes"] < 10**6,
                  any("was reserved" in note for note in t.notes), int(t.lines.net_bytes.max()) < 10**6)
            """)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert out.split() == ["True"] * 4


def test_a_body_on_the_line_of_its_with_is_not_exact_and_says_why() -> None:
    with nbmem.trace() as t: a = np.ones(10**6)  # noqa: E701  # fmt: skip
    assert a.size
    assert len(t.lines) == 1
    assert not t.lines.exact.iloc[0]
    assert any("line of its with statement" in note for note in t.notes)


def test_tracing_into_the_same_name_again_does_not_report_that_name() -> None:
    code = textwrap.dedent("""
        import nbmem
        for again in range(2):
            with nbmem.trace() as t:
                x = again
        print("t" in t.variables.name.tolist())
        """)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_one_function_needs_no_list_and_a_name_is_refused() -> None:
    with nbmem.trace(measured) as t:
        measured(10)
    assert "measured()" in set(t.lines.function)
    with pytest.raises(nbmem.BadArgument, match="not their names"):
        nbmem.trace("measured")


def test_lines_of_a_function_that_did_not_run_are_left_out_of_the_report_but_not_of_the_frame() -> None:
    with nbmem.trace(np.ones) as t:
        a = np.ones(10)
    assert a.size
    assert "lines that did not run left out" in t.to_text()
    assert "Return a new array of given shape" not in t.to_text()
    assert t.lines.source.str.contains("Return a new array of given shape").any()


@pytest.mark.parametrize("repeat", [2.5, "3", None])
def test_a_number_of_runs_that_is_none_is_refused(repeat: object) -> None:
    with pytest.raises(nbmem.BadArgument, match="a whole number of runs"):
        nbmem.memit("pass", repeat=repeat)  # type: ignore[arg-type]
