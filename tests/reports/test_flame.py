"""The icicle of a trace's allocation stacks: its tree, its picture, its text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import IPython
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbmem
from nbmem.process import GcLog
from nbmem.reports import svg
from nbmem.reports.calltree import INNER_FRAMES, OUTER_FRAMES
from nbmem.tracing import Frame, LineCost, StackCost, Trace
from nbmem.tracing.costs import Timeline, TraceSummary

CELL = "/tmp/ipykernel_17/3141592653.py"
LIBRARY = "/somewhere/lib/python3.11/site-packages/fruit/apple.py"
HOSTILE = "<img src=x onerror=alert(1)>\"'&]]>\x1b[31m\x00\n\u202e\ud800<script>"
SVG = "{http://www.w3.org/2000/svg}"


def stack(
    line: int | None, *names: str | Frame, live: int = 100, count: int | None = 1, net: int | None = None
) -> StackCost:
    """Make a stack of the cell from its line inwards."""
    frames = [(name, LIBRARY, 7) if isinstance(name, str) else name for name in names]
    if line is not None:
        frames.insert(0, ("<module>", CELL, line))
    return StackCost(
        "cell" if line is not None else "",
        line,
        tuple(reversed(frames)),
        live,
        live if net is None else net,
        count,
    )


def trace_of(
    *stacks: StackCost, sources: dict[int, str] | None = None, notes: tuple[str, ...] = ()
) -> nbmem.CellTrace:
    """Make the trace of a cell that has these stacks."""
    sources = sources or {}
    summary = TraceSummary(
        1.0,
        0,
        0,
        0,
        0,
        0,
        None,
        sum(s.net_bytes for s in stacks),
        None,
        None,
        None,
        0,
        0,
        0.0,
        True,
        "test",
        "memray",
    )
    lines = tuple(
        LineCost("cell", number, sources.get(number, f"step_{number}()"), 1, 0.0, 0, 0, 0, 0, 0, 0, True)
        for number in range(2, 1000)
    )
    t = nbmem.CellTrace("In [3]")
    t._fill(Trace(summary, lines, tuple(stacks), Timeline(), GcLog(0, 0.0, ()), notes))
    return t


def boxes(picture: str) -> list[tuple[int, float, float, str, str]]:
    """Read the boxes of a picture: row, left, width, title, text."""
    found = []
    for group in ET.fromstring(picture).iter(f"{SVG}g"):
        rect, text = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        assert rect is not None
        found.append((
            round(float(rect.get("y", "")) / 19), float(rect.get("x", "")), float(rect.get("width", "")),
            group.findtext(f"{SVG}title") or "", "" if text is None else text.text or "",
        ))  # fmt: skip
    return found


def titles(picture: str) -> list[list[str]]:
    return [box[3].split("\n") for box in boxes(picture)]


def names(t: nbmem.CellTrace, depth: int) -> list[str]:
    frames = t.flame().frames
    return list(frames[frames.depth == depth].function)


# -- the tree


def test_the_whole_weighs_what_all_stacks_weigh_together() -> None:
    with nbmem.trace() as t:
        kept = [np.ones(n) for n in (10_000, 200_000, 3_000)]
    assert kept
    whole = {metric: int(t.flame(metric).frames.iloc[0].iloc[6]) for metric in ("live", "net", "count")}
    assert whole == {
        "live": sum(s.live_bytes or 0 for s in t.data.stacks),
        "net": sum(s.net_bytes for s in t.data.stacks),
        "count": sum(s.allocation_count or 0 for s in t.data.stacks),
    }


def test_the_lines_of_the_cell_come_first_in_their_order_then_what_they_call_heaviest_first() -> None:
    t = trace_of(
        stack(5, "light", live=10),
        stack(5, "heavy", live=30),
        stack(2, "ones", live=20),
        sources={5: "  b =  f(a)"},
    )
    frames = t.flame().frames
    assert list(zip(frames.depth, frames.kind, frames.function, frames.line, frames.live_bytes, strict=True)) == [
        (0, "whole", "In [3]", frames.line[0], 60),
        (1, "line", "cell", 2, 20), (2, "frame", "ones", 7, 20),
        (1, "line", "cell", 5, 40), (2, "frame", "heavy", 7, 30), (2, "frame", "light", 7, 10),
    ]  # fmt: skip
    assert frames.share.iloc[0] == 1
    assert frames.share.iloc[3] == pytest.approx(40 / 60)
    assert titles(t.flame().to_svg())[3][0] == "line 5: b = f(a)"


def test_columns_are_those_promised() -> None:
    t = trace_of(stack(2, "f"))
    assert list(t.flame("net").frames.columns) == [
        "depth",
        "kind",
        "function",
        "file",
        "line",
        "source",
        "net_bytes",
        "share",
    ]
    assert t.flame("count").frames.columns[6] == "allocation_count"


def test_frames_of_ipython_and_nbmem_are_folded_away_and_their_bytes_are_kept() -> None:
    machinery = [
        ("show", "/venv/lib/python3.11/site-packages/IPython/core/display.py", 3),
        ("run", os.path.join(os.path.dirname(nbmem.__file__), "reports", "memit.py"), 5),
        ("execute", "C:\\venv\\Lib\\site-packages\\ipykernel\\kernelbase.py", 9),
    ]
    assert "site-packages/IPython/" in IPython.__file__.replace("\\", "/")
    t = trace_of(stack(2, *machinery, "ones", live=70), stack(3, *machinery, live=30))
    frames = t.flame().frames
    assert list(frames.function) == ["In [3]", "cell", "ones", "cell"]
    assert list(frames.live_bytes) == [100, 70, 70, 30]


def test_a_users_own_file_in_a_folder_of_such_a_name_is_not_folded_away() -> None:
    t = trace_of(stack(2, ("mine", "/home/me/IPython/mine.py", 1), ("too", "/home/me/nbmem/too.py", 1)))
    assert list(t.flame().frames.function) == ["In [3]", "cell", "mine", "too"]


def test_stacks_that_lead_to_no_line_share_one_box_without_the_event_loop() -> None:
    loop = [("_run", os.path.join(os.path.dirname(os.__file__), "asyncio", "events.py"), 80)]
    t = trace_of(stack(2, "ones"), stack(None, *loop, "on_timer"), stack(None), stack(None, *loop))
    frames = t.flame().frames
    assert list(frames.function) == ["In [3]", "cell", "ones", "outside the cell", "on_timer"]
    assert list(frames.live_bytes) == [400, 100, 100, 300, 100]


def test_asyncio_below_a_line_of_the_cell_is_shown() -> None:
    path = os.path.join(os.path.dirname(os.__file__), "asyncio", "queues.py")
    assert names(trace_of(stack(2, ("put", path, 3), "f")), 2) == ["put"]


def test_the_import_system_shows_only_where_it_allocates_itself() -> None:
    system = [
        ("_find_and_load", "<frozen importlib._bootstrap>", 1),
        ("exec_module", "<frozen importlib._bootstrap_external>", 2),
    ]
    t = trace_of(
        stack(
            2,
            *system,
            ("<module>", "/lib/json.py", 3),
            *system,
            ("get_data", "<frozen importlib._bootstrap_external>", 4),
        )
    )
    assert list(t.flame().frames.function) == ["In [3]", "cell", "<module>", "get_data"]


def test_a_comprehension_is_part_of_its_line_and_a_function_of_the_cell_has_its_name() -> None:
    inner = [("work", CELL, 2), ("<listcomp>", CELL, 2)]
    t = trace_of(
        StackCost("cell", 2, (("loads", LIBRARY, 7), *reversed(inner), ("<module>", CELL, 9)), 50, 50, 1),
        stack(9, live=20),
        sources={2: "def work(): return [loads(s) for s in it]", 9: "w = work()"},
    )
    assert [title[0] for title in titles(t.flame().to_svg())] == [
        "In [3]", "line 9: w = work()", "work line 2: def work(): return [loads(s) for s in it]", "loads",
    ]  # fmt: skip


def test_a_library_frame_with_a_line_number_of_the_cell_is_not_taken_for_its_line() -> None:
    t = trace_of(StackCost("cell", 4, (("<module>", LIBRARY, 4), ("<module>", CELL, 4)), 50, 50, 1))
    assert list(t.flame().frames.kind) == ["whole", "line", "frame"]


def test_lines_keep_their_numbers_where_a_magic_compiled_the_cell_anew() -> None:
    magic = [("<module>", CELL, 1), ("time", "/x/site-packages/IPython/core/magics/execution.py", 5)]
    t = trace_of(*(
        StackCost("cell", number, (("ones", LIBRARY, 7), ("<module>", "<timed exec>", number - 2), *reversed(magic)), 50, 50, 1)
        for number in (3, 4)
    ))  # fmt: skip
    frames = t.flame().frames
    assert list(zip(frames.kind, frames.depth, frames.line, strict=True))[1:] == [
        ("line", 1, 3), ("frame", 2, 7), ("line", 1, 4), ("frame", 2, 7),
    ]  # fmt: skip


def test_watched_functions_lines_have_their_name() -> None:
    def load(n: int) -> object:
        return np.ones(n)

    with nbmem.trace(functions=load) as t:
        kept = load(500_000)
    assert kept is not None
    frames = t.flame().frames
    assert {"with", "test_watched_functions_lines_have_their_name.<locals>.load()"} <= set(
        frames[frames.kind == "line"].function
    )
    assert any(
        title[0].endswith(f"load() line {load.__code__.co_firstlineno + 1}: return np.ones(n)")
        for title in titles(t.flame().to_svg())
    )


def test_recursion_shares_one_box_and_says_how_deep_it_went() -> None:
    t = trace_of(*(stack(2, *["walk"] * depth, "leaf") for depth in (3, 50)))
    frames = t.flame().frames
    assert list(frames.function) == ["In [3]", "cell", "walk", "leaf"]
    assert titles(t.flame().to_svg())[2][0] == "walk (up to 50 times in itself)"


def test_a_stack_of_a_thousand_levels_keeps_both_ends_and_says_what_is_hidden() -> None:
    t = trace_of(stack(2, *(f"f{number % 2}_{number}" for number in range(1000))))
    frames = t.flame().frames
    assert len(frames) == 1 + OUTER_FRAMES + 1 + INNER_FRAMES
    assert frames.function.iloc[-1] == "f1_999"
    assert (
        titles(t.flame().to_svg())[OUTER_FRAMES + 1][0]
        == f"… up to {1001 - OUTER_FRAMES - INNER_FRAMES} more frames"
    )


# -- the picture


FRAME = st.tuples(st.sampled_from("abcd"), st.sampled_from(["x.py", "y.py"]), st.integers(1, 4))
STACKS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(2, 6)), st.lists(FRAME, max_size=45), st.integers(0, 10**6)), min_size=1, max_size=25
)  # fmt: skip


@given(STACKS)
def test_no_box_is_wider_than_the_one_above_and_every_box_weighs_what_its_stacks_weigh(
    rows: list[tuple[int | None, list[Frame], int]],
) -> None:
    t = trace_of(*(stack(line, *frames, live=weight) for line, frames, weight in rows))
    graph = t.flame()
    found = graph.frames
    assert found.live_bytes.iloc[0] == sum(weight for *_, weight in rows)
    by_line = Counter[object]()
    for line, _, weight in rows:
        by_line[line] += weight
    level = found[found.depth == 1]
    assert {(row.line if row.kind == "line" else None): row.live_bytes for row in level.itertuples()} == {
        line: weight for line, weight in by_line.items() if weight
    }
    above: list[int] = []  # the rows from the whole to the one before
    left: list[int] = []
    for row in found.itertuples():
        del above[row.depth :], left[row.depth :]
        if above:
            left[-1] -= row.live_bytes
            assert left[-1] >= 0
        above.append(row.live_bytes)
        left.append(row.live_bytes)
    drawn = boxes(graph.to_svg())
    for depth, x, width, *_ in drawn:
        assert x >= 0
        assert x + width <= 900.1
        if depth:
            assert any(
                d == depth - 1 and x >= px - 0.11 and x + width <= px + pw + 0.61 for d, px, pw, *_ in drawn
            )
    for depth, x, width, *_ in drawn:
        same = [(ox, ow) for d, ox, ow, *_ in drawn if d == depth and ox > x]
        assert all(x + width <= ox + 0.61 for ox, _ in same)
    assert graph.to_text(80)


def test_a_title_tells_function_place_bytes_share_and_allocations() -> None:
    t = trace_of(stack(2, "f", live=3 << 20, count=5), stack(2, "f", "g", live=1 << 20, count=2))
    assert titles(t.flame().to_svg())[2:] == [
        ["f", f"{LIBRARY}:7", "4.0 MiB, 100.0%, 7 allocations", "of which here itself: 3.0 MiB"],
        ["g", f"{LIBRARY}:7", "1.0 MiB, 25.0%, 2 allocations"],
    ]


def test_words_that_do_not_fit_are_cut_and_none_are_written_where_there_is_no_room() -> None:
    wide = "数" * 60
    t = trace_of(
        stack(2, "a_rather_long_name" * 9, live=400),
        stack(3, wide, live=500),
        stack(4, "x", live=7),
        stack(5, live=93),
    )
    for _, _, width, _, text in boxes(t.flame().to_svg()):
        columns = sum(2 if sign == "数" else 1 for sign in text)
        assert columns * 6.6 <= width
        assert text or width < 30
    texts = [box[4] for box in boxes(t.flame().to_svg())]
    assert any("…" in text and text.startswith("a_rather") for text in texts)
    assert any("…" in text and text.startswith("数") and text.endswith(" · 500 B") for text in texts)


def test_fifty_thousand_stacks_make_a_small_picture_that_says_what_it_leaves_out() -> None:
    t = trace_of(*(
        stack(2 + number % 300, *(f"f{number * step % 997}" for step in (1, 3, 5, 7, 11)), live=1 + number % 13)
        for number in range(50_000)
    ))  # fmt: skip
    graph = t.flame()
    assert len(graph.to_svg().encode()) < 200_000
    assert len(graph.to_html().encode()) < 500_000
    assert re.search(r"… [0-9,]+ smaller", graph.to_svg())
    assert len(graph.to_text().splitlines()) < 150
    assert min(width for _, _, width, *_ in boxes(graph.to_svg())) >= 1


def test_hostile_names_in_many_boxes_make_no_large_picture() -> None:
    t = trace_of(
        *(
            stack(2 + n, *((f"{HOSTILE * 20}{step}", "/&" * 3000 + ".py", step) for step in range(20)))
            for n in range(60)
        )
    )
    assert len(t.flame().to_svg().encode()) < 200_000


def test_a_function_has_the_same_colour_in_every_process_and_lines_another_hue() -> None:
    code = "from nbmem.reports import svg; print(svg.shade('frame', 'ones numeric.py'))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert other.stdout.strip() == svg.shade("frame", "ones numeric.py")
    blue_over_red = [
        [int(svg.shade(tone, str(n))[5:], 16) > int(svg.shade(tone, str(n))[1:3], 16) for n in range(200)]  # type: ignore[arg-type]
        for tone in ("line", "frame")
    ]
    assert all(blue_over_red[0])
    assert not any(blue_over_red[1])


@pytest.mark.parametrize("tone", ["whole", "line", "frame", "rest"])
def test_words_have_contrast_on_every_box_and_boxes_on_every_page(tone: svg.Tone) -> None:
    def light(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(factor * p for factor, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(one: str, other: str) -> float:
        high, low = sorted((light(one), light(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for number in range(300):
        color = svg.shade(tone, str(number))
        assert contrast(color, "#16191d") >= 7
        assert contrast(color, "#111111") >= 7
        assert contrast(color, "#ffffff") >= 1.3


# -- what people see


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile_graph() -> nbmem.CellTrace:
    return trace_of(
        stack(2, HOSTILE, (HOSTILE, HOSTILE, 3), live=1000), stack(None, (HOSTILE, "/x.py", 1), live=500),
        sources={2: HOSTILE}, notes=(HOSTILE,),
    )  # fmt: skip


def test_what_users_wrote_is_escaped_and_control_characters_are_made_visible() -> None:
    t = hostile_graph()
    t.title = HOSTILE
    graph = t.flame()
    tags = Tags()
    tags.feed(graph.to_html())
    assert {tag for tag, _ in tags.found} == {
        "div", "style", "p", "b", "svg", "g", "title", "rect", "text", "img", "details", "summary", "pre",
    }  # fmt: skip
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in tags.found)
    ET.fromstring(graph.to_svg())
    assert "\\x1b[31m" in graph.to_svg()
    for text in (graph.to_html(), graph.to_svg(), graph.to_text()):
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800]", unescape(text))


def test_the_page_has_no_script_and_asks_for_nothing() -> None:
    html = trace_of(stack(2, "f")).flame().to_html()
    assert "<script" not in html
    assert "url(" not in html
    assert re.findall(r"https?://[^\"]+", html) == ["http://www.w3.org/2000/svg"]


def test_what_a_sanitiser_leaves_of_the_inline_picture_is_hidden_and_the_image_is_not() -> None:
    html = trace_of(stack(2, "f")).flame().to_html()
    assert '<div class="nbmem-flame-inline" style="display:none"><svg' in html
    assert '<div class="nbmem-flame-image"><img alt="In [3]: 100 B alive at the heap&#x27;s peak' in html
    assert "<title>" not in html.split("nbmem-flame-image")[-1].split("<details")[0]


def test_the_text_is_a_tree_of_the_heaviest_branches_and_keeps_its_width() -> None:
    t = trace_of(
        stack(2, "f", "g", live=60 << 20),
        stack(3, "h", live=40 << 20),
        stack(3, "i", live=5),
        sources={3: "b = " + "x" * 300},
    )
    text = t.flame().to_text(70)
    assert text.splitlines()[:5] == [
        "In [3]: 100.0 MiB alive at the heap's peak",
        "",
        "   60.0 MiB   60.0%  line 2: step_2()",
        "   60.0 MiB   60.0%    f  apple.py:7",
        "   60.0 MiB   60.0%      g  apple.py:7",
    ]
    assert "  h  apple.py:7" in text
    assert "  i  " not in text
    assert max(map(len, text.splitlines())) == 70


def test_where_every_branch_is_small_the_text_has_some_all_the_same() -> None:
    lines = (
        trace_of(*(stack(2 + number, "f", live=1000) for number in range(300))).flame().to_text().splitlines()
    )
    assert 50 < len(lines) < 130
    assert lines[2] == "     1000 B    0.3%  line 2: step_2()"


def test_the_result_shows_as_text_and_as_html() -> None:
    graph = trace_of(stack(2, "f")).flame("count")
    bundle = graph._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == repr(graph)
    assert repr(graph).startswith("In [3]: 1 allocation made")


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("live", "nothing was alive at the heap's peak"),
        ("net", "nothing that was allocated is alive at the end"),
        ("count", "nothing was allocated"),
    ],
)
def test_a_trace_that_allocated_nothing_says_so(metric: str, words: str) -> None:
    for t in (trace_of(), trace_of(stack(2, "f", live=0, count=0))):
        graph = t.flame(metric)  # type: ignore[arg-type]
        assert graph.to_text() == f"In [3]: {words}"
        assert words in unescape(graph.to_html())
        assert [box[4] for box in boxes(graph.to_svg())] == [f"In [3]: {words}"]
        assert list(graph.frames.share) == [0]


def test_stacks_that_freed_are_not_drawn_and_a_note_says_how_much() -> None:
    t = trace_of(stack(2, "f", net=3 << 20), stack(3, "g", net=-(1 << 20)))
    assert "3.0 MiB allocated and alive at the end" in t.flame("net").to_text()
    assert (
        "note: stacks that freed more than they allocated (-1.0 MiB) are not drawn"
        in t.flame("net").to_text()
    )


def test_the_notes_of_the_trace_are_there() -> None:
    graph = trace_of(stack(2, "f"), notes=("the cell took the profile function",)).flame()
    assert "note: the cell took the profile function" in graph.to_text()
    assert "note: the cell took the profile function" in graph.to_html()


# -- what is refused


def test_what_was_not_measured_or_is_not_known_is_refused_in_one_line() -> None:
    with nbmem.trace(rss=True) as t:
        list(range(10))
    with pytest.raises(nbmem.NotMeasured, match="without --rss"):
        t.flame()
    with pytest.raises(nbmem.BadArgument, match="one of live, net, count"):
        trace_of(stack(2)).flame("peak")  # type: ignore[arg-type]


def test_what_tracemalloc_does_not_know_is_refused_with_the_reason() -> None:
    t = trace_of(StackCost("cell", 2, (("", LIBRARY, 7), ("", CELL, 2)), None, 50, None))
    for metric in ("live", "count"):
        with pytest.raises(nbmem.NotMeasured, match=r"tracemalloc.*metric='net'"):
            t.flame(metric)  # type: ignore[arg-type]
    assert [title[0] for title in titles(t.flame("net").to_svg())] == [
        "In [3]",
        "line 2: step_2()",
        "apple.py:7",
    ]
    assert "allocation" not in titles(t.flame("net").to_svg())[1][1]


def test_allocations_that_were_too_many_to_count_are_refused_with_the_reason_and_left_out_of_titles() -> None:
    t = trace_of(stack(2, "f", count=None))
    with pytest.raises(nbmem.NotMeasured, match="too many allocations to count"):
        t.flame("count")
    assert titles(t.flame().to_svg())[2][2] == "100 B, 100.0%"


def test_the_picture_needs_no_pandas() -> None:
    code = (
        "import nbmem, sys\nwith nbmem.trace() as t:\n    b = bytearray(10**7)\n"
        "t.flame().to_html(); t.flame().to_text(); assert 'pandas' not in sys.modules"
    )
    path = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=path)
