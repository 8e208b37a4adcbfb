"""``nbmem.profile_lines`` and its result, in this process."""

from __future__ import annotations

import asyncio
import functools
import gc
import re
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbmem
from nbmem.process import NATIVE
from nbmem.reports.listing import MOST_LINES

pytestmark = pytest.mark.twin

MIB = 1 << 20


def load(kept: int, spike: int) -> object:
    """Keep some mebibytes, and on another line need more for a moment."""
    a = np.ones(kept << 17)
    total = float((np.ones(spike << 17)).sum())

    def grow() -> bytearray:
        return bytearray(10 << 20)

    parts = [grow() for _ in range(3)]
    del a
    return (total, parts)


def numbers(count: int) -> Iterator[int]:
    for number in range(count):
        block = bytearray(36 << 20)
        yield number + len(block)


async def fetch() -> int:
    block = bytearray(40 << 20)
    await asyncio.sleep(0.01)
    return len(block)


def never() -> None:
    raise AssertionError


def figures(profile: nbmem.LineProfile, text: str) -> Any:
    """Give the row of the line that holds a text."""
    rows = profile.lines[profile.lines.source.str.contains(text, regex=False)]
    assert len(rows) == 1, profile.lines
    return rows.iloc[0]


def test_each_line_has_its_exact_peak_its_increment_and_its_spike() -> None:
    profile = nbmem.profile_lines(load, lambda: load(50, 100))
    kept, spike = figures(profile, "np.ones(kept"), figures(profile, "np.ones(spike")
    assert kept.increment_bytes == pytest.approx(50 * MIB, abs=MIB)
    assert kept.spike_bytes == pytest.approx(50 * MIB, abs=MIB)
    assert spike.increment_bytes == pytest.approx(0, abs=MIB)
    assert spike.spike_bytes == pytest.approx(100 * MIB, abs=MIB)
    assert spike.mem_usage_bytes - kept.mem_usage_bytes == pytest.approx(100 * MIB, abs=MIB)
    assert figures(profile, "del a").increment_bytes == pytest.approx(-50 * MIB, abs=MIB)
    assert profile.lines.exact.all()
    before = profile.summary["resident_before_bytes"]
    assert (profile.lines.mem_usage_bytes.dropna() - before == profile.lines.peak_bytes.dropna()).all()


def test_lines_that_keep_what_they_allocate_agree_with_memory_profiler(tmp_path: Path) -> None:
    pytest.importorskip("distutils.version" if sys.version_info < (3, 12) else "setuptools")
    (tmp_path / "plain.py").write_text(
        "import numpy as np\ndef work():\n    a = np.ones(40 << 17)\n    b = a * 2\n    c = [b + n for n in (1, 2)]\n    del a\n    return c\n"
    )
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import memory_profiler, nbmem, plain
theirs = memory_profiler.LineProfiler()
theirs(plain.work)
theirs.runctx("plain.work()", globals(), globals())
found = {{line: row for line, row in next(iter(theirs.code_map.items()))[1] if row}}
ours = nbmem.profile_lines(plain.work, plain.work)
for line in ours.data.lines:
    if line.hits:
        print(line.increment_bytes / 2**20 - found[line.line][0], line.hits, found[line.line][2])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    rows = [[float(word) for word in line.split()] for line in out.splitlines()]
    assert len(rows) == 5
    assert [row[0] for row in rows] == pytest.approx([0] * 5, abs=2)
    # they count a comprehension's turns, which are part of a line here
    assert [row[1] for row in rows] == [1] * 5


def test_functions_that_are_nested_are_measured_under_the_function_that_has_them() -> None:
    profile = nbmem.profile_lines(load, lambda: load(1, 1))
    inner = figures(profile, "return bytearray(10 << 20)")
    assert inner.hits == 3
    assert inner.increment_bytes == pytest.approx(30 * MIB, abs=MIB)
    assert figures(profile, "parts = ").increment_bytes == pytest.approx(30 * MIB, abs=MIB)


def test_a_nested_function_that_is_named_too_stays_with_the_outer_one() -> None:
    def outer() -> Callable[[], int]:
        def inner() -> int:
            return 1

        inner()
        return inner

    made = outer()
    for functions in ([made, outer], [outer, made, outer]):
        profile = nbmem.profile_lines(functions, outer)
        assert len(set(profile.lines.function)) == 1
        assert figures(profile, "return 1").hits == 1


def test_generators_and_coroutines_are_measured() -> None:
    profile = nbmem.profile_lines([numbers, fetch], lambda: (sum(numbers(3)), asyncio.run(fetch())))
    block = figures(profile, "bytearray(36 << 20)")
    assert block.hits == 3
    assert block.spike_bytes == pytest.approx(36 * MIB, abs=MIB)
    assert figures(profile, "yield").hits == 3
    assert figures(profile, "bytearray(40 << 20)").increment_bytes == pytest.approx(40 * MIB, abs=MIB)
    assert figures(profile, "await asyncio").seconds >= 0.005


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: object) -> Any:
        return function(*arguments)

    return wrapper


