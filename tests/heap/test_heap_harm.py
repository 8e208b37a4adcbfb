"""Captures of hostile heaps: nobody's code runs during the walk, nothing breaks, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import nbmem
from nbmem.heap.capture import capture, capture_from
from nbmem.heap.graph import RUNNING_FRAME, Heap
from tests.heap.walks import NAMES, PARTS, native, needs_native, put_in_use

pytestmark = pytest.mark.twin

native_only = pytest.mark.parametrize("part", PARTS[:1], ids=NAMES[:1], indirect=True)


# The twin has its turn where it serves: in the build without the native part.
@pytest.fixture(params=PARTS[:1], ids=NAMES[:1], autouse=True)
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    put_in_use(request.param, monkeypatch)
    return request.param


def sizes_of(seen: Heap, *values: object) -> list[int]:
    nodes = [seen.node_at(id(each)) for each in values]
    assert None not in nodes
    return [int(seen.shallow_bytes[node]) for node in nodes if node is not None]


# -- sizes that lie --


def test_sizes_that_are_none_are_not_believed() -> None:
    def of(size: Callable[[Any], Any]) -> Any:
        return type("Lying", (), {"__slots__": (), "__sizeof__": size})()

    def fail(self: Any) -> int:
        raise RuntimeError("no size")

    lies = [
        fail,
        lambda self: "a string",
        lambda self: None,
        lambda self: -1,
        lambda self: 10**30,
        lambda self: 1 << 62,
        lambda self: 1.5,
    ]
    held = [of(each) for each in lies]
    assert sizes_of(capture_from([held]), *held) == [32] * len(held)
    assert sizes_of(capture(), *held) == [32] * len(held)


def test_a_size_that_is_no_method_is_not_believed() -> None:
    class Odd:
        __slots__ = ()
        __sizeof__ = 7

    class Descriptor:
        def __get__(self, instance: Any, owner: Any) -> Any:
            raise ValueError("no")

    class Odder:
        __slots__ = ()
        __sizeof__ = Descriptor()

    held = [Odd(), Odder()]
    assert sizes_of(capture_from([held]), *held) == [32, 32]


@pytest.mark.parametrize("kind", [list, dict, set, str, int, type, bytearray, np.ndarray])
def test_a_size_borrowed_from_a_class_of_another_shape_is_not_believed(kind: type) -> None:
    borrowing = type("Borrowing", (), {"__slots__": (), "__sizeof__": kind.__sizeof__})
    held = [borrowing() for _ in range(100)]
    assert set(sizes_of(capture_from(held), *held)) == {32}


def test_bytes_of_numpys_count_once() -> None:
    held = np.bytes_(b"x" * 1000)
    assert sizes_of(capture_from([held]), held) == [1056]


def test_a_size_that_is_a_subclass_of_int_is_read_without_its_code() -> None:
    class Index(int):
        def __index__(self) -> int:
            raise AssertionError("somebody's code ran")

        __int__ = __sub__ = __lt__ = __gt__ = __ge__ = __index__

    class Sized:
        __slots__ = ()

        def __sizeof__(self) -> int:
            return Index(1000)

    held = Sized()
    assert 1000 <= sizes_of(capture_from([held]), held)[0] <= 1100


def test_a_size_that_recurses_without_end_is_not_believed() -> None:
    class Deep:
        __slots__ = ()

        def __sizeof__(self) -> int:
            return self.__sizeof__()

    held = Deep()
    assert sizes_of(capture_from([held]), held) == [32]


def test_sizes_that_take_long_are_not_all_asked_for() -> None:
    class Slow:
        __slots__ = ()

        def __sizeof__(self) -> int:
            time.sleep(0.3)
            return 32

    seen = capture_from([[Slow() for _ in range(20)]])
    assert any("were not asked for their size" in note for note in seen.notes)


def test_rules_that_take_long_are_not_asked_for_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    from nbmem.heap import registry

    class Image:
        __slots__ = ()

    def slow(image: Any) -> int:
        time.sleep(0.7)
        return 1000

    monkeypatch.setattr(registry, "_registered", [])
    registry.register_type(Image, own_bytes=slow)
    size = nbmem.sizeof([Image() for _ in range(20)])
    assert not size.exact
    assert any("were not asked for what they hold" in note for note in size.data.notes)
    assert 1000 < size.retained_bytes < 15_000


def test_a_rule_that_raises_leaves_its_objects_with_what_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    from nbmem.heap import registry

    class Image:
        __slots__ = ()

    def fail(image: Any) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(registry, "_registered", [])
    registry.register_type(Image, buffers=fail)
    held = Image()
    seen = capture_from([held])
    assert sizes_of(seen, held) == [32]
    assert any("Image" in note for note in seen.notes)


# -- objects that do something when they are looked at --


def ran(*_: Any, **__: Any) -> Any:
    raise AssertionError("somebody's code ran")


class Touchy:
    __getattr__ = __getattribute__ = __eq__ = __hash__ = __repr__ = __len__ = __iter__ = ran
    __bool__ = __call__ = __index__ = __int__ = __instancecheck__ = __dir__ = __reduce_ex__ = ran


class Recursive:
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "_")


class Masked:
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        return ran()


class Liar:
    __class__ = dict  # type: ignore[assignment]


class OddMeta(type):
    __instancecheck__ = __subclasscheck__ = __eq__ = __hash__ = __getattribute__ = __repr__ = ran  # type: ignore[assignment]
    __call__ = type.__call__

    def mro(cls) -> Any:
        return type.mro(cls)


def odd_class() -> Any:
    return OddMeta("Odd", (), {"__slots__": ()})


class TouchyDict(dict):  # type: ignore[type-arg]
    __iter__ = keys = values = items = __len__ = __getitem__ = __contains__ = __eq__ = ran  # type: ignore[assignment]
    __hash__ = ran


class TouchyList(list):  # type: ignore[type-arg]
    __iter__ = __len__ = __getitem__ = __contains__ = __eq__ = ran  # type: ignore[assignment]


class TouchyText(str):
    __eq__ = __len__ = __iter__ = isascii = __str__ = ran  # type: ignore[assignment]
    __hash__ = str.__hash__


class LocalProxy:
    """As werkzeug's: everything is asked of another object, which may be missing."""

    __slots__ = ("_find",)

    def __init__(self, find: Any) -> None:
        object.__setattr__(self, "_find", find)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_find")(), name)

    __class__ = property(lambda self: ran())  # type: ignore[assignment]
    __sizeof__ = property(lambda self: ran())  # type: ignore[assignment]
    __doc__ = property(lambda self: ran())  # type: ignore[assignment]


