"""The peak counter and the sampler, native and twin, against arithmetic and the kernel."""

from __future__ import annotations

import mmap
import os
import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from nbmem.process import NATIVE, PeakMeter, _twin, has_exact_peak, peak

pytestmark = [
    pytest.mark.twin,
    pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="no peak counter on this system"),
]

MIB = 1 << 20
PARTS: list[Any] = [_twin]
if NATIVE:
    from nbmem.process import _meter

    PARTS.append(_meter)
parts = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.rsplit(".", 1)[1])


def touch(size: int) -> None:
    """Touch so many bytes of new memory and give them back."""
    with mmap.mmap(-1, size) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1


def test_the_build_is_the_one_that_this_run_is_about() -> None:
    assert os.environ.get("NBMEM_EXPECT_TWIN") != "1" or not NATIVE


@parts
def test_a_peak_that_was_given_back_is_seen_in_full(part: Any) -> None:
    counter = part.PeakCounter()
    slot, before = counter.open()
    touch(50 * MIB)
    top, resident = counter.close(slot)
    assert top - before == pytest.approx(50 * MIB, rel=0.02)
    assert resident - before < 5 * MIB


@parts
def test_taking_starts_the_interval_anew(part: Any) -> None:
    counter = part.PeakCounter()
    slot, before = counter.open()
    touch(20 * MIB)
    first, _ = counter.take(slot)
    second, resident = counter.take(slot)
    counter.close(slot)
    assert first - before > 19 * MIB
    assert second - resident < 1 * MIB


@parts
def test_an_inner_interval_takes_nothing_from_the_outer_one(part: Any) -> None:
    counter = part.PeakCounter()
    outer, before = counter.open()
    touch(30 * MIB)
    inner, _ = counter.open()
    touch(10 * MIB)
    inner_peak, inner_resident = counter.close(inner)
    outer_peak, _ = counter.close(outer)
    assert outer_peak - before == pytest.approx(30 * MIB, rel=0.03)
    assert inner_peak - inner_resident == pytest.approx(10 * MIB, rel=0.05)
    assert counter.open_count == 0


@parts
def test_descriptors_are_open_only_while_an_interval_is(part: Any) -> None:
    counter = part.PeakCounter()
    before = len(os.listdir("/proc/self/fd"))
    slot, _ = counter.open()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    counter.close(slot)
    assert len(os.listdir("/proc/self/fd")) == before


@parts
def test_a_forked_child_reads_its_own_counter(part: Any) -> None:
    counter = part.PeakCounter()
    slot, _ = counter.open()
    block = bytearray(40 * MIB)  # noqa: F841  # resident in the parent, and in the child until it exits
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            counter.take(slot)
            touch(60 * MIB)
            top, resident = counter.take(slot)
            os.write(write, f"{top - resident}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 100)) == pytest.approx(60 * MIB, rel=0.03)
    os.close(read)
    os.close(write)
    top, resident = counter.close(slot)
    assert top - resident < 30 * MIB, "the child's peak is no part of the parent's"


@parts
def test_a_slot_that_is_not_open_is_refused(part: Any) -> None:
    counter = part.PeakCounter()
    with pytest.raises(ValueError, match="no interval is open at slot 3"):
        counter.take(3)


def test_this_kernels_counter_passes_its_test() -> None:
    assert has_exact_peak()


def test_a_meter_agrees_with_what_was_touched_and_says_that_it_is_exact() -> None:
    with PeakMeter() as meter:
        touch(64 * MIB)
    assert meter.result.exact
    assert meter.result.peak_bytes - meter.result.before_bytes == pytest.approx(64 * MIB, rel=0.02)


def test_without_the_kernels_counter_a_poller_serves_and_the_result_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peak, "has_exact_peak", lambda: False)
    with PeakMeter(interval=0.01) as meter:
        block = bytearray(80 * MIB)
        time.sleep(0.3)
        del block
    assert not meter.result.exact
    assert meter.result.peak_bytes - meter.result.before_bytes == pytest.approx(80 * MIB, rel=0.1)
    assert meter.result.after_bytes < meter.result.peak_bytes


@parts
def test_the_sampler_sees_the_size_rise_and_fall(part: Any) -> None:
    sampler = part.ResidentSampler()
    sampler.start()
    time.sleep(0.05)
    sampler.mark(7)
    block = bytearray(50 * MIB)
    time.sleep(0.1)
    sampler.mark(8)
    del block
    time.sleep(0.1)
    seconds, resident, marks = sampler.stop()
    assert len(seconds) == len(resident) == len(marks)
    assert list(seconds) == sorted(seconds)
    assert max(resident) - resident[0] == pytest.approx(50 * MIB, rel=0.1)
    assert max(resident) - resident[-1] == pytest.approx(50 * MIB, rel=0.1)
    assert {-1, 7, 8} <= set(marks)


@parts
def test_the_samplers_points_are_bounded_and_span_the_whole_time(part: Any) -> None:
    sampler = part.ResidentSampler(0.0005, 50)
    sampler.start()
    time.sleep(0.6)
    seconds, _, _ = sampler.stop()
    assert 20 <= len(seconds) <= 50
    assert seconds[0] == 0
    assert seconds[-1] > 0.55
    gaps = [later - earlier for earlier, later in pairwise(seconds)]
    assert max(gaps) < 0.5


@parts
def test_folding_the_points_keeps_the_highest(part: Any) -> None:
    sampler = part.ResidentSampler(0.001, 20)
    sampler.start()
    time.sleep(0.05)
    block = bytearray(60 * MIB)
    time.sleep(0.02)
    del block
    time.sleep(0.5)
    _, resident, _ = sampler.stop()
    assert max(resident) - resident[-1] > 50 * MIB


@parts
def test_the_sampler_leaves_no_thread_and_no_descriptor(part: Any) -> None:
    def handles() -> set[str]:
        return {
            f"/proc/self/{kind}/{name}"
            for kind in ("fd", "task")
            for name in os.listdir(f"/proc/self/{kind}")
        }

    before, threads = handles(), threading.active_count()
    sampler = part.ResidentSampler()
    sampler.start()
    with pytest.raises(RuntimeError, match="starts once"):
        sampler.start()
    sampler.stop()
    abandoned = part.ResidentSampler()
    abandoned.start()
    abandoned.stop()
    for _ in range(100):  # a Python thread that was joined is gone from the system a moment later
        if handles() <= before:  # less is well: a thread of an earlier test may end only now
            break
        time.sleep(0.02)
    assert handles() <= before
    assert threading.active_count() <= threads


@pytest.mark.skipif(not NATIVE, reason="a thread in Python needs the GIL")
def test_the_native_sampler_sees_what_happens_while_the_gil_is_held() -> None:
    import numpy as np

    values = np.arange(6_000_000)[::-1].copy()
    sampler = _meter.ResidentSampler()
    sampler.start()
    began = time.perf_counter()
    np.sort(values, kind="stable")  # one call that holds the GIL
    spent = time.perf_counter() - began
    seconds, resident, _ = sampler.stop()
    assert len(seconds) > spent / 0.001 / 3
    assert max(resident) - resident[0] > 40 * MIB


@pytest.mark.skipif(
    not NATIVE, reason="the twin's thread does not live in the child either, and holds no lock"
)
def test_a_fork_while_the_sampler_runs_harms_neither_process() -> None:
    sampler = _meter.ResidentSampler()
    sampler.start()
    if (child := os.fork()) == 0:
        try:
            sampler.stop()
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(sampler.stop()[0]) > 0
