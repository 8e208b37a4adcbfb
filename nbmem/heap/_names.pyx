# cython: language_level=3
"""Find what changed among the names of a namespace, at C speed; the twin is in ``variables.py``."""

from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_READ_CHAR

import mmap


cdef Py_ssize_t PAGE = mmap.PAGESIZE


cdef Py_ssize_t _block_bytes(Py_ssize_t size) noexcept:
    """Round up to the allocator's block; see ``sizes.block_bytes``."""
    if size <= 512:
        return (size + 15) & ~<Py_ssize_t>15
    if size < 128 * 1024:
        return (size + 8 + 15) & ~<Py_ssize_t>15
    return (size + 16 + PAGE - 1) & ~(PAGE - 1)


def differing(dict namespace, hidden, dict names, sizer, type_name):
    """Compare a namespace with a record of it.

    Parameters
    ----------
    namespace : dict
        A copy of the namespace that nobody else changes.
    hidden : frozenset of str
        Names to pass over.
    names : dict
        The record: for each name the address of its object, the name of its type, its bytes.
    sizer : Sizer
    type_name : callable
        Gives a type's name, None for types that are passed over.

    Returns
    -------
    (dict, int)
        The entries that are new or differ, and how many names of the record are still bound.
    """
    cdef PyObject *key
    cdef PyObject *item
    cdef PyObject *found
    cdef Py_ssize_t position = 0, seen = 0, size, known_size
    cdef dict after = {}, kinds = {}
    cdef tuple old, known
    cdef object name, value, kind, measure
    cdef str text
    while PyDict_Next(namespace, &position, &key, &item):
        name = <object>key
        if type(name) is not str:
            continue
        text = <str>name
        if len(text) and PyUnicode_READ_CHAR(text, 0) == c"_":
            continue
        if text in hidden:
            continue
        value = <object>item
        kind = type(value)
        # by address: a type's hash and equality may be its metaclass's code; the entry keeps the type alive
        known = <tuple>kinds.get(<size_t><PyObject *>kind)
        if known is None:
            known = (kind, type_name(kind), *sizer.plain_plan(kind))
            kinds[<size_t><PyObject *>kind] = known
        if known[1] is None:
            continue
        known_size = known[4]
        if known_size:
            size = known_size
        elif known[2] is None:
            size = sizer.owned_bytes(value)
        else:
            size = known[2](value)
            size = _block_bytes(size + <Py_ssize_t>known[3])
        found = PyDict_GetItem(names, text)
        if found != NULL:
            seen += 1
            old = <tuple>found
            if <size_t>old[0] == <size_t>item and <Py_ssize_t>old[2] == size and old[1] == known[1]:
                continue
        after[text] = (<size_t>item, known[1], size)
    return after, seen
