"""Dominators, retained sizes and reachability: native and twin, against definitions taken literally, and igraph."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbmem._errors import BadArgument
from nbmem.heap import _dominators_twin, dominators
from nbmem.heap.dominators import (
    NONE,
    dominator_tree,
    reachable_from,
    retained_by,
    retained_mask,
    transpose,
)

pytestmark = pytest.mark.twin

try:
    from nbmem.heap import _dominators as native
except ImportError:
    native = None  # type: ignore[assignment]

PARTS: list[Any] = [_dominators_twin] if native is None else [native, _dominators_twin]
needs_native = pytest.mark.skipif(native is None, reason="built without the native part")
native_only = pytest.mark.parametrize("part", PARTS[:1], indirect=True)

Graph = tuple[int, list[tuple[int, int]], list[int]]


# The twin has its turn where it serves: in the build without the native part.
@pytest.fixture(params=PARTS[:1], ids=lambda part: part.__name__.rpartition(".")[2], autouse=True)
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(dominators, "_part", request.param)
    return request.param


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to 12 nodes: sparse and dense, with loops, references twice, parts no root reaches, roots of all kinds."""
    n = draw(st.integers(0, 12))
    if n == 0:
        return 0, [], []
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=draw(st.sampled_from([n // 2, n, 2 * n, 5 * n]))))
    return n, edges, draw(st.lists(node, max_size=4))


def csr(n: int, edges: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give the CSR pair of a list of edges, in their order."""
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=n), out=indptr[1:])
    return indptr, pairs[:, 1].astype(np.uint32)


def reached(edges: list[tuple[int, int]], roots: Any, gone: Any = ()) -> set[int]:
    """Follow the references, the simplest way."""
    found = set(roots) - set(gone)
    while True:
        more = {b for a, b in edges if a in found} - found - set(gone)
        if not more:
            return found
        found |= more


def oracle(n: int, edges: list[tuple[int, int]], roots: list[int]) -> list[int]:
    """Give the immediate dominators by their definition: d dominates v if v is not reached without d."""
    everything = reached(edges, roots)
    strict: dict[int, set[int]] = {v: {n} for v in everything}
    for d in everything:
        for v in everything - reached(edges, roots, [d]) - {d}:
            strict[v].add(d)
    idom = [NONE] * n
    for v in everything:
        (idom[v],) = (d for d in strict[v] if strict[v] - {d} == (strict[d] if d != n else set()))
    return idom


def random_graph(n: int, edge_count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a larger graph: some near references, some far, some to a few that are popular."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, n, edge_count)
    near = np.clip(source + rng.integers(-20, 40, edge_count), 0, n - 1)
    far = rng.integers(0, n, edge_count)
    popular = rng.integers(0, max(n // 100, 1), edge_count)
    target = np.choose(rng.choice(3, edge_count, p=[0.8, 0.1, 0.1]), [near, far, popular])
    roots = rng.choice(n, max(n // 500, 1), replace=False)
    return *csr(n, np.stack([source, target], axis=1)), roots


def chain(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a linked list, so long that nothing may recurse along it."""
    return np.minimum(np.arange(n + 1), n - 1), np.arange(1, n, dtype=np.uint32)


many = settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
some = settings(many, max_examples=400)


@many
@given(graphs())
def test_immediate_dominators_are_those_of_the_definition(graph: Graph) -> None:
    n, edges, roots = graph
    assert dominator_tree(*csr(n, edges), roots).idom.tolist() == oracle(n, edges, roots)


@some
@given(graphs())
def test_the_order_has_each_reached_node_once_and_after_its_dominator(graph: Graph) -> None:
    n, edges, roots = graph
    tree = dominator_tree(*csr(n, edges), roots)
    assert sorted(tree.order.tolist()) == sorted(reached(edges, roots))
    place = {node: at for at, node in enumerate(tree.order.tolist())}
    assert all(tree.idom[node] == n or place[int(tree.idom[node])] < place[node] for node in place)


@some
@given(graphs(), st.randoms(use_true_random=False))
def test_the_retained_size_is_what_is_not_reached_without_the_node(graph: Graph, random: Any) -> None:
    n, edges, roots = graph
    sizes = [random.randrange(1000) for _ in range(n)]
    everything = reached(edges, roots)
    wanted = [
        sum(sizes[v] for v in everything - reached(edges, roots, [d])) if d in everything else sizes[d]
        for d in range(n)
    ]
    retained = dominator_tree(*csr(n, edges), roots).retained(np.array(sizes, np.uint32))
    assert retained.dtype == np.int64
    assert retained.tolist() == wanted


@some
@given(graphs(), st.randoms(use_true_random=False))
def test_outermost_nodes_are_those_that_none_of_their_kind_dominates(graph: Graph, random: Any) -> None:
    n, edges, roots = graph
    kinds = [random.randrange(3) for _ in range(n)]
    tree = dominator_tree(*csr(n, edges), roots)
    wanted = []
    for node in range(n):
        above = [] if tree.idom[node] == NONE else [int(tree.idom[node])]
        while above and above[-1] != n:
            above.append(int(tree.idom[above[-1]]))
        wanted.append(bool(above) and all(kinds[each] != kinds[node] for each in above[:-1]))
    assert tree.outermost(np.array(kinds, np.uint32)).tolist() == wanted


@some
@given(graphs())
def test_children_are_the_dominator_tree_turned_round(graph: Graph) -> None:
    n, edges, roots = graph
    tree = dominator_tree(*csr(n, edges), roots)
    indptr, indices = tree.children()
    assert len(indptr) == n + 2
    found = {(a, int(b)) for a in range(n + 1) for b in indices[indptr[a] : indptr[a + 1]]}
    assert found == {(int(above), node) for node, above in enumerate(tree.idom) if above != NONE}
    assert len(indices) == len(found)


@some
@given(graphs(), st.lists(st.integers(0, 11), max_size=5))
def test_a_set_retains_what_is_not_reached_without_it(graph: Graph, drawn: list[int]) -> None:
    n, edges, roots = graph
    members = [member for member in drawn if member < n]
    gone = reached(edges, roots) - reached(edges, roots, members)
    sizes = np.arange(1, n + 1) ** 3
    assert set(np.flatnonzero(retained_mask(*csr(n, edges), roots, members))) == gone
    assert retained_by(*csr(n, edges), roots, sizes, members) == sum((v + 1) ** 3 for v in gone)


@some
@given(graphs(), st.lists(st.integers(0, 11), max_size=5))
def test_what_is_reached_is_what_following_the_references_finds(graph: Graph, drawn: list[int]) -> None:
    n, edges, starts = graph
    without = [node for node in drawn if node < n]
    mask = reachable_from(*csr(n, edges), starts, without=without)
    assert mask.dtype == np.bool_
    assert set(np.flatnonzero(mask)) == reached(edges, starts, without)


@some
@given(graphs())
def test_the_transpose_has_each_reference_turned_round_in_ascending_order(graph: Graph) -> None:
    n, edges, _ = graph
    indptr, indices = transpose(*csr(n, edges), n)
    found = [(int(b), a) for a in range(n) for b in indices[indptr[a] : indptr[a + 1]]]
    assert sorted(found) == sorted(edges)
    assert all(np.all(np.diff(indices[indptr[a] : indptr[a + 1]].astype(int)) >= 0) for a in range(n))


def test_the_transpose_of_more_targets_than_rows_has_a_row_per_target() -> None:
    indptr, indices = transpose([0, 2], [4, 1], 5)
    assert indptr.tolist() == [0, 0, 1, 1, 1, 2]
    assert indices.tolist() == [0, 0]


@needs_native
@native_only
@pytest.mark.parametrize("seed", range(12))
def test_native_and_twin_agree_on_larger_graphs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6000))
    indptr, indices, roots = random_graph(n, int(n * rng.uniform(0.3, 4)), seed)
    sizes = rng.integers(0, 2**40, n)
    found = []
    for each in PARTS:
        monkeypatch.setattr(dominators, "_part", each)
        tree = dominator_tree(indptr, indices, roots)
        found.append(
            [
                tree.idom, tree.order, tree.retained(sizes), *tree.children(), *transpose(indptr, indices, n),
                reachable_from(indptr, indices, roots), retained_mask(indptr, indices, roots, roots[::2]),
            ]
        )  # fmt: skip
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("density", [0.9, 1.7, 5.0])
def test_immediate_dominators_are_those_of_igraph(density: float) -> None:
    igraph = pytest.importorskip("igraph")
    n = 20_000
    indptr, indices, roots = random_graph(n, int(n * density), 7)
    source = np.repeat(np.arange(n), np.diff(indptr))
    edges = np.concatenate(
        [np.stack([source, indices], axis=1), np.stack([np.full(len(roots), n), roots], axis=1)]
    )
    theirs = np.array(igraph.Graph(n + 1, edges, directed=True).dominator(n)[:n], float)
    np.testing.assert_array_equal(
        dominator_tree(indptr, indices, roots).idom, np.where(np.isnan(theirs), NONE, theirs)
    )


@needs_native
@native_only
def test_a_chain_and_a_cycle_of_three_million_nodes_need_no_recursion() -> None:
    n = 3_000_000
    sizes = np.ones(n, np.uint32)
    indptr, indices = chain(n)
    line = dominator_tree(indptr, indices, [0])
    assert line.idom.tolist() == [n, *range(n - 1)]
    np.testing.assert_array_equal(line.retained(sizes), np.arange(n, 0, -1))
    ring = dominator_tree(np.arange(n + 1), np.append(indices, 0), [0, n // 2])
    assert ring.idom[0] == ring.idom[n // 2] == n
    assert ring.retained(sizes)[1] == n // 2 - 1
    # each refers to the next, then to the one before: every level of the search has to be come back to
    both = np.stack([np.minimum(np.arange(n) + 1, n - 1), np.maximum(np.arange(n) - 1, 0)], axis=1).ravel()
    np.testing.assert_array_equal(
        dominator_tree(np.arange(0, 2 * n + 1, 2), both, [0]).idom, [n, *range(n - 1)]
    )
    assert retained_by(np.arange(0, 2 * n + 1, 2), both, [0], sizes, [n - 5]) == 5


def test_a_chain_of_thousands_needs_no_recursion() -> None:
    n = 20_000
    tree = dominator_tree(*chain(n), [0])
    assert tree.retained(np.ones(n, np.uint32)).tolist() == list(range(n, 0, -1))
    assert retained_by(*chain(n), [0], np.ones(n, np.uint32), [n - 7]) == 7


def test_many_nodes_at_a_chains_end_that_its_start_holds_too_take_no_quadratic_time() -> None:
    # 0 → 1 → … → end → each leaf, and 0 → each leaf: by single steps up the tree these are 10 000 million
    length = 100_000
    leaves = np.arange(length, 2 * length)
    line = np.stack([np.arange(length - 1), np.arange(1, length)], axis=1)
    fans = [np.stack([np.full(length, at), leaves], axis=1) for at in (length - 1, 0)]
    tree = dominator_tree(*csr(2 * length, np.concatenate([line, *fans])), [0])
    assert np.all(tree.idom[leaves] == 0)


def test_the_virtual_roots_children_retain_all_that_is_reached() -> None:
    n = 5000
    indptr, indices, roots = random_graph(n, 8000, 3)
    sizes = np.arange(n) * 2**33
    tree = dominator_tree(indptr, indices, roots)
    begins, children = tree.children()
    top = children[begins[n] : begins[n + 1]]
    assert 0 < len(tree.order) < n
    assert tree.retained(sizes)[top].sum() == sizes[tree.order].sum()
    assert retained_by(indptr, indices, roots, sizes, roots) == sizes[tree.order].sum()


def test_a_node_retains_alone_what_it_retains_as_a_set() -> None:
    n = 2000
    indptr, indices, roots = random_graph(n, 3000, 5)
    sizes = np.arange(n) + 1
    tree = dominator_tree(indptr, indices, roots)
    retained = tree.retained(sizes)
    for node in tree.order[::50]:
        assert retained_by(indptr, indices, roots, sizes, [node]) == retained[node]


def test_nothing_and_no_roots_are_graphs_too() -> None:
    nothing = dominator_tree([0], [], [])
    assert nothing.idom.tolist() == nothing.order.tolist() == nothing.retained([]).tolist() == []
    assert [each.tolist() for each in nothing.children()] == [[0, 0], []]
    assert retained_by([0], [], [], [], []) == 0
    assert reachable_from([0], [], []).tolist() == []
    assert [each.tolist() for each in transpose([0], [], 0)] == [[0], []]
    unheld = dominator_tree([0, 1, 2], [1, 0], [])
    assert unheld.idom.tolist() == [NONE, NONE]
    assert unheld.retained([3, 4]).tolist() == [3, 4]
    assert retained_by([0, 1, 2], [1, 0], [], [3, 4], [0]) == 0


GOOD: dict[str, Any] = {"indptr": [0, 1, 2], "indices": [1, 0], "roots": [0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": [1, 2]}, "indices has 2"),
        ({"indices": [-1, 0]}, "indices has -1"),
        ({"indices": [1]}, "from 0 to 2"),
        ({"indices": [1, 0, 0]}, "from 0 to 2"),
        ({"indices": [1.0, 0.0]}, "indices is no one-dimensional array of integers"),
        ({"indices": [[1, 0]]}, "indices is no one-dimensional array of integers"),
        ({"indptr": [1, 1, 2]}, "from 1 to 2"),
        ({"indptr": [0, 3, 2]}, "indptr descends"),
        ({"indptr": [0, -1, 2]}, "indptr descends"),
        ({"indptr": np.array([0, 3, 2], np.uint32)}, "indptr descends"),
        ({"indptr": []}, "indptr is empty"),
        ({"indptr": ["a"]}, "indptr is no one-dimensional array of integers"),
        ({"roots": [2]}, "roots has 2"),
        ({"roots": [-1]}, "roots has -1"),
        ({"roots": [2**32]}, "roots has 4294967296"),
    ],
)
def test_a_graph_that_is_none_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message) as caught:
        dominator_tree(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_members_starts_and_sizes_that_do_not_fit_are_refused() -> None:
    graph = ([0, 1, 2], [1, 0])
    with pytest.raises(BadArgument, match="members has 2"):
        retained_by(*graph, [0], [1, 1], [2])
    with pytest.raises(BadArgument, match="starts has 5"):
        reachable_from(*graph, [5])
    with pytest.raises(BadArgument, match="without has -1"):
        reachable_from(*graph, [0], without=[-1])
    with pytest.raises(BadArgument, match="sizes has 3 entries for 2 nodes"):
        retained_by(*graph, [0], [1, 1, 1], [0])
    with pytest.raises(BadArgument, match="sizes has 1 entries for 2 nodes"):
        dominator_tree(*graph, [0]).retained([1])
    with pytest.raises(BadArgument, match="sizes is no one-dimensional array of integers"):
        dominator_tree(*graph, [0]).retained([1.5, 1.5])
    with pytest.raises(BadArgument, match="indices has 1"):
        transpose(*graph, 1)
    with pytest.raises(BadArgument, match="fewer than 2"):
        transpose(*graph, 2**32)


@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.int32, np.uint64])
def test_any_integers_and_strided_and_read_only_arrays_will_do_and_stay_unchanged(kind: Any) -> None:
    indptr, indices, roots = random_graph(500, 900, 1)
    wanted = dominator_tree(indptr, indices, roots)
    given_arrays = [np.repeat(each.astype(kind), 2)[::2] for each in (indptr, indices, roots, np.arange(500))]
    before = [each.copy() for each in given_arrays]
    for each in given_arrays:
        each.flags.writeable = False
    graph = given_arrays[:3]
    tree = dominator_tree(*graph)
    np.testing.assert_array_equal(tree.idom, wanted.idom)
    tree.retained(given_arrays[3])
    retained_by(*graph, given_arrays[3], roots)
    reachable_from(*graph[:2], graph[2], without=graph[2])
    transpose(*graph[:2], 500)
    for one, other in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_sizes_given_are_not_added_up_in_place() -> None:
    sizes = np.ones(3, np.int64)
    assert dominator_tree([0, 1, 2, 2], [1, 2], [0]).retained(sizes).tolist() == [3, 2, 1]
    assert sizes.tolist() == [1, 1, 1]


def test_a_tree_cannot_be_changed() -> None:
    tree = dominator_tree([0, 1, 1], [1], [0])
    with pytest.raises(ValueError, match="read-only"):
        tree.idom[0] = 1
    with pytest.raises(FrozenInstanceError):
        tree.idom = tree.order  # type: ignore[misc]


_SHORT_OF_MEMORY = """
import resource
import numpy as np
from nbmem.heap.dominators import dominator_tree, reachable_from

def mapped():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

n = 2_000_000
# the search and the traversal come back to every level, and half of the references lead back
both = np.stack([np.minimum(np.arange(n) + 1, n - 1), np.maximum(np.arange(n) - 1, 0)], axis=1).ravel()
graph = np.arange(0, 2 * n + 1, 2, dtype=np.uint32), both.astype(np.uint32)
low = np.array([0], np.uint32)
for work in (lambda: dominator_tree(*graph, low), lambda: reachable_from(*graph, low)):
    failures = 0
    before = mapped()
    for room in range(1, 200):
        resource.setrlimit(resource.RLIMIT_AS, (before + room * 2**20, -1))
        try:
            work()
        except MemoryError:
            failures += 1
        else:
            break
        assert mapped() <= before + 2**19, "what was allocated was not freed"
    print(failures)
"""


@needs_native
@native_only
def test_where_memory_is_short_everything_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SHORT_OF_MEMORY],
        capture_output=True, text=True, check=False,
        # or the C library keeps large blocks that were freed
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "100000"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(int(failures) > 10 for failures in done.stdout.split()), done.stdout
    assert len(done.stdout.split()) == 2


def test_the_heap_package_alone_loads_no_numpy() -> None:
    code = "import sys, nbmem.heap; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
