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
from libc.string cimport memset, strchr, strrchr, strstr
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open as c_open
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as c_close, getpid, sysconf, _SC_PAGESIZE

from nbmem.process._meter cimport ResidentSampler

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buf, size_t count, long offset)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t

cdef extern from "<signal.h>" nogil:
    ctypedef void (*sighandler_t)(int) noexcept nogil
    cdef struct sigaction_t "sigaction":
        sighandler_t sa_handler
    sighandler_t SIG_DFL
    int sigaction(int signal, const sigaction_t *new, sigaction_t *old)
    int pthread_kill(pthread_t thread, int signal)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    cdef struct dirent:
        char *d_name
    DIR *opendir(const char *name)
    dirent *readdir(DIR *folder)
    int closedir(DIR *folder)

cdef extern from "<stdio.h>" nogil:
    int snprintf(char *text, size_t size, const char *format, ...)

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_tgkill
    long syscall(long number, ...)

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
# Where allocations have been refused for so long that nothing moves, even an error finds no memory to be
# raised in (CPython 3.11 tries for ever): then so much is let go on, a few times.
cdef double STUCK = 0.1
cdef int64_t LIFT = 32 << 20
cdef int MOST_LIFTS = 4
# New processes that are looked at one by one; more at a time are not looked at.
cdef int MOST_NEW = 4096

cdef struct Watch:
    int active
    int pid
    int64_t limit
    int64_t warn
    int64_t highest
    int64_t occupied
    int signal
    int warned
    int relieved             # was it well below the limit since somebody asked?
    double asked
    pthread_t thread
    int64_t ceiling          # occupied and newly allocated bytes together stay below; 0: no such limit
    double moved_at          # when the size changed last, near the ceiling
    int64_t moved
    int lifts
    int statm_fd
    int status_fd
    long page_bytes
    rlim_t mark              # the bits that say that a limit is this process's
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


cdef int64_t _read_field(int fd, const char *name) noexcept nogil:
    """Read a field of /proc/self/status, in bytes; -1 if it is not there."""
    cdef char text[16384]
    cdef char *at
    cdef ssize_t count = pread(fd, text, sizeof(text) - 1, 0)
    if count <= 0:
        return -1
    text[count] = 0
    at = strstr(text, name)
    return strtoll(at + 10, NULL, 10) * 1024 if at != NULL else -1


cdef void _signal() noexcept nogil:
    cdef sigaction_t action
    # Somebody may have taken the handler off; most signals would end the process then.
    if sigaction(_watch.signal, NULL, &action) == 0 and action.sa_handler != SIG_DFL:
        pthread_kill(_watch.thread, _watch.signal)


cdef void _look(int64_t resident) noexcept nogil:
    cdef char text[256]
    cdef char *at
    cdef int64_t shared, data, occupied, shmem
    cdef double now
    cdef int i
    cdef ssize_t count
    if not _watch.active:
        return
    count = pread(_watch.statm_fd, text, sizeof(text) - 1, 0)
    if count <= 0:
        return
    text[count] = 0
    strtoll(text, &at, 10)                                  # size
    resident = strtoll(at, &at, 10) * _watch.page_bytes
    shared = strtoll(at, &at, 10) * _watch.page_bytes       # of files and of shared memory
    for i in range(2):                                      # text, lib
        strtoll(at, &at, 10)
    data = strtoll(at, &at, 10) * _watch.page_bytes         # private and writable, touched or not
    occupied = resident - shared
    if resident >= _watch.warn and shared:
        shmem = _read_field(_watch.status_fd, b"\nRssShmem:")
        if shmem > 0:
            occupied += shmem
    _watch.occupied = occupied
    if occupied > _watch.highest:
        _watch.highest = occupied
    if _watch.ceiling:
        _slide(occupied, data)
    if _watch.spare:
        _spare_new_processes()
    if occupied >= _watch.warn and not _watch.warned:
        _watch.warned = 1
        _signal()
    if occupied < _watch.limit - _watch.limit // 20:
        _watch.relieved = 1
    if occupied >= _watch.limit:
        now = _now()
        if now - _watch.asked >= AGAIN:
            _watch.asked = now
            _signal()


