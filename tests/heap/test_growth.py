"""What became of the objects between two captures."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from nbmem._errors import BadArgument
from nbmem.heap.births import AVAILABLE, current_births
from nbmem.heap.capture import capture
from nbmem.heap.graph import Heap
from nbmem.heap.growth import Growth, growth
from nbmem.process.gcevents import GcRecorder

needs_births = pytest.mark.skipif(not AVAILABLE, reason="built without the native part")


class Leaf:
    def __init__(self, number: int) -> None:
        self.number = number


class Other:
    pass


def of(result: Growth, kind: type) -> tuple[int, int, int]:
    at = result.types.index(f"{kind.__module__}.{kind.__qualname__}")
    return int(result.new_count[at]), int(result.dead_count[at]), int(result.survived_count[at])


@pytest.fixture(autouse=True)
def callbacks() -> Iterator[None]:
    before = list(gc.callbacks)
    yield
    gc.collect()
    assert gc.callbacks == before, "a callback of the collector was left"


def test_new_dead_and_surviving_objects_are_told_apart() -> None:
    leaves = [Leaf(number) for number in range(100)]
    before = capture(watch=True)
    del leaves[:30]
    leaves += [Leaf(number) for number in range(50)]
    assert of(growth(before, capture()), Leaf) == (50, 30, 70)


@needs_births
@pytest.mark.parametrize("between", [lambda: None, gc.collect, lambda: gc.collect(0), lambda: gc.collect(1)])
def test_an_object_at_the_address_of_a_dead_one_is_another_one(between: Callable[[], object]) -> None:
    for _ in range(10):  # the allocator may have other places for them
        leaves = [Leaf(number) for number in range(2000)]
        addresses = {id(leaf) for leaf in leaves}
        between()
        before = capture(watch=True)
        leaves = leaves[1000:]
        between()
        leaves += [Leaf(number) for number in range(1000)]
        between()
        result = growth(before, capture())
        assert of(result, Leaf) == (1000, 1000, 1000)
        assert result.exact
        if len(addresses & {id(leaf) for leaf in leaves}) > 1050:
            return
    pytest.fail("nothing was reused: the test shows nothing")


@needs_births
def test_reuse_is_seen_between_any_two_of_several_captures() -> None:
    heaps = []
    leaves: list[Leaf] = []
    for _ in range(3):
        leaves[:] = [Leaf(number) for number in range(500)]
        gc.collect()
        heaps.append(capture(watch=True))
    assert of(growth(heaps[0], heaps[1]), Leaf) == (500, 500, 0)
    assert of(growth(heaps[1], heaps[2]), Leaf) == (500, 500, 0)
    assert of(growth(heaps[0], heaps[2]), Leaf) == (500, 500, 0)


def test_an_object_of_another_type_at_the_same_address_is_another_one() -> None:
    things: list[object] = [Leaf(number) for number in range(1000)]
    before = capture()
    things.clear()
    things += [Other() for _ in range(1000)]
    result = growth(before, capture())
    assert of(result, Leaf) == (0, 1000, 0)
    assert of(result, Other) == (1000, 0, 0)


def test_without_a_watch_the_result_is_said_not_to_be_exact() -> None:
    before = capture()
    assert not growth(before, capture()).exact


def test_nothing_happened_is_nearly_nothing() -> None:
    first = capture(watch=True)
    gc.collect()
    before = capture(watch=True)
    result = growth(before, capture())
    del first
    changed = {
        name: (int(new), int(dead))
        for name, new, dead in zip(result.types, result.new_count, result.dead_count, strict=True)
        if new > 5 or dead > 5
    }
    assert set(changed) <= {"int", "str", "float"}, changed


def test_garbage_counts_in_neither() -> None:
    gc.collect()
    gc.disable()
    try:
        before = capture(watch=True)
        for _ in range(10):
            leaf = Leaf(1)
            leaf.self = leaf  # type: ignore[attr-defined]
        del leaf
        result = growth(before, capture())
    finally:
        gc.enable()
    assert f"{Leaf.__module__}.Leaf" not in result.types or of(result, Leaf) == (0, 0, 0)


def test_sizes_add_up() -> None:
    keep = [Leaf(number) for number in range(100)]
    before = capture(watch=True)
    more = [bytearray(1000) for _ in range(100)]
    result = growth(before, capture())
    grown = result.after_bytes - result.before_bytes
    at = result.types.index("bytearray")
    assert grown[at] == result.new_bytes[at] - result.dead_bytes[at]
    assert result.new_bytes[at] >= 100 * 1000
    del keep, more


def test_another_process_is_refused() -> None:
    heap = capture()
    with pytest.raises(BadArgument, match="different processes"):
        growth(replace(heap, origin="another"), heap)


def test_the_wrong_order_is_refused() -> None:
    before, after = capture(), capture()
    with pytest.raises(BadArgument, match="the first snapshot is the later one"):
        growth(after, before)


def test_a_heap_can_be_pickled_and_compared() -> None:
    before = capture(watch=True)
    leaves = [Leaf(number) for number in range(10)]
    again: Heap = pickle.loads(pickle.dumps(before))
    assert of(growth(again, capture()), Leaf)[0] == 10
    del leaves


def test_the_collector_is_left_alone_once_the_last_watched_capture_is_gone() -> None:
    callbacks = list(gc.callbacks)
    first, second = capture(watch=True), capture(watch=True)
    assert len(gc.callbacks) == len(callbacks) + AVAILABLE
    del first
    assert len(gc.callbacks) == len(callbacks) + AVAILABLE
    del second
    assert gc.callbacks == callbacks


@needs_births
def test_a_capture_that_fails_leaves_no_callback() -> None:
    class Interrupting:
        __slots__ = ()

        def __sizeof__(self) -> int:
            raise KeyboardInterrupt

    held = Interrupting()
    callbacks = list(gc.callbacks)
    with pytest.raises(KeyboardInterrupt):
        capture(watch=True)
    assert gc.callbacks == callbacks
    del held


@needs_births
@pytest.mark.parametrize("frozen_after_a_collection", [False, True])
def test_births_that_a_freeze_hid_make_the_result_not_exact(frozen_after_a_collection: bool) -> None:
    before = capture(watch=True)
    if frozen_after_a_collection:
        gc.collect()
    leaves = [Leaf(number) for number in range(10)]
    gc.freeze()
    try:
        after = capture(watch=True)
        assert not growth(before, after).exact
        assert growth(after, capture()).exact
    finally:
        gc.unfreeze()
    del leaves


@needs_births
def test_births_that_were_missed_without_the_callback_make_the_result_not_exact() -> None:
    before = capture(watch=True)
    callbacks = list(gc.callbacks)
    gc.callbacks.clear()
    gc.collect()
    after = capture(watch=True)
    assert gc.callbacks == callbacks[-1:]
    gc.callbacks[:] = callbacks
    assert not growth(before, after).exact
    assert growth(after, capture()).exact


@needs_births
def test_births_in_a_callback_behind_ours_make_the_result_not_exact() -> None:
    made: list[object] = []

    def makes_some(phase: str, info: dict[str, int]) -> None:
        made.append(Leaf(1))

    before = capture(watch=True)
    gc.callbacks.append(makes_some)
    try:
        gc.collect()
        assert not growth(before, capture()).exact
        # a later watch stands behind it
        between = capture(watch=True)
        gc.collect()
        result = growth(between, capture())
        assert result.exact
        assert of(result, Leaf)[0] == 2
    finally:
        gc.callbacks.remove(makes_some)
    del before, between


@needs_births
def test_a_callback_of_our_own_behind_it_changes_nothing() -> None:
    before = capture(watch=True)
    with GcRecorder():
        gc.collect()
        assert growth(before, capture()).exact


@needs_births
def test_who_begins_to_watch_in_a_callback_takes_no_call_from_the_others() -> None:
    called: list[str] = []
    heaps: list[Heap] = []

    def watches(phase: str, info: dict[str, int]) -> None:
        births = current_births(start=True)
        assert births is not None

    def counts(phase: str, info: dict[str, int]) -> None:
        called.append(phase)

    heaps.append(capture(watch=True))
    gc.callbacks += [watches, counts]
    try:
        gc.collect()
        assert called == ["start", "stop"]
    finally:
        gc.callbacks.remove(watches)
        gc.callbacks.remove(counts)
    heaps.clear()
