# cython: language_level=3
"""The kernel's own peak counter, and a sampler of resident size that needs no GIL (Linux).

``PeakCounter`` rests on two files of procfs: writing ``5`` to ``/proc/self/clear_refs`` sets the peak
resident size (``VmHWM``) back to the present one, ``/proc/self/status`` tells both (Linux ≥ 4.0).
Its twin in Python is :mod:`nbmem.process._twin`; both have the same methods and the same results.
"""

from cpython cimport array
from libc.errno cimport EMFILE, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, strtoll
from libc.string cimport memset, strstr
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, O_WRONLY, open as c_open
from posix.signal cimport sigset_t, sigfillset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as c_close, getpid, sysconf, _SC_PAGESIZE

import array as _array

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buf, size_t count, long offset)
    ssize_t pwrite(int fd, const void *buf, size_t count, long offset)

cdef extern from "<signal.h>" nogil:
    int SIG_SETMASK
    int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_create(pthread_t *thread, void *attr, void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attr)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_condattr_init(pthread_condattr_t *attr)
    int pthread_condattr_setclock(pthread_condattr_t *attr, int clock)
    int pthread_condattr_destroy(pthread_condattr_t *attr)
    int pthread_cond_init(pthread_cond_t *cond, pthread_condattr_t *attr)
    int pthread_cond_destroy(pthread_cond_t *cond)
    int pthread_cond_signal(pthread_cond_t *cond)
    int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, timespec *until)


cdef double _now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


