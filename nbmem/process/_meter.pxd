# What the line probe needs of the meter at C speed.
from libc.stdint cimport int64_t

cdef enum:
    MAX_SLOTS = 64


cdef class PeakCounter:
    cdef int _clear_fd
    cdef int _status_fd
    cdef int _pid
    cdef int _open_count
    cdef bint _used[MAX_SLOTS]
    cdef int64_t _highest[MAX_SLOTS]

    cdef _close_descriptors(self)
    cdef _check(self, int slot)
    cdef int _ensure(self) except -1
    cdef int _fold(self, int64_t *resident) except -1
    cdef int _take(self, int slot, int64_t *peak, int64_t *resident) except -1


ctypedef void (*tick_hook)(int64_t resident) noexcept nogil


cdef class ResidentSampler:
    cdef void *_state

    cdef _halt(self)
    cdef void set_mark(self, int mark) noexcept nogil
    cdef void set_hook(self, tick_hook hook) noexcept nogil
