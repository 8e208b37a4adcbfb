# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Walk all objects of the process and write down what they are and what they refer to.

The GIL is held from the first object to the last, the collector is off, no code of Python's or of the
user's runs, and nothing is allocated but plain memory: the picture is of one moment. The twin is in
``_walk_twin.py``.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset, strchr, strcmp

import mmap
import sys
import time

import numpy as np

from nbmem._errors import NotMeasured

ctypedef int (*visitproc)(PyObject *op, void *arg) noexcept
ctypedef PyObject *(*unary)(PyObject *op, PyObject *nothing) noexcept

cdef extern from "_memory.h":
    void *zeros "nbmem_zeros" (size_t size) noexcept
    void *resized "nbmem_resized" (void *array, size_t size) noexcept
    void release "nbmem_free" (void *array) noexcept

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    ctypedef struct PyInterpreterState:
        pass
    PyInterpreterState *PyInterpreterState_Get() noexcept
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *) noexcept
    PyThreadState *PyThreadState_Next(PyThreadState *) noexcept
    PyTypeObject *Py_TYPE(PyObject *) noexcept
    Py_ssize_t Py_SIZE(PyObject *) noexcept
    PyObject *_PyType_Lookup(PyTypeObject *, PyObject *) noexcept
    int PyType_IsSubtype(PyTypeObject *, PyTypeObject *) noexcept
    PyTypeObject PyLong_Type, PyUnicode_Type, PyCode_Type, PyModule_Type, PyDict_Type, PyList_Type
    PyTypeObject PySet_Type, PyFrozenSet_Type, PyType_Type, PyFrame_Type, PyCFunction_Type, PyBaseObject_Type
    PyTypeObject PyRange_Type, PyBytes_Type
    PyTypeObject WeakReference "_PyWeakref_RefType"
    ctypedef void (*destructor)(PyObject *) noexcept
    int PyGC_Disable() noexcept
    int PyGC_Enable() noexcept
    Py_ssize_t PyLong_AsSsize_t(PyObject *) noexcept
    void Py_DECREF(PyObject *) noexcept
    void PyErr_Clear() noexcept

cdef extern from "_objects.h":
    """
    #define NBMEM_TRAVERSE(type, op, visit, arg) ((type)->tp_traverse((op), (visitproc)(visit), (arg)))
    #define NBMEM_ALWAYS_TRAVERSED(type) (((type)->tp_flags & Py_TPFLAGS_HAVE_GC) && (type)->tp_traverse != NULL && (type)->tp_is_gc == NULL)
    #define NBMEM_HAS_MANAGED_DICT(type) (((type)->tp_flags & Py_TPFLAGS_MANAGED_DICT) && ((type)->tp_flags & Py_TPFLAGS_HEAPTYPE))
    #define NBMEM_NAME(type) ((type)->tp_name)
    #define NBMEM_DEALLOC(type) ((type)->tp_dealloc)
    static PyTypeObject *nbmem_defining(PyObject *descr) { return PyDescr_TYPE(descr); }
    static void *nbmem_method(PyObject *descr)
    {
        PyMethodDef *method = Py_IS_TYPE(descr, &PyMethodDescr_Type) ? ((PyMethodDescrObject *)descr)->d_method : NULL;
        return method != NULL && method->ml_flags == METH_NOARGS ? (void *)method->ml_meth : NULL;
    }
    #define NBMEM_IS_INTERNED(op) (PyUnicode_CHECK_INTERNED(op) != 0)
    #define NBMEM_IS_HEAP_TYPE(op) (((PyTypeObject *)(op))->tp_flags & Py_TPFLAGS_HEAPTYPE)
    static uint64_t nbmem_thread_number(PyThreadState *thread) { return (uint64_t)thread->thread_id; }
    #pragma pack(push, 4)
    typedef struct { uint64_t address; uint32_t node; } NbmemSlot;
    #pragma pack(pop)
    """
    uint32_t IMMORTAL "NBMEM_IMMORTAL"
    int SEES_FRAMES "NBMEM_SEES_FRAMES"
    Py_ssize_t ITEMSIZE_1 "NBMEM_ITEMSIZE_1"
    Py_ssize_t ITEMSIZE_2 "NBMEM_ITEMSIZE_2"
    int OWNDATA "NBMEM_OWNDATA"
    ctypedef struct NbmemArray:
        char *data
        int nd
        PyObject *base
        PyObject *descr
        int flags
    ctypedef struct NbmemDtype:
        char kind
    ctypedef struct NbmemVoid:
        char *data
        PyObject *base
        PyObject *descr
        int flags
    ctypedef struct NbmemFlat:
        PyObject *array
    void prefetch "NBMEM_PREFETCH" (const void *) noexcept
    uint32_t nbmem_refcount(PyObject *) noexcept
    Py_ssize_t nbmem_block(Py_ssize_t, Py_ssize_t) noexcept
    Py_ssize_t nbmem_head(PyTypeObject *) noexcept
    Py_ssize_t nbmem_values(PyObject *, PyTypeObject *) noexcept
    Py_ssize_t nbmem_inline_values(PyTypeObject *) noexcept
    Py_ssize_t nbmem_dict_table(PyObject *, Py_ssize_t) noexcept
    Py_ssize_t nbmem_malloc_block(Py_ssize_t, Py_ssize_t) noexcept
    Py_ssize_t nbmem_int_digits(PyObject *) noexcept
    Py_ssize_t nbmem_type_bytes(PyObject *, Py_ssize_t, Py_ssize_t) noexcept
    Py_ssize_t nbmem_text_table(PyObject *) noexcept
    int nbmem_lists_a_class(PyObject *) noexcept
    PyObject *nbmem_bound_to(PyObject *) noexcept
    int nbmem_is_named(PyTypeObject *, const char *, destructor) noexcept
    Py_ssize_t nbmem_str_bytes(PyObject *, Py_ssize_t *) noexcept
    Py_ssize_t nbmem_list_table(PyObject *) noexcept
    Py_ssize_t nbmem_set_table(PyObject *) noexcept
    void nbmem_visit_dict(PyObject *, visitproc, void *) noexcept
    void nbmem_visit_type(PyObject *, visitproc, void *) noexcept
    void nbmem_visit_code(PyObject *, visitproc, void *) noexcept
    void nbmem_visit_descriptor(PyObject *, visitproc, void *) noexcept
    void nbmem_visit_range(PyObject *, visitproc, void *) noexcept
    void nbmem_visit_text(PyObject *, visitproc, void *) noexcept
    void nbmem_visit_frame(void *, visitproc, void *) noexcept
    int nbmem_is_descriptor(PyTypeObject *) noexcept
    int nbmem_has_traverse(PyObject *, PyTypeObject *) noexcept
    Py_ssize_t nbmem_array_length(PyObject *) noexcept
    Py_ssize_t nbmem_array_itemsize(PyObject *, Py_ssize_t) noexcept
    int nbmem_collecting() noexcept
    int nbmem_each_tracked(int (*)(PyObject *, int, void *) noexcept, void *) noexcept
    int nbmem_signalled() noexcept
    void *nbmem_frame_code(void *) noexcept
    PyObject *nbmem_frame_globals(void *) noexcept
    int nbmem_frame_line(void *) noexcept
    int traverse "NBMEM_TRAVERSE" (PyTypeObject *, PyObject *, visitproc, void *) noexcept
    int always_traversed "NBMEM_ALWAYS_TRAVERSED" (PyTypeObject *) noexcept
    int has_managed_dict "NBMEM_HAS_MANAGED_DICT" (PyTypeObject *) noexcept
    int is_heap_type "NBMEM_IS_HEAP_TYPE" (PyObject *) noexcept
    int is_interned "NBMEM_IS_INTERNED" (PyObject *) noexcept
    const char *type_name "NBMEM_NAME" (PyTypeObject *) noexcept
    destructor dealloc_of "NBMEM_DEALLOC" (PyTypeObject *) noexcept
    PyTypeObject *nbmem_defining(PyObject *) noexcept
    void *nbmem_method(PyObject *) noexcept
    ctypedef struct NbmemSlot:
        uint64_t address
        uint32_t node
    uint64_t thread_number "nbmem_thread_number" (PyThreadState *) noexcept
    void *nbmem_top_frame(PyThreadState *) noexcept
    void *nbmem_outer_frame(void *) noexcept