class Model:
    @property
    def size(self) -> int:
        return len(bytearray(1))

    @functools.cached_property
    def cached(self) -> int:
        return len(bytearray(2))

    @staticmethod
    def fixed() -> int:
        return len(bytearray(3))

    @classmethod
    def made(cls) -> int:
        return len(bytearray(4))

    @classmethod
    @decorated
    def made_decorated(cls) -> int:
        return len(bytearray(5))

    @functools.lru_cache  # noqa: B019
    def remembered(self) -> int:
        return len(bytearray(6))

    def plain(self, more: int = 0) -> int:
        return len(bytearray(7))


def use(model: Model) -> None:
    model.size, model.cached, model.fixed(), model.made(), model.made_decorated(), model.remembered()
    model.plain()


@pytest.mark.parametrize(
    ("function", "number"),
    [
        (Model.size, 1),
        (Model.__dict__["cached"], 2),
        (Model.fixed, 3),
        (Model.__dict__["fixed"], 3),
        (Model.made, 4),
        (Model.made_decorated, 5),
        (Model.__dict__["made_decorated"], 5),
        (Model.remembered, 6),
        (Model().plain, 7),
        (functools.partial(Model().plain, more=1), 7),
        (functools.partial(functools.wraps(Model.plain)(lambda self: None)), 7),
        (types.MethodType(functools.partial(Model.plain), Model()), 7),
    ],
)
def test_whatever_stands_around_a_function_it_is_found(function: Any, number: int) -> None:
    profile = nbmem.profile_lines(function, lambda: use(Model()))
    assert figures(profile, f"bytearray({number})").hits == 1


def test_a_lambda_and_a_function_on_one_line_are_measured() -> None:
    double = lambda count: len(bytearray(count << 20))  # noqa: E731
    profile = nbmem.profile_lines(double, lambda: double(30))
    row = figures(profile, "double = lambda")
    assert (row.hits, row.spike_bytes) == (1, pytest.approx(30 * MIB, abs=MIB))


def test_the_whole_function_is_listed_with_what_did_not_run() -> None:
    def long(flag: bool) -> dict[str, int]:
        """Say something."""
        # a remark
        if flag:
            raise AssertionError

        return dict(  # noqa: C408
            a=1,
            b=2,
            # the end
        )

    text = nbmem.profile_lines(long, lambda: long(False)).to_text()
    rows = [line.strip() for line in text.split("====\n", 1)[1].split("\n\n")[0].splitlines()]
    assert rows[0].endswith("def long(flag: bool) -> dict[str, int]:")
    assert rows[2].endswith("# a remark")
    assert rows[-1].endswith(")")
    assert len(rows) == 11


def test_the_text_has_memory_profilers_columns() -> None:
    text = nbmem.profile_lines(load, lambda: load(20, 30)).to_text()
    lines = text.splitlines()
    assert lines[0] == f"Filename: {__file__}"
    assert lines[2] == "Line #    Mem usage    Increment  Occurrences   Line Contents"
    assert lines[3] == "=" * len(lines[2])
    row = next(line for line in lines if "np.ones(kept" in line)
    assert re.fullmatch(r" +\d+ +\d+\.\d MiB +(19|20)\.\d MiB +1       a = np\.ones\(kept << 17\)", row)
    assert "exact peak" in text


def test_the_frame_has_the_columns_that_are_promised() -> None:
    lines = nbmem.profile_lines([load, never], lambda: load(1, 1)).lines
    assert list(lines.columns) == [
        "function", "file", "line", "source", "hits", "seconds", "mem_usage_bytes", "increment_bytes",
        "spike_bytes", "peak_bytes", "exact",
    ]  # fmt: skip
    assert set(lines.function) == {"load()", "never()"}
    assert set(lines.file) == {__file__}
    for name, kind in lines.dtypes.items():
        if str(name).endswith("_bytes") or name in ("line", "hits"):
            assert str(kind) == "Int64"
    assert lines[lines.function == "never()"].hits.sum() == 0
    assert lines[lines.hits == 0].mem_usage_bytes.isna().all()


def test_a_function_that_is_never_called_gives_one_line() -> None:
    profile = nbmem.profile_lines([never, numbers], lambda: numbers(3))
    text = profile.to_text()
    assert text.splitlines()[:2] == [
        "never() was never called in this process: there is nothing to show",
        "numbers() never ran: it was not called, or nothing iterated over it; there is nothing to show",
    ]
    assert "never() was never called" in profile.to_html()
    assert "<table" not in profile.to_html()
    assert profile.notes[0].startswith("never() was never called")


