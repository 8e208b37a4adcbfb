"""The walk over all objects: native and twin, against each other and against what the collector tells."""

from __future__ import annotations

import array
import atexit
import ctypes
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbmem._errors import NotMeasured
from nbmem.heap import _walk_twin
from nbmem.heap.capture import capture, capture_from
from nbmem.heap.graph import IMMORTAL, NO_OBJECT, RUNNING_FRAME, STATIC, Heap
from nbmem.heap.sizes import block_bytes
from tests.heap.walks import NAMES, PARTS, native, needs_native, put_in_use, taken_down

pytestmark = pytest.mark.twin

native_only = pytest.mark.parametrize("part", PARTS[:1], ids=NAMES[:1], indirect=True)


# The twin has its turn where it serves: in the build without the native part.
@pytest.fixture(params=PARTS[:1], ids=NAMES[:1], autouse=True)
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    put_in_use(request.param, monkeypatch)
    return request.param


# -- heaps of all kinds of objects --


class Plain:
    def __init__(self, *values: Any) -> None:
        for number, value in enumerate(values):
            setattr(self, f"attribute_{number}", value)


class Slotted:
    __slots__ = ("first", "second")

    def __init__(self, *values: Any) -> None:
        for name, value in zip(self.__slots__, values, strict=False):
            setattr(self, name, value)


class SlottedToo(Slotted):
    __slots__ = ("third",)


class Both(Slotted):
    """Slots and a dict."""


class Words(str):
    pass


class Number(int):
    pass


class Listed(list):  # type: ignore[type-arg]
    pass


class Mapped(dict):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("somebody's code ran")

    def __repr__(self) -> str:
        return "Mapped"

    keys = items = values = __len__ = __iter__  # type: ignore[assignment]


class Viewed(np.ndarray):
    def __array_finalize__(self, other: Any) -> None:
        if Viewed.closed:
            raise AssertionError("somebody's code ran")

    closed = False


def _with_dict(value: Plain) -> Plain:
    vars(value)
    return value


def _without(value: dict[Any, Any]) -> dict[Any, Any]:
    for key in list(value)[::2]:
        del value[key]
    return value


def _suspended(values: list[Any]) -> Iterator[Any]:
    kept = list(values)
    yield from kept
    yield kept


def _started(values: list[Any]) -> Iterator[Any]:
    generator = _suspended(values)
    next(generator)
    return generator


def _closure(values: list[Any]) -> Any:
    first = values[0] if values else None

    def inner(second: Any = values) -> Any:
        return first, second

    return inner


def _error(values: list[Any]) -> Exception:
    def fail(local: Any) -> None:
        raise ValueError(local)

    try:
        fail(values)
    except ValueError as error:
        return error
    raise AssertionError


def _objects(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), object)
    for at, each in enumerate(values):
        made[at] = each
    return made


def _structured(values: list[Any], kind: Any) -> np.ndarray:
    made = np.zeros(len(values), kind)
    for at, each in enumerate(values):
        made["o"][at] = each
    return made


def _viewed(values: list[Any]) -> np.ndarray:
    Viewed.closed = False
    made = _objects(values).copy().view(Viewed)
    owner = made.copy()
    Viewed.closed = True
    return owner


def _text(count: int) -> str:
    return "".join(chr(count % 7 + ord("a")) for _ in range(count))