cdef enum:
    WAITING = 2048  # references that are noted before they are looked up, so that memory can be asked ahead
    AHEAD = 12
    GONE = 0xFF
    FEW = 8192  # addresses that are looked for among all with a filter in front
    # states of nodes: 0 to 3 is the generation of the collector that an object is in
    UNTRACKED = 4
    INTERNED = 5
    STATIC = 6
    NO_OBJECT = 7
    SMALLEST_OWNER = 1024  # bytes of a numpy array in whose data others' buffers may lie
    QUEUE_BLOCK = 528  # 64 items and two links
    # why a walk fails
    NO_MEMORY = 1
    TOO_MANY = 2
    SIGNALLED = 3

cdef uint32_t END = 0xFFFFFFFF  # stands in the table for what is not followed
cdef uint64_t MOST = 0xFFFFFFF0

# How the objects of a type are sized.
cdef enum:
    ALIKE = 0  # all have the same
    ITEMS = 1  # the basic size and so many items
    INTEGER = 2
    TEXT = 3
    LIST = 4
    MAPPING = 5
    SET = 6
    ARRAY = 7  # numpy's
    METHOD = 8  # a method in C that is known to be harmless
    QUEUE = 9  # the same, in blocks of 64
    ASKED = 10  # a method of somebody's: asked after the walk
    CLASS = 11
    REFERENCE = 12  # a weak one
    STREAM = 13  # io.StringIO
    RECORD = 14  # numpy.void

# What tp_traverse leaves out.
cdef enum:
    NOTHING = 0
    KEYS = 1
    TYPE_PARTS = 2
    CODE_PARTS = 3
    NAME_PARTS = 4
    ELEMENTS = 5
    RANGE_PARTS = 6
    STREAM_PARTS = 7
    RECORD_PARTS = 8
    FLAT_PARTS = 9

# What is found out about a type, once.
ctypedef struct Plan:
    PyTypeObject *type
    unary measure
    int64_t head  # bytes in front of the object, and of its values where they are part of it
    int64_t fixed
    Py_ssize_t basic
    Py_ssize_t item
    Py_ssize_t spare  # bytes of an item more than there are: classes in Python have it (PyType_GenericAlloc)
    uint8_t sizing
    uint8_t rest
    uint8_t traversed  # 0: never, 1: always, 2: ask
    uint8_t managed
    uint8_t skipped  # in a partial walk: not followed
    int32_t rule  # the number of the rule for such objects, asked after the walk; -1: none

# Where a structured array has objects.
ctypedef struct Layout:
    PyObject *descr
    Py_ssize_t itemsize
    Py_ssize_t count  # 0: no objects
    Py_ssize_t *offsets

ctypedef struct Walk:
    uint64_t *addresses
    uint32_t *types
    int64_t *sizes
    uint32_t *refcounts
    uint32_t *begins
    uint8_t *states
    Py_ssize_t count, room
    uint32_t *targets
    Py_ssize_t target_count, target_room
    NbmemSlot *slots
    uint64_t mask
    PyObject **waiting
    uint8_t *waiting_states
    Py_ssize_t waiting_count
    Plan *plans
    Py_ssize_t plan_count, plan_room
    NbmemSlot *plan_slots
    uint64_t plan_mask
    PyTypeObject *last_type
    uint32_t last_plan
    # objects that are asked after the walk: node, object, rule (-1: its size)
    uint32_t *asked_nodes
    PyObject **asked
    int32_t *asked_rules
    Py_ssize_t asked_count, asked_room
    # numpy arrays with data of their own
    uint32_t *owner_nodes
    uint64_t *owner_data
    int64_t *owner_bytes
    Py_ssize_t owner_count, owner_room
    Layout *layouts
    Py_ssize_t layout_count
    # what is not followed: the given, then what was left out
    uint64_t *ends
    Py_ssize_t end_count, end_room, given_count
    PyTypeObject **rules
    Py_ssize_t rule_count
    Py_ssize_t page
    PyTypeObject *ndarray
    Py_ssize_t itemsize_at
    Py_ssize_t frame_count
    int partial
    int failed



cdef Py_ssize_t PAGE = mmap.PAGESIZE
# Types of these keep their sizes in plain C; what the methods of other libraries do nobody knows.
cdef frozenset HARMLESS = frozenset(name.encode() for name in sys.stdlib_module_names) | {b"numpy"}
cdef object allocated_blocks = sys.getallocatedblocks
cdef str SIZEOF = sys.intern("__sizeof__")
cdef Py_ssize_t LOCK = 32 if sys.version_info < (3, 14) else 0  # the semaphore of a lock, by malloc


class _OfPython:
    __slots__ = ()


# How objects of all classes that are made in Python end, and of no other.
cdef destructor OF_PYTHON = dealloc_of(<PyTypeObject *><PyObject *>_OfPython)


@cython.final
cdef class Memory:
    """A block of plain memory that an array may use, freed with the last of them."""

    cdef void *data
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)

    def __dealloc__(self):
        release(self.data)


cdef Memory _handed_over(void **data, size_t size):
    """Give away an array, cut to its size."""
    cdef Memory memory = Memory.__new__(Memory)
    cdef void *cut = resized(data[0], size)
    memory.data = data[0] if cut == NULL else cut
    memory.size = size
    data[0] = NULL
    return memory


# -- the table from addresses to nodes --


cdef inline uint64_t _place(uint64_t address) noexcept:
    # What lies together in memory lies together in the table, in lines of 16 slots; with longer ones, dense
    # stretches of memory that meet in the table make each other's searches long.
    return ((address >> 8) * <uint64_t>0x9E3779B97F4A7C15 >> 32) + (address >> 4 & 0xF)


cdef inline uint64_t _mixed(uint64_t address) noexcept:
    return (address >> 4) * <uint64_t>0x9E3779B97F4A7C15 >> 32


cdef inline NbmemSlot *_find(NbmemSlot *slots, uint64_t mask, uint64_t address) noexcept:
    """Find the slot of an address, or the empty one where it belongs."""
    cdef uint64_t at = _place(address) & mask
    while slots[at].address != address and slots[at].address != 0:
        at = (at + 1) & mask
    return &slots[at]


cdef bint _grow_table(Walk *walk) noexcept:
    """Make the table twice as large. It is made anew from the addresses, so that there is never a second one."""
    cdef uint64_t size = (walk.mask + 1) * 2
    cdef NbmemSlot *slot
    cdef Py_ssize_t i
    release(walk.slots)
    walk.slots = <NbmemSlot *>zeros(size * sizeof(NbmemSlot))
    if walk.slots == NULL:
        walk.failed = NO_MEMORY
        return False
    walk.mask = size - 1
    for i in range(walk.count):
        if i + AHEAD < walk.count:
            prefetch(&walk.slots[_place(walk.addresses[i + AHEAD]) & walk.mask])
        slot = _find(walk.slots, walk.mask, walk.addresses[i])
        slot.address = walk.addresses[i]
        slot.node = <uint32_t>i
    for i in range(walk.end_count):
        slot = _find(walk.slots, walk.mask, walk.ends[i])
        slot.address = walk.ends[i]
        slot.node = END
    return True