@pytest.mark.skipif(not NATIVE, reason="the twin does not see other threads")
def test_a_function_that_ran_on_another_thread_only_is_not_called_uncalled() -> None:
    def work() -> None:
        thread = threading.Thread(target=load, args=(1, 1))
        thread.start()
        thread.join()

    text = nbmem.profile_lines(load, work).to_text()
    assert "never called" not in text
    assert "on another thread" in text


def test_a_function_whose_source_is_gone_is_listed_by_number_and_said_so() -> None:
    space: dict[str, Any] = {}
    exec("def gone():\n    a = bytearray(30 << 20)\n    return len(a)", space)
    profile = nbmem.profile_lines(space["gone"], space["gone"])
    assert list(profile.lines.line) == [1, 2, 3]
    assert profile.lines.spike_bytes[1] == pytest.approx(30 * MIB, abs=MIB)
    assert "the source of gone() is not to be found: figures by line number" in profile.to_text()
    assert "Filename: <string>" in profile.to_text()


def test_a_module_that_was_changed_and_loaded_again_shows_its_new_source(tmp_path: Path) -> None:
    import importlib

    path = tmp_path / "changing_module.py"
    path.write_text("def work():\n    return 1\n")
    sys.path.insert(0, str(tmp_path))
    try:
        module = importlib.import_module("changing_module")
        nbmem.profile_lines(module.work, module.work)
        path.write_text("# longer\ndef work():\n    return 2 + 2\n")
        importlib.invalidate_caches()
        module = importlib.reload(module)
        assert figures(nbmem.profile_lines(module.work, module.work), "return 2 + 2").hits == 1
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["changing_module"]


def test_functions_of_one_name_are_told_apart() -> None:
    def make(kind: int) -> Callable[[], int]:
        if kind:

            def same() -> int:
                return 1
        else:

            def same() -> int:
                return 0

        return same

    one, other = make(1), make(0)
    profile = nbmem.profile_lines([one, other], lambda: (one(), one(), other()))
    assert figures(profile, "return 1").hits == 2
    assert figures(profile, "return 0").hits == 1
    assert len(set(profile.lines.function)) == 2


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __call__(self) -> None: ...


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Wrapped:
    @property
    def __wrapped__(self) -> Any:
        raise Silent

    def __call__(self) -> None: ...


class Endless:
    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (len, "len has no Python code"),
        (3, "an object of type int has no Python code"),
        (None, "an object of type NoneType has no Python code"),
        (Model, "it is a class; name a method, such as Model.__init__"),
        (np, "numpy has no Python code to watch, it is a module"),
        (np.add, "no Python code"),
        (Hostile(), "cannot be found: RuntimeError: no __wrapped__"),
        (Wrapped(), "cannot be found: Silent"),
        (Endless(), "wraps too many others"),
        ("load", "without the quotes"),
        ([], "at least one function"),
    ],
    ids=str,
)
def test_what_is_no_function_is_refused_in_one_line(thing: Any, words: str) -> None:
    with pytest.raises(nbmem.BadArgument) as caught:
        nbmem.profile_lines(thing, lambda: None)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(nbmem.BadArgument, match="takes source or a callable, not int"):
        nbmem.profile_lines(load, 3)  # type: ignore[arg-type]
    with pytest.raises(nbmem.BadArgument, match="nobody awaits"):
        nbmem.profile_lines(fetch, fetch)


def test_source_runs_in_the_callers_globals_or_in_a_namespace() -> None:
    assert figures(nbmem.profile_lines(load, "load(1, 1)"), "np.ones(kept").hits == 1
    space: dict[str, Any] = {"load": load}
    nbmem.profile_lines(load, "made = load(1, 1)", namespace=space)
    assert "made" in space


def test_an_error_passes_and_nothing_runs_on() -> None:
    def fails() -> None:
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        nbmem.profile_lines(fails, fails)
    assert figures(nbmem.profile_lines(load, lambda: load(1, 1)), "np.ones(kept").hits == 1


def test_the_figures_of_a_function_that_raises_are_there_with_trace() -> None:
    def fails() -> None:
        block = bytearray(30 << 20)
        raise KeyError(len(block))

    with pytest.raises(KeyError), nbmem.trace(fails, rss=True) as t:
        fails()
    assert t.lines[t.lines.function.str.contains("fails")].hits.sum() == 2


def test_a_profile_cannot_run_within_a_trace() -> None:
    called = []
    with nbmem.trace(rss=True), pytest.raises(nbmem.AlreadyRunning):
        nbmem.profile_lines(load, lambda: called.append(1))
    assert not called


