"""Allocation stacks as other tools read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nbmem


def make(count: int) -> object:
    return np.ones(count)


def traced() -> nbmem.CellTrace:
    with nbmem.trace() as t:
        kept = make(1_000_000)
        gone = make(2_000_000)
        del gone
    assert kept is not None
    return t


def test_collapsed_lines_lead_from_the_cell_to_the_allocation_and_add_up(tmp_path: Path) -> None:
    t = traced()
    t.to_collapsed(tmp_path / "live.txt")
    lines = (tmp_path / "live.txt").read_text().splitlines()
    weights = [int(line.rsplit(" ", 1)[1]) for line in lines]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == t.summary["heap_peak_bytes"]
    frames = lines[0].rsplit(" ", 1)[0].split(";")
    assert [frame.split(" ")[0] for frame in frames] == ["traced", "make", "ones"]
    assert 15_900_000 < weights[0] < 16_200_000


def test_the_net_is_what_stays(tmp_path: Path) -> None:
    t = traced()
    t.to_collapsed(tmp_path / "net.txt", metric="net")
    weights = [int(line.rsplit(" ", 1)[1]) for line in (tmp_path / "net.txt").read_text().splitlines()]
    assert 7_990_000 < max(weights) < 8_100_000


def test_a_speedscope_file_has_a_weight_for_each_sample_and_frames_that_exist(tmp_path: Path) -> None:
    t = traced()
    t.to_speedscope(tmp_path / "t.json", metric="count")
    document = json.loads((tmp_path / "t.json").read_text())
    (profile,) = document["profiles"]
    assert profile["type"] == "sampled"
    assert len(profile["samples"]) == len(profile["weights"])
    assert sum(profile["weights"]) == profile["endValue"] == t.summary["allocation_count"]
    frames = document["shared"]["frames"]
    assert all(0 <= number < len(frames) for sample in profile["samples"] for number in sample)
    assert "ones" in {frame["name"] for frame in frames}


def test_what_was_not_measured_is_refused_in_one_line(tmp_path: Path) -> None:
    with nbmem.trace(rss=True) as t:
        make(10)
    with pytest.raises(nbmem.NotMeasured, match="without --rss"):
        t.to_speedscope(tmp_path / "x.json")
    with pytest.raises(nbmem.BadArgument, match="one of live, net, count"):
        traced().to_collapsed(tmp_path / "x.txt", metric="peak")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