cdef bint _resized(void **array, Py_ssize_t room, size_t item) noexcept:
    cdef void *larger = resized(array[0], room * item)
    if larger == NULL:
        return False
    array[0] = larger
    return True


cdef bint _grow_nodes(Walk *walk) noexcept:
    cdef Py_ssize_t room = walk.room * 2
    if (
        not _resized(<void **>&walk.addresses, room, sizeof(uint64_t))
        or not _resized(<void **>&walk.types, room, sizeof(uint32_t))
        or not _resized(<void **>&walk.sizes, room, sizeof(int64_t))
        or not _resized(<void **>&walk.refcounts, room, sizeof(uint32_t))
        or not _resized(<void **>&walk.begins, room + 1, sizeof(uint32_t))
        or not _resized(<void **>&walk.states, room, 1)
    ):
        walk.failed = NO_MEMORY
        return False
    walk.room = room
    return True


cdef bint _is_bound(Walk *walk, PyObject *function) noexcept:
    """Tell whether a function of C's is a method of an object that is followed."""
    cdef PyObject *of = nbmem_bound_to(function)
    cdef Plan *plan
    if of == NULL:
        return False
    plan = _plan_of(walk, Py_TYPE(of))
    return plan != NULL and not plan.skipped


cdef uint32_t _node(Walk *walk, uint64_t address) noexcept:
    """Give the node of an address, a new one if need be; END where none is wanted, or no memory is left."""
    cdef NbmemSlot *slot = _find(walk.slots, walk.mask, address)
    cdef Plan *plan
    if slot.address:
        return slot.node
    if walk.partial:
        plan = _plan_of(walk, Py_TYPE(<PyObject *>address))
        if plan == NULL:
            return END
        if plan.skipped and not (plan.type == &PyCFunction_Type and _is_bound(walk, <PyObject *>address)):
            _leave_out(walk, address)
            return END
    if walk.count >= walk.room and not _grow_nodes(walk):
        return END
    if <uint64_t>walk.count >= MOST:
        walk.failed = TOO_MANY
        return END
    if <uint64_t>(walk.count + walk.end_count) * 10 >= (walk.mask + 1) * 7:
        if not _grow_table(walk):
            return END
        slot = _find(walk.slots, walk.mask, address)
    slot.address = address
    slot.node = <uint32_t>walk.count
    walk.addresses[walk.count] = address
    walk.states[walk.count] = UNTRACKED
    walk.count += 1
    return slot.node


cdef void _leave_out(Walk *walk, uint64_t address) noexcept:
    """Note what is not followed because of its type: the caller looks who may hold it."""
    if walk.end_count >= walk.end_room:
        if not _resized(<void **>&walk.ends, walk.end_room * 2, sizeof(uint64_t)):
            walk.failed = NO_MEMORY
            return
        walk.end_room *= 2
    walk.ends[walk.end_count] = address
    walk.end_count += 1
    if <uint64_t>(walk.count + walk.end_count) * 10 >= (walk.mask + 1) * 7:
        _grow_table(walk)  # with this one
    else:
        _end(walk, address)


cdef void _add_start(Walk *walk, uint64_t address) noexcept:
    """Let an object be a node, whatever its type."""
    cdef int partial = walk.partial
    walk.partial = 0
    _node(walk, address)
    walk.partial = partial


cdef int _add_tracked(PyObject *op, int generation, void *arg) noexcept:
    cdef Walk *walk = <Walk *>arg
    walk.waiting[walk.waiting_count] = op
    walk.waiting_states[walk.waiting_count] = <uint8_t>generation
    walk.waiting_count += 1
    if walk.waiting_count == WAITING:
        _add_waiting(walk)
    return walk.failed


cdef void _add_waiting(Walk *walk) noexcept:
    """Let the tracked objects that were noted be nodes."""
    cdef Py_ssize_t i
    cdef uint32_t node
    for i in range(walk.waiting_count):
        if i + AHEAD < walk.waiting_count:
            prefetch(&walk.slots[_place(<uint64_t>walk.waiting[i + AHEAD]) & walk.mask])
        node = _node(walk, <uint64_t>walk.waiting[i])
        if walk.failed:
            return
        if node != END:
            walk.states[node] = walk.waiting_states[i]
    walk.waiting_count = 0


# -- references --


cdef void _look_up(Walk *walk) noexcept:
    """Turn the references that were noted into nodes."""
    cdef Py_ssize_t i, n = walk.waiting_count
    cdef uint32_t node
    if walk.target_count + n > walk.target_room:
        if not _resized(<void **>&walk.targets, walk.target_room * 2 + n, sizeof(uint32_t)):
            walk.failed = NO_MEMORY
            return
        walk.target_room = walk.target_room * 2 + n
    for i in range(n):
        if i + AHEAD < n:
            prefetch(&walk.slots[_place(<uint64_t>walk.waiting[i + AHEAD]) & walk.mask])
            if walk.partial:
                prefetch(walk.waiting[i + AHEAD])  # its type is asked for
        node = _node(walk, <uint64_t>walk.waiting[i])
        if walk.failed:
            return
        walk.targets[walk.target_count] = node
        walk.target_count += 1
    walk.waiting_count = 0


cdef int _visit(PyObject *op, void *arg) noexcept:
    cdef Walk *walk = <Walk *>arg
    if op == NULL or walk.failed:
        return 0
    walk.waiting[walk.waiting_count] = op
    walk.waiting_count += 1
    if walk.waiting_count == WAITING:
        _look_up(walk)
        if walk.failed:
            walk.waiting_count = 0
    return 0


# -- types --


cdef Plan *_plan_of(Walk *walk, PyTypeObject *type) noexcept:
    """Give what is known about a type; NULL if no memory is left."""
    cdef NbmemSlot *slot
    cdef uint64_t size
    cdef Py_ssize_t i
    if type == walk.last_type:
        return &walk.plans[walk.last_plan]
    slot = _find(walk.plan_slots, walk.plan_mask, <uint64_t>type)
    if not slot.address:
        if walk.plan_count == walk.plan_room:
            if not _resized(<void **>&walk.plans, walk.plan_room * 2, sizeof(Plan)):
                walk.failed = NO_MEMORY
                return NULL
            walk.plan_room *= 2
            release(walk.plan_slots)
            size = walk.plan_room * 2
            walk.plan_slots = <NbmemSlot *>zeros((size) * sizeof(NbmemSlot))
            if walk.plan_slots == NULL:
                walk.failed = NO_MEMORY
                return NULL
            walk.plan_mask = size - 1
            for i in range(1, walk.plan_count):
                slot = _find(walk.plan_slots, walk.plan_mask, <uint64_t>walk.plans[i].type)
                slot.address = <uint64_t>walk.plans[i].type
                slot.node = <uint32_t>i
            slot = _find(walk.plan_slots, walk.plan_mask, <uint64_t>type)
        slot.address = <uint64_t>type
        slot.node = <uint32_t>walk.plan_count
        _make_plan(walk, &walk.plans[walk.plan_count], type)
        walk.plan_count += 1
    walk.last_type = type
    walk.last_plan = slot.node
    return &walk.plans[slot.node]


