# cython: language_level=3
"""Look at the locals of frames, generators and coroutines as they lie in memory, and at the exit callbacks.

``frame.f_locals`` of CPython 3.11 and 3.12 makes a dict that keeps what it shows alive, even after the frame
was cleared (cpython#113939): one who looks that way makes a leak.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cdef extern from "_objects.h":
    """
    #if NBMEM_SEES_FRAMES
    static void *nbmem_frame_of(PyObject *op)
    {
        if (PyFrame_Check(op))
            return ((PyFrameObject *)op)->f_frame;
        if (PyGen_CheckExact(op) || PyCoro_CheckExact(op) || PyAsyncGen_CheckExact(op)) {
            PyGenObject *gen = (PyGenObject *)op;
            return gen->gi_frame_state <= 0 ? (void *)gen->gi_iframe : NULL;  /* 1 and more: it has ended */
        }
        return NULL;
    }
    static Py_ssize_t nbmem_slot_count(void *address)
    {
        NbmemFrame *frame = (NbmemFrame *)address;
        return frame->stacktop >= 0 ? frame->stacktop : nbmem_frame_code(address)->co_nlocalsplus;
    }
    static PyObject *nbmem_slot(void *address, Py_ssize_t i)
    {
        return ((NbmemFrame *)address)->localsplus[i];
    }
    static PyObject *nbmem_slot_name(void *address, Py_ssize_t i)
    {
        PyCodeObject *code = nbmem_frame_code(address);
        return i < code->co_nlocalsplus ? PyTuple_GET_ITEM(code->co_localsplusnames, i) : NULL;
    }
    static PyObject *nbmem_slot_cell(void *address, Py_ssize_t i)
    {
        PyCodeObject *code = nbmem_frame_code(address);
        PyObject *value = ((NbmemFrame *)address)->localsplus[i];
        if (i >= code->co_nlocalsplus || value == NULL || !PyCell_Check(value))
            return NULL;
        return _PyLocals_GetKind(code->co_localspluskinds, (int)i) & (CO_FAST_CELL | CO_FAST_FREE) ? value : NULL;
    }
    static PyObject *nbmem_frame_mapping(void *address)
    {
        NbmemFrame *frame = (NbmemFrame *)address;
        return frame->f_locals == frame->f_globals ? NULL : frame->f_locals;
    }
    static Py_ssize_t nbmem_exit_count(void)
    {
        return PyInterpreterState_Get()->atexit.ncallbacks;
    }
    static PyObject *nbmem_exit_part(Py_ssize_t i, int part)
    {
        struct atexit_state *state = &PyInterpreterState_Get()->atexit;
        if (state->callbacks[i] == NULL)
            return NULL;
        return part == 0 ? state->callbacks[i]->func : part == 1 ? state->callbacks[i]->args : state->callbacks[i]->kwargs;
    }
    #else
    static void *nbmem_frame_of(PyObject *op) { return NULL; }
    static Py_ssize_t nbmem_slot_count(void *address) { return 0; }
    static PyObject *nbmem_slot(void *address, Py_ssize_t i) { return NULL; }
    static PyObject *nbmem_slot_name(void *address, Py_ssize_t i) { return NULL; }
    static PyObject *nbmem_slot_cell(void *address, Py_ssize_t i) { return NULL; }
    static PyObject *nbmem_frame_mapping(void *address) { return NULL; }
    static Py_ssize_t nbmem_exit_count(void) { return 0; }
    static PyObject *nbmem_exit_part(Py_ssize_t i, int part) { return NULL; }
    #endif
    """
    int SEES_FRAMES "NBMEM_SEES_FRAMES"
    void *nbmem_frame_of(PyObject *) noexcept
    Py_ssize_t nbmem_slot_count(void *) noexcept
    PyObject *nbmem_slot(void *, Py_ssize_t) noexcept
    PyObject *nbmem_slot_name(void *, Py_ssize_t) noexcept
    PyObject *nbmem_slot_cell(void *, Py_ssize_t) noexcept
    PyObject *nbmem_frame_mapping(void *) noexcept
    int nbmem_frame_line(void *) noexcept
    Py_ssize_t nbmem_exit_count() noexcept
    PyObject *nbmem_exit_part(Py_ssize_t, int) noexcept

#: Can it be done on this interpreter?
AVAILABLE = bool(SEES_FRAMES)


def frame_address(value):
    """Give the address of what a frame object stands for: that of its node while it runs."""
    return <uint64_t>nbmem_frame_of(<PyObject *>value)


def frame_line(value):
    """Tell the line that a generator or a coroutine has come to, without making its frame object; 0: it has ended."""
    cdef void *frame = nbmem_frame_of(<PyObject *>value)
    return 0 if frame == NULL else nbmem_frame_line(frame)


def frame_locals(value):
    """List the locals of a frame, a generator, a coroutine: name, value, cell or None; and its dict, if any.

    Values that have no name, as they are in use at the moment, have the name ``""``.

    Returns
    -------
    (list of (str, object, cell or None), dict or None)
    """
    cdef void *frame = nbmem_frame_of(<PyObject *>value)
    cdef list found = []
    cdef PyObject *name
    cdef PyObject *each
    cdef Py_ssize_t i
    if frame == NULL:
        return found, None
    for i in range(nbmem_slot_count(frame)):
        each = nbmem_slot(frame, i)
        if each == NULL:
            continue
        name = nbmem_slot_name(frame, i)
        text = "" if name == NULL else <object>name
        if nbmem_slot_cell(frame, i) == NULL:
            found.append((text, <object>each, None))
        else:
            cell = <object>each
            try:
                found.append((text, cell.cell_contents, cell))
            except ValueError:  # empty
                pass
    each = nbmem_frame_mapping(frame)
    return found, None if each == NULL else <object>each


def exit_callbacks():
    """List what runs when the interpreter ends: function, arguments, keyword arguments or None."""
    cdef list found = []
    cdef Py_ssize_t i
    for i in range(nbmem_exit_count()):
        if nbmem_exit_part(i, 0) != NULL:
            found.append((
                <object>nbmem_exit_part(i, 0),
                None if nbmem_exit_part(i, 1) == NULL else <object>nbmem_exit_part(i, 1),
                None if nbmem_exit_part(i, 2) == NULL else <object>nbmem_exit_part(i, 2),
            ))
    return found