_deep = np.dtype([("n", "i1"), ("o", object), ("inner", [("x", "f4"), ("p", object, (2,))], (2,))])
MAKERS: list[Any] = [
    list,
    tuple,
    lambda v: {f"key {n}": each for n, each in enumerate(v)},
    lambda v: dict(enumerate(v)),
    lambda v: {(f"key {n}" if n % 2 else n): each for n, each in enumerate(v)},
    lambda v: _without({f"key {n}": each for n, each in enumerate(v * 3)}),
    lambda v: _without({(f"key {n}" if n % 3 else n): each for n, each in enumerate(v * 3)}),
    lambda v: _without({n if n < 2 else f"key {n}": each for n, each in enumerate(v * 4)}),
    lambda v: {Words(f"w{n}"): each for n, each in enumerate(v)},
    lambda v: {(n, f"k{n}"): each for n, each in enumerate(v)},
    lambda v: OrderedDict((f"key {n}", each) for n, each in enumerate(v)),
    lambda v: OrderedDict((n, each) for n, each in enumerate(v)),
    lambda v: defaultdict(list, {f"key {n}": each for n, each in enumerate(v)}),
    lambda v: Mapped({f"key {n}": each for n, each in enumerate(v)}),
    lambda v: {f"word {n}" for n in range(len(v) * 3)},
    lambda v: frozenset((n, "a", f"{n}") for n in range(len(v))),
    lambda v: Plain(*v),
    lambda v: _with_dict(Plain(*v)),
    lambda v: Slotted(*v),
    lambda v: SlottedToo(*v),
    lambda v: Both(*v),
    lambda v: types.SimpleNamespace(**{f"name_{n}": each for n, each in enumerate(v)}),
    lambda v: Listed(v),
    lambda v: deque(v * 20),
    lambda v: deque(v, 5),
    _closure,
    lambda v: functools.partial(_closure, v, *v),
    lambda v: types.MethodType(_closure, v),
    lambda v: v.append,
    _objects,
    lambda v: _objects(v * 6).reshape(3, -1),
    lambda v: _objects(v * 2)[::2],
    _viewed,
    lambda v: _structured(v, [("n", "i4"), ("o", object)]),
    lambda v: _structured(v, np.dtype([("n", "i1"), ("o", object)], align=True)),
    lambda v: _structured(v, _deep),
    lambda v: _structured(v, np.dtype([(("a title", "o"), object), ("n", "f8")])),
    lambda v: np.arange(len(v) * 300.0)[1:],
    lambda v: list(_structured(v, _deep)),
    lambda v: [
        np.void(b"x" * len(v)),
        np.void(len(v)),
        _structured([*v, None], [("o", object)]).view(np.recarray)[0],
    ],
    lambda v: _objects(v).flat,
    lambda v: memoryview(bytearray(len(v) * 100)),
    lambda v: bytes(len(v) * 200),
    lambda v: bytearray(len(v) * 200),
    lambda v: array.array("d", range(len(v))),
    lambda v: 7 ** (len(v) * 60),
    lambda v: -(2 ** (30 * len(v))),
    lambda v: Number(3 ** (10 * len(v))),
    lambda v: float(len(v)) + 0.5,
    lambda v: _text(len(v) * 9 + 2),
    lambda v: _text(len(v)) + "é" * len(v),
    lambda v: _text(len(v)) + "€" * len(v),
    lambda v: _text(len(v)) + "𝄞" * len(v),
    lambda v: Words(_text(len(v)) + "é"),
    _started,
    _suspended,
    _error,
    lambda v: weakref.ref(Plain),
    lambda v: types.CellType(v),
    lambda v: iter(v),
    lambda v: enumerate(v),
    lambda v: map(str, v),
    lambda v: slice(*v[:2], None),
    lambda v: property(_closure(v)),
    lambda v: types.MappingProxyType({"only": v}),
    lambda v: type("Made", (Plain,), {"held": v, "__slots__": ("x", "y")}),
    lambda v: type("Made", (dict,), {})(a=v),
    lambda v: threading.local(),
    lambda v: functools.lru_cache(_closure),
]


@st.composite
def heaps(draw: st.DrawFn) -> list[Any]:
    """Make up to a dozen objects, each of those made before, some of which become rings."""
    made: list[Any] = [None, 5, "a", 1.5, []]
    for maker in draw(st.lists(st.sampled_from(MAKERS), min_size=1, max_size=12)):
        members = [made[at] for at in draw(st.lists(st.integers(0, len(made) - 1), max_size=5))]
        made.append(maker(members))
    made[4].extend(made[at] for at in draw(st.lists(st.integers(0, len(made) - 1), max_size=4)))
    return made


ENDS = [id(globals()), id(vars(__import__("builtins"))), id(vars(types)), id(vars(functools))]
# Of these Python does not see all references.
HALF_SEEN = {
    "code",
    "type",
    "method_descriptor",
    "wrapper_descriptor",
    "member_descriptor",
    "getset_descriptor",
}
# Everybody has them: their counts change from one moment to the next.
EVERYBODYS = {"NoneType", "bool", "int", "str", "float", "bytes", "tuple", "type", "code", "dict"}

many = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def reached(seen: dict[int, Any], starts: list[int]) -> set[int]:
    found, waiting = set[int](), list(starts)
    while waiting:
        new = seen[waiting.pop()].targets.keys() - found
        found |= new
        waiting += new
    return found


