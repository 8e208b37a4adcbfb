# cython: language_level=3
"""Watch the resident size against a limit, without the GIL (Linux).

What is done at each look of a :class:`~nbmem.process._meter.ResidentSampler`, on its thread: signal the
main thread where the limit is reached, slide the limit of allocations (``RLIMIT_DATA``) with what is
resident, and give child processes back the limit that they would have had. The twin in Python is
:mod:`nbmem.process._limitwatch_twin`.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t
from libc.stdlib cimport strtol, strtoll
from libc.string cimport memset, strrchr
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open as c_open
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as c_close, getpid, sysconf, _SC_PAGESIZE

from nbmem.process._meter cimport ResidentSampler

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buf, size_t count, long offset)

cdef extern from "<stdio.h>" nogil:
    int snprintf(char *text, size_t size, const char *format, ...)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t

cdef extern from "<signal.h>" nogil:
    int pthread_kill(pthread_t thread, int signal)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    cdef struct dirent:
        char *d_name
    DIR *opendir(const char *name)
    dirent *readdir(DIR *folder)
    int closedir(DIR *folder)

cdef extern from "<sys/resource.h>" nogil:
    ctypedef unsigned long rlim_t
    cdef struct rlimit:
        rlim_t rlim_cur
        rlim_t rlim_max
    int RLIMIT_DATA
    rlim_t RLIM_INFINITY
    int getrlimit(int resource, rlimit *limit)
    int setrlimit(int resource, const rlimit *limit)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/types.h>
    #include <sys/resource.h>
    extern int prlimit(pid_t, enum __rlimit_resource, const struct rlimit *, struct rlimit *);
    """
    int prlimit(int pid, int resource, const rlimit *limit, rlimit *old) nogil

cdef extern from "_raiser.h":
    object nbmem_new_raiser(object decide)

# Seconds between two signals while the limit is exceeded.
cdef double AGAIN = 0.02
# The allocation limit follows in steps of this many bytes.
cdef int64_t STEP = 1 << 20
# The kernel counts in pages, so the bits below mark a limit as ours, in children too.
cdef enum:
    MARK = 0xB3E
# How deep children's children are looked for: each inherited before its parent was given its limit back.
cdef int DEEPEST = 6

cdef struct Watch:
    int active
    int pid
    int64_t limit
    int64_t warn
    int64_t highest
    int64_t resident
    int signal
    int warned
    int relieved             # was it well below the limit since somebody asked?
    double asked
    pthread_t thread
    int64_t ceiling          # resident and newly allocated bytes together stay below; 0: no such limit
    int statm_fd
    long page_bytes
    rlim_t ours              # the soft limit that we set last
    rlim_t soft              # what was there before
    int spare                # whether children get that back
    int loadavg_fd
    long last_pid

cdef Watch _watch
memset(&_watch, 0, sizeof(Watch))


cdef double _now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


cdef void _look(int64_t resident) noexcept nogil:
    cdef double now
    if not _watch.active:
        return
    _watch.resident = resident
    if resident > _watch.highest:
        _watch.highest = resident
    if _watch.ceiling:
        _slide()
    if _watch.spare:
        _spare_new_children()
    if resident >= _watch.warn and not _watch.warned:
        _watch.warned = 1
        pthread_kill(_watch.thread, _watch.signal)
    if resident < _watch.limit - _watch.limit // 20:
        _watch.relieved = 1
    if resident >= _watch.limit:
        now = _now()
        if now - _watch.asked >= AGAIN:
            _watch.asked = now
            pthread_kill(_watch.thread, _watch.signal)


cdef void _slide() noexcept nogil:
    """Let allocations go as far as the ceiling: what is reserved and not touched takes nothing from it."""
    cdef char text[256]
    cdef char *at
    cdef int64_t resident, data, room
    cdef rlimit limit
    cdef int i
    cdef ssize_t count = pread(_watch.statm_fd, text, sizeof(text) - 1, 0)
    if count <= 0:
        return
    text[count] = 0
    strtoll(text, &at, 10)                                  # size
    resident = strtoll(at, &at, 10) * _watch.page_bytes
    for i in range(3):                                      # shared, text, lib
        strtoll(at, &at, 10)
    data = strtoll(at, &at, 10) * _watch.page_bytes         # private writable memory, touched or not
    room = _watch.ceiling - resident
    if room < 0:
        room = 0
    if getrlimit(RLIMIT_DATA, &limit) != 0 or limit.rlim_cur != _watch.ours:
        return                                              # somebody else set it meanwhile: it is theirs
    room = ((room + data) & ~<int64_t>0xFFF) | MARK
    if room > <int64_t>limit.rlim_cur + STEP or room < <int64_t>limit.rlim_cur - STEP:
        if _watch.soft != RLIM_INFINITY and <rlim_t>room > _watch.soft:
            return                                          # it was lower before: so it stays
        limit.rlim_cur = room
        if setrlimit(RLIMIT_DATA, &limit) == 0:
            _watch.ours = room


cdef void _spare_new_children() noexcept nogil:
    """Where a process or thread was made since the last look, see whether it is a child of ours."""
    cdef char text[128]
    cdef char *at
    cdef long last
    cdef ssize_t count = pread(_watch.loadavg_fd, text, sizeof(text) - 1, 0)
    if count <= 0:
        return
    text[count] = 0
    at = strrchr(text, c" ")                                # the last field is the last number given
    last = strtol(at, NULL, 10) if at != NULL else 0
    if last != _watch.last_pid:
        _watch.last_pid = last
        _spare_children(_watch.pid, 0)


