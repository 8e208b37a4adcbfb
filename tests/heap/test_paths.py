"""Shortest paths from what holds to what is held, against a search in plain Python."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nbmem.heap.graph import Heap
from nbmem.heap.paths import shortest_paths

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


many = settings(max_examples=600, deadline=None)


@many
@given(graphs(), st.data())
def test_each_end_that_can_be_reached_has_one_shortest_path(graph: Graph, data: st.DataObject) -> None:
    n, edges = graph
    target = data.draw(st.integers(0, n - 1))
    ends = data.draw(st.sets(st.integers(0, n - 1)))
    closed = data.draw(st.sets(st.integers(0, n - 1))) - {target}
    marks, shut = np.isin(np.arange(n), list(ends)), np.isin(np.arange(n), list(closed))
    paths = shortest_paths(heap_of(n, edges), target, marks, most=n + 1, closed=shut)
    wanted = distances(n, edges, target, ends, closed)
    assert sorted(path[0] for path in paths) == sorted(end for end in ends - closed if end in wanted)
    for path in paths:
        assert path[-1] == target
        assert len(path) - 1 == wanted[path[0]]
        assert all(pair in edges for pair in pairwise(path))
        assert not (set(path[1:-1]) & (ends | closed))


@many
@given(graphs(), st.data())
def test_the_nearest_ends_come_first_and_no_search_goes_on_beyond_what_is_wanted(
    graph: Graph, data: st.DataObject
) -> None:
    n, edges = graph
    target = data.draw(st.integers(0, n - 1))
    ends = data.draw(st.sets(st.integers(0, n - 1)))
    marks = np.isin(np.arange(n), list(ends))
    everything = shortest_paths(heap_of(n, edges), target, marks, most=n + 1)
    most = data.draw(st.integers(1, 4))
    some = shortest_paths(heap_of(n, edges), target, marks, most=most)
    assert some == everything[: len(some)]
    assert len(some) >= min(most, len(everything))
    assert [len(path) for path in everything] == sorted(len(path) for path in everything)


def test_a_path_of_twenty_thousand_links_is_found() -> None:
    n = 20_000
    heap = heap_of(n, [(node, node + 1) for node in range(n - 1)])
    ends = np.zeros(n, np.bool_)
    ends[0] = True
    (path,) = shortest_paths(heap, n - 1, ends)
    assert path == tuple(range(n))


def test_a_hundred_thousand_holders_of_one_object_are_no_hundred_thousand_searches() -> None:
    n = 100_001
    heap = heap_of(n, [(node, n - 1) for node in range(n - 1)])
    ends = np.ones(n, np.bool_)
    ends[n - 1] = False
    assert len(shortest_paths(heap, n - 1, ends, most=5)) == n - 1