def held_by_instances(seen: dict[int, Any]) -> set[int]:
    """Give the dicts that may be instances': whether their keys are a class's the twin does not always see."""
    kinds = {"Plain", "Both", "Made", "Words", "Number", "Listed", "Mapped", "Viewed"}
    held = {target for node in seen.values() if node.type_name in kinds for target in node.targets}
    return {address for address in held if address in seen and seen[address].type_name == "dict"}


def says_alike(one: Any, other: Any, address: int) -> None:
    assert one.type_address == other.type_address
    if one.type_name in ("dict", "Plain", "Both", "SimpleNamespace") or "Made" in one.type_name:
        # how many values a class had room for Python does not see
        assert abs(one.size - other.size) <= (64 if one.type_name == "dict" else 512)
    else:
        assert one.size == other.size, one.type_name


@needs_native
@native_only
@many
@given(heaps())
def test_native_and_twin_take_down_the_same(made: list[Any]) -> None:
    gc.disable()  # what it frees between the two counts as a reference less
    try:
        one = taken_down(native, made, ENDS)
        other = taken_down(_walk_twin, made, ENDS)
    finally:
        gc.enable()
    assert other.keys() <= one.keys()
    of_instances = held_by_instances(one)
    half_seen = [address for address, node in one.items() if node.type_name in HALF_SEEN]
    unseen = reached(one, [*half_seen, *of_instances])
    for address, node in one.items():
        if address not in other:
            assert address in unseen, node
            continue
        twin = other[address]
        says_alike(node, twin, address)
        if node.type_name in HALF_SEEN or address in of_instances:
            assert twin.targets <= node.targets
        else:
            assert twin.targets == node.targets, node.type_name
        if node.type_name not in EVERYBODYS:
            assert twin.refcount == node.refcount, node.type_name
            assert twin.surplus == node.surplus, node.type_name
        if address not in unseen and not of_instances and node.refcount < 50:
            assert twin.refcount - twin.surplus == node.refcount - node.surplus


def told(value: Any) -> Counter[int]:
    """Say what an object refers to, the simplest way: what the collector tells, and what it is known to leave out."""
    found = gc.get_referents(value)
    kind = type(value)
    if issubclass(kind, np.ndarray):
        found += [value.dtype] if value.base is None else [value.dtype, value.base]
        if value.flags.owndata and value.dtype == object:
            found += list(np.ndarray.flat.__get__(value))  # type: ignore[attr-defined]
        elif value.flags.owndata and value.dtype.names is not None:
            found += list(value["o"])
            if "inner" in value.dtype.names:
                found += list(value["inner"]["p"].reshape(-1))
    elif kind is np.flatiter:
        found += [value.base]
    elif issubclass(kind, dict):
        keys = list(dict.keys(value))
        # a general table's keys are told, a class's are not the instance's
        if all(type(key) is str for key in keys) and not is_general(value):
            found += keys
    return Counter(map(id, found))


