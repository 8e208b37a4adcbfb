# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Dominators, retained sizes and reachability on arrays; the twin is in ``_dominators_twin.py``.

No bounds are checked here: ``dominators.py`` has done it, and the arrays must not change while a function
works, as the GIL is not held then. Nothing recurses, so a chain of any length can be followed.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define NBMEM_PREFETCH(address) __builtin_prefetch(address)
    #else
    #define NBMEM_PREFETCH(address) ((void)(address))
    #endif
    """
    void prefetch "NBMEM_PREFETCH" (const void *) noexcept nogil

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *address, size_t size, int advice)
    int MADV_HUGEPAGE

cdef enum:
    AHEAD = 16  # what an array leads to is asked of the memory this many steps before it is needed
    NEAR = 12  # and of so many references of a node: with none the search takes half as long again
    UNSEEN = 0
    BARRIER = 2
    BARRIER_REACHED = 3

# A node, as the caller counts them: one cache line tells whether it was seen and where its references begin.
ctypedef struct Place:
    uint32_t start
    uint32_t number  # in preorder from 1, the virtual root being 0; 0: not seen

# A node, by its number in preorder: three uses, one after the other, of the same eight bytes.
ctypedef struct Link:
    uint32_t above  # compressed ancestor; then: where to jump to in the dominator tree
    uint32_t low  # first of its side references; then: least semidominator up to above; then: depth

# A reference to a node with a smaller number, in a list per target.
ctypedef struct Side:
    uint32_t source
    uint32_t next  # position + 1; 0 ends the list

# References of a node that are still to be followed.
ctypedef struct Open:
    uint32_t node
    uint32_t position
    uint32_t end

ctypedef struct Work:
    Place *places
    uint32_t *parent  # in the depth-first tree; then: immediate dominator
    uint32_t *semi
    Link *links
    Side *sides
    Py_ssize_t side_count, side_room
    Open *stack
    Py_ssize_t stack_room


cdef void *_huge(void *items, size_t size) noexcept nogil:
    """Ask for huge pages, as numpy does for its arrays: random access to 100 MB is a third faster with them."""
    cdef size_t first = (<size_t>items + 4095) // 4096 * 4096
    if items != NULL and size >= 4 << 20:
        madvise(<void *>first, <size_t>items + size - first, MADV_HUGEPAGE)  # a refusal does no harm
    return items


cdef void *_room(size_t size) noexcept nogil:
    return _huge(malloc(size), size)


cdef void *_more(void *items, Py_ssize_t *room, size_t size) noexcept nogil:
    """Give an array twice its room; NULL, and the array left alone, where there is no memory."""
    cdef Py_ssize_t wanted = room[0] * 2 if room[0] else 1024
    cdef void *moved = _huge(realloc(items, <size_t>wanted * size), <size_t>wanted * size)
    if moved != NULL:
        room[0] = wanted
    return moved


def dominators(
    const uint32_t[::1] indptr, const uint32_t[::1] indices, const uint32_t[::1] roots,
    uint32_t[::1] idom, uint32_t[::1] order,
):
    """Fill in the immediate dominators and a preorder; give how many nodes the roots reach.

    Parameters
    ----------
    indptr, indices, roots : arrays of uint32
        As for :func:`nbmem.heap.dominators.dominator_tree`.
    idom, order : arrays of uint32
        The results, one entry per node; of ``order`` only the first entries are used.

    Raises
    ------
    MemoryError
        If there is no room for 24 bytes per node, 8 per side reference and 12 per level of the search.
    """
    cdef Work work
    cdef size_t n = <size_t>idom.shape[0]
    cdef Py_ssize_t count = -1
    memset(&work, 0, sizeof(Work))
    try:
        work.places = <Place *>_room((n + 1) * sizeof(Place))
        work.parent = <uint32_t *>_room((n + 1) * sizeof(uint32_t))
        work.semi = <uint32_t *>_room((n + 1) * sizeof(uint32_t))
        work.links = <Link *>_room((n + 1) * sizeof(Link))
        if work.places != NULL and work.parent != NULL and work.semi != NULL and work.links != NULL:
            with nogil:
                count = _search(
                    &work, n, &indptr[0], &indices[0], &roots[0], roots.shape[0], &order[0]
                )
                if count >= 0:
                    # the pages of idom are written last: what they take is given back first
                    free(work.places)
                    work.places = NULL
                    _semidominators(&work, <uint32_t>count)
                    _immediate(&work, <uint32_t>count)
                    _hand_over(&work, n, <uint32_t>count, &order[0], &idom[0])
    finally:
        free(work.places)
        free(work.parent)
        free(work.semi)
        free(work.links)
        free(work.sides)
        free(work.stack)
    if count < 0:
        raise MemoryError(f"no memory for the dominators of {n} nodes")
    return count


cdef Py_ssize_t _search(
    Work *work, size_t n, const uint32_t *indptr, const uint32_t *indices, const uint32_t *roots,
    Py_ssize_t root_count, uint32_t *order,
) noexcept nogil:
    """Number the nodes depth first, and sort their references by what they can tell; -1: no memory.

    A reference of the search's own tree is the target's parent. One to a larger number leads to a descendant:
    its source itself is a candidate for the semidominator. Only those to a smaller number are kept.
    """
    cdef Place *places = work.places
    cdef uint32_t *parent = work.parent
    cdef uint32_t *semi = work.semi
    cdef Link *links = work.links
    cdef Open *top
    cdef void *moved
    cdef Py_ssize_t each, depth = 0
    cdef uint32_t node, number, current, position, end, start, stop, ahead, count = 0
    cdef size_t at
    for at in range(n + 1):
        places[at].start = indptr[at]
        places[at].number = 0
    parent[0] = semi[0] = 0
    for each in range(root_count):
        node = roots[each]
        number = places[node].number
        if number:
            semi[number] = 0
            continue
        count += 1
        places[node].number = count
        order[count - 1] = node
        parent[count] = semi[count] = 0
        links[count].low = 0
        current = count
        position = places[node].start
        end = places[node + 1].start
        while True:
            if position == end:
                if depth == 0:
                    break
                depth -= 1
                top = &work.stack[depth]
                current = top.node
                position = top.position
                end = top.end
                continue
            node = indices[position]
            position += 1
            number = places[node].number
            if number == 0:
                count += 1
                places[node].number = count
                order[count - 1] = node
                parent[count] = semi[count] = current
                links[count].low = 0
                start = places[node].start
                stop = places[node + 1].start
                if start == stop:
                    continue
                for ahead in range(start, stop if stop - start < NEAR else start + NEAR):
                    prefetch(&places[indices[ahead]])
                # a node without further references need not be come back to
                if position != end:
                    prefetch(&indices[places[indices[position]].start])
                    if depth == work.stack_room:
                        moved = _more(work.stack, &work.stack_room, sizeof(Open))
                        if moved == NULL:
                            return -1
                        work.stack = <Open *>moved
                    top = &work.stack[depth]
                    top.node = current
                    top.position = position
                    top.end = end
                    depth += 1
                current = count
                position = start
                end = stop
            elif number > current:
                if semi[number] > current:
                    semi[number] = current
            elif number < current and semi[number]:  # what a root refers to can have no less
                if work.side_count == work.side_room:
                    moved = _more(work.sides, &work.side_room, sizeof(Side))
                    if moved == NULL:
                        return -1
                    work.sides = <Side *>moved
                work.sides[work.side_count].source = current
                work.sides[work.side_count].next = links[number].low
                work.side_count += 1
                links[number].low = <uint32_t>work.side_count
    return count


cdef void _semidominators(Work *work, uint32_t count) noexcept nogil:
    """Find the semidominators, from the last node to the first."""
    cdef uint32_t *parent = work.parent
    cdef uint32_t *semi = work.semi
    cdef Link *links = work.links
    cdef Side *sides = work.sides
    cdef uint32_t number, best, side, source
    for number in range(count, 0, -1):
        if number > AHEAD:
            side = links[number - AHEAD].low
            if side:
                prefetch(&sides[side - 1])
            side = links[number - AHEAD // 2].low
            if side:
                prefetch(&links[sides[side - 1].source])
        best = semi[number]
        side = links[number].low
        while side and best:
            source = sides[side - 1].source
            side = sides[side - 1].next
            if links[source].above > number:
                _compress(links, source, number)
            if links[source].low < best:
                best = links[source].low
        semi[number] = links[number].low = best
        links[number].above = parent[number]


cdef void _compress(Link *links, uint32_t node, uint32_t bound) noexcept nogil:
    """Let all nodes on the way up, as far as it lies above ``bound``, know its end and its least value.

    The way is kept by turning its links round while going up: no stack is needed.
    """
    cdef uint32_t below = 0, up, low, end
    while True:
        up = links[node].above
        if up <= bound:
            break
        links[node].above = below
        below = node
        node = up
    end = up
    low = links[node].low
    while below:
        up = links[below].above
        if links[below].low < low:
            low = links[below].low
        else:
            links[below].low = low
        links[below].above = end
        below = up


cdef void _immediate(Work *work, uint32_t count) noexcept nogil:
    """Find each node's immediate dominator: the nearest above its parent that its semidominator allows.

    Steps along the dominator tree alone would be quadratic where a long chain leads to many nodes that are
    also held from its start. So each node has a jump too (Myers 1983), with which a way takes O(log n).
    """
    cdef uint32_t *idom = work.parent
    cdef Link *links = work.links
    cdef uint32_t number, bound, above, far
    links[0].above = links[0].low = 0
    for number in range(1, count + 1):
        above = idom[number]
        bound = work.semi[number]
        while above > bound:
            far = links[above].above
            above = far if far > bound else idom[above]
        idom[number] = above
        links[number].low = links[above].low + 1
        far = links[above].above
        if links[above].low - links[far].low == links[far].low - links[links[far].above].low:
            links[number].above = links[far].above
        else:
            links[number].above = above


cdef void _hand_over(
    Work *work, size_t n, uint32_t count, const uint32_t *order, uint32_t *idom,
) noexcept nogil:
    """Write the result in the caller's numbers; what was not reached keeps 0xFFFFFFFF."""
    cdef uint32_t number, above
    memset(idom, 0xFF, n * sizeof(uint32_t))
    for number in range(1, count + 1):
        above = work.parent[number]
        idom[order[number - 1]] = order[above - 1] if above else <uint32_t>n


