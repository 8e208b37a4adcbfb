# cython: language_level=3
"""What the line probe keeps: which lines are watched, a row of figures for each, and the lines that are open.

A line is *open* from the moment it starts until its frame goes on or ends. The twin in Python keeps the same
in :mod:`nbmem.tracing._lineprobe_twin`.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from nbmem.process._meter cimport PeakCounter, ResidentSampler

cdef extern from "Python.h":
    Py_ssize_t PyCode_Size "Py_SIZE" (PyCodeObject *)
    unsigned int PyUnicode_READ_CHAR(PyObject *, Py_ssize_t)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *)
    bint PyUnicode_CheckExact(object)
    int CO_NEWLOCALS
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *)


cdef double now() noexcept nogil:
    """Read the monotonic clock, in seconds."""
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


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


cdef class LineRecords:
    """The lines that are watched, and what they cost.

    Parameters
    ----------
    counter : PeakCounter
    sampler : ResidentSampler
        Told which line runs.
    """

    def __cinit__(self, PeakCounter counter not None, ResidentSampler sampler not None):
        self.counter = counter
        self.sampler = sampler
        self.filenames = {}
        self.codes = []
        self.code_scopes = []
        memset(self.known, 0, sizeof(self.known))
        self.slot = -1
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

    def line_of(self, int mark):
        """Return ``(scope, line)`` of a mark that the sampler recorded, or None."""
        cdef int scope
        for scope in range(self.scope_count):
            if self.scopes[scope].base <= mark < self.scopes[scope].base + self.scopes[scope].line_count:
                return scope, self.scopes[scope].first_line + mark - self.scopes[scope].base
        return None

    cdef list _taken(self):
        """Hand the rows over that ran, or may have."""
        cdef int i, scope, row
        cdef Scope *s
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

    # -- rows and open lines

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
        at = now()
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

    cdef bint _covers(self, int index, int line) noexcept:
        """Is the record at ``index`` of this line of its code?"""
        cdef int scope = self._scope_of(<PyCodeObject *>self.opened[index].code)
        return scope >= 0 and self._row(scope, line) == self.opened[index].row

    cdef void _mark_lines(self, PyCodeObject *code, int scope, bint entered) noexcept:
        """Mark the lines of a code object that may run unseen."""
        cdef Py_ssize_t at
        cdef int row, last = -1, line
        cdef bint head_only = True
        if scope < 0:
            return
        for at in range(PyCode_Size(code)):
            line = PyCode_Addr2Line(code, <int>(2 * at))
            if line > 0 and line != code.co_firstlineno:
                head_only = False
                break
        for at in range(PyCode_Size(code)):
            line = PyCode_Addr2Line(code, <int>(2 * at))
            if line <= 0 or line == last:
                continue
            # A function's own code begins on the line of its def, which belongs to who defines it.
            if line == code.co_firstlineno and not head_only and code.co_flags & CO_NEWLOCALS:
                continue
            last = line
            row = self._row(scope, line)
            if row >= 0 and entered:
                self.rows[row].entered = True
            elif row >= 0:
                self.rows[row].paused = True

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