def is_general(value: Any) -> bool:
    size = dict.__sizeof__(value) - type(value).__basicsize__
    return size in {32 + (1 << log) * (1 if log < 8 else 2) + (2 << log) // 3 * 24 for log in range(3, 15)}


@many
@given(heaps())
def test_references_are_what_the_collector_tells_and_what_it_leaves_out(part: Any, made: list[Any]) -> None:
    seen = taken_down(part, made, ENDS)
    by_address = {id(each): each for each in made}
    for address, value in by_address.items():
        node = seen[address]
        if type(value) in (type, types.FunctionType):
            continue
        wanted = Counter({target: n for target, n in told(value).items() if target in seen})
        if part is not native and address in held_by_instances(seen):
            assert node.targets <= wanted
        else:
            assert node.targets == wanted, node.type_name


@many
@given(heaps())
def test_no_reference_of_the_walk_remains_and_none_counts(part: Any, made: list[Any]) -> None:
    gc.disable()  # what it frees counts as a reference less
    try:
        before = list(map(sys.getrefcount, made))
        seen = taken_down(part, made, ENDS)
        after = list(map(sys.getrefcount, made))
    finally:
        gc.enable()
    for each, count, now in zip(made, before, after, strict=True):
        if type(each).__name__ not in EVERYBODYS:
            assert now == count
            # map() holds one
            assert seen[id(each)].refcount == count - 1


# -- what is seen --


def node_of(seen: Heap, value: object) -> int:
    node = seen.node_at(id(value))
    assert node is not None
    return node


def targets_of(seen: Heap, value: object) -> Counter[int]:
    return Counter(seen.addresses[seen.referents(node_of(seen, value))].tolist())


def test_the_keys_of_a_dict_are_seen(part: Any) -> None:
    key, other = _text(50), _text(60)
    held = [{key: 1}, {other: 2, 3: 4}]
    seen = taken_down(part, [held])
    assert seen[id(held[0])].targets[id(key)] == 1
    assert seen[id(held[1])].targets[id(other)] == 1
    assert seen[id(key)].surplus == 1  # the local variable


def test_keys_that_instances_share_belong_to_the_class(part: Any) -> None:
    class Alike:
        def __init__(self) -> None:
            self.attribute_of_alike = 1

    name = sys.intern("attribute_of_alike")
    instances = [Alike() for _ in range(50)]
    dicts = [vars(each) for each in instances]
    seen = taken_down(part, [dicts])
    assert all(seen[id(each)].targets[id(name)] == 0 for each in dicts)
    if part is native:
        assert taken_down(part, [Alike])[id(Alike)].targets[id(name)] == 1


@pytest.mark.parametrize("room", [14, 15, 16, 25, 26, 27])
def test_shared_keys_of_any_number_are_not_counted_twice(part: Any, room: int) -> None:
    made = type("Made", (), {})
    instances = [made() for _ in range(40)]
    names = [f"shared_{room}_{number}" for number in range(room - 1)]
    for each in instances:
        for name in names:
            setattr(each, name, None)
    dicts = [vars(each) for each in instances]
    seen = taken_down(part, [instances])
    keys = [key for key in seen if key in {id(name) for name in dicts[0]}]
    assert all(seen[key].surplus >= 0 for key in keys)


def test_the_constants_and_names_of_code_are_seen(part: Any) -> None:
    namespace: dict[str, Any] = {}
    exec("def made():\n    return a_name_of_its_own, 'a constant of some length', (1.5, 2.5)", namespace)
    code = namespace["made"].__code__
    seen = taken_down(part, [code])
    assert {id(code.co_consts), id(code.co_names), id(code.co_filename), id(code.co_qualname)} <= seen.keys()
    assert {*map(id, code.co_consts), *map(id, code.co_names)} <= seen.keys()


def test_the_namespace_of_a_static_class_is_seen(part: Any) -> None:
    seen = taken_down(part, [int])
    assert id(vars(int)["bit_length"]) in seen
    assert seen[id(int)].state == STATIC
    assert seen[id(int)].size == 0


def test_the_owner_of_a_view_and_the_elements_of_an_array_are_seen(part: Any) -> None:
    owner = np.arange(100_000.0)
    inside = [_text(30)]
    views = [owner[5:], _objects([inside, None])]
    seen = taken_down(part, [views])
    assert seen[id(owner)].size == np.ndarray.__basicsize__ + 32 + block_bytes(800_000)
    assert seen[id(views[0])].targets == Counter({id(owner): 1, id(owner.dtype): 1})
    assert seen[id(views[1])].targets[id(inside)] == 1


def test_an_element_of_a_structured_array_and_an_iterator_refer_to_the_array(part: Any) -> None:
    array = np.zeros(300, [("x", "f8"), ("base", "i4")])
    for held in (array[5], array.view(np.recarray)[5].view(), array.flat):
        seen = taken_down(part, [held])
        assert id(array) in seen
        assert id(array) in seen[id(held)].targets or isinstance(held, np.record)
    # the value is the array's, or a block of its own
    seen = taken_down(part, [array[5], np.void(b"x" * 100)])
    basic = np.void.__basicsize__
    assert [node.size for node in seen.values() if node.type_name == "void"] == [basic, basic + 112]


def test_a_field_with_a_title_refers_once(part: Any) -> None:
    held = [object()]
    made = np.zeros(1, [(("title", "name"), object)])
    made["name"][0] = held
    assert taken_down(part, [made])[id(made)].targets[id(held)] == 1


@needs_native
@native_only
def test_the_locals_of_running_frames_are_seen() -> None:
    def inner(held: list[int]) -> Heap:
        return capture()

    local = [1, 2, 3]
    seen = inner(local)
    frames = {label.partition("()")[0]: node for node, label in seen.labels.items()}
    here = frames[test_the_locals_of_running_frames_are_seen.__qualname__]
    there = frames[inner.__qualname__]
    node = node_of(seen, local)
    assert node in seen.referents(here)
    assert node in seen.referents(there)
    assert seen.surplus[node] == 0
    assert seen.type_of(here) == RUNNING_FRAME
    assert seen.states[here] == NO_OBJECT


@needs_native
@native_only
def test_the_locals_of_other_threads_frames_are_seen() -> None:
    ready, go = threading.Event(), threading.Event()
    addresses: list[int] = []

    def work() -> None:
        local = [object()]
        addresses.append(id(local))
        ready.set()
        go.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        seen = capture()
    finally:
        go.set()
        thread.join()
    node = seen.node_at(addresses[0])
    assert node is not None
    (frame,) = seen.referrers(node)
    assert work.__qualname__ in seen.labels[int(frame)]
    assert str(thread.name) == thread.name
    assert seen.surplus[node] == 0


def test_the_locals_of_a_suspended_generator_are_its_own_once(part: Any) -> None:
    local = [object()]
    generator = _started([local])
    seen = taken_down(part, [generator])
    holders = [node for node in seen.values() if node.targets[id(local)]]
    # the list that is the argument, and the copy of it
    assert sum(node.targets[id(local)] for node in holders) == 2
    assert seen[id(generator)].surplus == 2  # the variable, the list


@needs_native
@native_only
def test_the_locals_of_a_generator_that_runs_are_counted_once() -> None:
    def generator() -> Iterator[Any]:
        local = [object()]
        yield capture(), id(local)

    seen, address = next(generator())
    node = seen.node_at(address)
    assert node is not None
    assert len(seen.referrers(node)) == 1
    assert seen.surplus[node] == 0


def test_what_only_a_list_of_ours_holds_has_no_surplus(part: Any) -> None:
    held = [[object()] for _ in range(1000)]
    seen = taken_down(part, [held])
    assert {seen[id(each)].surplus for each in held} == {0}
    assert {seen[id(each[0])].surplus for each in held} == {0}
    assert seen[id(held)].surplus == 2  # the variable, the list that was given


def test_what_native_code_holds_has_a_surplus(part: Any) -> None:
    held, callback = [[]], _closure([])
    kept: Any = held[0]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    atexit.register(callback)
    try:
        address, function = id(kept), id(callback)
        del kept
        seen = taken_down(part, [[held, callback]])
        assert seen[address].surplus == 1
        assert seen[function].surplus >= 2  # the variable, and the list of callbacks
    finally:
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(held[0]))
        atexit.unregister(callback)