cdef class PeakCounter:
    """The peak resident size of this process since a moment that one chooses.

    The kernel has one such counter per process; several users of it at a time each hold a *slot*, and
    whoever sets the counter back first adds what it shows to everybody's slot. All calls need the GIL,
    which is the lock. Descriptors are open while a slot is.
    """

    def __cinit__(self):
        self._clear_fd = -1
        self._status_fd = -1
        self._pid = 0
        self._open_count = 0
        memset(self._used, 0, sizeof(self._used))

    def __dealloc__(self):
        self._close_descriptors()

    cdef _close_descriptors(self):
        if self._clear_fd >= 0:
            c_close(self._clear_fd)
        if self._status_fd >= 0:
            c_close(self._status_fd)
        self._clear_fd = -1
        self._status_fd = -1

    cdef int _ensure(self) except -1:
        # /proc/self was resolved when it was opened: after a fork it would still be the parent's. (In the
        # child the numbers may be other files by now: forgotten, not closed; after_fork closes in time.)
        if self._pid == getpid() and self._status_fd >= 0:
            return 0
        if self._pid == getpid():
            self._close_descriptors()
        self._clear_fd = self._status_fd = -1
        self._pid = getpid()
        self._clear_fd = c_open(b"/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
        if self._clear_fd < 0:
            raise OSError(errno, "cannot open /proc/self/clear_refs")
        self._status_fd = c_open(b"/proc/self/status", O_RDONLY | O_CLOEXEC)
        if self._status_fd < 0:
            raise OSError(errno, "cannot open /proc/self/status")
        return 0

    cdef int _fold(self, int64_t *resident) except -1:
        """Read the counter, add it to every slot, set it back."""
        cdef char text[16384]   # the line of groups can be long
        cdef ssize_t count
        cdef char *at
        cdef int64_t highest
        cdef int slot
        self._ensure()
        count = pread(self._status_fd, text, sizeof(text) - 1, 0)
        if count <= 0:
            raise OSError(errno, "cannot read /proc/self/status")
        text[count] = 0
        at = strstr(text, b"\nVmHWM:")
        if at == NULL:
            raise OSError(0, "/proc/self/status has no VmHWM")
        highest = strtoll(at + 7, &at, 10) * 1024
        at = strstr(at, b"\nVmRSS:")
        if at == NULL:
            raise OSError(0, "/proc/self/status has no VmRSS")
        resident[0] = strtoll(at + 7, NULL, 10) * 1024
        if pwrite(self._clear_fd, b"5", 1, 0) != 1:
            raise OSError(errno, "cannot write /proc/self/clear_refs")
        for slot in range(MAX_SLOTS):
            if self._used[slot] and self._highest[slot] < highest:
                self._highest[slot] = highest
        return 0

    cdef int _take(self, int slot, int64_t *peak, int64_t *resident) except -1:
        self._fold(resident)
        peak[0] = self._highest[slot]
        self._highest[slot] = resident[0]
        return 0

    def open(self):
        """Start an interval; return its slot and the resident bytes at its start.

        Raises
        ------
        OSError
            If this kernel has no such counter, or 64 intervals are open.
        """
        cdef int64_t resident
        cdef int slot
        for slot in range(MAX_SLOTS):
            if not self._used[slot]:
                break
        else:
            raise OSError(EMFILE, "64 intervals are open at once")
        try:
            self._fold(&resident)
        except OSError:
            if self._open_count == 0:
                self._close_descriptors()
            raise
        self._used[slot] = True
        self._open_count += 1
        self._highest[slot] = resident
        return slot, resident

    def take(self, int slot):
        """Return ``(peak_bytes, resident_bytes)`` of the interval so far, and start it anew."""
        cdef int64_t peak, resident
        self._check(slot)
        self._take(slot, &peak, &resident)
        return peak, resident

    def close(self, int slot):
        """End an interval; return its ``(peak_bytes, resident_bytes)``."""
        cdef int64_t peak = 0, resident = 0
        self._check(slot)
        try:
            self._take(slot, &peak, &resident)
        finally:
            self._used[slot] = False
            self._open_count -= 1
            if self._open_count == 0:
                self._close_descriptors()
        return peak, resident

    cdef _check(self, int slot):
        if slot < 0 or slot >= MAX_SLOTS or not self._used[slot]:
            raise ValueError(f"no interval is open at slot {slot}")

    def after_fork(self):
        """Let go of the parent's descriptors, right after a fork, in the child."""
        self._close_descriptors()

    @property
    def open_count(self):
        """How many intervals are open."""
        return self._open_count


def memory_now():
    """Read resident bytes, and bytes of private writable memory, touched or not (2 µs).

    The GIL is kept: to read a file in Python would let others have it, for milliseconds.
    """
    cdef char text[256]
    cdef char *at
    cdef int64_t resident
    cdef int i
    cdef ssize_t count = -1
    cdef int fd = c_open(b"/proc/self/statm", O_RDONLY | O_CLOEXEC)
    if fd >= 0:
        count = pread(fd, text, sizeof(text) - 1, 0)
        c_close(fd)
    if count <= 0:
        raise OSError(errno, "cannot read /proc/self/statm")
    text[count] = 0
    strtoll(text, &at, 10)                          # size
    resident = strtoll(at, &at, 10)
    for i in range(3):                              # shared, text, lib
        strtoll(at, &at, 10)
    return resident * sysconf(_SC_PAGESIZE), strtoll(at, &at, 10) * sysconf(_SC_PAGESIZE)


cdef struct Point:
    double seconds
    int64_t resident
    int mark


cdef struct Sampling:
    pthread_t thread
    pthread_mutex_t mutex
    pthread_cond_t wake
    int pid
    int statm_fd
    long page_bytes
    int stopping
    double started
    double tick
    double bucket
    double bucket_end
    int capacity
    int count
    Point *points
    int mark
    tick_hook hook


cdef int64_t _resident(Sampling *s) noexcept nogil:
    cdef char text[128]
    cdef char *at
    cdef ssize_t count = pread(s.statm_fd, text, sizeof(text) - 1, 0)
    if count <= 0:
        return -1
    text[count] = 0
    strtoll(text, &at, 10)
    return strtoll(at, NULL, 10) * s.page_bytes


cdef void _keep(Sampling *s, double at, int64_t resident) noexcept nogil:
    """Add a point; within one bucket of time the highest stays; a full buffer is folded two to one."""
    cdef int i
    cdef Point *last
    if s.count > 1 and at < s.bucket_end:
        last = &s.points[s.count - 1]
        if resident >= last.resident:
            last.seconds = at
            last.resident = resident
            last.mark = s.mark
        return
    if s.count == s.capacity:
        # The first point is the start and stays; of each later pair, the higher stays.
        for i in range(1, s.capacity - 1, 2):
            if s.points[i].resident >= s.points[i + 1].resident:
                s.points[(i + 1) // 2] = s.points[i]
            else:
                s.points[(i + 1) // 2] = s.points[i + 1]
        s.count = 1 + (s.capacity - 1) // 2
        s.bucket *= 2
        if s.tick < 0.005:
            # Looking more often than 200 times a second would cost more than it tells.
            s.tick = s.bucket if s.bucket < 0.005 else 0.005
    s.points[s.count].seconds = at
    s.points[s.count].resident = resident
    s.points[s.count].mark = s.mark
    s.count += 1
    s.bucket_end = at + s.bucket * 0.999


cdef void *_run(void *arg) noexcept nogil:
    cdef Sampling *s = <Sampling *>arg
    cdef timespec until
    cdef int64_t resident
    cdef double next_at
    cdef tick_hook hook
    cdef sigset_t every
    # Signals are the main thread's: a Ctrl-C taken here would not wake what it waits in.
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, NULL)
    pthread_mutex_lock(&s.mutex)
    while not s.stopping:
        next_at = _now() + s.tick
        until.tv_sec = <long>next_at
        until.tv_nsec = <long>((next_at - <long>next_at) * 1e9)
        pthread_cond_timedwait(&s.wake, &s.mutex, &until)
        resident = _resident(s)
        if resident >= 0:
            _keep(s, _now() - s.started, resident)
            if s.hook != NULL and not s.stopping:
                s.hook(resident)
    pthread_mutex_unlock(&s.mutex)
    return NULL


cdef class ResidentSampler:
    """Resident size over time, read by a thread of its own that never needs the GIL.

    Parameters
    ----------
    interval : float
        Seconds between two looks at the start; doubles each time that the buffer is full.
    capacity : int
        Points kept at most.
    """

    def __cinit__(self, double interval=0.001, int capacity=5000):
        cdef Sampling *s
        cdef pthread_condattr_t attr
        if capacity < 8 or interval <= 0:
            raise ValueError("capacity is at least 8, interval is above 0")
        s = <Sampling *>calloc(1, sizeof(Sampling))
        if s == NULL:
            raise MemoryError()
        s.points = <Point *>calloc(capacity, sizeof(Point))
        if s.points == NULL:
            free(s)
            raise MemoryError()
        s.capacity = capacity - (capacity % 2 == 0)
        s.tick = s.bucket = interval
        s.page_bytes = sysconf(_SC_PAGESIZE)
        s.statm_fd = -1
        s.mark = -1
        pthread_mutex_init(&s.mutex, NULL)
        pthread_condattr_init(&attr)
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC)
        pthread_cond_init(&s.wake, &attr)
        pthread_condattr_destroy(&attr)
        self._state = s

    def __dealloc__(self):
        cdef Sampling *s = <Sampling *>self._state
        if s == NULL:
            return
        self._halt()
        if s.pid == 0 or s.pid == getpid():
            pthread_cond_destroy(&s.wake)
            pthread_mutex_destroy(&s.mutex)
        free(s.points)
        free(s)

    cdef _halt(self):
        cdef Sampling *s = <Sampling *>self._state
        cdef bint running = s.statm_fd >= 0
        if not running:
            return
        if s.pid == getpid():  # a forked child has the memory of the thread, not the thread
            # The GIL is kept: the thread never needs it, and whoever waits for it would take milliseconds.
            pthread_mutex_lock(&s.mutex)
            s.stopping = 1
            pthread_cond_signal(&s.wake)
            pthread_mutex_unlock(&s.mutex)
            pthread_join(s.thread, NULL)
            c_close(s.statm_fd)   # in a child the number may be another file by now
        s.statm_fd = -1

    def start(self):
        """Take the first point and start the thread."""
        cdef Sampling *s = <Sampling *>self._state
        if s.pid:
            raise RuntimeError("a sampler starts once")
        s.statm_fd = c_open(b"/proc/self/statm", O_RDONLY | O_CLOEXEC)
        if s.statm_fd < 0:
            raise OSError(errno, "cannot open /proc/self/statm")
        s.started = _now()
        s.pid = getpid()
        _keep(s, 0.0, _resident(s))
        if pthread_create(&s.thread, NULL, _run, s) != 0:
            c_close(s.statm_fd)
            s.statm_fd = -1
            raise OSError(0, "cannot start the sampler's thread")

    def stop(self):
        """Stop the thread; return ``(seconds, resident_bytes, marks)``, three arrays of equal length."""
        cdef Sampling *s = <Sampling *>self._state
        cdef int i
        self._halt()
        seconds = _array.array("d", bytes(8 * s.count))
        resident = _array.array("q", bytes(8 * s.count))
        marks = _array.array("i", bytes(4 * s.count))
        cdef double[:] seconds_view = seconds
        cdef long long[:] resident_view = resident
        cdef int[:] marks_view = marks
        for i in range(s.count):
            seconds_view[i] = s.points[i].seconds
            resident_view[i] = s.points[i].resident
            marks_view[i] = s.points[i].mark
        return seconds, resident, marks

    def after_fork(self):
        """Let go of the parent's descriptor, right after a fork, in the child."""
        cdef Sampling *s = <Sampling *>self._state
        if s.statm_fd >= 0 and s.pid != getpid():
            c_close(s.statm_fd)
            s.statm_fd = -1

    def mark(self, int mark):
        """Name what runs now; the points from here on carry it."""
        self.set_mark(mark)

    @property
    def started(self):
        """The monotonic clock at the first point, in seconds."""
        return (<Sampling *>self._state).started

    cdef void set_mark(self, int mark) noexcept nogil:
        (<Sampling *>self._state).mark = mark

    cdef void set_hook(self, tick_hook hook) noexcept nogil:
        """Have a C function called at each look, from the sampler's thread, without the GIL."""
        cdef Sampling *s = <Sampling *>self._state
        if s.pid == getpid() and s.statm_fd >= 0:
            pthread_mutex_lock(&s.mutex)
            s.hook = hook
            pthread_mutex_unlock(&s.mutex)
        else:
            s.hook = hook
