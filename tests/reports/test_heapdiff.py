"""``HeapSnapshot.diff`` and its result, in this process."""

from __future__ import annotations

import gc
import pickle
import re
from dataclasses import replace
from typing import Any

import pytest

import nbmem
from nbmem._units import format_bytes

HERE = "tests.reports.test_heapdiff"


class Node:
    """Something that the collector tracks."""

    def __init__(self) -> None:
        self.payload = bytearray(1000)


def row(diff: nbmem.HeapDiff, name: str) -> Any:
    """Give the row of one type."""
    (found,) = diff.types()[diff.types().type == name].itertuples()
    return found


def test_new_dead_and_surviving_objects_are_counted_by_type() -> None:
    nodes = [Node() for _ in range(100)]
    before = nbmem.snapshot()
    del nodes[:30]
    nodes += [Node() for _ in range(50)]
    diff = before.diff(nbmem.snapshot())
    assert list(diff.types().columns) == [
        "type", "new_count", "dead_count", "survived_count", "delta_count", "new_bytes", "dead_bytes", "delta_bytes",
    ]  # fmt: skip
    found = row(diff, f"{HERE}.Node")
    assert (found.new_count, found.dead_count, found.survived_count, found.delta_count) == (50, 30, 70, 20)
    assert found.delta_bytes == found.new_bytes - found.dead_bytes
    assert diff.exact


def test_an_object_at_the_address_of_a_dead_one_is_another() -> None:
    for _ in range(10):  # the allocator may have other places for them
        nodes = [Node() for _ in range(2000)]
        addresses = set(map(id, nodes))
        before = nbmem.snapshot()
        nodes.clear()
        nodes += [Node() for _ in range(2000)]
        found = row(before.diff(nbmem.snapshot()), f"{HERE}.Node")
        assert (found.new_count, found.dead_count, found.survived_count) == (2000, 2000, 0)
        if len(addresses & set(map(id, nodes))) > 500:
            return
    pytest.fail("nothing was reused: the test shows nothing")


def test_the_change_in_bytes_is_that_of_the_whole_heap() -> None:
    before = nbmem.snapshot()
    kept = [bytearray(100_000) for _ in range(20)]
    after = nbmem.snapshot()
    diff = before.diff(after)
    assert diff.types().delta_bytes.sum() == diff.delta_bytes == after.total_bytes - before.total_bytes
    assert diff.types().delta_count.sum() == diff.delta_count == len(after) - len(before)
    assert diff.types().delta_bytes.abs().is_monotonic_decreasing
    assert diff.types().type[0] == "bytearray"
    assert diff.delta_bytes == pytest.approx(2_000_000, rel=0.05)
    assert len(kept) == 20


def test_what_a_survivor_grew_is_in_the_change_and_not_new() -> None:
    table: dict[int, None] = {}
    before = nbmem.snapshot()
    table.update(dict.fromkeys(range(100_000)))
    found = row(before.diff(nbmem.snapshot()), "dict")
    assert found.new_bytes < 100_000
    assert found.delta_bytes > 3_000_000


def test_the_biggest_new_objects_and_what_holds_the_new_are_told() -> None:
    class Cache:
        __qualname__ = "Cache"
        __slots__ = ("rows",)

    cache = Cache()
    cache.rows = []
    before = nbmem.snapshot()
    cache.rows += [[bytearray(5000)] for _ in range(400)]
    big = {"payload": bytearray(1 << 20)}
    diff = before.diff(nbmem.snapshot())
    biggest = diff.new(2)
    assert list(biggest.columns) == ["type", "what", "shallow_bytes", "retained_bytes", "held_by"]
    assert biggest.type.tolist() == ["dict", "bytearray"]
    assert biggest.retained_bytes[0] > big["payload"].__sizeof__()
    assert biggest.held_by[1] == "dict"
    groups = diff.new_by_holder(2)
    assert list(groups.columns) == ["type", "count", "retained_bytes", "held_by"]
    first = groups.iloc[0]
    assert (first.type, first["count"], first.held_by) == ("list", 400, "list")
    assert first.retained_bytes == pytest.approx(400 * 5100, rel=0.05)
    assert groups.type.tolist() == ["list", "dict"]


def test_garbage_counts_as_gone() -> None:
    gc.collect()
    nodes: list[Any] = [Node() for _ in range(10)]
    for node in nodes:
        node.me = node
    gc.disable()
    try:
        before = nbmem.snapshot()
        nodes.clear()
        del node
        found = row(before.diff(nbmem.snapshot()), f"{HERE}.Node")
    finally:
        gc.enable()
        gc.collect()
    assert (found.new_count, found.dead_count, found.survived_count) == (0, 10, 0)