cdef void _make_plan(Walk *walk, Plan *plan, PyTypeObject *type) noexcept:
    cdef PyObject *method
    cdef PyTypeObject *defining
    cdef Py_ssize_t i
    cdef const char *name
    plan.type = type
    plan.measure = NULL
    plan.head = nbmem_head(type)
    plan.basic = type.tp_basicsize + nbmem_inline_values(type)
    plan.item = type.tp_itemsize
    plan.spare = plan.item if dealloc_of(type) == OF_PYTHON else 0
    plan.managed = has_managed_dict(type)
    plan.traversed = 1 if always_traversed(type) else 2 if type.tp_traverse != NULL else 0
    plan.skipped = walk.partial and (
        PyType_IsSubtype(type, &PyType_Type)
        or PyType_IsSubtype(type, &PyModule_Type)
        or type == &PyFrame_Type
        or type == &PyCFunction_Type
    )
    plan.rest = NOTHING
    if PyType_IsSubtype(type, &PyDict_Type):
        plan.rest = KEYS
    elif PyType_IsSubtype(type, &PyType_Type):
        plan.rest = TYPE_PARTS
    elif type == &PyCode_Type:
        plan.rest = CODE_PARTS
    elif nbmem_is_descriptor(type):
        plan.rest = NAME_PARTS
    elif type == &PyRange_Type:
        plan.rest = RANGE_PARTS
    elif walk.ndarray != NULL and PyType_IsSubtype(type, walk.ndarray):
        plan.rest = ELEMENTS
    elif walk.itemsize_at and nbmem_is_named(type, b"numpy.void", OF_PYTHON):
        plan.rest = RECORD_PARTS
    elif walk.itemsize_at and nbmem_is_named(type, b"numpy.flatiter", OF_PYTHON):
        plan.rest = FLAT_PARTS
    plan.rule = -1
    for i in range(walk.rule_count):
        if PyType_IsSubtype(type, walk.rules[i]):
            plan.rule = <int32_t>i
    # how its objects are sized
    plan.sizing = ASKED
    method = _PyType_Lookup(type, <PyObject *>SIZEOF)
    if method != NULL:
        plan.measure = <unary>nbmem_method(method)
    if plan.measure != NULL and not PyType_IsSubtype(type, nbmem_defining(method)):
        plan.measure = NULL  # borrowed from a class that it is not derived from: its objects are of another shape
    if plan.measure != NULL:
        defining = nbmem_defining(method)
        name = type_name(defining)
        if type == &WeakReference:
            plan.sizing = REFERENCE
        elif defining == &PyBaseObject_Type:
            plan.sizing = ITEMS if plan.item else ALIKE
            if nbmem_is_named(type, b"_io.StringIO", OF_PYTHON):
                plan.sizing = STREAM
                plan.rest = STREAM_PARTS
        elif plan.rest == TYPE_PARTS:
            plan.sizing = CLASS
        elif defining == &PyLong_Type:
            plan.sizing = INTEGER
        elif defining == &PyUnicode_Type:
            plan.sizing = TEXT
        elif defining == &PyList_Type:
            plan.sizing = LIST
        elif defining == &PyDict_Type:
            plan.sizing = MAPPING
        elif defining == &PySet_Type or defining == &PyFrozenSet_Type:
            plan.sizing = SET
        elif defining == walk.ndarray and walk.itemsize_at:
            plan.sizing = ARRAY
        elif strcmp(name, b"collections.deque") == 0:
            plan.sizing = QUEUE
        elif strcmp(name, b"numpy.generic") == 0 and plan.rest == RECORD_PARTS:
            plan.sizing = RECORD
        elif strcmp(name, b"numpy.generic") == 0 and not plan.item and not _has_data_beside(type):
            plan.sizing = ALIKE  # its method adds the value, which is part of the object
        elif strcmp(name, b"numpy.generic") == 0 and PyType_IsSubtype(type, &PyBytes_Type):
            plan.sizing = ITEMS  # the same: its method counts the value twice
        elif _is_harmless(name):
            plan.sizing = METHOD
    plan.fixed = nbmem_block(plan.head + plan.basic, walk.page)
    if plan.sizing == ALIKE and LOCK:
        if nbmem_is_named(type, b"_thread.RLock", OF_PYTHON) or nbmem_is_named(type, b"_thread.lock", OF_PYTHON):
            plan.fixed += nbmem_malloc_block(LOCK, walk.page)


cdef bint _has_data_beside(PyTypeObject *type) noexcept:
    """Tell whether a scalar of numpy's may have its value in a block of its own."""
    return PyType_IsSubtype(type, &PyUnicode_Type) or nbmem_is_named(type, b"numpy.void", OF_PYTHON)


cdef bint _is_harmless(const char *name) noexcept:
    """Tell whether a type's methods are the interpreter's or numpy's, by its name in C."""
    cdef const char *dot = strchr(name, c".")
    if dot == NULL:
        return True
    return name[: dot - name] in HARMLESS


cdef int64_t _measured(PyObject *op, Plan *plan) noexcept:
    """Size an object by its method; -1 if that fails."""
    cdef PyObject *answer = plan.measure(op, NULL)
    cdef Py_ssize_t size
    if answer == NULL:
        PyErr_Clear()
        return -1
    size = PyLong_AsSsize_t(answer)
    Py_DECREF(answer)
    if size < 0:
        PyErr_Clear()
        return -1
    return size


cdef int64_t _shallow(Walk *walk, PyObject *op, Plan *plan) noexcept:
    """Size an object and the blocks that it owns, as the allocator counts."""
    cdef int64_t size
    cdef Py_ssize_t count, more
    cdef NbmemArray *array
    if plan.sizing == ALIKE:
        size = plan.fixed
    elif plan.sizing == ITEMS:
        count = Py_SIZE(op)
        size = plan.head + plan.basic + plan.spare + plan.item * (-count if count < 0 else count)
        size = nbmem_block(size, walk.page)
    elif plan.sizing == TEXT:
        count = nbmem_str_bytes(op, &more)
        if count < 0:
            size = _measured(op, plan)
            size = plan.fixed if size < 0 else nbmem_block(plan.head + size, walk.page)
        else:
            size = nbmem_block(plan.head + count, walk.page) + nbmem_block(more, walk.page)
    elif plan.sizing == INTEGER:
        size = nbmem_block(plan.head + plan.basic + plan.spare + nbmem_int_digits(op), walk.page)
    elif plan.sizing == LIST:
        size = plan.fixed + nbmem_block(nbmem_list_table(op), walk.page)
    elif plan.sizing == MAPPING:
        size = plan.fixed + nbmem_dict_table(op, walk.page)
    elif plan.sizing == SET:
        size = plan.fixed + nbmem_block(nbmem_set_table(op), walk.page)
    elif plan.sizing == ARRAY:
        array = <NbmemArray *>op
        size = plan.fixed
        if array.nd:
            size += nbmem_malloc_block(2 * array.nd * <Py_ssize_t>sizeof(Py_ssize_t), walk.page)
        if array.flags & OWNDATA:
            more = nbmem_array_length(op) * nbmem_array_itemsize(op, walk.itemsize_at)
            size += nbmem_malloc_block(more, walk.page)
    elif plan.sizing == ASKED:
        size = plan.fixed
    elif plan.sizing == CLASS:
        size = 0  # part of a library, nothing that is allocated
        if is_heap_type(op):
            size = plan.head + plan.basic + plan.item * (Py_SIZE(op) + 1)
            size = nbmem_type_bytes(op, size, walk.page)
    elif plan.sizing == REFERENCE:
        size = 0 if nbmem_lists_a_class(op) else plan.fixed
    elif plan.sizing == RECORD:
        size = plan.fixed
        if (<NbmemVoid *>op).flags & OWNDATA and Py_SIZE(op):
            size += nbmem_malloc_block(Py_SIZE(op), walk.page)
    elif plan.sizing == STREAM:
        size = plan.fixed + nbmem_block(nbmem_text_table(op), walk.page)
    else:
        size = _measured(op, plan)
        if size < 0:
            size = plan.fixed
        else:
            size = _blocks(plan.head, plan.basic, plan.item, size, plan.sizing == QUEUE)
    if plan.managed:
        size += nbmem_block(nbmem_values(op, plan.type), walk.page)
    return size


