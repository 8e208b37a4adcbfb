/* A callable that raises what another one decides on, without a frame of its own in the traceback. */
#ifndef NBMEM_RAISER_H
#define NBMEM_RAISER_H

#include <Python.h>

/* Calls what it was made with; None is returned, an exception is raised in whoever called. Where the decision
   itself fails (no memory, no stack left, no descriptor), nothing is raised: it is asked again soon. */
static PyObject *nbmem_raise(PyObject *decide, PyObject *args)
{
    PyObject *error = PyObject_CallObject(decide, args);
    if (error == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return NULL;                           /* an interrupt that came meanwhile */
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (error == Py_None)
        return error;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

static PyMethodDef nbmem_raise_method = {
    "raiser", nbmem_raise, METH_VARARGS, "Raise what the decision gives."
};

static PyObject *nbmem_new_raiser(PyObject *decide)
{
    return PyCFunction_New(&nbmem_raise_method, decide);
}

#endif
