"""Go from an object up its references, breadth first: the twin of ``_climb.pyx``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

END, SPREAD, ALSO, CLOSED, LOSES = 1, 2, 4, 8, 16
UNSEEN = 0xFFFFFFFF


def climb(  # noqa: PLR0917  # called as the native part is
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    target: int,
    marks: NDArray[np.uint8],
    cut: NDArray[np.uint64],
    most: int,
    below: NDArray[np.uint32],
    queue: NDArray[np.uint32],
    distance: NDArray[np.uint32],
    ways: NDArray[np.float64],
    found: NDArray[np.uint32],
) -> int:
    """See ``paths.climb``; ``queue`` is not needed here."""
    removed = set(cut.tolist())
    below[target], distance[target], ways[target] = target, 0, 1.0
    level, depth, count, room = [target], 0, 0, len(found)
    while level and count < min(most, room):
        following = []
        for node in level:
            last = None
            for above in indices[indptr[node] : indptr[node + 1]].tolist():
                mark = int(marks[above])
                if mark & CLOSED or above == node or (mark & LOSES and (above << 32 | node) in removed):
                    continue
                if mark & SPREAD:
                    if above != last and count < room:
                        found[count] = above, node
                        count += 1
                    last = above
                    continue
                if below[above] == UNSEEN:
                    below[above], distance[above], ways[above] = node, depth + 1, 0
                    if mark & (END | ALSO) and count < room:
                        found[count] = above, node
                        count += 1
                    if not mark & END:
                        following.append(above)
                if distance[above] == depth + 1:
                    ways[above] += ways[node]
        level, depth = following, depth + 1
    return count


def descend(  # noqa: PLR0917
    indptr: NDArray[np.uint32],
    indices: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    marks: NDArray[np.uint8],
    cut: NDArray[np.uint64],
    above: NDArray[np.uint32],
    queue: NDArray[np.uint32],
) -> int:
    """See ``paths.descend``."""
    removed = set(cut.tolist())
    waiting = []
    for start in starts.tolist():
        if above[start] == UNSEEN:
            above[start] = start
            waiting.append(start)
    for node in waiting:
        loses = marks[node] & LOSES
        for below in indices[indptr[node] : indptr[node + 1]].tolist():
            if above[below] != UNSEEN or marks[below] & CLOSED:
                continue
            if loses and (node << 32 | below) in removed:
                continue
            above[below] = node
            waiting.append(below)
    queue[: len(waiting)] = waiting
    return len(waiting)