cdef int64_t _blocks(Py_ssize_t head, Py_ssize_t basic, Py_ssize_t item, int64_t size, bint queue) noexcept:
    """Spread what a method tells over the object and what it owns beside it."""
    cdef int64_t rest = size - basic
    if item or rest <= 0:
        return nbmem_block(head + size, PAGE)
    if queue:
        return nbmem_block(head + basic, PAGE) + rest // QUEUE_BLOCK * nbmem_block(QUEUE_BLOCK, PAGE)
    return nbmem_block(head + basic, PAGE) + nbmem_block(rest, PAGE)


# -- numpy --


cdef Layout *_layout_of(Walk *walk, PyObject *descr) noexcept:
    """Tell where the elements of a structured array have objects; NULL if no memory is left."""
    cdef Py_ssize_t i
    cdef Layout *layout
    for i in range(walk.layout_count):
        if walk.layouts[i].descr == descr:
            return &walk.layouts[i]
    if not _resized(<void **>&walk.layouts, walk.layout_count + 1, sizeof(Layout)):
        walk.failed = NO_MEMORY
        return NULL
    layout = &walk.layouts[walk.layout_count]
    layout.descr = descr
    layout.count = 0
    layout.itemsize = 0
    layout.offsets = NULL
    walk.layout_count += 1
    try:
        offsets = []
        _add_offsets(<object>descr, 0, offsets)
        layout.itemsize = (<object>descr).itemsize
        layout.offsets = <Py_ssize_t *>zeros((len(offsets) + 1) * sizeof(Py_ssize_t))
        if layout.offsets == NULL:
            walk.failed = NO_MEMORY
            return NULL
        for i in range(len(offsets)):
            layout.offsets[i] = offsets[i]
        layout.count = len(offsets)
    except Exception:  # noqa: BLE001  # a dtype of somebody's: its elements are not seen then
        layout.count = 0
    return layout


cdef _add_offsets(dtype, Py_ssize_t offset, list offsets):
    """List where one element has objects. All that is asked of a dtype is C."""
    cdef Py_ssize_t i
    if not dtype.hasobject:
        return
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        count = 1
        for length in shape:
            count *= length
        for i in range(count):
            _add_offsets(base, offset + i * base.itemsize, offsets)
    elif dtype.fields is not None:
        for name in dtype.names:  # a field that has a title is among the fields twice
            field = dtype.fields[name]
            _add_offsets(field[0], offset + field[1], offsets)
    else:
        offsets.append(offset)


cdef void _visit_array(Walk *walk, PyObject *op, uint32_t node) noexcept:
    cdef NbmemArray *array = <NbmemArray *>op
    cdef Py_ssize_t i, count
    cdef char kind
    _visit(array.base, walk)
    _visit(array.descr, walk)
    if not array.flags & OWNDATA or array.data == NULL:
        return
    count = nbmem_array_length(op)
    if walk.sizes[node] >= SMALLEST_OWNER and walk.itemsize_at:
        _note_owner(walk, node, <uint64_t>array.data, count * nbmem_array_itemsize(op, walk.itemsize_at))
    kind = (<NbmemDtype *>array.descr).kind
    if kind == c"O":
        for i in range(count):
            _visit((<PyObject **>array.data)[i], walk)
    elif kind == c"V":
        _visit_records(walk, array.descr, array.data, count)


cdef void _visit_records(Walk *walk, PyObject *descr, char *at, Py_ssize_t count) noexcept:
    cdef Layout *layout = _layout_of(walk, descr)
    cdef PyObject *op
    cdef Py_ssize_t i, k
    if layout == NULL or layout.count == 0:
        return
    for i in range(count):
        for k in range(layout.count):
            memcpy(&op, at + layout.offsets[k], sizeof(op))  # it may not be aligned
            _visit(op, walk)
        at += layout.itemsize


cdef void _visit_record(Walk *walk, PyObject *op) noexcept:
    """Of a scalar that is an element of an array: it keeps that."""
    cdef NbmemVoid *record = <NbmemVoid *>op
    _visit(record.base, walk)
    _visit(record.descr, walk)
    if record.flags & OWNDATA and record.data != NULL and record.descr != NULL:
        _visit_records(walk, record.descr, record.data, 1)


cdef void _note_owner(Walk *walk, uint32_t node, uint64_t data, int64_t bytes_) noexcept:
    cdef Py_ssize_t room = walk.owner_room * 2 + 16
    if walk.owner_count == walk.owner_room:
        if (
            not _resized(<void **>&walk.owner_nodes, room, sizeof(uint32_t))
            or not _resized(<void **>&walk.owner_data, room, sizeof(uint64_t))
            or not _resized(<void **>&walk.owner_bytes, room, sizeof(int64_t))
        ):
            walk.failed = NO_MEMORY
            return
        walk.owner_room = room
    walk.owner_nodes[walk.owner_count] = node
    walk.owner_data[walk.owner_count] = data
    walk.owner_bytes[walk.owner_count] = bytes_
    walk.owner_count += 1


cdef void _note_asked(Walk *walk, uint32_t node, PyObject *op, int32_t rule) noexcept:
    if walk.asked_count == walk.asked_room:
        if (
            not _resized(<void **>&walk.asked_nodes, walk.asked_room * 2 + 16, sizeof(uint32_t))
            or not _resized(<void **>&walk.asked, walk.asked_room * 2 + 16, sizeof(PyObject *))
            or not _resized(<void **>&walk.asked_rules, walk.asked_room * 2 + 16, sizeof(int32_t))
        ):
            walk.failed = NO_MEMORY
            return
        walk.asked_room = walk.asked_room * 2 + 16
    walk.asked_nodes[walk.asked_count] = node
    walk.asked[walk.asked_count] = op
    walk.asked_rules[walk.asked_count] = rule
    walk.asked_count += 1


# -- the walk --


