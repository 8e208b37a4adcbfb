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

from nbmem.process._meter cimport PeakCounter, ResidentSampler
from nbmem.tracing._records cimport Known, LineRecords, PyCode_Addr2Line, PyCodeObject, PyFrameObject, now

import sys
import threading

cdef extern from *:
    """
    #define NBMEM_HAS_MONITORING (PY_VERSION_HEX >= 0x030C0000)
    """
    bint NBMEM_HAS_MONITORING

cdef extern from "Python.h":
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
    PyFrameObject *PyEval_GetFrame()

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
cdef class LineProbe(LineRecords):
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

    cdef double began
    cdef double window_began
    cdef double left
    cdef int quick
    cdef readonly double unseen_seconds
    cdef readonly int64_t unseen_bytes
    cdef bint running
    cdef bint quiet
    cdef readonly bint sampled
    cdef bint main_thread
    cdef readonly bint lost
    cdef object ident
    cdef int tool
    cdef list instrumented

    def __cinit__(self, PeakCounter counter not None, ResidentSampler sampler not None):
        self.instrumented = []
        self.tool = -1

    def watch_code(self, code, int first_line, int line_count, same_as=None):
        """Watch one code object, with the line numbers of its file; return the scope's number."""
        scope = LineRecords.watch_code(self, code, first_line, line_count, same_as)
        if self.running and NBMEM_HAS_MONITORING:
            self._instrument(code)
        return scope

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
        self.began = self.window_began = now()
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
        cdef int i
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
        return self._taken()

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

    # -- events

    cdef void _line(self, void *frame, PyCodeObject *code, int scope, int line, bint hit) noexcept:
        cdef double entered = now(), left
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
        left = now()
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
            self._close(index, now())
            self._drop(index)
            return
        if index >= 0 and self.opened[index].paused:
            self.opened[index].paused = False
            self.sampler.set_mark(self.opened[index].row)
        elif line != code.co_firstlineno and code.co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR):
            self._line(frame, code, scope, line, False)

    cdef void _leave(self, void *frame, PyCodeObject *code, bint pauses) noexcept:
        cdef double entered = now()
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
        self.spent += now() - entered

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
        self.window_began = now()
        if NBMEM_HAS_MONITORING:
            self._set_local_events(False)
        else:
            nbmem_arm(0)
        _sampling = 1

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
        cdef double entered = now(), left
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
        left = now()
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