def add_up(const uint32_t[::1] order, const uint32_t[::1] idom, int64_t[::1] total):
    """Add each node's total to that of its immediate dominator, from the end of ``order`` to its start."""
    cdef const uint32_t *nodes = &order[0]
    cdef const uint32_t *above = &idom[0]
    cdef int64_t *totals = &total[0]
    cdef Py_ssize_t at
    cdef size_t n = <size_t>idom.shape[0]
    cdef uint32_t parent
    with nogil:
        for at in range(order.shape[0] - 1, -1, -1):
            if at >= AHEAD:
                prefetch(&above[nodes[at - AHEAD]])
                prefetch(&totals[nodes[at - AHEAD]])
            parent = above[nodes[at]]
            if parent < n:
                totals[parent] += totals[nodes[at]]


def spread(
    const uint32_t[::1] indptr, const uint32_t[::1] indices, const uint32_t[::1] starts,
    uint8_t[::1] state, uint8_t mark,
):
    """Mark what can be reached from some nodes.

    Parameters
    ----------
    indptr, indices, starts : arrays of uint32
    state : array of uint8
        One per node: 0 becomes ``mark`` when reached, 2 becomes 3 and is not followed, others stay.
    mark : int

    Raises
    ------
    MemoryError
        If there is no room for 4 bytes per node that is reached.
    """
    cdef size_t count = <size_t>state.shape[0]
    cdef bint done
    with nogil:
        done = _spread(&indptr[0], &indices[0], &starts[0], starts.shape[0], &state[0], mark)
    if not done:
        raise MemoryError(f"no memory for following the references of {count} nodes")