cdef void _take_down(Walk *walk, uint32_t node) noexcept:
    """Write down one object, and note what it refers to."""
    cdef PyObject *op = <PyObject *>walk.addresses[node]
    cdef PyTypeObject *type = Py_TYPE(op)
    cdef Plan *plan = _plan_of(walk, type)
    cdef Plan known
    if plan == NULL:
        return
    walk.types[node] = walk.last_plan
    walk.refcounts[node] = nbmem_refcount(op)
    walk.sizes[node] = _shallow(walk, op, plan)
    if walk.states[node] == UNTRACKED:
        if plan.sizing == TEXT and is_interned(op):
            walk.states[node] = INTERNED
        elif plan.rest == TYPE_PARTS and not is_heap_type(op):
            walk.states[node] = STATIC
    if plan.sizing == ASKED:
        _note_asked(walk, node, op, -1)
    if plan.rule >= 0:
        _note_asked(walk, node, op, plan.rule)
    known = plan[0]  # new types may come while its references are looked up, and the plans be moved
    if known.traversed == 1 or known.traversed == 2 and nbmem_has_traverse(op, type):
        traverse(type, op, _visit, walk)
    if known.rest == KEYS:
        nbmem_visit_dict(op, _visit, walk)
    elif known.rest == ELEMENTS:
        _visit_array(walk, op, node)
    elif known.rest == TYPE_PARTS:
        nbmem_visit_type(op, _visit, walk)
    elif known.rest == CODE_PARTS:
        nbmem_visit_code(op, _visit, walk)
    elif known.rest == NAME_PARTS:
        nbmem_visit_descriptor(op, _visit, walk)
    elif known.rest == RANGE_PARTS:
        nbmem_visit_range(op, _visit, walk)
    elif known.rest == STREAM_PARTS:
        nbmem_visit_text(op, _visit, walk)
    elif known.rest == RECORD_PARTS:
        _visit_record(walk, op)
    elif known.rest == FLAT_PARTS:
        _visit((<NbmemFlat *>op).array, walk)


cdef void _go(Walk *walk) noexcept:
    """Take down node after node, those that come to light meanwhile too."""
    cdef Py_ssize_t node = 0, i
    while not walk.failed:
        while node < walk.count:
            if node + AHEAD < walk.count:
                prefetch(<void *>walk.addresses[node + AHEAD])
            walk.begins[node] = <uint32_t>(walk.target_count + walk.waiting_count)
            if node < walk.frame_count:
                walk.types[node] = 0
                walk.states[node] = NO_OBJECT
                walk.sizes[node] = 0
                walk.refcounts[node] = 1  # the thread's
                nbmem_visit_frame(<void *>walk.addresses[node], _visit, walk)
            else:
                _take_down(walk, <uint32_t>node)
            node += 1
            if walk.failed:
                return
            if not node & 0xFFFF:
                if nbmem_signalled():
                    walk.failed = SIGNALLED
                    return
                if <uint64_t>walk.target_count + WAITING >= MOST:
                    walk.failed = TOO_MANY
                    return
        if not walk.waiting_count:
            break
        _look_up(walk)
    walk.begins[walk.count] = <uint32_t>walk.target_count


cdef bint _set_up(
    Walk *walk, list ends, list rules, ndarray, Py_ssize_t itemsize_at, Py_ssize_t expected
) noexcept:
    cdef Py_ssize_t i, room = 1 << 10
    # Room is only reserved: what is not written to takes no memory, but arrays that grow lose their huge pages.
    if not walk.partial:
        room = max(1 << 16, expected)
    walk.room = room
    walk.addresses = <uint64_t *>zeros(room * sizeof(uint64_t))
    walk.types = <uint32_t *>zeros(room * sizeof(uint32_t))
    walk.sizes = <int64_t *>zeros(room * sizeof(int64_t))
    walk.refcounts = <uint32_t *>zeros(room * sizeof(uint32_t))
    walk.begins = <uint32_t *>zeros((room + 1) * sizeof(uint32_t))
    walk.states = <uint8_t *>zeros(room)
    walk.target_room = 2 * room
    walk.targets = <uint32_t *>zeros(walk.target_room * sizeof(uint32_t))
    walk.waiting = <PyObject **>zeros(WAITING * sizeof(PyObject *))
    walk.waiting_states = <uint8_t *>zeros(WAITING)
    walk.mask = 2047 if walk.partial else (1 << 17) - 1
    # of blocks seven in ten or more are objects, and so full the table may be
    while <uint64_t>expected > walk.mask and not walk.partial:
        walk.mask = walk.mask * 2 + 1
    walk.end_count = walk.given_count = len(ends)
    walk.end_room = len(ends) + 64
    while <uint64_t>(walk.end_count + 1) * 4 > walk.mask:
        walk.mask = walk.mask * 2 + 1
    walk.slots = <NbmemSlot *>zeros((walk.mask + 1) * sizeof(NbmemSlot))
    walk.plan_room = 1024
    walk.plans = <Plan *>zeros(walk.plan_room * sizeof(Plan))
    walk.plan_mask = 2 * walk.plan_room - 1
    walk.plan_slots = <NbmemSlot *>zeros((walk.plan_mask + 1) * sizeof(NbmemSlot))
    walk.ends = <uint64_t *>zeros(walk.end_room * sizeof(uint64_t))
    walk.rule_count = len(rules)
    walk.rules = <PyTypeObject **>zeros((len(rules) + 1) * sizeof(PyTypeObject *))
    if (
        walk.addresses == NULL or walk.types == NULL or walk.sizes == NULL or walk.refcounts == NULL
        or walk.begins == NULL or walk.states == NULL or walk.targets == NULL or walk.waiting == NULL
        or walk.slots == NULL or walk.plans == NULL or walk.plan_slots == NULL or walk.ends == NULL
        or walk.rules == NULL or walk.waiting_states == NULL
    ):  # fmt: skip
        walk.failed = NO_MEMORY
        return False
    for i in range(len(ends)):
        walk.ends[i] = ends[i]
        _end(walk, walk.ends[i])
    for i in range(len(rules)):
        walk.rules[i] = <PyTypeObject *><PyObject *>rules[i]
    memset(walk.plans, 0, sizeof(Plan))
    walk.plan_count = 1  # 0 is that of running frames
    walk.page = PAGE
    walk.ndarray = NULL if ndarray is None else <PyTypeObject *><PyObject *>ndarray
    walk.itemsize_at = itemsize_at
    return True


cdef void _end(Walk *walk, uint64_t address) noexcept:
    cdef NbmemSlot *slot = _find(walk.slots, walk.mask, address)
    slot.address = address
    slot.node = END


cdef void _tear_down(Walk *walk) noexcept:
    cdef Py_ssize_t i
    for i in range(walk.layout_count):
        release(walk.layouts[i].offsets)
    release(walk.layouts)
    release(walk.addresses)
    release(walk.types)
    release(walk.sizes)
    release(walk.refcounts)
    release(walk.begins)
    release(walk.states)
    release(walk.targets)
    release(walk.slots)
    release(walk.waiting)
    release(walk.waiting_states)
    release(walk.plans)
    release(walk.plan_slots)
    release(walk.asked_nodes)
    release(walk.asked)
    release(walk.asked_rules)
    release(walk.owner_nodes)
    release(walk.owner_data)
    release(walk.owner_bytes)
    release(walk.ends)
    release(walk.rules)


cdef void _add_frames(Walk *walk) noexcept:
    """Let the frames that run be the first nodes."""
    cdef PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    cdef void *frame
    while thread != NULL and not walk.failed:
        frame = nbmem_top_frame(thread)
        while frame != NULL and not walk.failed:
            _node(walk, <uint64_t>frame)
            frame = nbmem_outer_frame(frame)
        thread = PyThreadState_Next(thread)
    walk.frame_count = walk.count


cdef list _described_frames():
    """Tell of each running frame, in the order of their nodes: thread, code, line, address of its globals."""
    cdef list frames = []
    cdef PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    cdef void *frame
    while thread != NULL:
        frame = nbmem_top_frame(thread)
        while frame != NULL:
            frames.append(
                (
                    thread_number(thread),
                    <object><PyObject *>nbmem_frame_code(frame),
                    nbmem_frame_line(frame),
                    <uint64_t>nbmem_frame_globals(frame),
                )
            )
            frame = nbmem_outer_frame(frame)
        thread = PyThreadState_Next(thread)
    return frames