def touchy() -> list[Any]:
    kind = odd_class()
    array = np.empty(2, object)
    array[0] = object.__new__(Touchy)
    text = TouchyText("key")
    return [
        object.__new__(Touchy), Recursive(), Masked(), Liar(), object.__new__(kind), kind,
        TouchyDict({"a": [1]}), {text: 1}, TouchyList([[1]]), text, LocalProxy(ran), array,
    ]  # fmt: skip


def test_no_code_of_an_objects_or_a_metaclass_runs() -> None:
    held = touchy()
    for seen in (capture(), capture_from([held]), capture_from(held)):
        assert set(map(id, held)) - {id(held[5])} <= set(seen.addresses.tolist())


def test_a_dicts_contents_are_seen_whatever_its_methods_say() -> None:
    inner = [1]
    held = TouchyDict({"a key that is long": inner})
    key = next(dict.__iter__(held))
    seen = capture_from([held])
    targets = {int(seen.addresses[target]) for target in seen.referents(0)}
    assert {id(inner), id(key)} <= targets


@pytest.mark.parametrize("module", [None, 5, "", "a" * 10_000, object(), ["x"], "<script>"])
def test_classes_with_odd_modules_are_named(module: Any) -> None:
    kind = type("Named", (), {"__slots__": ()})
    kind.__module__ = module
    held = kind()
    seen = capture_from([held])
    assert seen.type_of(0).rpartition(".")[2] == "Named"


def test_classes_without_a_module_and_with_odd_names_are_named() -> None:
    class Odd:
        __slots__ = ()

    # without a module's name among the globals a class has none either
    unnamed = eval("type('Unnamed', (), {})", {})
    assert "__module__" not in vars(unnamed)
    Odd.__qualname__ = "\ud800 <b>\n"
    held = [unnamed(), Odd()]
    seen = capture_from(held)
    assert seen.type_of(0).endswith("Unnamed")
    assert seen.type_of(1).endswith("\ud800 <b>\n")
    assert len(capture()) > 1000


def test_a_static_class_that_its_library_never_made_ready_is_no_harm(part: Any) -> None:
    # its bases are NULL, and to ask for them ends the process
    module = pytest.importorskip("_testcapi")
    kinds = [value for value in vars(module).values() if type(value) is type]
    unready = [kind for kind in kinds if type.__dict__["__mro__"].__get__(kind) is None]
    seen = capture_from([module, *kinds])
    assert {id(kind) for kind in unready} <= set(seen.addresses.tolist())


class Odd:
    pass


def test_weak_proxies_are_not_followed_even_when_dead() -> None:
    living, dying = Odd(), Odd()
    held = [weakref.proxy(living), weakref.proxy(dying), weakref.ref(living)]
    del dying
    seen = capture_from([held])
    assert seen.node_at(id(living)) is None
    assert [seen.types[seen.type_index[node]] for node in seen.referents(0)].count("weakref.ProxyType") == 2
    assert len(capture()) > 1000