def test_snapshots_in_a_row_differ_by_next_to_nothing() -> None:
    # the least of some: threads of other tests' kernels work meanwhile
    diffs = [nbmem.snapshot().diff(nbmem.snapshot()) for _ in range(4)]
    assert min(abs(diff.delta_bytes) for diff in diffs) < 1000
    assert min(diff.types().new_count.sum() for diff in diffs) < 15


def test_a_copy_cannot_tell_births_and_says_so() -> None:
    before = pickle.loads(pickle.dumps(nbmem.snapshot()))
    diff = before.diff(nbmem.snapshot(watch=False))
    assert diff.same_process
    assert not diff.exact
    assert "births were not noted" in repr(diff)
    assert "births were not noted" in diff.to_html()


def test_snapshots_of_different_processes_are_compared_by_sums_only() -> None:
    here = nbmem.snapshot(watch=False)
    nodes = [Node() for _ in range(50)]
    other = nbmem.HeapSnapshot(replace(nbmem.snapshot(watch=False).data, origin="another"))
    diff = here.diff(other)
    found = row(diff, f"{HERE}.Node")
    assert found.delta_count == len(nodes)
    assert found.delta_bytes > 0
    assert diff.types().new_count.isna().all()
    assert diff.types().delta_bytes.sum() == diff.delta_bytes
    assert not diff.exact
    for text in (repr(diff), diff.to_html()):
        assert "different processes: only the sums by type are compared" in text
        assert "survived" not in text
    with pytest.raises(nbmem.NotMeasured, match="which objects are new is not known"):
        diff.new()
    with pytest.raises(nbmem.NotMeasured, match="which objects are new is not known"):
        diff.new_by_holder()


def test_the_earlier_comes_first_and_both_are_snapshots() -> None:
    first, second = nbmem.snapshot(watch=False), nbmem.snapshot(watch=False)
    with pytest.raises(nbmem.BadArgument, match="the first snapshot is the later one"):
        second.diff(first)
    with pytest.raises(nbmem.BadArgument, match="diff takes another snapshot, not int"):
        first.diff(3)  # type: ignore[arg-type]
    with pytest.raises(nbmem.BadArgument, match="it takes a number of rows"):
        first.diff(second).new(-1)


def test_the_report_says_what_grew_and_who_holds_it() -> None:
    before = nbmem.snapshot()
    kept = [bytearray(100_000) for _ in range(20)]
    diff = before.diff(nbmem.snapshot())
    lines = repr(diff).splitlines()
    assert lines[0].startswith(f"growth of the heap: {format_bytes(diff.delta_bytes, signed=True)} · ")
    assert lines[3].split()[:4] == ["20", "·", lines[3].split()[2], "+20"]
    assert lines[3].endswith("bytearray")
    assert re.search(r"^ +1 +1\.9 MiB   list ← ", repr(diff), re.MULTILINE)
    html = diff.to_html()
    assert "new objects, by what holds them" in html
    assert not re.search(r"<(script|style|svg)|var\(|currentColor|url\(|https?:", html)
    assert len(html) < 40_000
    assert set(diff._repr_mimebundle_()) == {"text/plain", "text/html"}
    kept.clear()


def test_names_of_types_are_escaped_and_cut() -> None:
    before = nbmem.snapshot()
    kind = type("Hostile", (), {})
    kind.__qualname__ = "<img src=x onerror=alert(1)>\n\x1b[31m\u202e$x^$" + "é" * 1_000_000
    kept = [kind() for _ in range(50_000)]
    diff = before.diff(nbmem.snapshot())
    html, text = diff.to_html(), diff.to_text()
    assert "<img" not in html
    assert "&lt;img" in html
    for sign in ("\u202e", "\x1b"):
        assert sign not in html + text
    assert len(html) < 60_000
    assert max(map(len, text.splitlines())) < 250
    assert diff.plot()._repr_png_()[:4] == b"\x89PNG"
    kept.clear()


def test_the_plot_is_not_registered_with_pyplot() -> None:
    from matplotlib import pyplot

    first = nbmem.snapshot(watch=False)
    assert first.diff(first).plot()._repr_png_()[:4] == b"\x89PNG"
    assert pyplot.get_fignums() == []


def test_a_snapshot_does_not_differ_from_itself() -> None:
    first = nbmem.snapshot(watch=False)
    diff = first.diff(first)
    assert diff.delta_bytes == diff.delta_count == 0
    assert "0 B" in repr(diff).splitlines()[0]
    assert "bytearray" not in repr(diff)
