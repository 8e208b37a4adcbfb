"""What each name of a namespace holds."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbmem.heap.holders import Holder
from nbmem.heap.holdings import Holding, holdings
from nbmem.process.allocators import malloc_counters, pymalloc_counters
from tests.heap.deleted import Scene, check

MIB = 1 << 20


def told(namespace: dict[str, Any], **options: Any) -> dict[str, Holding]:
    return {each.name: each for each in holdings(namespace, list(namespace), **options).names}


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    count = draw(st.integers(1, 8))
    node = st.integers(0, count - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=2 * count))
    bound = draw(st.lists(node, min_size=1, max_size=count))
    return Scene(
        count, edges, {f"n{i}": each for i, each in enumerate(bound)}, draw(st.lists(node, max_size=2))
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenes(), st.data())
def test_what_disappears_when_a_name_is_deleted_is_what_was_told(scene: Scene, data: st.DataObject) -> None:
    check(scene, data.draw(st.sampled_from(sorted(scene.names))))


def test_the_same_for_hundreds_of_graphs_in_a_small_process() -> None:
    command = [sys.executable, "-m", "tests.heap.deleted", "150"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout == "all right\n", done.stderr[-2000:]


def views() -> dict[str, Any]:
    big = np.ones(4 * MIB // 8)
    return {"big": big, "view": big[:10]}


def frames() -> dict[str, Any]:
    frame = pd.DataFrame({"a": np.arange(500_000), "b": [str(i) for i in range(500_000)]})
    return {"frame": frame, "alias": frame, "part": frame[:100], "alone": frame.copy(deep=True)}


def closures() -> dict[str, Any]:
    def make() -> Callable[[], Any]:
        big = np.ones(MIB)
        return lambda: big

    return {"function": make(), "other": make()}


def cycles() -> dict[str, Any]:
    cycle: dict[str, Any] = {"data": bytearray(3 * MIB)}
    cycle["self"] = [cycle]
    return {"cycle": cycle}


def arrays() -> dict[str, Any]:
    arrays = {f"key{i}": np.full(50_000, i) for i in range(20)}
    return {"arrays": arrays, "first": arrays["key0"]}


@pytest.mark.parametrize("make", [views, frames, closures, cycles, arrays])
def test_the_allocator_gets_back_what_was_told_name_after_name(make: Callable[[], dict[str, Any]]) -> None:
    def in_use() -> int:
        gc.collect()
        malloc, pymalloc = malloc_counters(), pymalloc_counters()
        if malloc is None or pymalloc is None:
            pytest.skip("the allocators do not tell")
        arrow = sys.modules.get("pyarrow")
        return (
            malloc.in_use_bytes + malloc.mapped_bytes + pymalloc.in_use_bytes
            + (0 if arrow is None else arrow.total_allocated_bytes())
        )  # fmt: skip

    make()  # what the library makes once
    namespace = make()
    for name in list(namespace):
        freed = told(namespace)[name].freed_if_deleted_bytes
        before = in_use()
        del namespace[name]
        assert abs(before - in_use() - freed) < max(0.03 * freed, 20_000), name


def test_a_view_keeps_all_of_the_array_from_being_freed_and_has_it_all_once_it_is_alone() -> None:
    namespace = views()
    found = told(namespace)
    assert found["big"].freed_if_deleted_bytes == 0
    assert found["big"].held_by == ("view.base",)
    assert found["view"].shared_bytes > 4 * MIB
    assert found["view"].shared_with == ("big",)
    del namespace["big"]
    assert told(namespace)["view"].freed_if_deleted_bytes > 4 * MIB


@pytest.mark.parametrize(
    "cut", [lambda frame: frame[:10], lambda frame: frame["a"], lambda frame: frame.iloc[:5, :1]]
)
def test_a_slice_of_a_frame_shares_with_it_and_has_it_all_once_it_is_alone(cut: Any) -> None:
    frame = pd.DataFrame({"a": np.arange(500_000)})
    namespace = {"frame": frame, "part": cut(frame)}
    del frame
    found = told(namespace)
    assert found["frame"].freed_if_deleted_bytes < 100_000
    assert found["part"].shared_bytes > 3_900_000
    del namespace["frame"]
    assert told(namespace)["part"].freed_if_deleted_bytes > 3_900_000


def test_a_slice_of_a_table_shares_its_buffers() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": np.arange(500_000)})
    namespace = {"table": table, "part": table.slice(0, 10)}
    del table
    found = told(namespace)
    assert found["table"].freed_if_deleted_bytes < 100_000
    assert found["part"].shared_bytes > 3_900_000
    del namespace["table"]
    assert told(namespace)["part"].freed_if_deleted_bytes > 3_900_000


class Outside:
    """Something with an attribute."""


def test_holders_are_told_by_name() -> None:
    value = [bytearray(MIB)]
    outputs, cache, keeper = {4: value}, {"2019": value}, Outside()
    keeper.attribute = [value]  # type: ignore[attr-defined]
    namespace: dict[str, Any] = {"value": value, "again": value, "cache": cache, "keeper": keeper}
    del value, cache, keeper
    found = told(namespace, holders=[Holder(outputs, "Out")])["value"]
    assert set(found.held_by) == {"again", "cache['2019']", "Out[4]", "inside keeper.attribute"}
    assert found.freed_if_deleted_bytes == 0
    assert found.retained_bytes > MIB


def test_a_module_and_a_running_function_are_told_as_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {"value": [bytearray(MIB)], "other": [bytearray(MIB)]}
    monkeypatch.setattr(sys.modules[__name__], "kept", namespace["value"], raising=False)
    local = namespace["other"]
    found = told(namespace)
    assert f"module {__name__}: kept" in found["value"].held_by
    (holder,) = found["other"].held_by
    assert holder.startswith("a local of test_a_module_and_a_running_function")
    assert local is namespace["other"]


def test_a_cycle_through_the_object_itself_does_not_hold_it() -> None:
    assert told(cycles())["cycle"].freed_if_deleted_bytes > 3 * MIB


def test_a_namespace_that_nobody_else_holds_is_told_of_too() -> None:
    assert told({"a": bytearray(MIB)})["a"].freed_if_deleted_bytes > MIB
    assert told({"number": 10**40})["number"].freed_if_deleted_bytes > 0
    assert told({"small": 5})["small"].freed_if_deleted_bytes == 0
    assert told({}) == {}


def test_shapes_are_those_of_known_types_and_builtin_containers() -> None:
    found = told(
        {
            "array": np.ones((2, 3)), "frame": pd.DataFrame({"a": [1, 2]}), "series": pd.Series([1, 2, 3]),
            "list": [1, 2], "dict": {1: 2}, "number": 3.5, "index": pd.Index([1, 2]),
        }
    )  # fmt: skip
    assert {name: each.shape for name, each in found.items()} == {
        "array": (2, 3), "frame": (2, 1), "series": (3,), "list": (2,), "dict": (1,), "number": None,
        "index": (2,),
    }  # fmt: skip


class Meta(type):
    def __instancecheck__(cls, other: object) -> bool:
        raise RuntimeError

    def __hash__(cls) -> int:
        raise RuntimeError

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError


class Hostile(metaclass=Meta):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError

    def __sizeof__(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


class HostileDict(dict[Any, Any]):
    def __len__(self) -> int:
        raise RuntimeError

    def items(self) -> Any:
        raise RuntimeError

    __iter__ = values = keys = __getitem__ = items


def test_hostile_objects_run_no_code() -> None:
    hostile = Hostile()
    namespace = {"hostile": hostile, "dict": HostileDict(a=hostile, b=bytearray(MIB)), "kind": Hostile}
    found = told(namespace)
    assert "dict['a']" in found["hostile"].held_by
    assert found["dict"].freed_if_deleted_bytes > MIB
    assert found["dict"].shape == (2,)
    assert hostile is dict.__getitem__(namespace["dict"], "a")


def test_nothing_is_kept_alive() -> None:
    import weakref

    namespace = {"value": Outside()}
    reference = weakref.ref(namespace["value"])
    result = holdings(namespace, ["value"])
    del namespace["value"]
    gc.collect()
    assert reference() is None
    assert result.names[0].name == "value"


def test_a_thousand_names_that_share_everything_are_told_of_quickly() -> None:
    from time import thread_time  # not what a neighbour takes

    shared = [bytearray(10) for _ in range(10_000)]
    namespace: dict[str, Any] = {f"v{i}": [shared, *shared[:20], i] for i in range(1000)}
    del shared
    from nbmem.heap.capture import capture

    def seconds(work: Callable[[], object]) -> float:
        start = thread_time()
        work()
        return thread_time() - start

    one = min(seconds(capture) for _ in range(2))
    assert seconds(lambda: told(namespace)) < 6 * one + 1