def test_classes_and_modules_are_left_out_where_some_objects_are_walked(part: Any) -> None:
    seen = taken_down(part, [[Plain(os), gc.collect]])
    assert not {"type", "module", "builtin_function_or_method"} & {node.type_name for node in seen.values()}


def test_what_was_left_out_for_its_type_is_listed_once(part: Any) -> None:
    held = [os, os, int, Plain, gc.collect, Plain(gc), [].append, sys._getframe()]
    result = part.walk([held], [id(gc)], [], np.ndarray, 0)
    listed = result["left_out"]
    expected = [os, int, Plain, gc.collect, held[-1]]
    assert sorted(map(id, listed)) == sorted(map(id, expected))
    del held[-1], listed, expected


def test_many_that_are_left_out_make_no_difference(part: Any) -> None:
    made = [type(f"Made{i}", (), {}) for i in range(3000)]
    held = [[each, i + 0.5] for i, each in enumerate(made)]
    result = part.walk([held], [], [], np.ndarray, 0)
    assert sorted(map(id, result["left_out"])) == sorted(map(id, made))
    assert Counter(np.bincount(np.frombuffer(result["type_index"], np.uint32)).tolist())[3000] == 1
    assert len(np.frombuffer(result["indices"], np.uint32)) == 6000


def test_what_is_given_to_start_from_comes_first_whatever_it_is(part: Any) -> None:
    starts: list[Any] = [os, int, [], os, 5]
    assert list(taken_down(part, starts))[:4] == [id(os), id(int), id(starts[2]), id(5)]


def test_ends_are_left_out_and_not_followed(part: Any) -> None:
    beyond = [object()]
    end = [beyond]
    seen = taken_down(part, [[end, end]], [id(end)])
    assert id(end) not in seen
    assert id(beyond) not in seen