def test_what_the_call_returns_is_let_go() -> None:
    class Result: ...

    made: list[weakref.ref[Result]] = []

    def make() -> Result:
        result = Result()
        made.append(weakref.ref(result))
        return result

    profile = nbmem.profile_lines(make, make)
    assert made[0]() is None
    gone = weakref.ref(make)
    del make
    gc.collect()
    assert gone() is None
    assert len(profile.lines)


def test_children_are_added_on_request_and_then_nothing_is_exact() -> None:
    code = "block = bytearray(150 << 20); import time; time.sleep(1)"

    def start() -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    profile = nbmem.profile_lines(start, start, include_children=True)
    row = figures(profile, "subprocess.run")
    assert row.spike_bytes > 140 * MIB
    assert row.increment_bytes == pytest.approx(0, abs=20 * MIB)
    assert not profile.lines.exact.any()
    assert not profile.summary["exact"]
    assert "child processes are in all sizes" in profile.to_text()
    assert "NOT exact" in profile.to_text()
    alone = nbmem.profile_lines(start, start)
    assert figures(alone, "subprocess.run").spike_bytes < 20 * MIB


def test_where_the_kernel_keeps_no_peak_the_sizes_at_the_ends_of_lines_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nbmem.process.peak._answer", [False])
    profile = nbmem.profile_lines([load, never], lambda: load(50, 100))
    row = figures(profile, "np.ones(kept")
    assert row.increment_bytes == pytest.approx(50 * MIB, abs=MIB)
    assert row.mem_usage_bytes - profile.summary["resident_before_bytes"] == pytest.approx(
        50 * MIB, abs=2 * MIB
    )
    assert not profile.lines.exact.any()
    text = profile.to_text()
    assert "NOT exact" in text
    assert "never() was never called" in text
    assert "~" not in text
    assert "Mem usage" in profile.to_html()


@pytest.mark.skipif(sys.version_info >= (3, 12) and NATIVE, reason="sys.monitoring goes beside a debugger")
def test_beside_a_debugger_nothing_is_measured_by_line_and_nothing_is_called_uncalled() -> None:
    def trace(*arguments: object) -> None: ...

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        profile = nbmem.profile_lines(load, lambda: load(1, 1))
    finally:
        sys.settrace(before)
    assert profile.to_text().splitlines()[0] == "load() was not measured"
    assert "holds the trace function" in profile.to_text()


@pytest.mark.skipif(not NATIVE, reason="the twin counts hot lines and does not sample them")
def test_hot_lines_are_marked_and_the_mark_is_explained() -> None:
    def hot(count: int) -> int:
        total = 0
        for number in range(count):
            total += number
        return total

    profile = nbmem.profile_lines([hot, never], lambda: hot(1_000_000))
    text = profile.to_text()
    assert "never() was never called" in text
    assert re.search(r"MiB +~\d+ +total \+= number", text)
    assert re.search(r"MiB +1 +total = 0", text)
    assert "\n~ not each run was measured" in text
    assert not figures(profile, "total += number").exact
    assert "~" in profile.to_html()


def test_all_that_comes_from_the_code_is_escaped() -> None:
    space: dict[str, Any] = {}
    source = "def tag():\n    return '<script>\x1b[31m&'\n"
    import linecache

    linecache.cache["<b>file"] = (len(source), None, source.splitlines(True), "<b>file")
    try:
        exec(compile(source, "<b>file", "exec"), space)
        profile = nbmem.profile_lines(space["tag"], space["tag"])
    finally:
        del linecache.cache["<b>file"]
    page = profile.to_html()
    assert "<script>" not in page
    assert "<b>file" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page + profile.to_text()


def test_of_a_long_function_the_page_shows_what_ran_and_the_text_all() -> None:
    space: dict[str, Any] = {}
    lines = [f"        x = {number}" for number in range(2 * MOST_LINES)]
    source = "\n".join(["def long(flag=False):", "    if flag:", *lines])
    exec(compile(source, "<long>", "exec"), space)
    profile = nbmem.profile_lines(space["long"], space["long"])
    assert profile.to_html().count("<tr>") < MOST_LINES
    assert f"{2 * MOST_LINES + 1} lines that did not run left out" in profile.to_html()
    assert len(profile.lines) == 2 * MOST_LINES + 2
    assert len(profile.to_text().splitlines()) > 2 * MOST_LINES


def test_a_notebook_gets_text_and_html_and_a_figure_can_be_drawn() -> None:
    profile = nbmem.profile_lines(load, lambda: load(20, 20))
    bundle = profile._repr_mimebundle_()
    assert bundle["text/plain"] == profile.to_text() == repr(profile)
    page = bundle["text/html"]
    assert page.count("<table") == 1
    assert "Mem usage" in page
    assert "Spike" in page
    assert "peak ▸" in page
    assert profile.plot().axes[0].get_title(loc="left") == "load()"
    assert isinstance(profile.summary, pd.Series)
