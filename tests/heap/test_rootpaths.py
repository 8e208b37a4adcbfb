"""Who holds an object: paths, verdicts and cures of the engine, without a notebook."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import gc
import os
import types
from collections import OrderedDict, defaultdict, deque
from typing import Any

import pytest

from nbmem.heap.belongings import counts_on, is_added, is_inner, is_library, is_users
from nbmem.heap.paths import SPREAD
from nbmem.heap.rootgroups import find_groups
from nbmem.heap.rootpaths import Holding, find_root_paths
from nbmem.heap.roots import Root

#: The twin does not see what the locals of running frames hold: then the look seems to be somebody's.
NATIVE = "NBMEM_EXPECT_TWIN" not in os.environ


class Thing:
    """What is asked about."""


class Box:
    """A class of the user's."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: object


class Sealed:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def ask(space: dict[str, Any], code: str) -> Holding:
    """Ask who holds what an expression gives in a namespace that has the names; no ``**``: that would hold it."""
    asked = code if code.isidentifier() else None
    return find_root_paths(
        eval(code, {}, space),
        namespace=space,
        roots=[Root(space, "variable", "the program", "", mark=SPREAD)],
        asked=asked,
    )


def told(found: Holding) -> list[tuple[str, str]]:
    """Give the paths that begin with a name of the namespace: text and cure."""
    return [(path.text, path.cure) for path in found.paths if path.kind == "variable"]


def sealed() -> Sealed:
    value = Sealed()
    object.__setattr__(value, "thing", Thing())
    return value


def recursive() -> list[Any]:
    head: Any = Thing()
    for _ in range(50):
        head = [head]
    return head


CASES: list[tuple[str, Any, str, tuple[str, str]]] = [
    ("an entry of a dict", lambda: {"a": {"b": Thing()}}, "x['a']['b']", ("x['a']['b']", "del x['a']['b']")),
    ("an entry of a list", lambda: [1, [Thing()]], "x[1][0]", ("x[1][0]", "del x[1][0]")),
    ("an entry of a tuple", lambda: (1, Thing()), "x[1]", ("x[1]", "del x")),
    ("an attribute", lambda: Box(a=Box(b=Thing())), "x.a.b", ("x.a.b", "del x.a.b")),
    ("an attribute that cannot be deleted", lambda: Frozen(Thing()), "x.value", ("x.value", "del x")),
    (
        "an attribute that nobody can read",
        sealed,
        "object.__getattribute__(x, 'thing')",
        ("x.thing", "del x"),
    ),
    ("an entry of a subclass", lambda: OrderedDict(a=Thing()), "x['a']", ("x['a']", "del x['a']")),
    (
        "an entry of a defaultdict",
        lambda: defaultdict(list, a=[Thing()]),
        "x['a'][0]",
        ("x['a'][0]", "del x['a'][0]"),
    ),
    ("an entry of a deque", lambda: deque([Thing()]), "x[0]", ("x[0]", "del x[0]")),
    ("a chain", recursive, "x" + "[0]" * 50, ("x([0] × 50)", "del x")),
    ("a key with a quote", lambda: {"it's": Thing()}, 'x["it\'s"]', ('x["it\'s"]', 'del x["it\'s"]')),
    ("a key of two", lambda: {(1, "a"): Thing()}, "x[1, 'a']", ("x[(1, 'a')]", "del x[(1, 'a')]")),
    ("a partial", lambda: functools.partial(print, Thing()), "x.args[0]", ("x.args[0]", "del x")),
]


