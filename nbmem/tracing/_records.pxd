# cython: language_level=3
# The records of the line probe, for the probe to build upon at C speed.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from nbmem.process._meter cimport PeakCounter, ResidentSampler

cdef extern from "Python.h":
    ctypedef struct PyFrameObject:
        pass
    ctypedef struct PyCodeObject:
        PyObject *co_filename
        PyObject *co_name
        int co_flags
        int co_firstlineno
    int PyCode_Addr2Line(PyCodeObject *, int)


cdef struct Row:
    int64_t hits
    double seconds
    int64_t increment
    int64_t peak
    int64_t spike
    int active
    bint inexact
    bint paused           # its frame was running when the probe went quiet
    bint entered          # its code was entered while the probe was quiet
    int64_t burst
    int64_t window


cdef struct Open:
    void *frame           # an address to compare, never to follow: the frame may have gone elsewhere
    PyObject *code        # a reference is held, so a new frame at that address is not taken for it
    int row
    double began
    double spent
    int64_t before
    int64_t peak
    bint paused


# Code objects seen last, and what is known of them.
cdef enum:
    KNOWN = 8


cdef struct Known:
    PyObject *code        # a reference is held: a freed code object's address may come back as another's
    int scope
    int64_t told          # the burst after which its lines were marked as entered


cdef struct Scope:
    int first_line
    int line_count
    int offset
    int base


cdef double now() noexcept nogil


cdef class LineRecords:
    cdef PeakCounter counter
    cdef ResidentSampler sampler
    cdef dict filenames          # str -> scope number
    cdef list codes              # watched code objects (kept, so that their addresses stay theirs)
    cdef list code_scopes
    cdef Known known[KNOWN]
    cdef int last_known
    cdef int next_known
    cdef Scope *scopes
    cdef int scope_count
    cdef Row *rows
    cdef int row_count
    cdef Open *opened
    cdef int open_count
    cdef int open_capacity
    cdef int slot
    cdef double spent
    cdef int64_t burst
    cdef int64_t window
    cdef int64_t resident
    cdef bint unseen
    cdef readonly bint failed

    cdef int _add_scope(self, int first_line, int line_count, int offset) except -1
    cdef void _forget_known(self) noexcept
    cdef int _scope_of(self, PyCodeObject *code) noexcept
    cdef int _row(self, int scope, int line) noexcept
    cdef int _find(self, void *frame, PyCodeObject *code) noexcept
    cdef int _read(self) noexcept
    cdef void _close(self, int index, double at) noexcept
    cdef void _drop(self, int index) noexcept
    cdef void _forget_open(self) noexcept
    cdef void _close_all(self) noexcept
    cdef int _open(self, int index, void *frame, PyCodeObject *code, int row, bint hit) noexcept
    cdef bint _covers(self, int index, int line) noexcept
    cdef void _mark_lines(self, PyCodeObject *code, int scope, bint entered) noexcept
    cdef void _give(self, int row, double elapsed, int64_t growth, int64_t peak, int64_t before) noexcept
    cdef void _reverse_open(self) noexcept
    cdef list _taken(self)
