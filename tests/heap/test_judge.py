"""The sizes of structures against what the allocators get back when they go."""

from __future__ import annotations

import functools
import importlib.util
import sys

import pytest

from tests.heap.judge import Verdict, judged
from tests.heap.library_structures import LIMITS
from tests.heap.structures import STRUCTURES

#: So that all take about half a minute; the benchmark has them at full size.
SCALE = {"": 0.1, "pandas": 0.1, "polars": 0.5}

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the counters are glibc's"),
    # sizes are what this version of CPython allocates
]


@functools.cache
def _verdicts(needs: tuple[str, ...]) -> dict[str, Verdict]:
    """Judge all structures of the same libraries in one process."""
    names = [name for name, each in STRUCTURES.items() if each.needs == needs]
    scale = SCALE.get(needs[0] if needs else "", 0.2)
    return {verdict.name: verdict for verdict in judged(names, scale)}


def _missing(name: str) -> str | None:
    return next(
        (
            library
            for library in STRUCTURES[name].needs
            if importlib.util.find_spec(library.partition(".")[0]) is None
        ),
        None,
    )


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_what_a_structure_retains_is_what_comes_back_when_it_goes(name: str) -> None:
    missing = _missing(name)
    if missing:
        pytest.skip(f"{missing} is not installed")
    verdict = _verdicts(STRUCTURES[name].needs)[name]
    assert verdict.retained_bytes == verdict.together_bytes
    if name in LIMITS:
        assert verdict.off_bytes < 0, "what is not seen is missing, nothing is made up"
        if verdict.is_right:
            pytest.fail(f"{name} is no longer a limit: take it off the list")
        pytest.xfail(LIMITS[name])
    assert verdict.is_right, f"{verdict.off_bytes:+,} bytes off: {verdict}"


def test_no_fewer_than_forty_structures_are_judged() -> None:
    assert len(STRUCTURES) - len(LIMITS) >= 100
