"""Paths that are one for who wants to cut them: they go through the same reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from nbmem.heap.answers import RootPath
from nbmem.heap.paths import Way

#: Paths that are told of beside another.
_MOST_ALSO = 8

#: References, from and to, and how many of each; -1: from outside of the heap.
Pairs = Counter[tuple[int, int]]


@dataclass(slots=True)
class Candidate:
    """A path, the way that it describes, and the references that its cure takes away."""

    path: RootPath
    way: Way
    pairs: Pairs


def place_of_cure(way: Way, places: Mapping[tuple[int, int], int]) -> int | None:
    """Find the path whose cure takes away a reference that a way goes through."""
    if not places:
        return None
    return next((places[pair] for pair in pairwise(way.nodes) if pair in places), None)


def put_beside(candidate: Candidate, other: RootPath) -> None:
    """Tell of a path beside another."""
    path = candidate.path
    if other.text != path.text and other.text not in path.also and len(path.also) < _MOST_ALSO:
        candidate.path = replace(path, also=(*path.also, other.text))


def merged(found: list[Candidate], places: Mapping[tuple[int, int], int]) -> list[Candidate]:
    """Put paths without a cure beside those whose cure cuts them too."""
    kept = []
    for each in found:
        place = None if each.path.cure else place_of_cure(each.way, places)
        if place is None:
            kept.append(each)
        else:
            put_beside(found[place], each.path)
    return kept