@pytest.mark.parametrize(
    ("build", "code", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_path_is_an_expression_and_its_cure_takes_away_the_least(
    build: Any, code: str, wanted: tuple[str, str]
) -> None:
    space = {"x": build()}
    assert told(ask(space, code)) == [wanted]


@pytest.mark.parametrize(
    ("build", "code", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_cure_runs_as_it_is_printed_and_frees_the_object(
    build: Any, code: str, wanted: tuple[str, str]
) -> None:
    import weakref

    space = {"x": build()}
    reference = weakref.ref(eval(code, {}, space))
    exec(wanted[1], {}, space)
    gc.collect()
    assert reference() is None


@pytest.mark.twin
def test_the_name_that_was_asked_by_comes_last_and_is_no_holder() -> None:
    thing = Thing()
    space = {"thing": thing, "items": [thing]}
    del thing
    found = [(path.text, path.asked) for path in ask(space, "thing").paths if path.kind == "variable"]
    assert found == [("items[0]", False), ("thing", True)]


def test_all_names_of_an_object_are_one_path() -> None:
    thing = Thing()
    space = {"a": thing, "b": thing, "_c": thing, "holder": [1]}
    del thing
    assert told(ask(space, "(a, 1)[0]")) == [("a  (also b, _c)", "del a, b, _c")]


@pytest.mark.twin
def test_references_that_differ_by_an_index_are_one_path_with_their_number() -> None:
    thing = Thing()
    space = {"x": [thing] * 4812, "y": {"a": thing, "b": thing, "c": 1}}
    del thing
    found = [path for path in ask(space, "x[0]").paths if path.kind == "variable"]
    assert [(path.text, path.count) for path in found] == [("x[*]", 4812), ("y[*]", 2)]


def test_a_second_way_through_the_reference_to_cut_is_told_beside_the_first() -> None:
    box = [Thing()]
    space = {"box": box, "other": {"box": box}}
    del box
    found = [path for path in ask(space, "box[0]").paths if path.kind == "variable"]
    assert [(path.text, path.also) for path in found] == [("box[0]", ("other['box'][0]",))]


@pytest.mark.skipif(not NATIVE, reason="the twin does not see what the look itself holds")
def test_what_all_cures_free_is_told_and_nothing_if_one_is_missing() -> None:
    space: dict[str, Any] = {"x": {"a": bytearray(1 << 20)}}
    found = ask(space, "x['a']")
    assert found.is_freed
    assert 1 << 20 <= found.freed_bytes < (1 << 20) + 10_000
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(space["x"]["a"]))
    found = ask(space, "x['a']")
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(space["x"]["a"]))
    assert not found.is_freed
    assert found.freed_bytes == 0
    assert [path.kind for path in found.paths] == ["variable", "native code"]
    assert found.paths[1].text == "bytearray, held by native code (1 reference above all that are visible)"


@pytest.mark.parametrize(
    ("build", "code", "left"),
    [
        (lambda thing: [1, thing, 2, thing], "x[1]", [1, 2]),
        (lambda thing: deque([1, thing, 2, thing]), "x[1]", deque([1, 2])),
        (
            lambda thing: {"a": thing, "b": 1, "c": thing, "d": thing, "e": thing, "f": thing},
            "x['a']",
            {"b": 1},
        ),
        (lambda thing: {thing, 1, 2}, "next(each for each in x if type(each) is not int)", {1, 2}),
        (lambda thing: {"a": [thing, 1], "b": [thing, 1]}, "x['a'][0]", None),
        (lambda thing: [{"a": thing, "b": 1}, {"a": thing}], "x[0]['a']", [{"b": 1}, {}]),
    ],
)
def test_a_cure_takes_out_nothing_else(build: Any, code: str, left: Any) -> None:
    space = {"x": build(Thing())}
    path = next(path for path in ask(space, code).paths if path.kind == "variable")
    exec(path.cure, space, space)
    space.pop("__builtins__")
    if left is not None:
        assert space == {"x": left}
    else:
        assert path.advice or "x" not in space


@pytest.mark.skipif(not NATIVE, reason="the twin does not see what the look itself holds")
def test_deleting_a_name_frees_what_nothing_else_holds() -> None:
    rows = [bytearray(1 << 20) for _ in range(3)]
    space = {"x": {"rows": rows, "own": bytearray(1 << 18)}, "part": {"rows": rows}}
    del rows
    found = ask(space, "x").deletion
    assert found is not None
    assert 1 << 18 <= found.freed_bytes < (1 << 18) + 10_000
    assert 3 << 20 <= found.rest_bytes < (3 << 20) + 20_000
    assert [text for text, _ in found.held_by] == ["part['rows']"]


@pytest.mark.skipif(not NATIVE, reason="the twin does not see what the look itself holds")
def test_of_garbage_it_is_told_what_goes_with_it() -> None:
    def cycle() -> None:
        thing: Any = [bytearray(1 << 20)]
        thing.append(thing)
        made.append(id(thing))

    made: list[int] = []
    gc.disable()
    try:
        cycle()
        thing = next(each for each in gc.get_objects() if id(each) == made[0])
        held = [thing]
        del thing
        found = find_root_paths(held.pop())
    finally:
        gc.enable()
    assert found.state == "garbage"
    assert found.paths == ()
    assert found.retained_bytes >= 1 << 20


@pytest.mark.twin
def test_each_step_is_expected_suspect_or_held() -> None:
    class Store:
        kept: Any

    Store.kept = {"a": [Thing()]}
    space = {"store": Store}
    path = next(path for path in ask(space, "store.kept['a'][0]").paths if path.kind == "variable")
    assert [(step.status, step.suspect, step.cut) for step in path.steps] == [
        ("expected", False, False), ("expected", False, False), ("suspect", True, False),
        ("suspect", True, False), ("held", True, True),
    ]  # fmt: skip


def test_a_long_path_is_followed_so_far_and_the_rest_is_counted() -> None:
    head: Any = Thing()
    for _ in range(30_000):
        head = [head]
    space = {"head": head}
    innermost = head
    while type(innermost) is list:
        innermost = innermost[0]
    found = find_root_paths(
        innermost,
        namespace=space,
        roots=[Root(space, "variable", "the program", "", mark=SPREAD)],
        asked="innermost",
    )
    texts = [path.text for path in found.paths if path.kind == "variable"]
    assert len(texts) == 1
    assert texts[0].startswith("head([0] × 19,999) → … 10,000 more … → ")
    while type(head) is list:
        head = head[0]


@pytest.mark.twin
def test_instances_are_grouped_by_the_shape_of_their_paths() -> None:
    class Special:
        pass

    space = {"items": [Special() for _ in range(20)], "cache": {"a": {"b": Special()}}}
    found = find_groups(
        Special, namespace=space, roots=[Root(space, "variable", "the program", "", mark=SPREAD)]
    )
    assert found.count == 21
    assert [(group.path.text, group.count) for group in found.groups] == [
        ("items[*]", 20),
        ("cache['a']['b']", 1),
    ]


# -- whose an object is


@pytest.mark.twin
def test_what_the_standard_library_and_installed_packages_make_is_theirs() -> None:
    assert is_library("json.decoder")
    assert is_library("numpy")
    assert not is_library("__main__")
    assert not is_library(__name__)
    assert not is_library("builtins")


@pytest.mark.twin
def test_instances_functions_and_methods_of_the_users_are_the_users() -> None:
    import json

    box = Box(a=1)
    assert is_users(box)
    assert is_users(ask)
    assert is_users([].append) is False
    assert is_users(json.dumps) is False
    assert is_users(types.MethodType(lambda self: self, box))
    assert is_users(functools.partial(ask))
    assert is_users([1]) is False


@pytest.mark.twin
def test_plain_containers_count_on_nothing_and_library_objects_do() -> None:
    import logging

    assert not counts_on(defaultdict(list))
    assert not counts_on([])
    assert not counts_on(Box())
    assert counts_on(logging.getLogger())
    assert counts_on(logging.Logger)


@pytest.mark.twin
def test_what_a_library_speaks_of_is_its_own_attribute() -> None:
    import logging
    import threading

    handler = logging.NullHandler()
    assert is_inner(handler, "formatter")
    assert is_inner(handler, "_name")
    assert not is_inner(handler, "kept_by_me")
    assert is_inner(threading.Thread(), "_target")
    assert not is_inner(Box(), "_anything")
    assert is_added("logging", "kept_by_me")
    assert not is_added("logging", "root")
    assert not is_added("builtins", "print")
