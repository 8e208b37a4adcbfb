"""Structures whose sizes are judged: of plain Python. Those of libraries are in ``library_structures``."""

from __future__ import annotations

import array
import asyncio
import collections
import contextvars
import ctypes
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import mmap
import pathlib
import re
import threading
import types
import uuid
import weakref
import xml.etree.ElementTree
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Structure:
    """One structure.

    Parameters
    ----------
    name : str
        What it is.
    build : callable
        Takes a scale (1: as large as the benchmark has it) and gives the holder of it all.
    needs : tuple of str
        The libraries that it is made with.
    """

    name: str
    build: Callable[[float], Any]
    needs: tuple[str, ...] = ()


STRUCTURES: dict[str, Structure] = {}

Build = Callable[[float], Any]


def structure(name: str, *needs: str) -> Callable[[Build], Build]:
    """Enter a function among the structures."""

    def enter(build: Build) -> Build:
        assert name not in STRUCTURES
        STRUCTURES[name] = Structure(name, build, needs)
        return build

    return enter


def built(name: str, build: Build, *needs: str) -> None:
    """Enter a short one."""
    structure(name, *needs)(build)


def count(scale: float, full: int) -> int:
    """Give how many there are at this scale."""
    return max(1, int(full * scale))


class Plain:
    def __init__(self, number: int) -> None:
        self.number, self.name, self.other = number, f"name {number}", None


class Slotted:
    __slots__ = ("following", "number")

    def __init__(self, number: int, following: Any = None) -> None:
        self.number, self.following = number, following


class Weakly:
    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number


@dataclasses.dataclass
class Inner:
    name: str
    values: list[int]


@dataclasses.dataclass
class Outer:
    first: Inner
    second: Inner
    others: dict[str, Inner]


Point = collections.namedtuple("Point", "x y name")


# -- containers --

built("dict of 100 k unique str keys", lambda s: {f"key {i} of many": i for i in range(count(s, 100_000))})
built("dict of int keys", lambda s: {i * 1000: None for i in range(count(s, 100_000))})
built("dict of bytes keys", lambda s: {b"key %d" % i: b"value %d" % i for i in range(count(s, 50_000))})
built("dict of tuple keys", lambda s: {(i, f"{i}"): float(i) for i in range(count(s, 30_000))})
built("empty dicts, lists, sets", lambda s: [kind() for kind in (dict, list, set) * count(s, 10_000)])
built("list of lists", lambda s: [[i, i + 1, i + 2] for i in range(count(s, 30_000))])
built("list of tuples", lambda s: [(i * 1000, float(i)) for i in range(count(s, 30_000))])
built("set of frozensets", lambda s: {frozenset((i, i + 1, f"{i}")) for i in range(count(s, 20_000))})
built(
    "sets of 3 and of 30",
    lambda s: [set(range(n * 1000, n * 1000 + (n % 2 * 27 + 3))) for n in range(count(s, 3000))],
)
built("deque of 100 k ints", lambda s: collections.deque(i * 1000 for i in range(count(s, 100_000))))
built("small deques", lambda s: [collections.deque(range(i % 200)) for i in range(count(s, 3000))])
built("OrderedDict", lambda s: collections.OrderedDict((f"key {i}", i) for i in range(count(s, 50_000))))
built("defaultdict of lists", lambda s: _grouped(count(s, 50_000)))
built("Counter", lambda s: collections.Counter(f"word {i % 5000}" for i in range(count(s, 20_000))))
built(
    "ChainMap, UserDict",
    lambda s: collections.ChainMap(
        collections.UserDict({f"{i}": i for i in range(count(s, 10_000))}), {i: str(i) for i in range(5000)}
    ),
)
built("namedtuples", lambda s: [Point(i * 1000, float(i), f"p{i}") for i in range(count(s, 20_000))])
built("mapping proxy", lambda s: types.MappingProxyType({f"key {i}": i for i in range(count(s, 20_000))}))