cdef void _spare_children(int parent, int depth) noexcept nogil:
    cdef char path[64]
    cdef char text[4096]
    cdef char *at
    cdef char *end
    cdef DIR *folder
    cdef dirent *entry
    cdef int fd, child
    cdef ssize_t count
    cdef rlimit limit
    snprintf(path, sizeof(path), b"/proc/%d/task", parent)
    folder = opendir(path)
    if folder == NULL:
        return
    entry = readdir(folder)
    while entry != NULL:
        if entry.d_name[0] != c".":
            snprintf(path, sizeof(path), b"/proc/%d/task/%.20s/children", parent, entry.d_name)
            fd = c_open(path, O_RDONLY | O_CLOEXEC)
            count = -1
            if fd >= 0:
                count = pread(fd, text, sizeof(text) - 1, 0)
                c_close(fd)
            if count > 0:
                text[count] = 0
                at = text
                while True:
                    child = <int>strtol(at, &end, 10)
                    if end == at or child <= 0:
                        break
                    at = end
                    if prlimit(child, RLIMIT_DATA, NULL, &limit) == 0 and _is_inherited(limit.rlim_cur):
                        limit.rlim_cur = _watch.soft
                        prlimit(child, RLIMIT_DATA, &limit, NULL)
                    if depth < DEEPEST:
                        _spare_children(child, depth + 1)
        entry = readdir(folder)
    closedir(folder)


cdef int _is_inherited(rlim_t limit) noexcept nogil:
    """Tell our limit, as a child got it some moments ago, from one that was set for it."""
    return limit & 0xFFF == MARK


def raiser(decide):
    """Make a signal handler: it raises the error that ``decide`` returns, with no frame of its own."""
    return nbmem_new_raiser(decide)


cdef class LimitWatch:
    """One limit, watched; there is one at a time in a process.

    Parameters
    ----------
    limit, warn : int
        Bytes of resident size from which the main thread is signalled: each 20 ms, and once.
    signal : int
        The signal's number.
    thread : int
        The main thread's identifier (``threading.main_thread().ident``).
    ceiling : int
        Bytes that resident size and new allocations together may reach; 0: allocations are let alone.
    ours, soft : int
        The soft ``RLIMIT_DATA`` as it is set now, and as children are to have it.
    spare_children : bool
        Whether children are to have it.
    """

    cdef ResidentSampler sampler

    def __init__(self, *, limit, warn, int signal, unsigned long thread, ceiling=0, ours=0, soft=0,
                 bint spare_children=False):
        if _watch.active:
            raise RuntimeError("a limit is watched already")
        _watch.pid = getpid()
        _watch.limit = limit
        _watch.warn = warn
        _watch.highest = _watch.resident = 0
        _watch.warned = _watch.relieved = 0
        _watch.asked = 0
        _watch.signal = signal
        _watch.thread = thread
        _watch.ceiling = ceiling
        _watch.page_bytes = sysconf(_SC_PAGESIZE)
        _watch.ours = ours & 0xFFFFFFFFFFFFFFFF
        _watch.soft = soft & 0xFFFFFFFFFFFFFFFF
        _watch.spare = spare_children
        _watch.last_pid = 0
        _watch.statm_fd = _watch.loadavg_fd = -1
        if ceiling:
            _watch.statm_fd = c_open(b"/proc/self/statm", O_RDONLY | O_CLOEXEC)
            if _watch.statm_fd < 0:
                raise OSError(errno, "cannot open /proc/self/statm")
        if spare_children:
            _watch.loadavg_fd = c_open(b"/proc/loadavg", O_RDONLY | O_CLOEXEC)
            if _watch.loadavg_fd < 0:
                _watch.spare = 0

    def start(self, ResidentSampler sampler not None):
        """Look at each of a sampler's ticks, from now on."""
        cdef char text[128]
        cdef char *at
        cdef ssize_t count
        self.sampler = sampler
        if _watch.spare:
            count = pread(_watch.loadavg_fd, text, sizeof(text) - 1, 0)
            if count > 0:
                # the sampler's own thread is there already and is nothing new
                text[count] = 0
                at = strrchr(text, c" ")
                _watch.last_pid = strtol(at, NULL, 10) if at != NULL else 0
        _watch.active = 1
        sampler.set_hook(_look)

    def stop(self):
        """Look no more; returns the highest resident size seen, and the soft limit as set last."""
        _watch.active = 0
        if self.sampler is not None:
            self.sampler.set_hook(NULL)      # waits for a look that is under way
            self.sampler = None
        if _watch.pid == getpid():
            if _watch.spare:
                _spare_new_children()
            if _watch.statm_fd >= 0:
                c_close(_watch.statm_fd)
            if _watch.loadavg_fd >= 0:
                c_close(_watch.loadavg_fd)
        _watch.statm_fd = _watch.loadavg_fd = -1
        _watch.spare = 0
        return _watch.highest, _watch.ours

    @property
    def resident(self):
        """The resident bytes at the last look, a few milliseconds ago; 0 before the first."""
        return _watch.resident

    def take_relieved(self):
        """Tell whether the size was 5 % below the limit since this was asked last."""
        relieved = _watch.relieved != 0
        _watch.relieved = 0
        return relieved

    @property
    def warned(self):
        """Whether the size to warn at was seen."""
        return _watch.warned != 0
