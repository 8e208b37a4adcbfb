"""Sizes against the allocators' own counters, and objects that fight back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbmem.heap import compare_names, owned_bytes, record_names
from nbmem.heap.sizes import block_bytes
from nbmem.process import malloc_counters, pymalloc_counters

MAKERS: dict[str, Callable[[], Any]] = {
    "array": lambda: np.ones(200_000),
    "bytes": lambda: bytes(500_000),
    "bytearray": lambda: bytearray(300_000),
    "list": lambda: [None] * 100_000,
    "frame of numbers": lambda: pd.DataFrame(np.ones((50_000, 4))),
    "series": lambda: pd.Series(np.ones(100_000)),
    "categorical": lambda: pd.Series(pd.Categorical.from_codes(np.zeros(200_000, "int8"), ["a", "b"])),
    "whole view": lambda: np.ones((300, 500)).T,
    "set": lambda: set(range(256)) | {None},
}


def in_use() -> int:
    malloc, pymalloc = malloc_counters(), pymalloc_counters()
    assert malloc is not None
    assert pymalloc is not None
    return malloc.in_use_bytes + malloc.mapped_bytes + pymalloc.in_use_bytes


@pytest.mark.skipif(malloc_counters() is None, reason="glibc's counters")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_an_objects_size_is_what_comes_back_when_it_goes(make: Callable[[], Any]) -> None:
    make()
    value = make()
    size = owned_bytes(value)
    gc.collect()
    before = in_use()
    del value
    gc.collect()
    assert size == pytest.approx(before - in_use(), rel=0.05, abs=5_000)


def test_a_view_of_a_part_owns_none_of_the_buffer() -> None:
    whole = np.ones(100_000)
    assert owned_bytes(whole[10:20]) < 200
    assert owned_bytes(pd.Series(whole)[10:20]) < 2_000


def test_arrow_strings_are_counted_with_their_buffers() -> None:
    pytest.importorskip("pyarrow")
    text = pd.Series(["a text of thirty-two characters.."] * 10_000, dtype="string[pyarrow]")
    assert owned_bytes(text) > 320_000


@pytest.mark.parametrize(
    ("size", "block"), [(0, 0), (1, 16), (24, 32), (512, 512), (513, 528), (1000, 1008), (200_000, 200_704)]
)
def test_blocks_are_rounded_as_the_allocators_round(size: int, block: int) -> None:
    assert block_bytes(size) == block


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError("metaclass")

    def __instancecheck__(cls, other: object) -> bool:
        raise RuntimeError("instancecheck")


def hostile_objects() -> dict[str, Any]:
    class Sizeof:
        def __sizeof__(self) -> int:
            raise RuntimeError("sizeof")

    class Attributes:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("attribute")

    class Liar:
        @property
        def __class__(self) -> type:  # type: ignore[override]
            raise RuntimeError("class")

    class Compare:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("eq")

        def __repr__(self) -> str:
            raise RuntimeError("repr")

        __hash__ = None  # type: ignore[assignment]

    class Array(np.ndarray):  # type: ignore[type-arg]
        @property
        def nbytes(self) -> int:
            raise RuntimeError("nbytes")

        @property
        def flags(self) -> Any:  # type: ignore[override]
            raise RuntimeError("flags")

    class Frame(pd.DataFrame):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("frame")

        def memory_usage(self, *args: Any, **kw: Any) -> Any:
            raise RuntimeError("usage")

    class Target:
        pass

    target = Target()
    dead = weakref.proxy(target)
    del target
    metaclassed = Meta("Metaclassed", (), {})
    ring: list[Any] = []
    last = ring
    for _ in range(1_000_000):
        last.append([])
        last = last[0]
    last.append(ring)
    return {
        "sizeof": Sizeof(), "attributes": Attributes(), "liar": Liar(), "compare": Compare(),
        "array": np.ones(10).view(Array), "frame": Frame({"a": [1]}), "dead": dead, "ring": ring,
        "metaclassed": type.__call__(metaclassed),
    }  # fmt: skip


def test_hostile_objects_are_sized_without_running_their_code() -> None:
    names = hostile_objects()
    record = record_names(names)
    assert set(record) == set(names)
    assert all(size > 0 for _, _, size in record.values())
    assert compare_names(record, record_names(names)) == []
    ring = names.pop("ring")
    while ring:  # taken apart by hand: a million nested lists are freed by recursion otherwise
        ring = ring.pop()
    names.clear()


def test_a_record_keeps_no_object_alive() -> None:
    class Thing:
        pass

    names = {"thing": Thing()}
    reference = weakref.ref(names["thing"])
    record = record_names(names)
    names.clear()
    assert reference() is None
    assert "thing" in record


def test_names_are_compared_by_what_they_are_bound_to() -> None:
    names: dict[str, Any] = {"same": "a", "gone": [1], "grows": [], "_private": 1, "module": gc}
    before = record_names(names)
    assert set(before) == {"same", "gone", "grows"}
    del names["gone"]
    names["grows"].extend(range(1000))
    names["new"] = bytearray(5000)
    changes = {change.name: change for change in compare_names(before, record_names(names))}
    assert {name: change.change for name, change in changes.items()} == {
        "gone": "deleted", "grows": "grown", "new": "new",
    }  # fmt: skip
    assert changes["new"].bytes == pytest.approx(5056, abs=64)
