# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Go from an object up its references, breadth first."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    END = 1
    SPREAD = 2
    ALSO = 4
    CLOSED = 8
    LOSES = 16

cdef uint32_t UNSEEN = 0xFFFFFFFF


cdef bint contains(const uint64_t[::1] cut, uint64_t wanted) noexcept nogil:
    """Search by halves."""
    cdef Py_ssize_t low = 0, high = cut.shape[0], middle
    while low < high:
        middle = (low + high) // 2
        if cut[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < cut.shape[0] and cut[low] == wanted


def climb(
    const uint32_t[::1] indptr,
    const uint32_t[::1] indices,
    uint32_t target,
    const uint8_t[::1] marks,
    const uint64_t[::1] cut,
    Py_ssize_t most,
    uint32_t[::1] below,
    uint32_t[::1] queue,
    uint32_t[::1] distance,
    double[::1] ways,
    uint32_t[:, ::1] found,
):
    """See ``paths.climb``; ``cut`` is sorted, ``below`` comes filled with ``UNSEEN``. Returns how many were found."""
    cdef Py_ssize_t head = 0, tail = 1, count = 0, room = found.shape[0]
    cdef Py_ssize_t at
    cdef uint32_t node, above, last, deepest = UNSEEN
    cdef uint8_t mark
    with nogil:
        below[target] = target
        distance[target] = 0
        ways[target] = 1.0
        queue[0] = target
        while head < tail and count < room:
            node = queue[head]
            head += 1
            if distance[node] >= deepest:
                break
            last = UNSEEN
            for at in range(indptr[node], indptr[node + 1]):
                above = indices[at]
                mark = marks[above]
                if mark & CLOSED or above == node:
                    continue
                if mark & LOSES:
                    if contains(cut, <uint64_t>above << 32 | node):
                        continue
                if mark & SPREAD:
                    if above != last and count < room:
                        found[count, 0] = above
                        found[count, 1] = node
                        count += 1
                    last = above
                    continue
                if below[above] == UNSEEN:
                    below[above] = node
                    distance[above] = distance[node] + 1
                    ways[above] = 0
                    if mark & (END | ALSO) and count < room:
                        found[count, 0] = above
                        found[count, 1] = node
                        count += 1
                    if not mark & END:
                        queue[tail] = above
                        tail += 1
                if distance[above] == distance[node] + 1:
                    ways[above] += ways[node]
            # the level is finished, so that every way of this length counts, and the next one begun no more
            if count >= most and deepest == UNSEEN:
                deepest = distance[node] + 1
    return count


def descend(
    const uint32_t[::1] indptr,
    const uint32_t[::1] indices,
    const uint32_t[::1] starts,
    const uint8_t[::1] marks,
    const uint64_t[::1] cut,
    uint32_t[::1] above,
    uint32_t[::1] queue,
):
    """See ``paths.descend``; ``above`` comes filled with ``UNSEEN`` where nothing was reached yet. Returns how many."""
    cdef Py_ssize_t head = 0, tail = 0
    cdef Py_ssize_t at, i
    cdef uint32_t node, below
    cdef uint8_t mark
    with nogil:
        for i in range(starts.shape[0]):
            if above[starts[i]] == UNSEEN:
                above[starts[i]] = starts[i]
                queue[tail] = starts[i]
                tail += 1
        while head < tail:
            node = queue[head]
            head += 1
            mark = marks[node]
            for at in range(indptr[node], indptr[node + 1]):
                below = indices[at]
                if above[below] != UNSEEN or marks[below] & CLOSED:
                    continue
                if mark & LOSES:
                    if contains(cut, <uint64_t>node << 32 | below):
                        continue
                above[below] = node
                queue[tail] = below
                tail += 1
    return tail