cdef void _leave_out_ends(Walk *walk) noexcept:
    """Take the references to what is not followed out of the list."""
    cdef Py_ssize_t node, i, to = 0, begin = 0
    for node in range(walk.count):
        i = begin
        begin = walk.begins[node + 1]
        while i < begin:
            if walk.targets[i] != END:
                walk.targets[to] = walk.targets[i]
                to += 1
            i += 1
        walk.begins[node + 1] = <uint32_t>to
    walk.target_count = to


cdef int32_t *_surplus(Walk *walk) noexcept:
    """Count the references to each object that the graph does not show; NULL if no memory is left."""
    cdef uint32_t *found = <uint32_t *>zeros((walk.count + 1) * sizeof(uint32_t))
    cdef int32_t *surplus = <int32_t *>found
    cdef Py_ssize_t i
    cdef int64_t difference
    if found == NULL:
        return NULL
    for i in range(walk.target_count):
        if i + AHEAD < walk.target_count:
            prefetch(&found[walk.targets[i + AHEAD]])
        found[walk.targets[i]] += 1
    for i in range(walk.count):
        if walk.refcounts[i] == IMMORTAL:
            difference = 0x7FFFFFFF
        else:
            difference = <int64_t>walk.refcounts[i] - <int64_t>found[i]
        surplus[i] = <int32_t>max(-0x7FFFFFFF, min(0x7FFFFFFF, difference))
    return surplus


cdef dict _result(Walk *walk, mark):
    cdef int32_t *surplus
    cdef Py_ssize_t i
    release(walk.slots)
    walk.slots = NULL
    release(walk.waiting)
    walk.waiting = NULL
    if walk.partial:
        _leave_out_ends(walk)
    surplus = _surplus(walk)
    if surplus == NULL:
        raise MemoryError
    cdef list types = [None]
    for i in range(1, walk.plan_count):
        types.append(<object>walk.plans[i].type)
    cdef list asked = []
    for i in range(walk.asked_count):
        asked.append(<object>walk.asked[i])
    cdef list left_out = []
    for i in range(walk.given_count, walk.end_count):
        left_out.append(<object><PyObject *>walk.ends[i])
    cdef void *memory = surplus
    cdef size_t n = walk.count
    addresses = _handed_over(<void **>&walk.addresses, n * sizeof(uint64_t))
    cdef list frames = [] if walk.partial else _described_frames()
    # in C: no other thread has run since the first object was seen, and the collector is off. After it one may have,
    # so the frames are described before.
    births = None if mark is None else mark(np.frombuffer(addresses, np.uint64))
    return {
        "births": births,
        "surplus": _handed_over(&memory, n * sizeof(int32_t)),
        "addresses": addresses,
        "type_index": _handed_over(<void **>&walk.types, n * sizeof(uint32_t)),
        "shallow_bytes": _handed_over(<void **>&walk.sizes, n * sizeof(int64_t)),
        "refcounts": _handed_over(<void **>&walk.refcounts, n * sizeof(uint32_t)),
        "states": _handed_over(<void **>&walk.states, n),
        "indptr": _handed_over(<void **>&walk.begins, (n + 1) * sizeof(uint32_t)),
        "indices": _handed_over(<void **>&walk.targets, walk.target_count * sizeof(uint32_t)),
        "types": types,
        "asked": asked,
        "left_out": left_out,
        "asked_nodes": _handed_over(<void **>&walk.asked_nodes, walk.asked_count * sizeof(uint32_t)),
        "asked_rules": _handed_over(<void **>&walk.asked_rules, walk.asked_count * sizeof(int32_t)),
        "owner_nodes": _handed_over(<void **>&walk.owner_nodes, walk.owner_count * sizeof(uint32_t)),
        "owner_data": _handed_over(<void **>&walk.owner_data, walk.owner_count * sizeof(uint64_t)),
        "owner_bytes": _handed_over(<void **>&walk.owner_bytes, walk.owner_count * sizeof(int64_t)),
        "frames": frames,
    }


def walk(list starts, list ends, list rules, ndarray, Py_ssize_t itemsize_at, *, mark=None):
    """Take down the objects of the process.

    Parameters
    ----------
    starts : list or None
        Objects to start from; None: all that the collector knows, and the frames that run.
    ends : list of int
        Addresses of objects that are left out and not followed.
    rules : list of type
        Objects of these types, and of types derived from them, are listed in ``asked``.
    ndarray : type or None
        numpy's, if it is loaded.
    itemsize_at : int
        Where a dtype has its item size; 0: unknown.
    mark : callable or None
        Called in C with the addresses of all objects, at the moment that they were seen.

    Returns
    -------
    dict
        Memory of the arrays, and lists; see ``capture.py``.

    Raises
    ------
    MemoryError
        If there is not enough for the arrays; all is freed then.
    NotMeasured
        If the collector is at work, or signals come without end.
    """
    cdef Walk walk
    cdef int was_enabled
    cdef Py_ssize_t i, attempt, waits, expected
    # the blocks that pymalloc has handed out; none where it is not in use
    expected = 0 if starts is not None else allocated_blocks()
    for attempt in range(20):
        waits = 0
        while nbmem_collecting():  # in another thread, if a finalizer lets this one run: that will end
            if waits < 50:
                waits += 1
                time.sleep(0.002)
                continue
            raise NotMeasured("the garbage collector is at work (a finalizer runs): try again after it")
        memset(&walk, 0, sizeof(Walk))
        walk.partial = starts is not None
        was_enabled = PyGC_Disable()
        try:
            if _set_up(&walk, ends, rules, ndarray, itemsize_at, expected):
                if starts is None:
                    _add_frames(&walk)
                    if not walk.failed:
                        nbmem_each_tracked(_add_tracked, &walk)
                    if not walk.failed:
                        _add_waiting(&walk)
                else:
                    for i in range(len(starts)):
                        _add_start(&walk, <uint64_t><PyObject *>starts[i])
                if not walk.failed:
                    _go(&walk)
            if not walk.failed:
                return _result(&walk, mark)
        finally:
            _tear_down(&walk)
            if was_enabled:
                PyGC_Enable()
        if walk.failed == NO_MEMORY:
            if expected:
                expected = 0  # more may have been reserved than is needed
                continue
            raise MemoryError("not enough memory for a snapshot: about 64 bytes per object are needed")
        if walk.failed == TOO_MANY:
            raise NotMeasured("more than 4,294,967,279 objects or references: too many for a snapshot")
        # A handler may change the heap: it runs between two walks, and may end them.
        PyErr_CheckSignals()
    raise NotMeasured("signals arrive faster than the objects can be walked: try again without them")


def measured(value):
    """Size an object by the ``__sizeof__`` of its type, whatever that is.

    Returns
    -------
    int
        Bytes of the blocks that the object is said to own.

    Raises
    ------
    Exception
        What the method raises; TypeError or ValueError if it gives no size.
    """
    cdef PyTypeObject *type = Py_TYPE(<PyObject *>value)
    cdef PyObject *method = _PyType_Lookup(type, <PyObject *>SIZEOF)
    size = (<object>method).__get__(value, <object>type)()
    if not isinstance(size, int):
        raise TypeError("__sizeof__ gave no integer")
    cdef int64_t bytes_ = size
    if bytes_ < 0:
        raise ValueError("__sizeof__ gave a negative number")
    return _blocks(nbmem_head(type), type.tp_basicsize + nbmem_inline_values(type), type.tp_itemsize, bytes_, False)


#: Are the locals of running frames seen?
SEES_LOCALS = bool(SEES_FRAMES)
#: Where dtypes may have their item size: numpy 1, numpy 2.
ITEMSIZE_AT_1 = ITEMSIZE_1
ITEMSIZE_AT_2 = ITEMSIZE_2