# -- at odd moments --


@needs_native
def test_a_capture_is_made_from_within_the_making_of_objects_and_classes() -> None:
    seen: list[Heap] = []

    class Base:
        def __new__(cls) -> Any:
            seen.append(capture())
            return object.__new__(cls)

        def __init__(self) -> None:
            seen.append(capture())
            self.held = [seen]

        def __init_subclass__(cls) -> None:
            seen.append(capture())

        def __set_name__(self, owner: Any, name: str) -> None:
            seen.append(capture())

    made = Base()

    class Derived(Base):
        attribute = made

    assert len(seen) == 4
    assert all(len(each) > 1000 for each in seen)


@needs_native
def test_a_capture_is_made_while_a_tuple_a_list_a_dict_and_a_set_are_filled() -> None:
    def values() -> Iterator[Any]:
        for number in range(30):
            if number == 11:
                assert len(capture()) > 1000
            yield number, object()

    assert len(tuple(values())) == len(list(values())) == len(dict(values())) == len(set(values())) == 30
    assert len((*values(), 1)) == 31


def test_a_capture_is_made_from_a_finalizer_and_a_weakrefs_callback() -> None:
    seen: list[Heap] = []

    class Dying:
        def __del__(self) -> None:
            seen.append(capture())

    dying = Dying()
    reference = weakref.ref(dying, lambda _: seen.append(capture()))
    del dying
    assert reference() is None
    assert len(seen) == 2


@needs_native
def test_a_capture_is_made_while_keys_are_compared_and_sorted() -> None:
    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            assert len(capture()) > 1000
            return False

    held = {Key(): 1}
    held[Key()] = 2
    listed = [2, 1]
    listed.sort(key=lambda each: len(capture()) and each)
    assert (len(held), listed) == (2, [1, 2])


def test_a_capture_is_made_in_a_coroutine_beside_suspended_ones(part: Any) -> None:
    async def wait(held: list[int]) -> int:
        await asyncio.sleep(10)
        return len(held)

    async def main() -> tuple[Heap, int]:
        held = [object()]
        task = asyncio.create_task(wait(held))  # type: ignore[arg-type]
        address = id(held)
        del held
        await asyncio.sleep(0)
        seen = capture()
        task.cancel()
        return seen, address

    seen, address = asyncio.run(main())
    node = seen.node_at(address)
    assert node is not None
    assert seen.surplus[node] == 0
    assert [seen.type_of(int(each)) for each in seen.referrers(node)] == ["coroutine"]


@needs_native
def test_a_generator_that_runs_can_make_captures() -> None:
    def running() -> Iterator[Heap]:
        for _ in range(3):
            yield capture()

    assert [len(each) > 1000 for each in running()] == [True] * 3


@needs_native
@native_only
def test_frames_of_threads_that_wait_in_c_are_seen() -> None:
    lock = threading.Lock()
    reader, writer = os.pipe()
    works = [lock.acquire, lambda: os.read(reader, 1), lambda: time.sleep(0.2)]
    addresses: list[int] = []

    def work(each: Callable[[], Any]) -> None:
        local = [each]
        addresses.append(id(local))
        each()

    with lock:
        threads = [threading.Thread(target=work, args=(each,)) for each in works]
        for thread in threads:
            thread.start()
        while len(addresses) < 3:
            time.sleep(0.001)
        seen = capture()
        os.write(writer, b"x")
    for thread in threads:
        thread.join()
    os.close(reader)
    os.close(writer)
    for address in addresses:
        node = seen.node_at(address)
        assert node is not None
        holders = [int(each) for each in seen.referrers(node)]
        assert [seen.type_of(each) for each in holders] == [RUNNING_FRAME]
        assert seen.surplus[node] == 0


@needs_native
def test_captures_while_other_threads_allocate_and_free(part: Any) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def churn(seed: int) -> None:
        held: dict[Any, Any] = {}
        number = seed
        try:
            while not stop.is_set():
                number += 1
                held[number % 997] = [
                    number,
                    {str(number): held.get(number % 991)},
                    np.empty(number % 50, object),
                ]
                kind = type("Made", (), {"own": number})
                held[f"key {number % 500}"] = (kind(), lambda kind=kind: kind)
                if number % 3 == 0:
                    held.pop(number % 997, None)
                if number % 2000 == 0:
                    held.clear()
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            seen = capture()
            assert int(seen.indptr[-1]) == len(seen.indices)
            assert seen.shallow_bytes.min() >= 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors


def test_a_capture_with_the_collector_off_leaves_it_off() -> None:
    gc.disable()
    try:
        assert len(capture()) > 1000
        assert not gc.isenabled()
    finally:
        gc.enable()


