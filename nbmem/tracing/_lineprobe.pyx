# cython: language_level=3
"""The line probe: exact resident figures per source line, at C speed.

A trace function on 3.11, ``sys.monitoring`` on 3.12+. At each line of the watched code it takes the
kernel's peak counter (about 8 µs). Lines that run too often for that are *sampled* instead: the probe
goes quiet, and every few milliseconds the sampler's thread asks the interpreter (``Py_AddPendingCall``)
which watched line runs now; what happened since goes to that line, which is no longer ``exact``. The twin
in Python, which never samples, is :mod:`nbmem.tracing._lineprobe_twin`.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from nbmem.process._meter cimport PeakCounter, ResidentSampler

import sys
import threading

cdef extern from *:
    """
    #define NBMEM_HAS_MONITORING (PY_VERSION_HEX >= 0x030C0000)
    """
    bint NBMEM_HAS_MONITORING

cdef extern from "Python.h":
    ctypedef struct PyFrameObject:
        pass
    ctypedef struct PyCodeObject:
        PyObject *co_filename
        PyObject *co_name
        int co_flags
        int co_firstlineno
    ctypedef int (*Py_tracefunc)(PyObject *, PyFrameObject *, int, PyObject *)
    int PyTrace_CALL
    int PyTrace_LINE
    int PyTrace_RETURN
    int CO_COROUTINE
    int CO_GENERATOR
    int CO_ASYNC_GENERATOR
    PyCodeObject *PyFrame_GetCode(PyFrameObject *)
    PyFrameObject *PyFrame_GetBack(PyFrameObject *)
    int PyFrame_GetLineNumber(PyFrameObject *)
    int PyFrame_GetLasti(PyFrameObject *)
    int PyCode_Addr2Line(PyCodeObject *, int)
    PyFrameObject *PyEval_GetFrame()
    Py_ssize_t PyCode_Size "Py_SIZE" (PyCodeObject *)
    unsigned int PyUnicode_READ_CHAR(PyObject *, Py_ssize_t)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *)
    bint PyUnicode_CheckExact(object)
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *)

cdef extern from "_interpreter.h":
    ctypedef int (*nbmem_is_watched)(PyObject *, int)
    int nbmem_hooked_throughout
    void nbmem_retake()
    int nbmem_has_profile()
    int nbmem_ask(int (*)(void *) noexcept with gil) nogil
    int nbmem_install(Py_tracefunc, PyObject *, nbmem_is_watched, int)
    int nbmem_uninstall()
    void nbmem_arm(int)
    int nbmem_owns_trace()
    int nbmem_pauses(PyFrameObject *, PyCodeObject *)

# What the probe may spend on exact readings: the first SPEND_FREE seconds, then this share of the time.
cdef double SPEND_FREE = 0.030
cdef double SPEND_SHARE = 0.05
# Beyond that, lines that follow each other faster than this (seconds) are sampled.
cdef double HOT = 1e-4
# The deepest look down a stack for watched frames, when a sample is taken.
cdef int DEEPEST = 500


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


cdef double _now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


# The probe that runs, if one does (a reference is held): what C callbacks without an argument refer to.
cdef PyObject *_active = NULL
cdef volatile int _sampling = 0   # read by the sampler's thread, without the GIL
cdef volatile int _asked = 0


cdef int _line_number(PyFrameObject *frame, PyCodeObject *code) noexcept:
    """Tell the line; the jump at the end of a loop has none (3.11): then that of what stands before it."""
    cdef int line = PyFrame_GetLineNumber(frame)
    cdef int at = PyFrame_GetLasti(frame)
    while line <= 0 and at > 0:
        at -= 2
        line = PyCode_Addr2Line(code, at)
    return line


cdef bint _is_one_line(PyCodeObject *code) noexcept:
    cdef Py_ssize_t at
    cdef int line
    # "<listcomp>", "<lambda>" …; "<module>" is no part of a line
    if PyUnicode_READ_CHAR(code.co_name, 0) != c'<' or (
        PyUnicode_GET_LENGTH(code.co_name) > 1 and PyUnicode_READ_CHAR(code.co_name, 1) == c'm'
    ):
        return False
    for at in range(min(PyCode_Size(code), 200)):
        line = PyCode_Addr2Line(code, <int>(2 * at))
        if line > 0 and line != code.co_firstlineno:
            return False
    return PyCode_Size(code) <= 200


cdef int _pending(void *unused) noexcept with gil:
    global _asked
    _asked = 0
    if _active != NULL:
        (<LineProbe>_active)._sample()
    return 0


cdef void _tick(int64_t resident) noexcept nogil:
    global _asked
    if _sampling and not _asked:
        _asked = 1
        if nbmem_ask(_pending) != 0:
            _asked = 0


cdef int _is_watched(PyObject *code, int foreign) noexcept:
    cdef LineProbe probe
    if _active == NULL:
        return 0
    probe = <LineProbe>_active
    if probe.quiet or foreign:
        probe._enter_unseen(<PyCodeObject *>code)
    return probe._scope_of(<PyCodeObject *>code) >= 0


cdef int _trace(PyObject *self, PyFrameObject *frame, int what, PyObject *arg) noexcept:
    cdef LineProbe probe = <LineProbe>self
    cdef PyCodeObject *code
    cdef int scope
    if what != PyTrace_LINE and what != PyTrace_RETURN and what != PyTrace_CALL:
        return 0
    code = PyFrame_GetCode(frame)
    scope = probe._scope_of(code)
    if scope >= 0:
        if what == PyTrace_LINE:
            probe._line(<void *>frame, code, scope, PyFrame_GetLineNumber(frame), True)
        elif what == PyTrace_CALL:
            probe._enter(<void *>frame, scope, PyFrame_GetLineNumber(frame), code)
        else:
            # arg is NULL where an exception leaves the frame
            probe._leave(<void *>frame, code, arg != NULL and code.co_flags & CO_COROUTINE
                         and nbmem_pauses(frame, code))
    Py_DECREF(<object>code)
    return 0


@cython.final
cdef class LineProbe:
    """Measure the watched lines of the thread that starts it.

    Parameters
    ----------
    counter : PeakCounter
        The process's peak counter.
    sampler : ResidentSampler
        A sampler; it is told which line runs, and its thread wakes the probe. The probe may be started
        before the sampler is.

    Attributes
    ----------
    exact : bool
        Whether every run of every line was measured.
    sampled : bool
        Whether lines had to be sampled.
    unseen_seconds, unseen_bytes : float, int
        What happened in quiet windows at whose end no watched line ran any more.
    failed : bool
        Whether the peak counter could not be read any more.
    lost : bool
        Whether another tool took the trace function away meanwhile.
    """

    can_sample = True

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
    cdef double began
    cdef double spent
    cdef int64_t burst
    cdef int64_t window
    cdef double window_began
    cdef int64_t resident
    cdef double left
    cdef int quick
    cdef readonly double unseen_seconds
    cdef readonly int64_t unseen_bytes
    cdef bint running
    cdef bint quiet
    cdef readonly bint sampled
    cdef bint unseen
    cdef bint main_thread
    cdef readonly bint failed
    cdef readonly bint lost
    cdef object ident
    cdef int tool
    cdef list instrumented

    def __cinit__(self, PeakCounter counter not None, ResidentSampler sampler not None):
        self.counter = counter
        self.sampler = sampler
        self.filenames = {}
        self.codes = []
        self.code_scopes = []
        self.instrumented = []
        memset(self.known, 0, sizeof(self.known))
        self.slot = -1
        self.tool = -1
        # Made now: made while memray watches, it would count for the cell's first line.
        self.open_capacity = 256
        self.opened = <Open *>calloc(self.open_capacity, sizeof(Open))
        if self.opened == NULL:
            raise MemoryError()

    def __dealloc__(self):
        self._forget_known()
        self._forget_open()
        free(self.scopes)
        free(self.rows)
        free(self.opened)

    # -- what is watched

    cdef int _add_scope(self, int first_line, int line_count, int offset) except -1:
        cdef Scope *scopes = <Scope *>realloc(self.scopes, (self.scope_count + 1) * sizeof(Scope))
        if scopes == NULL:
            raise MemoryError()
        self.scopes = scopes
        cdef Row *rows = <Row *>realloc(self.rows, (self.row_count + line_count) * sizeof(Row))
        if rows == NULL:
            raise MemoryError()
        self.rows = rows
        memset(&rows[self.row_count], 0, line_count * sizeof(Row))
        scopes[self.scope_count] = Scope(first_line, line_count, offset, self.row_count)
        self.row_count += line_count
        self.scope_count += 1
        self._forget_known()
        return self.scope_count - 1

    def watch_file(self, str filename not None, int line_count, int offset=0, same_as=None):
        """Watch all code compiled under a file name.

        Parameters
        ----------
        filename : str
        line_count : int
            Lines of the source; line numbers beyond it are not watched.
        offset : int
            Added to the line numbers of the code to give those that are reported.
        same_as : int, optional
            A scope whose rows this file's lines are counted in too (its own magics' bodies).

        Returns
        -------
        int
            The number of the scope.
        """
        cdef int scope
        if same_as is None:
            scope = self._add_scope(1, line_count + offset, offset)
        else:
            scope = self._add_scope(1, 0, 0)
            self.scopes[scope] = self.scopes[<int>same_as]
            self.scopes[scope].offset = offset
        self.filenames[filename] = scope
        return scope

    def watch_code(self, code, int first_line, int line_count, same_as=None):
        """Watch one code object, with the line numbers of its file; return the scope's number."""
        cdef int scope
        if same_as is None:
            scope = self._add_scope(first_line, line_count, 0)
        else:
            scope = same_as
        self.codes.append(code)
        self.code_scopes.append(scope)
        self._forget_known()
        if self.running and NBMEM_HAS_MONITORING:
            self._instrument(code)
        return scope

    cdef void _forget_known(self) noexcept:
        cdef PyObject *code
        cdef int i
        for i in range(KNOWN):
            code = self.known[i].code
            self.known[i].code = NULL
            Py_XDECREF(code)

    cdef int _scope_of(self, PyCodeObject *code) noexcept:
        """Tell which scope a code object is in, or -1. Runs at each call and line: mostly the first test."""
        cdef Known *known = &self.known[self.last_known]
        cdef PyObject *found
        cdef PyObject *old
        cdef Py_ssize_t index
        cdef int i
        if known.code == <PyObject *>code:
            return known.scope
        for i in range(KNOWN):
            if self.known[i].code == <PyObject *>code:
                self.last_known = i
                return self.known[i].scope
        self.last_known = self.next_known
        self.next_known = (self.next_known + 1) % KNOWN
        known = &self.known[self.last_known]
        known.scope = -1
        known.told = 0
        # a file name may be of a subclass of str, whose __hash__ is somebody's code
        found = NULL
        if PyUnicode_CheckExact(<object>code.co_filename):
            found = PyDict_GetItemWithError(<PyObject *>self.filenames, code.co_filename)
        if found != NULL:
            # Part of a line that is measured as a whole: what runs it is the line to name, and it may be hot.
            known.scope = -1 if _is_one_line(code) else <int>(<object>found)
        else:
            for index in range(len(self.codes)):
                if <PyObject *>self.codes[index] == <PyObject *>code:
                    known.scope = self.code_scopes[index]
                    break
        old = known.code
        Py_INCREF(<object>code)
        known.code = <PyObject *>code
        Py_XDECREF(old)
        return known.scope

    # -- start and stop

    def start(self, bint with_hook=True):
        """Arm the probe on this thread.

        Parameters
        ----------
        with_hook : bool
            On 3.11: whether unwatched code may run at full speed by an evaluation hook.

        Returns
        -------
        bool
            False if another tool holds what the probe needs; nothing is changed then.
        """
        global _active, _sampling, _asked
        if _active != NULL:
            return False
        self.ident = threading.get_ident()
        self.main_thread = threading.current_thread() is threading.main_thread()
        # threads that are made with small stacks have no room for calls that take C stack
        with_hook = with_hook and threading.stack_size() == 0
        self.slot, self.resident = self.counter.open()
        self.began = self.window_began = _now()
        self.spent = 0.0
        self.burst = 1
        self.quiet = False
        _sampling = 0
        _asked = 0
        armed = False
        Py_INCREF(self)
        _active = <PyObject *>self
        try:
            if NBMEM_HAS_MONITORING:
                armed = self._start_monitoring()
            else:
                armed = nbmem_install(_trace, <PyObject *>self, _is_watched, with_hook) == 0
        finally:
            if not armed:
                _active = NULL
                Py_DECREF(self)
                self.counter.close(self.slot)
        if not armed:
            return False
        self.running = True
        if self.main_thread:
            self.sampler.set_hook(_tick)
        return True

    def stop(self):
        """Disarm; return the rows that ran.

        Returns
        -------
        list of tuple
    ``(scope, line, hits, seconds, peak_bytes, increment_bytes, spike_bytes, sampled, paused, entered)``,
            one per line that ran, by scope and line. ``peak_bytes`` is the highest resident size.
                        ``sampled``: figures are from samples; ``paused``: its frame ran when the probe went quiet, so
            in a loop it may have run unseen; ``entered``: its code was entered unseen, or on another thread
            (then perhaps with no hit at all).
        """
        global _active, _sampling
        cdef int i, scope, row
        cdef Scope *s
        if not self.running:
            return []
        _sampling = 0
        self.sampler.set_hook(NULL)
        if self.quiet:
            self._window(True)
        self.running = False
        if NBMEM_HAS_MONITORING:
            self._stop_monitoring()
        elif not nbmem_uninstall():
            self.lost = True
        if _active == <PyObject *>self:
            _active = NULL
            Py_DECREF(self)
        self._close_all()
        try:
            self.counter.close(self.slot)
        except OSError:   # somebody closed our descriptors
            self.failed = True
        if self.sampled and not nbmem_hooked_throughout:
            # Without the hook nobody tells which code was entered unseen.
            for i in range(self.row_count):
                self.rows[i].entered = True
        self._forget_known()
        self.codes.clear()
        result = []
        seen = set()
        for scope in range(self.scope_count):
            s = &self.scopes[scope]
            if s.base in seen:
                continue
            seen.add(s.base)
            for i in range(s.line_count):
                row = s.base + i
                if self.rows[row].hits or self.rows[row].seconds > 0 or self.rows[row].entered:
                    result.append((
                        scope, s.first_line + i, self.rows[row].hits, self.rows[row].seconds,
                        self.rows[row].peak, self.rows[row].increment, self.rows[row].spike,
                        bool(self.rows[row].inexact or self.failed),
                        bool(self.rows[row].paused), bool(self.rows[row].entered),
                    ))
        return result

    @property
    def exact(self):
        return not (self.sampled or self.unseen or self.failed or self.lost)

    def __call__(self, frame, event, arg):
        """Be the trace function again, for who saved ``sys.gettrace()`` and sets it back (doctest does).

        What ran between was not seen.
        """
        if self.running and not NBMEM_HAS_MONITORING and threading.get_ident() == self.ident:
            self.lost = True
            self._close_all()
            nbmem_retake()
        return None

    def line_of(self, int mark):
        """Return ``(scope, line)`` of a mark that the sampler recorded, or None."""
        cdef int scope
        for scope in range(self.scope_count):
            if self.scopes[scope].base <= mark < self.scopes[scope].base + self.scopes[scope].line_count:
                return scope, self.scopes[scope].first_line + mark - self.scopes[scope].base
        return None

    # -- events

    cdef int _row(self, int scope, int line) noexcept:
        cdef Scope *s = &self.scopes[scope]
        line += s.offset
        if line < s.first_line or line >= s.first_line + s.line_count:
            return -1
        return s.base + line - s.first_line

    cdef int _find(self, void *frame, PyCodeObject *code) noexcept:
        cdef int i
        for i in range(self.open_count - 1, -1, -1):
            if self.opened[i].frame == frame and self.opened[i].code == <PyObject *>code:
                return i
        return -1

    cdef int _read(self) noexcept:
        """Take the counter; add the peak to all open records. 0 on success."""
        cdef int64_t peak
        cdef int i
        if self.failed:
            return -1
        try:
            self.counter._take(self.slot, &peak, &self.resident)
        except OSError:
            self.failed = True
            return -1
        for i in range(self.open_count):
            if self.opened[i].peak < peak:
                self.opened[i].peak = peak
        return 0

    cdef void _close(self, int index, double at) noexcept:
        cdef Open *o = &self.opened[index]
        cdef Row *row = &self.rows[o.row]
        row.active -= 1
        # A line that calls itself is open several times: count its time and growth once.
        if row.active == 0:
            row.seconds += (at - o.began) - (self.spent - o.spent)
            row.increment += self.resident - o.before
        if o.peak < self.resident:
            o.peak = self.resident
        if row.peak < o.peak:
            row.peak = o.peak
        if row.spike < o.peak - o.before:
            row.spike = o.peak - o.before

    cdef void _drop(self, int index) noexcept:
        cdef int i
        cdef PyObject *code = self.opened[index].code
        self.open_count -= 1
        for i in range(index, self.open_count):
            self.opened[i] = self.opened[i + 1]
        Py_XDECREF(code)

    cdef void _forget_open(self) noexcept:
        cdef PyObject *code
        while self.open_count > 0:
            self.open_count -= 1
            code = self.opened[self.open_count].code
            self.opened[self.open_count].code = NULL
            Py_XDECREF(code)

    cdef void _close_all(self) noexcept:
        cdef double at
        cdef int i
        if self.open_count == 0:
            return
        at = _now()
        self._read()
        for i in range(self.open_count):
            self._close(i, at)
        self._forget_open()

    cdef int _open(self, int index, void *frame, PyCodeObject *code, int row, bint hit) noexcept:
        """Open a record; ``index`` is that of a closed record of the same frame, or -1."""
        cdef Open *o
        cdef int capacity
        if index < 0:
            if self.open_count == self.open_capacity:
                capacity = self.open_capacity * 2 + 16
                o = <Open *>realloc(self.opened, capacity * sizeof(Open))
                if o == NULL:
                    self.failed = True
                    return -1
                self.opened = o
                self.open_capacity = capacity
            index = self.open_count
            self.open_count += 1
            Py_INCREF(<object>code)
            self.opened[index].code = <PyObject *>code
        o = &self.opened[index]
        o.frame = frame
        o.row = row
        o.before = o.peak = self.resident
        o.spent = self.spent
        o.paused = False
        self.rows[row].active += 1
        self.rows[row].burst = self.burst
        if hit:
            self.rows[row].hits += 1
        self.sampler.set_mark(row)
        return index

    cdef void _line(self, void *frame, PyCodeObject *code, int scope, int line, bint hit) noexcept:
        cdef double entered = _now(), left
        cdef int index, row
        cdef bint over
        if not self.running or self.quiet:
            return
        row = self._row(scope, line)
        index = self._find(frame, code)
        self.quick = self.quick + 1 if entered - self.left < HOT else 0
        over = self.quick >= 2 and self.spent > SPEND_FREE + SPEND_SHARE * (entered - self.began)
        if over and not self.main_thread:
            # Nobody can wake a quiet probe on this thread: count on, without reading.
            self.sampled = True
            if row >= 0:
                self.rows[row].inexact = True
        else:
            self._read()
        if index >= 0:
            self._close(index, entered)
        if row < 0:
            if index >= 0:
                self._drop(index)
            return
        index = self._open(index, frame, code, row, hit)
        left = _now()
        # the trampoline and the clock cost about as much again as an empty reading
        self.spent += left - entered + 2e-7
        if index >= 0:
            self.opened[index].began = left
            self.opened[index].spent = self.spent
        self.left = left
        if over and self.main_thread:
            self._go_quiet(left)

    cdef void _enter(self, void *frame, int scope, int line, PyCodeObject *code) noexcept:
        """A frame starts or goes on; one that goes on is in the middle of a line."""
        cdef int index = self._find(frame, code)
        if index >= 0 and line == code.co_firstlineno and not self._covers(index, line):
            # A new frame of the same code at the same address: the old one ended where nobody saw it.
            self.rows[self.opened[index].row].inexact = True
            self.unseen = True
            self._close(index, _now())
            self._drop(index)
            return
        if index >= 0 and self.opened[index].paused:
            self.opened[index].paused = False
            self.sampler.set_mark(self.opened[index].row)
        elif line != code.co_firstlineno and code.co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR):
            self._line(frame, code, scope, line, False)

    cdef bint _covers(self, int index, int line) noexcept:
        """Is the record at ``index`` of this line of its code?"""
        cdef int scope = self._scope_of(<PyCodeObject *>self.opened[index].code)
        return scope >= 0 and self._row(scope, line) == self.opened[index].row

    cdef void _leave(self, void *frame, PyCodeObject *code, bint pauses) noexcept:
        cdef double entered = _now()
        cdef int index
        if not self.running or self.quiet:
            return
        index = self._find(frame, code)
        if index < 0:
            return
        if pauses:
            # Awaiting is what the line does: its clock runs on, until the coroutine goes on.
            self.opened[index].paused = True
            return
        self._read()
        self._close(index, entered)
        self._drop(index)
        if self.open_count:
            self.sampler.set_mark(self.opened[self.open_count - 1].row)
        self.spent += _now() - entered

    # -- sampling of hot lines

    cdef void _go_quiet(self, double at) noexcept:
        global _sampling
        cdef int i
        cdef PyCodeObject *code
        for i in range(self.open_count):
            code = <PyCodeObject *>self.opened[i].code
            self._mark_lines(code, self._scope_of(code), False)
        self._close_all()
        self.sampled = True
        self.quiet = True
        self.window_began = _now()
        if NBMEM_HAS_MONITORING:
            self._set_local_events(False)
        else:
            nbmem_arm(0)
        _sampling = 1

    cdef void _mark_lines(self, PyCodeObject *code, int scope, bint entered) noexcept:
        """Mark the lines of a code object that may run unseen."""
        cdef Py_ssize_t at
        cdef int row, last = -1, line
        if scope < 0:
            return
        for at in range(PyCode_Size(code)):
            line = PyCode_Addr2Line(code, <int>(2 * at))
            if line <= 0 or line == last:
                continue
            last = line
            row = self._row(scope, line)
            if row >= 0 and entered:
                self.rows[row].entered = True
            elif row >= 0:
                self.rows[row].paused = True

    cdef void _enter_unseen(self, PyCodeObject *code) noexcept:
        """Watched code starts while the probe is quiet, or on another thread."""
        cdef int scope = self._scope_of(code)
        cdef Known *known = &self.known[self.last_known]
        if scope >= 0 and known.told != self.burst:
            known.told = self.burst
            self.unseen = True
            self._mark_lines(code, scope, True)

    cdef void _sample(self) noexcept:
        """Run on the watched thread, between two instructions, while the probe is quiet."""
        if self.running and self.quiet:
            self._window(False)

    cdef void _window(self, bint last) noexcept:
        """Give what happened in the quiet window to the line that runs now; perhaps go exact again."""
        global _sampling
        cdef double entered = _now(), left
        cdef PyFrameObject *frame
        cdef PyFrameObject *back
        cdef PyCodeObject *code
        cdef int depth, scope, row, index, line, innermost = -1
        cdef int64_t before = self.resident, peak
        # Look again at once whether it is still hot: two or three lines, and the probe is quiet again.
        cdef bint rearm = not last
        cdef double elapsed = entered - self.window_began
        if not NBMEM_HAS_MONITORING and not nbmem_owns_trace():
            self.lost = True
            _sampling = 0
            return
        if self.failed:
            _sampling = 0
            return
        try:
            self.counter._take(self.slot, &peak, &self.resident)
        except OSError:
            self.failed = True
            return
        self.window += 1
        frame = PyEval_GetFrame()
        if frame != NULL:
            Py_INCREF(<object>frame)
        depth = 0
        while frame != NULL and depth < DEEPEST:
            code = PyFrame_GetCode(frame)
            scope = self._scope_of(code)
            line = _line_number(frame, code) if scope >= 0 else 0
            if scope >= 0:
                row = self._row(scope, line)
                if row >= 0:
                    self._give(row, elapsed, self.resident - before, peak, before)
                    if innermost < 0:
                        innermost = row
                    if rearm:
                        index = self._open(-1, <void *>frame, code, row, False)
                        if index >= 0:
                            self.opened[index].began = entered
            Py_DECREF(<object>code)
            back = PyFrame_GetBack(frame)
            Py_DECREF(<object>frame)
            frame = back
            depth += 1
        Py_XDECREF(<PyObject *>frame)
        if innermost >= 0:
            self.sampler.set_mark(innermost)
        left = _now()
        self.spent += left - entered
        self.window_began = left
        for index in range(self.open_count):
            self.opened[index].began = left
            self.opened[index].spent = self.spent
        self.left = left
        if innermost < 0:
            self.unseen_seconds += elapsed
            self.unseen_bytes += self.resident - before
        if rearm:
            # The innermost frame was found first; records are kept outermost first.
            self._reverse_open()
            self.burst += 1
            self.quiet = False
            _sampling = 0
            if NBMEM_HAS_MONITORING:
                self._set_local_events(True)
            else:
                nbmem_arm(1)

    cdef void _give(self, int row, double elapsed, int64_t growth, int64_t peak, int64_t before) noexcept:
        cdef Row *r = &self.rows[row]
        r.inexact = True
        if r.peak < peak:
            r.peak = peak
        if r.spike < peak - before:
            r.spike = peak - before
        if r.window == self.window:   # a line that calls itself is found several times
            return
        r.window = self.window
        r.seconds += elapsed
        r.increment += growth
        if r.hits == 0:
            r.hits = 1

    cdef void _reverse_open(self) noexcept:
        cdef int i = 0, j = self.open_count - 1
        cdef Open held
        while i < j:
            held = self.opened[i]
            self.opened[i] = self.opened[j]
            self.opened[j] = held
            i += 1
            j -= 1

    # -- sys.monitoring (3.12+)

    cdef bint _start_monitoring(self) except? False:
        monitoring = sys.monitoring
        for tool in (4, 3):   # the numbers that no kind of tool has reserved
            if monitoring.get_tool(tool) is None:
                break
        else:
            return False
        monitoring.use_tool_id(tool, "nbmem")
        self.tool = tool
        events = monitoring.events
        for event, callback in (
            (events.PY_START, self._on_start), (events.PY_RESUME, self._on_resume),
            (events.PY_THROW, self._on_throw), (events.LINE, self._on_line),
            (events.PY_RETURN, self._on_return), (events.PY_YIELD, self._on_yield),
            (events.PY_UNWIND, self._on_unwind),
        ):
            monitoring.register_callback(tool, event, callback)
        monitoring.set_events(
            tool, events.PY_START | events.PY_RESUME | events.PY_UNWIND | events.PY_THROW
        )
        # Code that an earlier trace saw and did not watch is switched off for this tool number.
        monitoring.restart_events()
        for code in self.codes:
            self._instrument(code)
        return True

    cdef void _stop_monitoring(self) noexcept:
        monitoring = sys.monitoring
        events = monitoring.events
        try:
            monitoring.set_events(self.tool, 0)
            for code in self.instrumented:
                monitoring.set_local_events(self.tool, code, 0)
            for event in (events.PY_START, events.PY_RESUME, events.PY_THROW, events.LINE,
                          events.PY_RETURN, events.PY_YIELD, events.PY_UNWIND):
                monitoring.register_callback(self.tool, event, None)
            monitoring.free_tool_id(self.tool)
        except ValueError:   # somebody freed our number
            self.lost = True
        self.instrumented.clear()

    cdef _instrument(self, code):
        events = sys.monitoring.events
        self.instrumented.append(code)
        if not self.quiet:
            sys.monitoring.set_local_events(
                self.tool, code, events.LINE | events.PY_RETURN | events.PY_YIELD
            )
        else:
            self._enter_unseen(<PyCodeObject *><PyObject *>code)

    cdef void _set_local_events(self, bint on) noexcept:
        events = sys.monitoring.events
        # While quiet, only that the code is entered is of interest.
        wanted = events.LINE | events.PY_RETURN | events.PY_YIELD if on else events.PY_START
        try:
            for code in self.instrumented:
                sys.monitoring.set_local_events(self.tool, code, wanted)
        except ValueError:
            self.lost = True

    def _on_start(self, code, offset):
        if self._scope_of(<PyCodeObject *><PyObject *>code) < 0:
            return sys.monitoring.DISABLE
        if code not in _ByIdentity(self.instrumented):
            self._instrument(code)
        if self.quiet or threading.get_ident() != self.ident:
            self._enter_unseen(<PyCodeObject *><PyObject *>code)

    def _on_resume(self, code, offset):
        cdef int scope = self._scope_of(<PyCodeObject *><PyObject *>code)
        if scope < 0:
            return sys.monitoring.DISABLE
        if code not in _ByIdentity(self.instrumented):
            self._instrument(code)
        self._resume(code, scope)

    def _on_throw(self, code, offset, error):
        cdef int scope = self._scope_of(<PyCodeObject *><PyObject *>code)
        if scope >= 0:
            self._resume(code, scope)

    cdef _resume(self, code, int scope):
        cdef PyFrameObject *frame = PyEval_GetFrame()
        if self.quiet or threading.get_ident() != self.ident:
            self._enter_unseen(<PyCodeObject *><PyObject *>code)
        elif frame != NULL:
            self._enter(<void *>frame, scope, PyFrame_GetLineNumber(frame), <PyCodeObject *><PyObject *>code)

    def _on_line(self, code, int line):
        cdef PyCodeObject *watched = <PyCodeObject *><PyObject *>code
        cdef int scope = self._scope_of(watched)
        if scope < 0:
            return
        if threading.get_ident() != self.ident:
            self._enter_unseen(watched)
        else:
            self._line(<void *>PyEval_GetFrame(), watched, scope, line, True)

    def _on_return(self, code, offset, value):
        if threading.get_ident() == self.ident:
            self._leave(<void *>PyEval_GetFrame(), <PyCodeObject *><PyObject *>code, False)

    def _on_yield(self, code, offset, value):
        if threading.get_ident() == self.ident:
            self._leave(
                <void *>PyEval_GetFrame(), <PyCodeObject *><PyObject *>code,
                (<PyCodeObject *><PyObject *>code).co_flags & CO_COROUTINE
            )

    def _on_unwind(self, code, offset, error):
        if self.open_count and threading.get_ident() == self.ident:
            if self._scope_of(<PyCodeObject *><PyObject *>code) >= 0:
                self._leave(<void *>PyEval_GetFrame(), <PyCodeObject *><PyObject *>code, False)


def has_profile_function():
    """Tell whether this thread has a profile function, set from Python or from C."""
    return nbmem_has_profile() != 0


cdef class _ByIdentity:
    """Ask a list for an object by identity: equal code objects of two cells are not the same code."""

    cdef list items

    def __cinit__(self, list items):
        self.items = items

    def __contains__(self, wanted):
        for item in self.items:
            if item is wanted:
                return True
        return False