def test_objects_of_a_rule_and_those_whose_size_is_somebodys_code_are_listed(part: Any) -> None:
    class Sized:
        def __sizeof__(self) -> int:
            raise AssertionError("not during the walk")

    class Sub(Slotted):
        pass

    made = [Sized(), Slotted(), Sub(), Plain()]
    result = part.walk([made], [], [Slotted, Sub], np.ndarray, 0)
    rules = np.frombuffer(result["asked_rules"], np.int32).tolist()
    found = [(type(each), rule) for each, rule in zip(result["asked"], rules, strict=True)]
    assert sorted(found, key=lambda pair: pair[1]) == [(Sized, -1), (Slotted, 0), (Sub, 1)]


# -- captures --


def test_nothing_of_nbmems_own_is_in_a_capture() -> None:
    seen = capture()
    own = {id(module) for name, module in sys.modules.items() if name.partition(".")[0] == "nbmem"}
    own |= {id(vars(sys.modules[name])) for name in sys.modules if name.partition(".")[0] == "nbmem"}
    assert not own & set(seen.addresses.tolist())
    numbers = [number for number, name in enumerate(seen.types) if name.startswith("nbmem.")]
    assert not np.isin(seen.type_index, numbers).any()


def test_a_capture_says_whether_locals_are_seen(part: Any) -> None:
    assert any("locals of running frames" in note for note in capture().notes) == (part is not native)


def test_of_what_lives_no_more_references_are_found_than_are_counted() -> None:
    seen = capture()
    below = np.flatnonzero((seen.surplus < 0) & (seen.refcounts != IMMORTAL))
    # Libraries count these two wrongly (they live for ever); what libraries tell after the walk is later.
    assert {seen.type_of(int(node)) for node in below} <= {"bool", "NoneType", "ellipsis"}


def test_after_a_capture_no_object_has_a_reference_more(part: Any) -> None:
    held = [[object(), _text(30), (n, [n])] for n in range(1000)]
    flat = [each for some in held for each in some]
    before = list(map(sys.getrefcount, flat))
    capture()
    capture_from(flat)
    assert list(map(sys.getrefcount, flat)) == before


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before(part: Any, enabled: bool) -> None:
    calls: list[Any] = []

    def callback(phase: str, info: dict[str, int]) -> None:
        calls.append(phase)

    gc.collect()
    gc.callbacks.append(callback)
    thresholds = gc.get_threshold()
    if not enabled:
        gc.disable()
    try:
        before = gc.get_count()
        result = part.walk(None, [], [], np.ndarray, 0)
        after = gc.get_count()
        assert gc.isenabled() == enabled
        assert gc.get_threshold() == thresholds
        assert gc.callbacks[-1] is callback
        assert before[1:] == after[1:]
        assert not calls
        del result
    finally:
        gc.callbacks.remove(callback)
        gc.enable()


def test_the_generations_are_told(part: Any) -> None:
    gc.collect()
    old, young = [[object()]], [[object()]]
    gc.collect()
    young = [[object()]]
    result = part.walk(None, [], [], np.ndarray, 0)
    addresses = np.frombuffer(result["addresses"], np.uint64).tolist()
    states = np.frombuffer(result["states"], np.uint8)
    assert [states[addresses.index(id(each))] for each in (old, young)] == [2, 0]


@needs_native
@native_only
def test_while_the_collector_is_at_work_nothing_is_captured() -> None:
    answers: list[Any] = []

    class Ring:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            try:
                answers.append(capture())
            except NotMeasured as error:
                answers.append(error)

    def callback(phase: str, info: dict[str, int]) -> None:
        try:
            answers.append(capture())
        except NotMeasured as error:
            answers.append(error)

    Ring()
    gc.collect()
    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    assert [type(each) for each in answers] == [NotMeasured] * 3
    assert "collector is at work" in str(answers[0])


def test_a_signal_ends_the_walk_and_everything_is_freed(part: Any) -> None:
    held = [[n] for n in range(100_000)]
    before = sys.getrefcount(held[7])

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    ended = 0
    blocks = sys.getallocatedblocks()
    try:
        for attempt in range(20):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.001 * attempt)
                part.walk([held], [], [], np.ndarray, 0)
            except KeyboardInterrupt:
                ended += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert ended
    assert gc.isenabled()
    after = sys.getrefcount(held[7])  # in an assert there would be one more
    assert after == before
    assert abs(sys.getallocatedblocks() - blocks) < 5000