def _grouped(n: int) -> Any:
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for i in range(n):
        groups[f"group {i % 1000}"].append(i)
    return groups


@structure("dict that was shrunk")
def _(scale: float) -> Any:
    shrunk = {f"key {i}": i for i in range(count(scale, 100_000))}
    for key in list(shrunk)[10:]:
        del shrunk[key]
    return shrunk


@structure("set that was shrunk")
def _(scale: float) -> Any:
    shrunk = {f"key {i}" for i in range(count(scale, 100_000))}
    for key in list(shrunk)[10:]:
        shrunk.discard(key)
    return shrunk


@structure("list with room for more")
def _(scale: float) -> Any:
    grown: list[Any] = []
    for _ in range(count(scale, 300_001)):
        grown.append(None)  # noqa: PERF401  # a comprehension makes room in another way
    del grown[count(scale, 200_000) :]
    return grown


# -- plain values --

built("ints of all sizes", lambda s: [7 << (i * 37 % 2000) for i in range(count(s, 10_000))])
built("floats", lambda s: [i / 7 for i in range(count(s, 100_000))])
built("complex numbers", lambda s: [complex(i, 1) for i in range(count(s, 30_000))])
built("bytes of all lengths", lambda s: [bytes(i % 1500) for i in range(count(s, 10_000))])
built("str of all lengths, ASCII", lambda s: ["x" * (i % 1500) + str(i) for i in range(count(s, 10_000))])
built(
    "str of all lengths, not ASCII",
    lambda s: [kind * (i % 500) + str(i) for i in range(count(s, 4000)) for kind in "éΩ🙂"],
)
built(
    "datetimes",
    lambda s: [
        (
            datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=i),
            datetime.date.fromordinal(i + 1),
            datetime.timedelta(i),
        )
        for i in range(count(s, 10_000))
    ],
)
built("Decimals", lambda s: [decimal.Decimal(10) ** (i % 300) + i for i in range(count(s, 5000))])
built("Fractions", lambda s: [fractions.Fraction(i + 1, 7919) for i in range(count(s, 20_000))])
built("UUIDs", lambda s: [uuid.UUID(int=i) for i in range(count(s, 10_000))])
built("ranges and slices", lambda s: [(range(i, i * 2), slice(i, None)) for i in range(count(s, 10_000))])
built("paths", lambda s: [pathlib.PurePosixPath(f"/data/{i}/file.csv") for i in range(count(s, 5000))])


@structure("str with its UTF-8 beside it")
def _(scale: float) -> Any:
    as_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8
    as_utf8.argtypes = (ctypes.py_object,)
    strings = [f"ünïcödé {i} " * 20 for i in range(count(scale, 5000))]
    for each in strings:
        as_utf8(each)
    return strings


# -- buffers --

built("array of doubles", lambda s: array.array("d", range(count(s, 200_000))))
built("small arrays", lambda s: [array.array("i", range(i % 100)) for i in range(count(s, 5000))])
built("bytearray", lambda s: bytearray(count(s, 5_000_000)))
built("memoryview of bytes", lambda s: memoryview(bytes(count(s, 5_000_000)))[:10])
built("memoryview of a bytearray, cast", lambda s: memoryview(bytearray(count(s, 1_000_000) * 8)).cast("d"))
built("BytesIO", lambda s: io.BytesIO(bytes(count(s, 3_000_000))))
built("StringIO", lambda s: _written(io.StringIO(), "line of text\n", count(s, 100_000)))
built("anonymous mmap", lambda s: mmap.mmap(-1, count(s, 20_000_000)))
built("mmap of a file", lambda s: _mapped_file(count(s, 20_000_000)))
built("ctypes array", lambda s: (ctypes.c_double * count(s, 500_000))())
built("small ctypes arrays", lambda s: [(ctypes.c_int * 3)() for _ in range(count(s, 5000))])
built(
    "array of a ctypes array",
    lambda s: [(ctypes.c_int * count(s, 100_000)).from_buffer(bytearray(count(s, 100_000) * 4))],
)
built("a part of a ctypes structure", lambda s: _Record().parts)
built("ctypes pointers", lambda s: [ctypes.pointer((ctypes.c_char * 1000)()) for _ in range(count(s, 1000))])


