"""What one object holds: ``nbmem.sizeof``."""

from __future__ import annotations

import gc
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbmem
from nbmem.heap.capture import capture, capture_from
from nbmem.heap.objectsize import measure
from nbmem.heap.parts import Part
from tests.heap.judge import in_use_bytes
from tests.heap.test_holdings import Hostile, HostileDict

MIB = 1 << 20


class Model:
    def __init__(self) -> None:
        self.weights = np.ones(MIB // 8)
        self.layers = [np.ones(MIB // 16) for _ in range(4)]


def cycle() -> list[Any]:
    made: list[Any] = [bytearray(MIB)]
    made.append({"back": made})
    return made


def local_class() -> object:
    class Local:
        table = bytearray(MIB)

    return Local()


def error() -> BaseException:
    def boom() -> None:
        batch = bytearray(MIB)
        raise ValueError(len(batch))

    try:
        boom()
    except ValueError as raised:
        return raised.with_traceback(raised.__traceback__.tb_next)  # type: ignore[union-attr]
    raise AssertionError


def generator() -> Any:
    def steps() -> Any:
        local = np.ones(MIB // 8)
        yield local

    made = steps()
    next(made)
    return made


MAKERS: list[Callable[[], Any]] = [
    Model, cycle, generator,
    lambda: pd.DataFrame({"a": np.arange(100_000), "b": [str(i) for i in range(100_000)]}),
    lambda: np.ones(MIB)[:10],
    lambda: {f"key{i}": [float(i)] for i in range(10_000)},
]  # fmt: skip


def classes() -> object:
    return [type("Made", (), {"table": bytearray(MIB)}), {"named": Model}]


def modules() -> object:
    made = types.ModuleType("made")
    made.table = bytearray(MIB)  # type: ignore[attr-defined]
    return {"modules": [made, gc]}


def frames() -> object:
    table = bytearray(MIB)

    def deeper() -> object:
        return sys._getframe(1)

    return [deeper(), len(table)]


def bound_functions() -> object:
    return [bytearray(MIB).append, *(dict.fromkeys for _ in range(1000))]


@pytest.mark.parametrize("make", MAKERS)
def test_it_does_not_matter_how_an_object_is_passed_and_who_holds_it(make: Callable[[], Any]) -> None:
    def passed_on(*values: Any, **named: Any) -> nbmem.ObjectSize:
        return nbmem.sizeof(*values, **named)

    value = make()
    sizes = [
        nbmem.sizeof(value), nbmem.sizeof([value][0]), passed_on(value),
        passed_on(obj=value), nbmem.sizeof(*(value,)), list(map(nbmem.sizeof, [value, value]))[1],
    ]  # fmt: skip
    figures = {
        (size.retained_bytes, size.shallow_bytes, size.shared_bytes, size.object_count) for size in sizes
    }
    assert len(figures) == 1
    assert sizes[0].exact
    # another object may have room for an attribute more
    assert abs(nbmem.sizeof(make()).retained_bytes - sizes[0].retained_bytes) < 200


@pytest.mark.parametrize("make", [*MAKERS, local_class, error])
def test_it_is_what_the_whole_heap_says(make: Callable[[], Any]) -> None:
    value = make()
    heap = capture(held=[value])
    node = heap.node_at(id(value))
    assert node is not None
    size = nbmem.sizeof(value)
    assert size.retained_bytes == heap.retained_bytes[node]
    assert size.retained_bytes > 0.7 * MIB


@pytest.mark.parametrize("make", [classes, modules, frames, bound_functions])
def test_classes_modules_and_frames_that_only_a_container_holds_go_with_it(make: Callable[[], Any]) -> None:
    value = make()
    size = nbmem.sizeof(value)
    assert size.exact
    heap = capture(held=[value])
    assert size.retained_bytes == heap.retained_bytes[heap.node_at(id(value))] > MIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the counters are glibc's")
def test_what_comes_back_when_a_container_of_classes_goes_is_its_size() -> None:
    def build() -> object:
        return [type(f"Made{i}", (), {"table": [float(i)], "run": lambda self: self}) for i in range(300)]

    build()
    gc.collect()
    value = build()
    size = nbmem.sizeof(value).retained_bytes
    gc.collect()
    before = in_use_bytes()
    del value
    gc.collect()
    assert before - in_use_bytes() == pytest.approx(size, rel=0.03)


@pytest.mark.parametrize(
    "value",
    [pd.DataFrame({"a": [1.0], "b": pd.Categorical(["x"])}), [Model, int, gc], threading.Lock(), Model()],
)
def test_what_modules_name_needs_no_picture_of_everything(value: object) -> None:
    assert not capture_from([value]).hides


def test_what_could_not_be_seen_is_said() -> None:
    # GIVEN an object of nbmem's, which is in no picture of the heap, with a class that nothing names
    part = measure([1])
    object.__setattr__(part, "notes", (type("Made", (), {}),))
    size = measure(part)
    assert not size.exact
    assert any("classes" in note for note in size.notes)


def test_a_temporary_value_retains_all_of_it() -> None:
    assert nbmem.sizeof(np.ones(MIB)[:10]).retained_bytes > 8 * MIB
    big = np.ones(MIB)
    view = nbmem.sizeof(big[:10])
    assert view.retained_bytes == view.shallow_bytes < 200
    assert view.shared_bytes > 8 * MIB


def test_reachable_is_what_is_retained_and_what_is_shared() -> None:
    inner = [bytearray(MIB)]
    size = nbmem.sizeof({"inner": inner, "own": bytearray(MIB)})
    assert MIB < size.retained_bytes < 1.1 * MIB
    assert MIB < size.shared_bytes < 1.1 * MIB
    assert size.reachable_bytes == size.retained_bytes + size.shared_bytes


def sums_hold(part: Part) -> bool:
    whole = part.shallow_bytes + sum(each.retained_bytes for each in part.parts)
    return not part.parts or (whole == part.retained_bytes and all(map(sums_hold, part.parts)))


@pytest.mark.parametrize("make", [*MAKERS, local_class, error])
def test_the_parts_add_up_at_every_level(make: Callable[[], Any]) -> None:
    tree = nbmem.sizeof(make()).tree
    assert sums_hold(tree)
    assert all(each.retained_bytes >= 0.005 * tree.retained_bytes for each in tree.parts if each.type)


def test_parts_have_names_and_alike_ones_are_one() -> None:
    tree = nbmem.sizeof(Model()).tree
    assert {part.name for part in tree.parts} == {".weights", ".layers"}
    (layers,) = [part for part in tree.parts if part.name == ".layers"]
    assert sorted(part.name for part in layers.parts) == ["[0]", "[1]", "[2]", "[3]"]
    rows = [{"x": float(i), "y": [i]} for i in range(5000)]
    (row,) = [part for part in nbmem.sizeof(rows).tree.parts if part.type == "dict"]
    assert (row.name, row.count) == ("[*]", 5000)
    assert {part.name for part in row.parts if part.type} == {"['x']", "['y']"}


def test_the_variable_of_a_closure_is_named_and_the_cells_belong_to_the_function() -> None:
    def make() -> Callable[[], Any]:
        big = bytearray(MIB)
        return lambda: big

    (part, *_) = nbmem.sizeof(make()).tree.parts
    assert (part.name, part.type) == ("(variable big)", "bytearray")


def test_types_add_up_to_what_is_retained() -> None:
    size = nbmem.sizeof([[float(i)] for i in range(1000)])
    types = size.types()
    assert list(types.columns) == ["type", "count", "shallow_bytes"]
    assert types.shallow_bytes.sum() == size.retained_bytes
    assert types["count"].sum() == size.object_count
    assert dict(zip(types.type, types["count"], strict=True))["float"] == 1000
    assert list(size.parts.columns) == [
        "level", "path", "type", "count", "shallow_bytes", "retained_bytes",
    ]  # fmt: skip


def test_a_class_and_a_module_are_measured_with_what_hangs_on_them() -> None:
    class Local:
        table = bytearray(MIB)

    assert nbmem.sizeof(Local).retained_bytes > MIB
    assert nbmem.sizeof(gc).type_name == "module"


def test_a_chain_of_a_hundred_thousand_objects_is_no_recursion() -> None:
    chain: list[Any] = []
    for _ in range(100_000):
        chain = [chain]
    size = nbmem.sizeof(chain)
    assert size.object_count == 100_001
    while chain:  # not by recursion
        chain = chain.pop()


def test_ordinary_objects_take_milliseconds() -> None:
    frame = pd.DataFrame({name: np.arange(1000) for name in "abcdef"})
    measure(frame)

    def seconds() -> float:
        start = time.perf_counter()
        measure(frame)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.05


def test_nothing_is_kept_alive() -> None:
    model = Model()
    reference = weakref.ref(model)
    size = nbmem.sizeof(model)
    del model
    assert reference() is None
    assert ".weights" in size.to_text()


def test_hostile_objects_run_no_code() -> None:
    size = nbmem.sizeof([Hostile(), HostileDict(a=Hostile(), b=bytearray(MIB)), Hostile])
    assert MIB < size.retained_bytes < 1.1 * MIB
    size.to_html()
    assert nbmem.sizeof(Hostile()).retained_bytes > 0


def test_names_are_escaped_and_cut() -> None:
    size = nbmem.sizeof({"<img onerror=1>": bytearray(1000), "\x1b[31m": bytearray(900)})
    html, text = size.to_html(), size.to_text()
    assert "<img" not in html
    assert "&lt;img onerror=1&gt;" in html
    assert "\x1b" not in html + text
    long = nbmem.sizeof({"k" * 2_000_000: bytearray(MIB), "v": 1.5})
    assert len(long.to_html()) + len(long.to_text()) < 20_000


def test_the_plot_draws_the_parts_and_registers_nothing_with_pyplot() -> None:
    from matplotlib import pyplot

    figure = nbmem.sizeof({"a$b": Model(), "c_^": bytearray(1000)}).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert pyplot.get_fignums() == []


def test_what_an_object_holds_through_a_bound_method_in_c_is_seen() -> None:
    class Appending:
        def __init__(self) -> None:
            self.append = [0].__mul__(100_000).append

    size = nbmem.sizeof(Appending())
    assert 800_000 < size.retained_bytes < 805_000
    assert nbmem.sizeof([print, len, dict.fromkeys]).reachable_bytes < 200
