"""What an object leads to, up to a bound."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd

from nbmem.heap import owned_bytes, reached_bytes


def test_a_list_counts_its_elements_once_each() -> None:
    element = bytearray(100_000)
    size, whole = reached_bytes([element, element])
    assert whole
    assert size == owned_bytes([element, element]) + owned_bytes(element)


def test_arrays_and_views_of_them_count_the_data_once() -> None:
    array = np.ones(1_000_000)
    for held in ([array], [array, array[:10], array[5:]], [array[:10]], [array.reshape(1000, 1000)]):
        size, _ = reached_bytes(held)
        assert abs(size - 8_000_000) < 5_000


def test_elements_of_object_arrays_count() -> None:
    size, _ = reached_bytes(np.array([bytearray(100_000), bytearray(100_000), None], dtype=object))
    assert 200_000 < size < 220_000


def test_frames_count_their_columns_once() -> None:
    frame = pd.DataFrame({"a": np.arange(100_000), "b": 1.0})
    size, whole = reached_bytes({"x": frame, "y": [frame]})
    assert whole
    assert abs(size - 1_600_000) < 60_000


def test_a_cycle_of_a_million_objects_stops_at_the_bound_and_says_so() -> None:
    first: list[Any] = []
    last = first
    for _ in range(1_000_000):
        last.append([])
        last = last[0]
    last.append(first)
    size, whole = reached_bytes(first, most=10_000)
    assert not whole
    assert 500_000 < size < 2_000_000
    while first:  # not by recursion
        first = first.pop()


def test_code_modules_and_what_is_named_an_end_are_not_followed() -> None:
    everything = {"big": bytearray(10_000_000)}

    def function() -> object:
        return everything

    size, _ = reached_bytes([function, sys, type(everything), function.__code__])
    assert size < 10_000
    assert reached_bytes([everything], ends=(everything,))[0] < 200


def test_hostile_objects_run_no_code() -> None:
    class Meta(type):
        def __hash__(cls) -> int:
            raise RuntimeError

        def __eq__(cls, other: object) -> bool:
            raise RuntimeError

    class Hostile(metaclass=Meta):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

        def __sizeof__(self) -> int:
            raise RuntimeError

        def __iter__(self) -> object:
            raise RuntimeError

        def __len__(self) -> int:
            raise RuntimeError

    class HostileList(list[Any]):
        def __iter__(self) -> Any:
            raise RuntimeError

    size, whole = reached_bytes([Hostile(), HostileList([bytearray(50_000)])])
    assert whole
    assert size > 50_000