class _Record(ctypes.Structure):
    _fields_ = (("number", ctypes.c_int), ("parts", ctypes.c_char * 1_000_000 * 1))


@structure("bytearray that grew")
def _(scale: float) -> Any:
    grown = bytearray()
    for _ in range(count(scale, 30_000)):
        grown += b"0123456789" * 10
    del grown[:1000]
    return grown


def _written(stream: Any, text: str, times: int) -> Any:
    for _ in range(times):
        stream.write(text)
    return stream


def _mapped_file(size: int) -> Any:
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size)


# -- objects and classes --

built("instances with attributes", lambda s: [Plain(i * 1000) for i in range(count(s, 30_000))])
built("slotted instances", lambda s: [Slotted(i * 1000) for i in range(count(s, 50_000))])
built(
    "nested dataclasses",
    lambda s: [
        Outer(Inner(f"a{i}", [i] * 3), Inner("b", [i + 1]), {f"c{i}": Inner("c", [])})
        for i in range(count(s, 5000))
    ],
)
built(
    "simple namespaces",
    lambda s: [types.SimpleNamespace(x=i * 1000, y=f"{i}") for i in range(count(s, 10_000))],
)
built("classes created at run time", lambda s: [_new_class(i) for i in range(count(s, 200))])
built(
    "enum created at run time",
    lambda s: enum.Enum(f"Colours{s}", [f"COLOUR_{i}" for i in range(count(s, 500))]),
)
built("weak references with callbacks", lambda s: _weak(count(s, 10_000)))
built("WeakValueDictionary", lambda s: _weak_dict(count(s, 10_000)))


@structure("instances whose __dict__ was looked at")
def _(scale: float) -> Any:
    made = [Plain(i * 1000) for i in range(count(scale, 20_000))]
    for each in made:
        vars(each)["other"] = each.number
    return made


@structure("instances with attributes of their own")
def _(scale: float) -> Any:
    made = []
    for i in range(count(scale, 5000)):
        each = type(Plain(0)).__new__(Plain)
        for k in range(i % 7, i % 7 + 5):
            setattr(each, f"attribute_{k}_{i % 50}", i)
        made.append(each)
    return made


def _new_class(number: int) -> type:
    class Made:
        """It has a method, a property and a constant."""

        limit = number * 1000

        def method(self, argument: int) -> int:
            return argument + self.limit

        @property
        def double(self) -> int:
            return self.limit * 2

    return Made


def _weak(n: int) -> Any:
    held = [Weakly(i) for i in range(n)]
    return held, [weakref.ref(each, _nothing) for each in held]


def _nothing(reference: object) -> None:
    pass


def _weak_dict(n: int) -> Any:
    held = [Weakly(i) for i in range(n)]
    return held, weakref.WeakValueDictionary(enumerate(held))


# -- functions, frames and what they keep --

built("partial with 8 MB", lambda s: functools.partial(len, bytearray(count(s, 8_000_000))))
built("bound methods", lambda s: [Slotted(i).__init__ for i in range(count(s, 10_000))])
built("functions", lambda s: [_new_function(i) for i in range(count(s, 5000))])
built("compiled code", lambda s: [_compiled(i) for i in range(count(s, 300))])
built("patterns", lambda s: [_pattern(i) for i in range(count(s, 200))])
built(
    "iterators",
    lambda s: [
        (
            iter([i]),
            zip((i,), [i], strict=False),
            map(str, [i]),
            enumerate([i]),
            itertools.chain([i], [i]),
            itertools.islice([i], 5),
            reversed([i]),
        )
        for i in range(count(s, 3000))
    ],
)
built("tee of an iterator, one far ahead", lambda s: _tee(count(s, 50_000)))
built(
    "element tree",
    lambda s: xml.etree.ElementTree.fromstring(
        "<r>" + "".join(f"<row a='{i}'><x>{i}</x></row>" for i in range(count(s, 5000))) + "</r>"
    ),
)
built(
    "locks and conditions",
    lambda s: [(threading.RLock(), threading.Condition()) for _ in range(count(s, 2000))],
)
built("contexts", lambda s: _contexts(count(s, 2000)))


