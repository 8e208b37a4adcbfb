"""The icicle of a traced cell, in a real kernel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernels import Kernel


def boxes(kernel: Kernel, metric: str = "live", name: str = "t") -> list[dict[str, Any]]:
    """Give the boxes of a trace's icicle."""
    text = kernel.value(f"{name}.flame({metric!r}).frames.to_json(orient='records')")
    return list(json.loads(text))


def test_the_first_level_is_the_cells_lines_and_nothing_of_ipython_or_nbmem_is_below(kernel: Kernel) -> None:
    kernel.run(
        "%%memtrace -q -o t\ndef make(n):\n    return [bytearray(1000) for _ in range(n)]\n"
        "a = np.ones(10**6)\nb = make(20_000)\nfrom IPython.display import display\ndisplay(str(a.sum()))"
    )
    found = boxes(kernel)
    assert found[0]["live_bytes"] == kernel.value("int(t.summary.heap_peak_bytes)")
    first = {(box["kind"], box["line"]): box["live_bytes"] for box in found if box["depth"] == 1}
    assert {kind for kind, _ in first} <= {"line", "outside"}
    assert first["line", 4] == pytest.approx(8e6, rel=0.001)
    assert first["line", 5] > 1e6
    called = [box for box in found if box["kind"] == "line" and box["depth"] == 2]
    assert [(box["line"], box["source"].strip()[:6]) for box in called] == [(3, "return")]
    assert not [box["file"] for box in found if "IPython" in box["file"] or "nbmem" in box["file"]]


@pytest.mark.parametrize("magic", ["%%time", "%%capture"])
def test_the_lines_of_a_cell_with_another_magic_beneath_come_first_too(kernel: Kernel, magic: str) -> None:
    kernel.run(f"%%memtrace -q -o t\n{magic}\na = np.ones(10**6)\nb = a * 2")
    lines = [
        (box["line"], box["source"]) for box in boxes(kernel) if box["depth"] == 1 and box["kind"] == "line"
    ]
    assert [line for line in lines if line[0] > 2] == [(3, "a = np.ones(10**6)"), (4, "b = a * 2")]


def test_a_cell_whose_bytes_are_all_a_watched_functions_shows_who_called_it(kernel: Kernel) -> None:
    kernel.run("def load(n):\n    return np.ones(n)")
    kernel.run("%%memtrace -q -o t -f load\ny = load(2_000_000)")
    heavy = [box for box in boxes(kernel) if box["live_bytes"] > 1e7]
    assert [(box["function"], box["line"]) for box in heavy[1:3]] == [("cell", 2), ("load()", 2)]


def test_the_last_expression_of_a_cell_shows_the_picture(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t\na = np.ones(10**6)")
    out = kernel.run("t.flame('count')")
    assert out.result is not None
    assert "line 2: a = np.ones(10**6)" in out.result
    assert out.stderr == ""


def test_a_wrong_metric_is_an_error_of_one_line(kernel: Kernel) -> None:
    kernel.run("%%memtrace -q -o t\na = 1")
    out = kernel.run("t.flame('peak')")
    assert out.error == "BadArgument"
    assert "metric is 'peak'; it takes one of live, net, count" in out.traceback