cdef void _slide(int64_t occupied, int64_t data) noexcept nogil:
    """Let allocations go as far as the ceiling: what is reserved and not touched takes nothing from it."""
    cdef int64_t room = _watch.ceiling - occupied
    cdef double now
    cdef rlimit limit
    if room < 2 * STEP:
        now = _now()
        if occupied - _watch.moved > STEP or _watch.moved - occupied > STEP:
            _watch.moved = occupied
            _watch.moved_at = now
        elif now - _watch.moved_at > STUCK and _watch.lifts < MOST_LIFTS:
            _watch.lifts += 1
            _watch.moved_at = now
            _watch.ceiling += LIFT
            room += LIFT
    if room < 0:
        room = 0
    if getrlimit(RLIMIT_DATA, &limit) != 0 or limit.rlim_cur != _watch.ours:
        return                                              # somebody else set it meanwhile: it is theirs
    room = ((room + data) & ~<int64_t>0xFFF) | <int64_t>_watch.mark
    if room > <int64_t>limit.rlim_cur + STEP or room < <int64_t>limit.rlim_cur - STEP:
        if _watch.soft != RLIM_INFINITY and <rlim_t>room > _watch.soft:
            return                                          # it was lower before: so it stays
        limit.rlim_cur = room
        if setrlimit(RLIMIT_DATA, &limit) == 0:
            _watch.ours = room


cdef long _last_pid() noexcept nogil:
    """Tell the number that was given to a process or thread last."""
    cdef char text[128]
    cdef char *at
    cdef ssize_t count = pread(_watch.loadavg_fd, text, sizeof(text) - 1, 0)
    if count <= 0:
        return _watch.last_pid
    text[count] = 0
    at = strrchr(text, c" ")
    return strtol(at, NULL, 10) if at != NULL else _watch.last_pid


cdef void _spare_new_processes() noexcept nogil:
    """Give each process that is new since the last look, and has our limit, the one that it would have had.

    By its number, not as a child of ours: who started it may have ended already.
    """
    cdef long last = _last_pid(), first = _watch.last_pid + 1, pid
    cdef rlimit limit
    if last == _watch.last_pid:
        return
    _watch.last_pid = last
    if last < first:                                        # numbers begin anew
        first = 2
    if last - first > MOST_NEW:
        first = last - MOST_NEW
    for pid in range(first, last + 1):
        if prlimit(<int>pid, RLIMIT_DATA, NULL, &limit) != 0 or limit.rlim_cur & 0xFFF != _watch.mark:
            continue
        if syscall(SYS_tgkill, <long>_watch.pid, pid, <long>0) == 0:
            continue                                        # a thread of our own
        limit.rlim_cur = _watch.soft
        prlimit(<int>pid, RLIMIT_DATA, &limit, NULL)