def test_a_picture_keeps_nothing_alive() -> None:
    held = Plain(1)
    reference = weakref.ref(held)
    seen = capture()
    assert seen.node_at(id(held)) is not None
    del held
    assert reference() is None


def test_select_and_refers_to_are_as_their_definitions_say(part: Any) -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        n = int(rng.integers(1, 30))
        counts = rng.integers(0, 4, n)
        indptr = np.append(0, np.cumsum(counts)).astype(np.uint32)
        indices = rng.integers(0, n, int(counts.sum())).astype(np.uint32)
        keep = rng.integers(0, 2, n).astype(np.uint8)
        numbers = {node: number for number, node in enumerate(np.flatnonzero(keep).tolist())}
        wanted = [
            [
                numbers[target]
                for target in indices[indptr[node] : indptr[node + 1]].tolist()
                if target in numbers
            ]
            for node in numbers
        ]
        begins, targets = part.select(indptr, indices, keep)
        assert [targets[begins[i] : begins[i + 1]].tolist() for i in range(len(numbers))] == wanted
        nodes = rng.integers(0, n, 5).astype(np.uint32)
        told = [any(keep[target] for target in indices[indptr[node] : indptr[node + 1]]) for node in nodes]
        assert part.refers_to(indptr, indices, nodes, keep).tolist() == told


def test_nodes_left_out_in_place_are_those_of_select(part: Any) -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        n = int(rng.integers(1, 400))
        counts = rng.integers(0, 4, n)
        indptr = np.append(0, np.cumsum(counts)).astype(np.uint32)
        indices = rng.integers(0, n, int(counts.sum())).astype(np.uint32)
        keep = (rng.random(n) < rng.choice([0, 0.1, 0.9, 1])).astype(np.uint8)
        columns = [rng.integers(0, 100, n).astype(kind) for kind in (np.uint64, np.uint32, np.uint8)]
        wanted = [each[keep.astype(np.bool_)].tolist() for each in columns]
        begins, targets = part.select(indptr, indices, keep)
        count, references = part.keep_only(
            indptr, indices, keep, [each.view(np.uint8).reshape(n, -1) for each in columns]
        )
        assert indptr[: count + 1].tolist() == begins.tolist()
        assert indices[:references].tolist() == targets.tolist()
        assert [each[:count].tolist() for each in columns] == wanted


@pytest.mark.parametrize("number", [1, 1_500, 20_000])
def test_few_and_many_addresses_are_found_among_all(part: Any, number: int) -> None:
    rng = np.random.default_rng(number)
    addresses = rng.choice(np.arange(1, 200_000), 100_000, replace=False).astype(np.uint64) * np.uint64(16)
    wanted = np.append(rng.integers(1, 200_000, number), [0, 7]).astype(np.uint64) * np.uint64(16)
    wanted = np.append(wanted, wanted[:1])
    nodes = {address: node for node, address in enumerate(addresses.tolist())}
    told = [nodes.get(address, -1) for address in wanted.tolist()]
    assert part.locate(addresses, wanted).tolist() == told


def test_each_number_is_looked_up_in_a_table(part: Any) -> None:
    table = np.array([3, 0, 255], np.uint8)
    assert part.looked_up(table, np.array([2, 2, 0, 1], np.uint32)).tolist() == [255, 255, 3, 0]


def test_a_heap_is_whole_where_the_allocator_does_not_tell_how_large_it_is() -> None:
    code = (
        "import sys\n"
        "from nbmem.heap.capture import capture\n"
        "held = [[number] for number in range(1000, 200_000)]\n"
        "assert not sys.getallocatedblocks()\n"
        "heap = capture()\n"
        "nodes = {address: node for node, address in enumerate(heap.addresses.tolist())}\n"
        "assert len(nodes) == len(heap) > 398_000\n"
        "for each in held:\n"
        "    node = nodes[id(each)]\n"
        "    assert heap.referents(node).tolist() == [nodes[id(each[0])]]"
    )
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_without_the_native_part_the_twin_serves() -> None:
    if os.environ.get("NBMEM_EXPECT_TWIN"):
        assert native is None
    code = (
        "import sys; sys.modules['nbmem.heap._walk'] = None\n"
        "from nbmem.heap.capture import capture\n"
        "print(len(capture()) > 1000, capture().notes)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.startswith("True")
    assert "locals of running frames" in out
