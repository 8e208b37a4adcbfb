"""Shortest paths from what holds to what is held, against a search in plain Python."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbmem.heap.graph import Heap
from nbmem.heap.paths import ALSO, CLOSED, END, SPREAD, UNSEEN, climb, descend

Graph = tuple[int, list[tuple[int, int]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    n = draw(st.integers(1, 12))
    node = st.integers(0, n - 1)
    return n, draw(st.lists(st.tuples(node, node), max_size=4 * n))


def heap_of(n: int, edges: list[tuple[int, int]]) -> Heap:
    edges = sorted(edges)
    indptr = np.zeros(n + 1, np.uint32)
    np.cumsum(np.bincount([a for a, _ in edges], minlength=n), out=indptr[1:])
    zeros: Any = np.zeros(n, np.uint8)
    return Heap(
        addresses=np.arange(n, dtype=np.uint64) * 16 + 4096,
        type_index=zeros.astype(np.uint32),
        shallow_bytes=zeros.astype(np.int64),
        refcounts=zeros.astype(np.uint32),
        surplus=zeros.astype(np.int32),
        states=zeros,
        indptr=indptr,
        indices=np.array([b for _, b in edges], np.uint32),
        types=("object",),
        type_addresses=np.zeros(1, np.uint64),
    )


def distances(
    n: int, edges: list[tuple[int, int]], target: int, ends: set[int], closed: set[int]
) -> dict[int, int]:
    """Search against the references, the simplest way; what holds an end or a closed node is not asked."""
    found = {target: 0}
    level = [target]
    while level:
        above = {a for a, b in edges if b in level and (b == target or b not in ends)} - closed - set(found)
        if target in ends and level == [target]:
            above = {a for a, b in edges if b == target} - closed - set(found)
        found |= dict.fromkeys(above, found[level[0]] + 1)
        level = sorted(above)
    return found


many = settings(max_examples=300, deadline=None)
pytestmark = pytest.mark.twin


def marks_of(n: int, **nodes: set[int]) -> Any:
    marks = np.zeros(n, np.uint8)
    for name, kind in (("ends", END), ("spread", SPREAD), ("also", ALSO), ("closed", CLOSED)):
        marks[sorted(nodes.get(name, ()))] |= kind
    return marks


@many
@given(graphs(), st.data())
def test_each_end_that_can_be_reached_has_one_shortest_path(graph: Graph, data: st.DataObject) -> None:
    n, edges = graph
    target = data.draw(st.integers(0, n - 1))
    closed = data.draw(st.sets(st.integers(0, n - 1))) - {target}
    ends = data.draw(st.sets(st.integers(0, n - 1))) - {target} - closed
    ways = climb(heap_of(n, edges), target, marks_of(n, ends=ends, closed=closed), most=n + 1)
    wanted = distances(n, edges, target, ends, closed)
    assert sorted(way.nodes[0] for way in ways) == sorted(end for end in ends if end in wanted)
    for way in ways:
        assert way.nodes[-1] == target
        assert len(way.nodes) - 1 == wanted[way.nodes[0]]
        assert all(pair in edges for pair in pairwise(way.nodes))
        assert not (set(way.nodes[1:-1]) & (ends | closed))


@many
@given(graphs(), st.data())
def test_the_count_of_a_path_is_that_of_all_that_are_as_short(graph: Graph, data: st.DataObject) -> None:
    n, edges = graph
    target, end = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    for way in climb(heap_of(n, edges), target, marks_of(n, ends={end} - {target}), most=1):
        level = {end: 1}
        for _ in way.nodes[1:]:
            below: dict[int, int] = {}
            for a, b in edges:
                if a in level and a != b:
                    below[b] = below.get(b, 0) + level[a]
            level = below
        assert way.counts[0] == level[target]


@many
@given(graphs(), st.data())
def test_every_object_that_a_namespace_leads_on_from_is_a_way_of_its_own(
    graph: Graph, data: st.DataObject
) -> None:
    n, edges = graph
    target, space = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    if target == space:
        return
    ways = climb(heap_of(n, edges), target, marks_of(n, spread={space}), most=2 * n)
    without = [(a, b) for a, b in edges if a != space]
    leading = {b for a, b in edges if a == space and b in distances(n, without, target, set(), set())}
    assert sorted(way.nodes[1] for way in ways) == sorted(leading)


@many
@given(graphs(), st.data())
def test_a_reference_that_is_cut_is_gone(graph: Graph, data: st.DataObject) -> None:
    n, edges = graph
    target = data.draw(st.integers(0, n - 1))
    cut = set(data.draw(st.lists(st.sampled_from(edges), max_size=3))) if edges else set()
    marks = marks_of(n, also=set(range(n)) - {target})
    left = [pair for pair in edges if pair not in cut]
    found = climb(heap_of(n, edges), target, marks, most=2 * n, cut=cut)
    wanted = climb(heap_of(n, left), target, marks, most=2 * n)
    assert [way.nodes[0] for way in found] == [way.nodes[0] for way in wanted]


@many
@given(graphs(), st.data())
def test_the_nearest_ends_come_first_and_no_search_goes_on_beyond_what_is_wanted(
    graph: Graph, data: st.DataObject
) -> None:
    n, edges = graph
    target = data.draw(st.integers(0, n - 1))
    marks = marks_of(n, ends=data.draw(st.sets(st.integers(0, n - 1))))
    everything = climb(heap_of(n, edges), target, marks, most=n + 1)
    most = data.draw(st.integers(1, 4))
    some = climb(heap_of(n, edges), target, marks, most=most)
    assert some == everything[: len(some)]
    assert len(some) >= min(most, len(everything))
    assert [len(way.nodes) for way in everything] == sorted(len(way.nodes) for way in everything)


@many
@given(graphs(), st.data())
def test_from_some_nodes_down_each_is_reached_by_a_shortest_way(graph: Graph, data: st.DataObject) -> None:
    n, edges = graph
    starts = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    above, order = descend(heap_of(n, edges), [np.array(sorted(starts), np.uint32)], marks_of(n))
    depth = dict.fromkeys(starts, 0)
    level = set(starts)
    while level:
        level = {b for a, b in edges if a in level} - set(depth)
        depth |= dict.fromkeys(level, 1 + max(depth.values()))
    assert sorted(order.tolist()) == sorted(depth)
    for node in range(n):
        if node not in depth:
            assert above[node] == UNSEEN
        elif depth[node]:
            assert depth[int(above[node])] == depth[node] - 1
            assert (int(above[node]), node) in edges


def test_a_path_of_twenty_thousand_links_is_found() -> None:
    n = 20_000
    heap = heap_of(n, [(node, node + 1) for node in range(n - 1)])
    (way,) = climb(heap, n - 1, marks_of(n, ends={0}))
    assert way.nodes == tuple(range(n))


def test_a_hundred_thousand_holders_of_one_object_are_no_hundred_thousand_searches() -> None:
    n = 100_001
    heap = heap_of(n, [(node, n - 1) for node in range(n - 1)])
    assert len(climb(heap, n - 1, marks_of(n, ends=set(range(n - 1))), most=5)) == 4096