# -- in processes of their own --

_PART = """
import gc, sys
if {twin}:
    sys.modules["nbmem.heap._walk"] = None
from nbmem.heap.capture import capture, capture_from
"""


def outcome_of(part: Any, code: str) -> str:
    """Run code in a process that has one of the parts; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _PART.format(twin=part is not native) + code],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


_DEEP = """
n = {n}
gc.disable()
node = None
for _ in range(n):
    node = [node]
seen = {how}
assert len(seen) >= n
retained = int(seen.retained_bytes[seen.node_at(id(node))])
assert n * 64 <= retained <= n * 80 + 10_000_000, retained
del seen
# a list that is freed frees the next: the interpreter has its own means against that
while node:
    node = node.pop()
print("ok")
"""


@needs_native
@native_only
def test_ten_million_levels_need_no_recursion(part: Any) -> None:
    assert outcome_of(part, _DEEP.format(n=10_000_000, how="capture()")) == "ok\n"


@pytest.mark.parametrize("how", ["capture()", "capture_from([node])"])
def test_hundreds_of_thousands_of_levels_need_no_recursion(part: Any, how: str) -> None:
    assert outcome_of(part, _DEEP.format(n=300_000, how=how)) == "ok\n"


_SHORT_OF_MEMORY = """
import resource
held = [[n] for n in range({count})]
capture()
import ctypes
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
def in_use():
    gc.collect()
    info = mallinfo2()
    return info.uordblks + info.hblkhd, sys.getallocatedblocks()
def mapped():
    return int(open("/proc/self/statm").read().split()[0]) * 4096
counts = sys.getrefcount(held[5]), sys.getrefcount(list)
before = in_use()
failed = succeeded = 0
limits = resource.getrlimit(resource.RLIMIT_{which})
used = {used}
for room in {rooms}:
    resource.setrlimit(resource.RLIMIT_{which}, (used() + room * 1_000_000, limits[1]))
    try:
        seen = capture()
    except MemoryError as error:
        failed += 1
        message = str(error)
        del error
    else:
        succeeded += 1
        del seen
    resource.setrlimit(resource.RLIMIT_{which}, limits)
    assert gc.isenabled()
    assert len([0] * 1_000_000) == 1_000_000  # there is room again
assert failed, "the limit was none"
assert "not enough memory" in message or {any_message}, message
assert (sys.getrefcount(held[5]), sys.getrefcount(list)) == counts
grown = [now - then for now, then in zip(in_use(), before)]
assert grown[0] < 100_000 and grown[1] < 1000, grown
assert len(capture()) > 2 * {count} - 600
print("ok")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
@pytest.mark.parametrize("which", ["AS", "DATA"] if native is not None else ["DATA"])
def test_too_little_memory_is_told_and_all_is_freed(part: Any, which: str) -> None:
    used = "mapped" if which == "AS" else "lambda: int(open('/proc/self/statm').read().split()[5]) * 4096"
    rooms = [*range(1, 60, 15), 80, 140] if part is native else [1, 10, 20, 40]
    # what fails after the walk, in numpy, says so in its own words
    code = _SHORT_OF_MEMORY.format(
        which=which,
        used=used,
        rooms=rooms,
        any_message="'allocate' in message or not message",
        more=60_000_000,
        count=1_000_000 if part is native else 300_000,
    )
    assert outcome_of(part, code) == "ok\n"


_A_THOUSAND = """
import ctypes
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
class Sized:
    def __sizeof__(self):
        return 100
held = [Sized(), {{"a": [1]}}, (n for n in range(3))]
def state():
    gc.collect()
    info = mallinfo2()
    resident = int(open("/proc/self/statm").read().split()[1]) * 4096
    return sys.getallocatedblocks(), info.uordblks + info.hblkhd, resident, len(gc.get_objects())
for _ in range({n} // 10):
    capture()
    capture_from(held)
state()
before = state()
for _ in range({n}):
    capture()
    capture_from(held)
after = state()
print(*(b - a for a, b in zip(before, after)))
"""


def test_a_thousand_captures_leave_the_process_no_larger(part: Any) -> None:
    n = 1000 if part is native else 20
    blocks, malloc, resident, objects = map(int, outcome_of(part, _A_THOUSAND.format(n=n)).split())
    assert blocks < 1000  # the interpreter's lists of free objects fill slowly
    assert malloc <= 100_000
    assert resident <= (3_000_000 if part is native else 8_000_000)  # lists of lists leave holes behind
    assert objects <= 10


# -- what stands among the modules --


def test_modules_under_names_that_are_no_strings_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: Any = sys.modules
    monkeypatch.setitem(modules, 5, type(sys)("five"))
    assert len(capture())