def beside(record, flat):
    """Read a ``numpy.void`` and a ``flatiter`` where their parts are expected; the caller compares.

    Returns
    -------
    (int, int, int)
        Addresses: the base and the dtype of the one, the array of the other.
    """
    cdef NbmemVoid *op = <NbmemVoid *><PyObject *>record
    return <uint64_t>op.base, <uint64_t>op.descr, <uint64_t>(<NbmemFlat *><PyObject *>flat).array


def itemsize_of(array, Py_ssize_t offset):
    """Read the item size of an array where it is expected; the caller compares."""
    return nbmem_array_itemsize(<PyObject *>array, offset)


# -- on the arrays --


def select(const uint32_t[::1] indptr, const uint32_t[::1] indices, const uint8_t[::1] keep):
    """Leave out nodes, and the references to and from them.

    Parameters
    ----------
    indptr : (n + 1,) array of uint32
    indices : (e,) array of uint32
    keep : (n,) array of uint8
        0: the node is left out.

    Returns
    -------
    indptr, indices : arrays of uint32
    """
    cdef Py_ssize_t n = keep.shape[0], node, i, count = 0, to = 0
    numbers_array = np.empty(n, np.uint32)
    cdef uint32_t[::1] numbers = numbers_array
    cdef uint32_t *targets
    for node in range(n):
        numbers[node] = <uint32_t>count
        count += keep[node] != 0
    begins_array = np.zeros(count + 1, np.uint32)
    cdef uint32_t[::1] begins = begins_array
    targets_array = np.empty(indices.shape[0], np.uint32)
    cdef uint32_t[::1] kept = targets_array
    count = 0
    for node in range(n):
        if not keep[node]:
            continue
        for i in range(indptr[node], indptr[node + 1]):
            if keep[indices[i]]:
                kept[to] = numbers[indices[i]]
                to += 1
        count += 1
        begins[count] = <uint32_t>to
    return begins_array, targets_array[:to].copy() if to < indices.shape[0] * 3 // 4 else targets_array[:to]


def keep_only(uint32_t[::1] indptr, uint32_t[::1] indices, const uint8_t[::1] keep, list columns):
    """Leave out nodes as :func:`select` does, in place: the arrays have what is kept in front afterwards.

    Parameters
    ----------
    indptr : (n + 1,) array of uint32
    indices : (e,) array of uint32
    keep : (n,) array of uint8
        0: the node is left out.
    columns : list of (n, width) arrays of uint8
        The bytes of other arrays with an entry for each node.

    Returns
    -------
    nodes, references : int
        How many are kept. O(n + e); one byte per node is allocated.
    """
    cdef Py_ssize_t n = keep.shape[0], node, i, begin, width, count, to = 0, end = 0
    cdef uint32_t gone = 0
    # how far the numbers of a block of 64 nodes move, and within it those of each; GONE: it is left out
    before_array = np.zeros((n >> 6) + 1, np.uint32)
    within_array = np.empty(n, np.uint8)
    cdef uint32_t[::1] before = before_array
    cdef uint8_t[::1] within = within_array
    cdef uint32_t target
    cdef uint8_t[:, ::1] column
    for node in range(n):
        if not node & 63:
            before[node >> 6] = gone
        if keep[node]:
            within[node] = <uint8_t>(gone - before[node >> 6])
        else:
            within[node] = GONE
            gone += 1
    count = 0
    for node in range(n):
        begin = end
        end = indptr[node + 1]
        if within[node] == GONE:
            continue
        for i in range(begin, end):
            target = indices[i]
            if within[target] != GONE:
                indices[to] = target - before[target >> 6] - within[target]
                to += 1
        count += 1
        indptr[count] = <uint32_t>to
    for column in columns:
        width = column.shape[1]
        count = 0
        node = 0
        while node < n:
            begin = node
            while node < n and keep[node]:
                node += 1
            if node > begin:
                if begin != count:
                    memmove(&column[count, 0], &column[begin, 0], (node - begin) * width)
                count += node - begin
            while node < n and not keep[node]:
                node += 1
    return count, to


def looked_up(const uint8_t[::1] table, const uint32_t[::1] numbers):
    """Give the entry of a table for each of many numbers.

    Returns
    -------
    (len(numbers),) array of uint8
    """
    found_array = np.empty(numbers.shape[0], np.uint8)
    cdef uint8_t[::1] found = found_array
    cdef Py_ssize_t i
    for i in range(numbers.shape[0]):
        found[i] = table[numbers[i]]
    return found_array


def refers_to(const uint32_t[::1] indptr, const uint32_t[::1] indices, const uint32_t[::1] nodes, const uint8_t[::1] marked):
    """Tell which of some nodes refer to a marked one.

    Returns
    -------
    (len(nodes),) array of uint8
    """
    answers_array = np.zeros(nodes.shape[0], np.uint8)
    cdef uint8_t[::1] answers = answers_array
    cdef Py_ssize_t k, i
    for k in range(nodes.shape[0]):
        for i in range(indptr[nodes[k]], indptr[nodes[k] + 1]):
            if marked[indices[i]]:
                answers[k] = 1
                break
    return answers_array


def locate(const uint64_t[::1] addresses, const uint64_t[::1] wanted):
    """Find the nodes of some addresses.

    Returns
    -------
    (len(wanted),) array of int64
        -1 where there is none.

    Notes
    -----
    The wanted are looked for in one pass over all. Where they are few, most addresses are known not to be
    among them by one bit of a table that stays in the cache.
    """
    cdef uint64_t mask = 15, bits = 0
    cdef Py_ssize_t i
    cdef NbmemSlot *slot
    cdef uint8_t *few = NULL
    nodes_array = np.full(wanted.shape[0], -1, np.int64)
    cdef int64_t[::1] nodes = nodes_array
    while mask < <uint64_t>wanted.shape[0] * 2:
        mask = mask * 2 + 1
    cdef NbmemSlot *slots = <NbmemSlot *>zeros((mask + 1) * sizeof(NbmemSlot))
    if slots == NULL:
        raise MemoryError
    if wanted.shape[0] <= FEW:
        bits = 16 * mask + 15
        few = <uint8_t *>zeros((bits + 1) >> 3)
        if few == NULL:
            release(slots)
            raise MemoryError
    for i in range(wanted.shape[0]):
        if i + AHEAD < wanted.shape[0]:
            prefetch(&slots[_place(wanted[i + AHEAD]) & mask])
        if wanted[i]:
            slot = _find(slots, mask, wanted[i])
            slot.address = wanted[i]
            if few != NULL:
                few[(_mixed(wanted[i]) & bits) >> 3] |= 1 << (_mixed(wanted[i]) & 7)
    for i in range(addresses.shape[0]):
        if few != NULL:
            if not few[(_mixed(addresses[i]) & bits) >> 3] >> (_mixed(addresses[i]) & 7) & 1:
                continue
        elif i + AHEAD < addresses.shape[0]:
            prefetch(&slots[_place(addresses[i + AHEAD]) & mask])
        slot = _find(slots, mask, addresses[i])
        if slot.address:
            slot.node = <uint32_t>i + 1
    for i in range(wanted.shape[0]):
        if i + AHEAD < wanted.shape[0]:
            prefetch(&slots[_place(wanted[i + AHEAD]) & mask])
        if wanted[i]:
            nodes[i] = <int64_t>_find(slots, mask, wanted[i]).node - 1
    release(slots)
    release(few)
    return nodes_array
