"""What became of names: the native comparison and its twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbmem.heap import NameWatch, compare_names, record_names
from nbmem.heap.sizes import Sizer, owned_bytes
from nbmem.heap.variables import _type_name, differing_twin

native = pytest.importorskip("nbmem.heap._names", reason="built without the native part")

POOL: list[Any] = [
    1, 2**200, 1.5, True, None, "", "a" * 600, "ä" * 300, b"", bytes(700), (), (1, 2), [], list(range(100)), {}, {"a": 1},
    dict.fromkeys(range(999)), set(), set(range(50)), frozenset({1}), bytearray(5000), len, lambda: 0, object(), np.ones(10),
    np.ones(10)[:3], np.ones(1000), type, int, ValueError(), range(3), iter([1]), np, complex(1, 2),
]  # fmt: skip


class Sub(list):  # type: ignore[type-arg]
    """A list of somebody's."""


POOL += [Sub(), Sub([1, 2, 3])]
NAMES = st.sampled_from(["a", "b", "long_name", "_private", "hidden", "ä", ""])
NAMESPACES = st.dictionaries(NAMES, st.integers(0, len(POOL) - 1))


@settings(max_examples=300, deadline=None)
@given(NAMESPACES, NAMESPACES)
def test_the_native_comparison_and_its_twin_agree(before: dict[str, int], after: dict[str, int]) -> None:
    hidden = frozenset({"hidden"})
    names = record_names({name: POOL[number] for name, number in before.items()}, hidden)
    namespace = {name: POOL[number] for name, number in after.items()}
    assert native.differing(namespace, hidden, names, Sizer(), _type_name) == differing_twin(
        namespace, hidden, names, Sizer(), _type_name
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMESPACES, min_size=1, max_size=6))
def test_looking_again_and_again_tells_the_same_as_comparing_records(states: list[dict[str, int]]) -> None:
    watch = NameWatch({}, {"hidden"})
    last = record_names({}, {"hidden"})
    for state in states:
        namespace = {name: POOL[number] for name, number in state.items()}
        now = record_names(namespace, {"hidden"})
        key = lambda change: (change.name, change.change)  # noqa: E731
        assert sorted(watch.look(namespace), key=key) == sorted(compare_names(last, now), key=key)
        last = now


@pytest.mark.parametrize("value", POOL, ids=lambda value: type(value).__name__)
def test_each_objects_bytes_are_those_of_the_sizer(value: Any) -> None:
    found = record_names({"x": value})
    assert found == {} if value is np else found["x"][2] == owned_bytes(value)


def test_names_that_are_no_strings_are_passed_over() -> None:
    assert record_names({1: "x", ("a",): "y", "z": 1}) == record_names({"z": 1})  # type: ignore[dict-item]
