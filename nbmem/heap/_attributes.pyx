# cython: language_level=3
"""Look at the attributes of an instance as they lie in memory, without making its ``__dict__``."""

from cpython.object cimport PyObject

cdef extern from "_objects.h":
    """
    /* The dict of an instance if it has one, else its values in *values and how many there may be. */
    static PyObject *nbmem_attributes(PyObject *op, PyObject ***values, Py_ssize_t *count)
    {
        PyTypeObject *type = Py_TYPE(op);
        *values = NULL;
        *count = 0;
        if ((type->tp_flags & Py_TPFLAGS_MANAGED_DICT) && (type->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
            PyDictKeysObject *keys = ((PyHeapTypeObject *)type)->ht_cached_keys;
    #if PY_VERSION_HEX < 0x030C0000
            PyDictValues *found = *_PyObject_ValuesPointer(op);
            if (found == NULL)
                return *_PyObject_ManagedDictPointer(op);
    #elif PY_VERSION_HEX < 0x030D0000
            PyDictOrValues either = *_PyObject_DictOrValuesPointer(op);
            if (!_PyDictOrValues_IsValues(either))
                return _PyDictOrValues_GetDict(either);
            PyDictValues *found = _PyDictOrValues_GetValues(either);
    #else
            PyObject *dict = (PyObject *)_PyObject_GetManagedDict(op);
            if (dict != NULL || !(type->tp_flags & Py_TPFLAGS_INLINE_VALUES))
                return dict;
            PyDictValues *found = _PyObject_InlineValues(op);
    #endif
            if (found != NULL && keys != NULL) {
                *values = found->values;
                *count = keys->dk_nentries;
            }
            return NULL;
        }
        if (type->tp_dictoffset == 0)
            return NULL;
        PyObject **pointer = _PyObject_GetDictPtr(op);
        return pointer == NULL ? NULL : *pointer;
    }
    static PyObject *nbmem_attribute_name(PyObject *op, Py_ssize_t i)
    {
        return DK_UNICODE_ENTRIES(((PyHeapTypeObject *)Py_TYPE(op))->ht_cached_keys)[i].me_key;
    }
    """
    PyObject *nbmem_attributes(PyObject *op, PyObject ***values, Py_ssize_t *count) noexcept
    PyObject *nbmem_attribute_name(PyObject *op, Py_ssize_t i) noexcept


def attributes(value):
    """Give the dict of an instance and, where it has none, the names and values of its attributes.

    Returns
    -------
    (dict or None, list of (str, object))
    """
    cdef PyObject **values
    cdef Py_ssize_t count, i
    cdef PyObject *op = <PyObject *>value
    cdef PyObject *found = nbmem_attributes(op, &values, &count)
    cdef list pairs = []
    if found != NULL:
        return <object>found, pairs
    for i in range(count):
        if values[i] != NULL and nbmem_attribute_name(op, i) != NULL:
            pairs.append((<object>nbmem_attribute_name(op, i), <object>values[i]))
    return None, pairs