def fault_counts():
    """Count the pages that each thread of the process touched first: a dict, by the kernel's numbers.

    The GIL is kept: whoever takes the memory would go on meanwhile.
    """
    cdef char path[64]
    cdef char text[1024]
    cdef char *at
    cdef DIR *folder = opendir(b"/proc/self/task")
    cdef dirent *entry
    cdef ssize_t count
    cdef int fd, i
    found = {}
    if folder == NULL:
        return found
    entry = readdir(folder)
    while entry != NULL:
        snprintf(path, sizeof(path), b"/proc/self/task/%.20s/stat", entry.d_name)
        fd = c_open(path, O_RDONLY | O_CLOEXEC) if entry.d_name[0] != c"." else -1
        count = -1
        if fd >= 0:
            count = pread(fd, text, sizeof(text) - 1, 0)
            c_close(fd)
        if count > 0:
            text[count] = 0
            at = strrchr(text, c")")                        # the name before may hold anything
            for i in range(8):                              # state, 6 numbers, minflt (proc(5))
                if at != NULL:
                    at = strchr(at + 1, c" ")
            if at != NULL:
                found[strtol(entry.d_name, NULL, 10)] = strtol(at, NULL, 10)
        entry = readdir(folder)
    closedir(folder)
    return found


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
    ours, soft, mark : int
        The soft ``RLIMIT_DATA`` as it is set now, as children are to have it, and the bits that mark ours.
    spare_children : bool
        Whether children are to have it.
    """

    cdef ResidentSampler sampler

    def __init__(self, *, limit, warn, int signal, unsigned long thread, ceiling=0, ours=0, soft=0, mark=0,
                 bint spare_children=False):
        if _watch.active:
            raise RuntimeError("a limit is watched already")
        memset(&_watch, 0, sizeof(Watch))
        _watch.pid = getpid()
        _watch.limit = limit
        _watch.warn = warn
        _watch.signal = signal
        _watch.thread = thread
        _watch.ceiling = ceiling
        _watch.page_bytes = sysconf(_SC_PAGESIZE)
        _watch.ours = ours & 0xFFFFFFFFFFFFFFFF
        _watch.soft = soft & 0xFFFFFFFFFFFFFFFF
        _watch.mark = mark
        _watch.loadavg_fd = _watch.status_fd = -1
        _watch.statm_fd = c_open(b"/proc/self/statm", O_RDONLY | O_CLOEXEC)
        if _watch.statm_fd < 0:
            raise OSError(errno, "cannot open /proc/self/statm")
        _watch.status_fd = c_open(b"/proc/self/status", O_RDONLY | O_CLOEXEC)
        if spare_children:
            _watch.loadavg_fd = c_open(b"/proc/loadavg", O_RDONLY | O_CLOEXEC)
            _watch.spare = _watch.loadavg_fd >= 0
            if _watch.spare:
                _watch.last_pid = _last_pid()

    def start(self, ResidentSampler sampler not None):
        """Look at each of a sampler's ticks, from now on."""
        self.sampler = sampler
        _watch.active = 1
        sampler.set_hook(_look)

    def stop(self):
        """Look no more; returns the most bytes occupied that were seen, and the soft limit as set last."""
        if self.sampler is not None:
            self.sampler.set_hook(NULL)      # waits for a look that is under way
            self.sampler = None
        _watch.active = 0
        return _watch.highest, _watch.ours

    def close(self):
        """Look at new processes once more, when the limit is off, and let go of the files.

        Also in a forked child, right after the fork: the files are its own copies.
        """
        if _watch.spare and _watch.pid == getpid():
            _spare_new_processes()
        _watch.spare = 0
        for fd in (_watch.statm_fd, _watch.status_fd, _watch.loadavg_fd):
            if fd >= 0:
                c_close(fd)
        _watch.statm_fd = _watch.status_fd = _watch.loadavg_fd = -1

    def lift(self, int64_t size):
        """Let so many bytes more be allocated, at once."""
        cdef rlimit limit
        if self.sampler is None or not _watch.ceiling:
            return
        self.sampler.set_hook(NULL)          # no look meanwhile
        _watch.ceiling += size
        if getrlimit(RLIMIT_DATA, &limit) == 0 and limit.rlim_cur == _watch.ours:
            limit.rlim_cur = ((limit.rlim_cur + size) & ~<rlim_t>0xFFF) | _watch.mark
            if setrlimit(RLIMIT_DATA, &limit) == 0:
                _watch.ours = limit.rlim_cur
        self.sampler.set_hook(_look)

    @property
    def occupied(self):
        """The bytes occupied at the last look, a few milliseconds ago; 0 before the first."""
        return _watch.occupied

    def take_relieved(self):
        """Tell whether the size was 5 % below the limit since this was asked last."""
        relieved = _watch.relieved != 0
        _watch.relieved = 0
        return relieved

    @property
    def warned(self):
        """Whether the size to warn at was seen."""
        return _watch.warned != 0
