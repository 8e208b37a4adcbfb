"""Dominators: the native part against its twin and igraph, and how it grows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.claims import Claim, ratios
from nbmem.heap import _dominators_twin
from nbmem.heap import dominators as engine

_SMALL, _LARGE = 1_000_000, 10_000_000

Graph = tuple[Any, Any, Any]


def dominators(rounds: int) -> Claim:
    """Measure the dominator tree and what is asked of it, on a graph like a heap."""
    claim = Claim(
        "dominator tree of 1 M nodes and 1.7 M references",
        f"median of {rounds} random graphs like a heap (two in five nodes refer to others; a sixth of the "
        "references go to 500 popular nodes); igraph's figure is its dominator() alone, without making its "
        "graph; the twin is the same algorithm in Python",
    )
    found: dict[str, list[float]] = {}
    for seed in range(rounds):
        small = heap_like(_SMALL, seed)
        sizes = np.full(_SMALL, 64, np.uint32)
        tree = _time(found, "native", lambda graph=small: engine.dominator_tree(*graph))
        _time(found, "retained", lambda tree=tree, sizes=sizes: tree.retained(sizes))
        _time(found, "of a set", lambda graph=small, sizes=sizes: engine.retained_by(*graph, sizes, [0, 1]))
        _peer(claim, found, small, tree)
        _time(found, "twin", lambda graph=small: _by_twin(graph), times=1)
        large = heap_like(_LARGE, seed)
        _time(found, "large", lambda graph=large: engine.dominator_tree(*graph))
    claim.add("native", found["native"], "ms", at_most=250)
    claim.add("igraph", found.get("igraph", []), "ms")
    claim.add("igraph, above native", ratios(found.get("igraph", []), found["native"]), "x", at_least=10)
    claim.add("twin", found["twin"], "ms")
    claim.add("twin, above native", ratios(found["twin"], found["native"]), "x")
    claim.add("retained sizes of all nodes", found["retained"], "ms")
    claim.add("retained size of a set", found["of a set"], "ms")
    claim.add("native, 10 M nodes", found["large"], "ms")
    claim.add("10 M nodes, above 1 M", ratios(found["large"], found["native"]), "x", at_most=13)
    return claim


def heap_like(n: int, seed: int) -> Graph:
    """Make a graph as a walk over a heap numbers it: containers as made, then leaves as they are met.

    Returns
    -------
    (indptr, indices, roots)
        1.7 references per node. Each node but the first has one from its owner (nine in ten containers: from
        one made shortly before); of the others four in ten lead to popular nodes, five near, one anywhere.
    """
    rng = np.random.default_rng(seed)
    containers = n * 2 // 5
    later = np.arange(1, containers)
    near = np.maximum(later - rng.geometric(1 / 200, containers - 1), 0)
    owner = np.where(rng.random(containers - 1) < 0.9, near, rng.integers(0, later))
    finder = np.sort(rng.integers(0, containers, n - containers))
    extra = n * 7 // 10
    source = rng.integers(0, containers, extra)
    ways = [
        rng.integers(0, n, 500)[(rng.random(extra) ** 3 * 500).astype(np.int64)],
        np.clip(source + rng.integers(-1000, 1000, extra), 0, containers - 1),
        rng.integers(0, n, extra),
    ]
    target = np.choose(rng.choice(3, extra, p=[0.4, 0.5, 0.1]), ways)
    sources = np.concatenate([owner, finder, source])
    targets = np.concatenate([np.arange(1, n), target]).astype(np.uint32)
    indptr = np.zeros(n + 1, np.uint32)
    indptr[1:] = np.cumsum(np.bincount(sources, minlength=n))
    roots = np.append(rng.integers(0, containers, n // 1000), 0).astype(np.uint32)
    return indptr, targets[np.argsort(sources, kind="stable")], roots


def _time(found: dict[str, list[float]], name: str, call: Any, *, times: int = 3) -> Any:
    """Note the best of some calls, in milliseconds; give the result."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        result = call()
        best = min(best, (time.perf_counter() - began) * 1000)
    found.setdefault(name, []).append(best)
    return result


def _by_twin(graph: Graph) -> None:
    n = len(graph[0]) - 1
    _dominators_twin.dominators(*graph, np.empty(n, np.uint32), np.empty(n, np.uint32))


def _peer(claim: Claim, found: dict[str, list[float]], graph: Graph, tree: engine.DominatorTree) -> None:
    """Ask igraph for the same, with the virtual root as a node of its own."""
    try:
        import igraph
    except ImportError as error:
        claim.notes = [f"igraph left out: {error}"]
        return
    indptr, indices, roots = graph
    n = len(indptr) - 1
    edges = np.concatenate(
        [
            np.stack([np.repeat(np.arange(n), np.diff(indptr)), indices], axis=1),
            np.stack([np.full(len(roots), n), roots], axis=1),
        ]
    )
    theirs = igraph.Graph(n + 1, edges, directed=True)
    idom = np.array(_time(found, "igraph", lambda: theirs.dominator(n), times=1)[:n], float)
    same = np.array_equal(np.where(np.isnan(idom), engine.NONE, idom), tree.idom)
    claim.notes = [f"igraph's result is {'the same, node for node' if same else 'ANOTHER'}"]
