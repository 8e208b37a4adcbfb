"""Random objects in a namespace whose names are really deleted: what disappears is what was told."""

from __future__ import annotations

import gc
import random
import sys
import weakref
from dataclasses import dataclass
from typing import Any

from nbmem.heap.holdings import holdings

#: Object number i owns so many bytes times 2**i: a sum of them tells which they are.
UNIT = 1 << 16


class Node:
    """An object with data of its own, that refers to others."""

    __slots__ = ("__weakref__", "data", "others")

    def __init__(self, number: int) -> None:
        self.data = bytearray(UNIT << number)
        self.others: list[Any] = []


@dataclass
class Scene:
    """What refers to what: objects, names, and what something besides holds."""

    count: int
    edges: list[tuple[int, int]]
    names: dict[str, int]
    outside: list[int]


def told(size: int) -> set[int]:
    """Tell which objects a sum of bytes is made of."""
    return {number for number in range(20) if size // UNIT >> number & 1}


def reached(scene: Scene, starts: set[int], without: int = -1) -> set[int]:
    """Follow the references, the simplest way."""
    found = starts - {without}
    while more := {b for a, b in scene.edges if a in found} - found - {without}:
        found |= more
    return found


def build(scene: Scene) -> tuple[dict[str, Any], list[Any], list[weakref.ref[Node]]]:
    """Make the objects; nothing else holds them."""
    nodes = [Node(number) for number in range(scene.count)]
    for a, b in scene.edges:
        nodes[a].others.append(nodes[b])
    namespace: dict[str, Any] = {name: nodes[number] for name, number in scene.names.items()}
    return namespace, [nodes[number] for number in scene.outside], [weakref.ref(node) for node in nodes]


def dead(references: list[weakref.ref[Node]]) -> set[int]:
    gc.collect()
    return {number for number, reference in enumerate(references) if reference() is None}


def check(scene: Scene, name: str) -> None:
    """Tell of all names, delete one and then all, and compare."""
    namespace, outside, references = build(scene)
    before = dead(references)
    found = holdings(namespace, scene.names)
    roots = set(scene.names.values()) | set(scene.outside)
    alive = reached(scene, roots)
    for each in found.names:
        number = scene.names[each.name]
        retained = alive - reached(scene, roots, number)
        assert told(each.retained_bytes) == retained, (scene, each)
        shared = reached(scene, {number}) - retained
        assert told(each.shared_bytes) == shared, (scene, each)
        assert bool(each.held_by) == (each.freed_if_deleted_bytes == 0), (scene, each)
        assert each.freed_if_deleted_bytes in (0, each.retained_bytes)
        if each.name == name:
            freed = told(each.freed_if_deleted_bytes)
    del namespace[name]
    assert dead(references) - before == freed, (scene, name)
    together = told(found.freed_together_bytes)
    namespace.clear()
    assert dead(references) - before == together, (scene, name)
    assert len(outside) == len(scene.outside)


def random_scene(seed: int) -> Scene:
    rng = random.Random(seed)
    count = rng.randint(1, 9)
    edges = [(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randint(0, 2 * count))]
    names = {f"n{i}": rng.randrange(count) for i in range(rng.randint(1, count))}
    return Scene(count, edges, names, [rng.randrange(count) for _ in range(rng.choice([0, 0, 1, 2]))])


if __name__ == "__main__":
    for seed in range(int(sys.argv[1])):
        scene = random_scene(seed)
        check(scene, random.Random(seed).choice(list(scene.names)))
    print("all right")
