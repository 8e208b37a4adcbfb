"""How one live object refers to another."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbmem.heap.references import Reference, links, reference_names, short
from tests.heap.test_holdings import Hostile, HostileDict

VALUE = bytearray(100)


class Plain:
    def __init__(self) -> None:
        self.value = VALUE


class Slots:
    __slots__ = ("other", "value")

    def __init__(self) -> None:
        self.value = VALUE


@dataclass
class Data:
    value: object


class Computed:
    value = property(lambda self: 1 / 0)

    def __init__(self) -> None:
        self.__dict__["value"] = VALUE


class ListWithName(list[Any]):
    pass


def closure() -> Callable[[], object]:
    value = VALUE
    return lambda: value


def named_list() -> ListWithName:
    made = ListWithName()
    made.value = VALUE  # type: ignore[attr-defined]
    return made


def error() -> Exception:
    made = ValueError("text")
    made.value = VALUE  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ([None, VALUE], "index", "[1]"),
        ((VALUE,), "index", "[0]"),
        (deque([1, VALUE]), "index", "[1]"),
        ({"2019": VALUE}, "key", "['2019']"),
        ({(1, "a"): VALUE}, "key", "[(1, 'a')]"),
        (Plain(), "attribute", ".value"),
        (Slots(), "attribute", ".value"),
        (Data(VALUE), "attribute", ".value"),
        (Computed(), "attribute", ".value"),
        (named_list(), "attribute", ".value"),
        (error(), "attribute", ".value"),
        (closure(), "cell", "(variable value)"),
        (np.array([None, VALUE], dtype=object), "index", "[1]"),
        (np.array([[0, 1], [VALUE, 3]], dtype=object), "index", "[1, 0]"),
        (VALUE.append, "", ""),
        (Plain().__init__, "", ""),
        (HostileDict(a=VALUE), "key", "['a']"),
    ],
)
def test_a_reference_is_named_as_one_would_write_it(source: object, kind: str, text: str) -> None:
    found = reference_names(source, {id(VALUE)}).get(id(VALUE))
    assert found == (Reference(kind, text) if kind else None)


def test_the_element_of_a_set_a_key_the_base_of_a_view_and_the_parts_of_a_frame_have_names() -> None:
    element = "some element"
    assert reference_names({element}, {id(element)})[id(element)].kind == "element"
    assert reference_names({element: 1}, {id(element)})[id(element)].kind == "key itself"
    big = np.ones(10)
    assert reference_names(big[:2], {id(big)})[id(big)].text == ".base"
    names = [link.name.text for link in links(pd.DataFrame({"a": [1]}))]
    assert "._mgr" in names
    assert {link.key for link in links(functools.partial(print, 1))} >= {"func", "args"}
    plain = Plain()
    assert reference_names(plain.__init__, {id(plain)})[id(plain)].text == ".__self__"  # type: ignore[misc]


def test_looking_at_an_instance_makes_no_dict_for_it() -> None:
    from nbmem.heap import objectsize

    plain = Plain()
    before = objectsize.measure(plain).retained_bytes
    list(links(plain))
    assert objectsize.measure(plain).retained_bytes == before


def test_what_lies_between_an_instance_and_its_attributes_is_told() -> None:
    plain = Plain()
    held = plain.__dict__
    (link,) = [link for link in links(plain) if link.value is VALUE]
    assert link.via == (id(held),)


def test_long_keys_are_cut_and_objects_as_keys_are_not_asked() -> None:
    (link,) = [each for each in links({"x" * 1_000_000: VALUE}) if each.value is VALUE]
    assert len(link.name.text) < 80
    assert link.name.text.endswith("…]")
    assert short(Plain()) == "<Plain>"
    assert short((1, Plain(), 10**100, "t")) == "(1, <Plain>, …, …)"


def test_hostile_objects_run_no_code() -> None:
    hostile = Hostile()
    assert list(links(hostile)) == []
    assert reference_names([hostile], {id(hostile)})[id(hostile)].text == "[0]"
    assert short(hostile) == "<Hostile>"