cdef bint _spread(
    const uint32_t *begins, const uint32_t *targets, const uint32_t *starts, Py_ssize_t start_count,
    uint8_t *states, uint8_t mark,
) noexcept nogil:
    """Go breadth first: what comes next is known long before, so the memory can be asked for it."""
    cdef uint32_t *queue = NULL
    cdef Py_ssize_t room = 0, first = 0, last = 0, position = 0, end = start_count
    cdef const uint32_t *nodes = starts
    cdef uint32_t node, soon
    while True:
        for position in range(position, end):
            node = nodes[position]
            if states[node] == UNSEEN:
                states[node] = mark
                if last == room and not _longer(&queue, &room):
                    free(queue)
                    return False
                queue[last] = node
                last += 1
            elif states[node] == BARRIER:
                states[node] = BARRIER_REACHED
        if first == last:
            break
        if first + AHEAD < last:
            prefetch(&begins[queue[first + AHEAD]])
            prefetch(&targets[begins[queue[first + AHEAD // 2]]])
            soon = queue[first + AHEAD // 4]
            if begins[soon] < begins[soon + 1]:
                prefetch(&states[targets[begins[soon]]])
        nodes = targets
        position = begins[queue[first]]
        end = begins[queue[first] + 1]
        first += 1
    free(queue)
    return True


cdef bint _longer(uint32_t **queue, Py_ssize_t *room) noexcept nogil:
    cdef void *moved = _more(queue[0], room, sizeof(uint32_t))
    if moved != NULL:
        queue[0] = <uint32_t *>moved
    return moved != NULL


def transpose(
    const uint32_t[::1] indptr, const uint32_t[::1] indices, uint32_t[::1] begins, uint32_t[::1] sources,
):
    """Turn all references round, by a counting sort that is stable.

    Parameters
    ----------
    indptr, indices : arrays of uint32
    begins : array of uint32
        Zeros, one more than there are targets; becomes the ``indptr`` of the result.
    sources : array of uint32
        As long as ``indices``; becomes the ``indices`` of the result.
    """
    cdef const uint32_t *targets = &indices[0]
    cdef uint32_t *ends = &begins[0]
    cdef uint32_t *found = &sources[0]
    cdef Py_ssize_t at, node, edges = indices.shape[0], n = begins.shape[0] - 1
    cdef uint32_t total = 0, count
    with nogil:
        # ends[node] first counts, then is where the next source goes, at last where the node's sources end
        for at in range(edges):
            if at + AHEAD < edges:
                prefetch(&ends[targets[at + AHEAD]])
            ends[targets[at]] += 1
        for node in range(n):
            count = ends[node]
            ends[node] = total
            total += count
        for node in range(indptr.shape[0] - 1):
            for at in range(indptr[node], indptr[node + 1]):
                if at + AHEAD < edges:
                    prefetch(&ends[targets[at + AHEAD]])
                found[ends[targets[at]]] = <uint32_t>node
                ends[targets[at]] += 1
        for node in range(n, 0, -1):
            ends[node] = ends[node - 1]
        ends[0] = 0


def outermost(
    uint32_t[::1] cursors, const uint32_t[::1] children, const uint32_t[::1] kinds, uint32_t[::1] inside,
    uint8_t[::1] marks,
):
    """Mark the nodes that no other node of the same kind dominates.

    Parameters
    ----------
    cursors, children : arrays of uint32
        What each node dominates immediately, the virtual root in the last row; the former is used up.
    kinds : (n,) array of uint32
    inside : (kinds,) array of uint32
        Zeros.
    marks : (n,) array of uint8
        Zeros; becomes 1 where a node is outermost.

    Raises
    ------
    MemoryError
        If there is none for the levels of the tree.
    """
    cdef Py_ssize_t n = kinds.shape[0], depth = 0, room = 0, k
    cdef uint32_t *stack = NULL
    # where the children of each node end, is where those of the next begin: not used up yet, as children
    # are gone through in the order of the tree; so the ends are kept apart
    cdef uint32_t *ends = <uint32_t *>malloc((n + 1) * sizeof(uint32_t))
    cdef uint32_t node = <uint32_t>n, child
    if ends == NULL:
        raise MemoryError(f"no memory for the dominator tree of {n} nodes")
    for k in range(n + 1):
        ends[k] = cursors[k + 1]
    with nogil:
        while True:
            if cursors[node] < ends[node]:
                child = children[cursors[node]]
                cursors[node] += 1
                if inside[kinds[child]] == 0:
                    marks[child] = 1
                if cursors[child] == ends[child]:
                    continue
                inside[kinds[child]] += 1
                if depth == room and not _longer(&stack, &room):
                    break
                stack[depth] = node
                depth += 1
                node = child
            elif depth == 0:
                break
            else:
                inside[kinds[node]] -= 1
                depth -= 1
                node = stack[depth]
    free(stack)
    free(ends)
    if depth:
        raise MemoryError(f"no memory for the dominator tree of {n} nodes")