@structure("lru_cache and its contents")
def _(scale: float) -> Any:
    @functools.cache
    def unbounded(i: int) -> str:
        return f"result {i} " * 10

    @functools.lru_cache(maxsize=5000)
    def bounded(i: int, k: str) -> str:
        return f"result {i} " * 10

    for i in range(count(scale, 20_000)):
        unbounded(i)
        bounded(i, "x")
    return unbounded, bounded


@structure("closure over 8 MB")
def _(scale: float) -> Any:
    kept = bytearray(count(scale, 8_000_000))

    def closure() -> int:
        return len(kept)

    return closure


@structure("generator with a big local")
def _(scale: float) -> Any:
    def generate() -> Any:
        kept = bytes(count(scale, 8_000_000))
        yield
        print(len(kept))

    generator = generate()
    next(generator)
    return generator


@structure("suspended coroutines")
def _(scale: float) -> Any:
    @types.coroutine
    def wait() -> Any:
        yield

    async def work(number: int) -> None:
        kept = f"{number} " * 100
        await wait()
        print(kept)

    coroutines = [work(i) for i in range(count(scale, 2000))]
    for each in coroutines:
        each.send(None)
    # closed before they go, or each would say that it was never awaited to its end
    return coroutines


@structure("exception with its traceback")
def _(scale: float) -> Any:
    def fail(deep: int) -> None:
        kept = bytes(count(scale, 1_000_000))
        if deep:
            fail(deep - 1)
        raise ValueError(len(kept))

    try:
        fail(7)
    except ValueError as error:
        return error


@structure("futures and tasks of asyncio")
def _(scale: float) -> Any:
    loop = asyncio.new_event_loop()
    futures = [loop.create_future() for _ in range(count(scale, 3000))]
    for i, each in enumerate(futures):
        each.set_result(f"result {i}")
    loop.close()
    return futures


def _new_function(i: int) -> Any:
    def function(x: int = i * 1000, *, key: str = "k") -> int:
        """Say what it does."""
        return x + i

    function.note = f"note {i}"  # type: ignore[attr-defined]
    return function


def _compiled(i: int) -> Any:
    lines = "\n".join(f"    if a > {k * 1000 + i}.5: a += {k}; b.append('text {k} {i}')" for k in range(20))
    return compile(f"def f(a, b):\n{lines}\n    return [a for a in b]\n", f"<made {i}>", "exec")


def _pattern(i: int) -> Any:
    pattern = re.compile(rf"(?P<year>\d{{4}})-(\w+|[a-f{i}]+)*?x{i}")
    re.purge()
    return pattern


def _tee(n: int) -> Any:
    first, second = itertools.tee(i * 1000 for i in range(n))
    collections.deque(first, maxlen=0)
    return second


def _contexts(n: int) -> Any:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    made = []
    for i in range(n):
        context = contextvars.Context()
        context.run(variable.set, f"value {i}")
        made.append(context)
    return made


# -- long chains --


@structure("linked list of 1 M nodes")
def _(scale: float) -> Any:
    head = None
    for i in range(count(scale, 1_000_000)):
        head = Slotted(i, head)
    return head


@structure("cycle of 1 M nodes")
def _(scale: float) -> Any:
    last = head = Slotted(0)
    for i in range(count(scale, 1_000_000)):
        head = Slotted(i, head)
    last.following = head
    return head


@structure("100 k references to one 1 kB str, in a list")
def _(scale: float) -> Any:
    return ["x" * 1000 + str(scale)] * count(scale, 100_000)
