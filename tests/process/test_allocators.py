"""The allocators' own counters, and the collector's events."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from nbmem.process import GcRecorder, PeakMeter, malloc_counters, pymalloc_counters, release_free_memory
from nbmem.process.gcevents import KEPT_EVENTS

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's counters")


@linux
def test_malloc_counts_a_block_that_is_held_and_not_one_that_is_freed() -> None:
    before = malloc_counters()
    block = bytearray(3_000_000)
    held = malloc_counters()
    del block
    after = malloc_counters()
    assert before is not None
    assert held is not None
    assert after is not None

    def used(counters: object) -> int:
        return int(counters.in_use_bytes + counters.mapped_bytes)  # type: ignore[attr-defined]

    assert used(held) - used(before) == pytest.approx(3_000_000, abs=20_000)
    assert used(after) - used(before) == pytest.approx(0, abs=20_000)


@linux
def test_pymalloc_counts_each_small_object_by_its_size_class() -> None:
    before = pymalloc_counters()
    kept = [float(number) for number in range(100_000)]
    after = pymalloc_counters()
    assert before is not None
    assert after is not None
    in_32 = {size: used for size, used, _ in before.size_classes}
    now_32 = {size: used for size, used, _ in after.size_classes}
    assert now_32[32] - in_32[32] == pytest.approx(len(kept), abs=2000)
    assert after.in_use_bytes - before.in_use_bytes == pytest.approx(32 * len(kept), rel=0.03)
    assert after.block_count == pytest.approx(sys.getallocatedblocks(), rel=0.1)
    assert after.arenas_bytes >= after.in_use_bytes


@linux
def test_reading_pymalloc_writes_nothing_to_stderr_and_leaves_no_descriptor(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    pymalloc_counters()
    assert len(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().err == ""


@linux
def test_giving_free_memory_back_lowers_the_resident_size() -> None:
    blocks = [bytearray(100_000) for _ in range(300)]
    kept = blocks[-1]
    del blocks
    with PeakMeter() as meter:
        release_free_memory()
    assert len(kept) == 100_000
    assert meter.result.before_bytes - meter.result.after_bytes > 20_000_000


def test_collections_are_recorded_with_what_they_freed() -> None:
    recorder = GcRecorder()
    gc.collect()
    with recorder:
        ring: list[object] = []
        ring.append(ring)
        del ring
        gc.collect()
    log = recorder.log
    assert log.count == len(log.events)
    assert [event.generation for event in log.events].count(2) >= 1
    assert log.collected_count >= 1
    assert all(event.seconds >= 0 and event.start >= 0 for event in log.events)
    assert log.seconds == pytest.approx(sum(event.seconds for event in log.events))


def test_the_totals_go_on_when_no_more_events_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbmem.process.gcevents.KEPT_EVENTS", 3)
    assert KEPT_EVENTS == 10_000
    with GcRecorder() as recorder:
        for _ in range(8):
            gc.collect(0)
    assert len(recorder.log.events) == 3
    assert recorder.log.count >= 8


def test_other_peoples_callbacks_stay_where_they_were() -> None:
    def theirs(phase: str, info: object) -> None: ...

    gc.callbacks.append(theirs)
    try:
        with GcRecorder():
            pass
        assert gc.callbacks[-1] is theirs
    finally:
        gc.callbacks.remove(theirs)
