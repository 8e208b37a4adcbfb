/* What the walk needs to know of CPython's objects below the public API: what tp_traverse leaves out, the
   blocks that an object is made of, the frames that run. Nothing here allocates, runs code or raises. */

#ifndef NBMEM_OBJECTS_H
#define NBMEM_OBJECTS_H

#include <Python.h>
#include <structmember.h>

#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#define NBMEM_UNDEF_CORE 1
#endif
#undef _PyGC_FINALIZED  /* both header sets define it, alike */
#undef _PyObject_LookupSpecial  /* a macro of the public headers that the internal ones do without */
#include "internal/pycore_interp.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_dict.h"
#include "internal/pycore_object.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030D0000
#include "internal/pycore_ceval.h"  /* the bits of eval_breaker */
#endif
#ifdef NBMEM_UNDEF_CORE
#undef Py_BUILD_CORE
#endif

#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic ignored "-Wunused-function"  /* each part uses some of these */
#define NBMEM_PREFETCH(address) __builtin_prefetch(address)
#else
#define NBMEM_PREFETCH(address) ((void)(address))
#endif

/* A count that never changes: the object is never freed. */
#define NBMEM_IMMORTAL 0xFFFFFFFFu

static inline uint32_t nbmem_refcount(PyObject *op)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (_Py_IsImmortal(op))
        return NBMEM_IMMORTAL;
#endif
    Py_ssize_t count = Py_REFCNT(op);
    return count < 0 ? 0 : count >= NBMEM_IMMORTAL ? NBMEM_IMMORTAL - 1 : (uint32_t)count;
}

/* -- sizes -- */

/* The block that the allocator hands out for a request; see sizes.block_bytes. */
static inline Py_ssize_t nbmem_block(Py_ssize_t size, Py_ssize_t page)
{
    if (size <= 0)
        return 0;
    if (size <= 512)
        return (size + 15) & ~(Py_ssize_t)15;
    if (size < 128 * 1024)
        return (size + 8 + 15) & ~(Py_ssize_t)15;
    return (size + 16 + page - 1) & ~(page - 1);
}

/* The same for what never goes through pymalloc: numpy's buffers, locks. */
static inline Py_ssize_t nbmem_malloc_block(Py_ssize_t size, Py_ssize_t page)
{
    return size > 512 ? nbmem_block(size, page) : size <= 24 ? 32 : (size + 8 + 15) & ~(Py_ssize_t)15;
}

/* What stands in front of an object of a type. */
static inline Py_ssize_t nbmem_head(PyTypeObject *type)
{
    return (Py_ssize_t)_PyType_PreHeaderSize(type);
}

static inline Py_ssize_t nbmem_shared_room(PyTypeObject *type)
{
    PyDictKeysObject *keys = ((PyHeapTypeObject *)type)->ht_cached_keys;
    return keys == NULL ? 0 : keys->dk_usable + keys->dk_nentries;
}

#if PY_VERSION_HEX < 0x030D0000
/* The bytes of attribute values. How many fit in is not written down. It is as many as the class had room for when
   they were made, which becomes fewer with each instance; what stands before them tells it to within 7. */
static inline Py_ssize_t nbmem_values_bytes(PyDictValues *values, Py_ssize_t room)
{
    Py_ssize_t prefix = ((uint8_t *)values)[-1];
    if (room > prefix - 2)
        room = prefix - 2;
    else if (room < prefix - 9)
        room = prefix - 5;
    return prefix + room * (Py_ssize_t)sizeof(PyObject *);
}
#endif

/* Bytes of an instance's attribute values that are a block of their own (up to 3.12). */
static inline Py_ssize_t nbmem_values(PyObject *op, PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030C0000
    PyDictValues *values = *_PyObject_ValuesPointer(op);
#elif PY_VERSION_HEX < 0x030D0000
    PyDictOrValues either = *_PyObject_DictOrValuesPointer(op);
    PyDictValues *values = _PyDictOrValues_IsValues(either) ? _PyDictOrValues_GetValues(either) : NULL;
#else
    void *values = NULL;
#endif
#if PY_VERSION_HEX < 0x030D0000
    if (values != NULL)
        return nbmem_values_bytes(values, nbmem_shared_room(type));
#endif
    return 0;
}

/* Bytes that are added to each object of a type for its attribute values (from 3.13). */
static inline Py_ssize_t nbmem_inline_values(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030D0000
    if (type->tp_flags & Py_TPFLAGS_INLINE_VALUES)
        return (Py_ssize_t)_PyInlineValuesSize(type);
#endif
    return 0;
}

static inline Py_ssize_t nbmem_keys_bytes(PyDictKeysObject *keys)
{
    Py_ssize_t room = (Py_ssize_t)(((size_t)1 << keys->dk_log2_size) << 1) / 3;
    Py_ssize_t entry = keys->dk_kind == DICT_KEYS_GENERAL ? sizeof(PyDictKeyEntry) : sizeof(PyDictUnicodeEntry);
    return (Py_ssize_t)sizeof(PyDictKeysObject) + ((Py_ssize_t)1 << keys->dk_log2_index_bytes) + room * entry;
}

/* The bytes of a dict's tables beside the object itself. */
static inline Py_ssize_t nbmem_dict_table(PyObject *op, Py_ssize_t page)
{
    PyDictObject *dict = (PyDictObject *)op;
    PyDictKeysObject *keys = dict->ma_keys;
    if (dict->ma_values != NULL) {
#if PY_VERSION_HEX < 0x030D0000
        Py_ssize_t room = keys->dk_usable + keys->dk_nentries;
        return nbmem_block(nbmem_values_bytes(dict->ma_values, room), page);
#else
        if (dict->ma_values->embedded)
            return 0;
        return nbmem_block(sizeof(PyDictValues) + dict->ma_values->capacity * (sizeof(PyObject *) + 1), page);
#endif
    }
    if (keys->dk_refcnt != 1)  /* the empty table, or another dict's */
        return 0;
    return nbmem_block(nbmem_keys_bytes(keys), page);
}

/* The bytes of an int's digits; what stands before them is the type's basic size. */
static inline Py_ssize_t nbmem_int_digits(PyObject *op)
{
#if PY_VERSION_HEX >= 0x030C0000
    Py_ssize_t digits = (Py_ssize_t)(((PyLongObject *)op)->long_value.lv_tag >> 3);
#else
    Py_ssize_t digits = Py_SIZE(op) < 0 ? -Py_SIZE(op) : Py_SIZE(op);
#endif
    return (digits > 0 ? digits : 1) * (Py_ssize_t)sizeof(digit);
}

/* A str of the compact kind, in *more what it keeps as UTF-8; -1: another kind. */
static inline Py_ssize_t nbmem_str_bytes(PyObject *op, Py_ssize_t *more)
{
    *more = 0;
    if (PyUnicode_IS_COMPACT_ASCII(op))
        return sizeof(PyASCIIObject) + PyUnicode_GET_LENGTH(op) + 1;
    if (!PyUnicode_IS_COMPACT(op))
        return -1;
    if (((PyCompactUnicodeObject *)op)->utf8 != NULL)
        *more = ((PyCompactUnicodeObject *)op)->utf8_length + 1;
    return sizeof(PyCompactUnicodeObject) + (PyUnicode_GET_LENGTH(op) + 1) * PyUnicode_KIND(op);
}

static inline Py_ssize_t nbmem_list_table(PyObject *op)
{
    return ((PyListObject *)op)->ob_item == NULL ? 0 : ((PyListObject *)op)->allocated * (Py_ssize_t)sizeof(PyObject *);
}

static inline Py_ssize_t nbmem_set_table(PyObject *op)
{
    PySetObject *set = (PySetObject *)op;
    return set->table == set->smalltable ? 0 : (set->mask + 1) * (Py_ssize_t)sizeof(setentry);
}

/* The weak reference by which a class stands in the list of its bases; NULL: it has none. */
static inline PyObject *nbmem_listed_by(PyTypeObject *type)
{
    PyWeakReference *first = (PyWeakReference *)type->tp_weaklist;
    if (first == NULL || !Py_IS_TYPE((PyObject *)first, &_PyWeakref_RefType) || first->wr_callback != NULL)
        return NULL;
    return (PyObject *)first;
}

/* Is it the weak reference by which a class that was made at run time stands in the list of its bases? It goes
   when the class goes, so its bytes count as the class's own. */
static inline int nbmem_lists_a_class(PyObject *op)
{
    PyObject *object = ((PyWeakReference *)op)->wr_object;
    return object != Py_None && PyType_Check(object) && (((PyTypeObject *)object)->tp_flags & Py_TPFLAGS_HEAPTYPE)
        && nbmem_listed_by((PyTypeObject *)object) == op;
}

/* The blocks of a class that was made at run time; own: what the object itself asks for. */
static inline Py_ssize_t nbmem_type_bytes(PyObject *op, Py_ssize_t own, Py_ssize_t page)
{
    PyHeapTypeObject *heap = (PyHeapTypeObject *)op;
    Py_ssize_t size = nbmem_block(own, page);
    if (heap->ht_cached_keys != NULL)
        size += nbmem_block(nbmem_keys_bytes(heap->ht_cached_keys), page);
    if (heap->ht_type.tp_doc != NULL)
        size += nbmem_block((Py_ssize_t)strlen(heap->ht_type.tp_doc) + 1, page);
    if (heap->_ht_tpname != NULL)
        size += nbmem_block((Py_ssize_t)strlen(heap->_ht_tpname) + 1, page);
    if (nbmem_listed_by(&heap->ht_type) != NULL)
        size += nbmem_block(nbmem_head(&_PyWeakref_RefType) + _PyWeakref_RefType.tp_basicsize, page);
    return size;
}

/* Is a type one of C's, by its name, or derived from it? */
static inline int nbmem_is_named(PyTypeObject *type, const char *name, destructor of_python)
{
    for (; type != NULL; type = type->tp_base)
        if (type->tp_dealloc != of_python && strcmp(type->tp_name, name) == 0)
            return 1;
    return 0;
}

/* The first fields of io.StringIO (3.11 to 3.14). */
typedef struct {
    PyObject_HEAD
    Py_UCS4 *buffer;
    Py_ssize_t position, length;
    size_t room;
    int state;
    /* what was only ever appended: up to 3.11 two lists of pieces, then one str with room for more */
    PyObject *written, *pieces;
} NbmemText;

static inline Py_ssize_t nbmem_text_table(PyObject *op)
{
    NbmemText *text = (NbmemText *)op;
    return text->buffer == NULL ? 0 : (Py_ssize_t)(text->room * sizeof(Py_UCS4));
}

/* What a function of C's is a method of; NULL: nothing. */
static inline PyObject *nbmem_bound_to(PyObject *op)
{
    return ((PyCFunctionObject *)op)->m_self;
}

/* -- references that tp_traverse does not report -- */

static inline void nbmem_visit_keys(PyDictKeysObject *keys, int shared, visitproc visit, void *arg)
{
    Py_ssize_t i, n = keys->dk_nentries;
    if (keys->dk_kind == DICT_KEYS_GENERAL)
        return;  /* dict_traverse visits these */
    PyDictUnicodeEntry *entries = DK_UNICODE_ENTRIES(keys);
    for (i = 0; i < n; i++)
        if (entries[i].me_key != NULL && (shared || entries[i].me_value != NULL))
            visit(entries[i].me_key, arg);
}

static inline void nbmem_visit_dict(PyObject *op, visitproc visit, void *arg)
{
    PyDictObject *dict = (PyDictObject *)op;
    if (dict->ma_values == NULL)  /* shared keys belong to the class */
        nbmem_visit_keys(dict->ma_keys, 0, visit, arg);
}

#define NBMEM_VISIT(member) do { if ((member) != NULL) visit((PyObject *)(member), arg); } while (0)

static inline void nbmem_visit_type(PyObject *op, visitproc visit, void *arg)
{
    PyTypeObject *type = (PyTypeObject *)op;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        PyHeapTypeObject *heap = (PyHeapTypeObject *)op;
        NBMEM_VISIT(heap->ht_name);
        NBMEM_VISIT(heap->ht_qualname);
        NBMEM_VISIT(heap->ht_slots);
        NBMEM_VISIT(type->tp_subclasses);
        if (heap->ht_cached_keys != NULL)
            nbmem_visit_keys(heap->ht_cached_keys, 1, visit, arg);
        return;
    }
    /* a static type is no object of the collector: nothing of it is reported */
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *namespace_ = PyType_GetDict(type);  /* that of a builtin type is the interpreter's */
    NBMEM_VISIT(namespace_);
    Py_XDECREF(namespace_);
#else
    NBMEM_VISIT(type->tp_dict);
#endif
    NBMEM_VISIT(type->tp_bases);
    NBMEM_VISIT(type->tp_mro);
    NBMEM_VISIT(type->tp_cache);
#if PY_VERSION_HEX < 0x030C0000
    NBMEM_VISIT(type->tp_subclasses);
#endif
}

static inline void nbmem_visit_code(PyObject *op, visitproc visit, void *arg)
{
    PyCodeObject *code = (PyCodeObject *)op;
    NBMEM_VISIT(code->co_consts);
    NBMEM_VISIT(code->co_names);
    NBMEM_VISIT(code->co_exceptiontable);
    NBMEM_VISIT(code->co_localsplusnames);
    NBMEM_VISIT(code->co_localspluskinds);
    NBMEM_VISIT(code->co_filename);
    NBMEM_VISIT(code->co_name);
    NBMEM_VISIT(code->co_qualname);
    NBMEM_VISIT(code->co_linetable);
#if PY_VERSION_HEX >= 0x030C0000
    if (code->_co_cached != NULL) {
        NBMEM_VISIT(code->_co_cached->_co_code);
        NBMEM_VISIT(code->_co_cached->_co_varnames);
        NBMEM_VISIT(code->_co_cached->_co_cellvars);
        NBMEM_VISIT(code->_co_cached->_co_freevars);
    }
#else
    NBMEM_VISIT(code->_co_code);
#endif
}

static inline void nbmem_visit_descriptor(PyObject *op, visitproc visit, void *arg)
{
    NBMEM_VISIT(((PyDescrObject *)op)->d_name);
    NBMEM_VISIT(((PyDescrObject *)op)->d_qualname);
}

/* A range (3.11 to 3.14). */
typedef struct {
    PyObject_HEAD
    PyObject *start, *stop, *step, *length;
} NbmemRange;

static inline void nbmem_visit_range(PyObject *op, visitproc visit, void *arg)
{
    NBMEM_VISIT(((NbmemRange *)op)->start);
    NBMEM_VISIT(((NbmemRange *)op)->stop);
    NBMEM_VISIT(((NbmemRange *)op)->step);
    NBMEM_VISIT(((NbmemRange *)op)->length);
}

static inline void nbmem_visit_text(PyObject *op, visitproc visit, void *arg)
{
    if (((NbmemText *)op)->state != 2)  /* no longer accumulating */
        return;
    NBMEM_VISIT(((NbmemText *)op)->written);
#if PY_VERSION_HEX < 0x030C0000
    NBMEM_VISIT(((NbmemText *)op)->pieces);
#endif
}

/* Is it one of the descriptors that begin as PyDescrObject does? */
static inline int nbmem_is_descriptor(PyTypeObject *type)
{
    return type == &PyMethodDescr_Type || type == &PyWrapperDescr_Type || type == &PyMemberDescr_Type
        || type == &PyGetSetDescr_Type || type == &PyClassMethodDescr_Type;
}

static inline int nbmem_has_traverse(PyObject *op, PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_HAVE_GC) && type->tp_traverse != NULL
        && (type->tp_is_gc == NULL || type->tp_is_gc(op));
}

/* -- numpy -- */

/* The first fields of PyArrayObject_fields, alike in numpy 1 and 2. */
typedef struct {
    PyObject_HEAD
    char *data;
    int nd;
    Py_ssize_t *dimensions;
    Py_ssize_t *strides;
    PyObject *base;
    PyObject *descr;
    int flags;
} NbmemArray;

typedef struct {
    PyObject_HEAD
    PyTypeObject *typeobj;
    char kind;
} NbmemDtype;

#define NBMEM_OWNDATA 0x0004
#define NBMEM_ITEMSIZE_1 32
#define NBMEM_ITEMSIZE_2 40

/* The first fields of PyVoidScalarObject, alike from numpy 1.20 on; ob_size is the length of its value. */
typedef struct {
    PyObject_VAR_HEAD
    char *data;
    PyObject *descr;
    int flags;
    PyObject *base;
} NbmemVoid;

/* The first fields of PyArrayIterObject, alike in numpy 1 and 2: its arrays have 32 places in both. */
typedef struct {
    PyObject_HEAD
    int last_axis;
    Py_ssize_t index, size;
    Py_ssize_t coordinates[32], lengths[32], strides[32], back_strides[32], factors[32];
    PyObject *array;
} NbmemFlat;

static inline Py_ssize_t nbmem_array_length(PyObject *op)
{
    NbmemArray *array = (NbmemArray *)op;
    Py_ssize_t length = 1;
    int i;
    for (i = 0; i < array->nd; i++)
        length *= array->dimensions[i];
    return length;
}

static inline Py_ssize_t nbmem_array_itemsize(PyObject *op, Py_ssize_t offset)
{
    char *descr = (char *)((NbmemArray *)op)->descr;
    /* numpy 1: an int after type_num; numpy 2: npy_intp after the flags */
    return offset == NBMEM_ITEMSIZE_1 ? (Py_ssize_t)*(int *)(descr + offset) : *(Py_ssize_t *)(descr + offset);
}

/* -- the collector's lists -- */

#if PY_VERSION_HEX < 0x030E0000
static int nbmem_collecting(void)
{
    return PyInterpreterState_Get()->gc.collecting;
}

/* Call a function for each tracked object, with the number of its generation (3: frozen). */
static int nbmem_each_tracked(int (*function)(PyObject *, int, void *), void *arg)
{
    struct _gc_runtime_state *state = &PyInterpreterState_Get()->gc;
    int generation;
    for (generation = 0; generation <= NUM_GENERATIONS; generation++) {
        PyGC_Head *head = generation < NUM_GENERATIONS ? &state->generations[generation].head
                                                       : &state->permanent_generation.head;
        PyGC_Head *each = (PyGC_Head *)(head->_gc_next & ~(uintptr_t)3);
        while (each != head) {
            PyGC_Head *next = (PyGC_Head *)(each->_gc_next & ~(uintptr_t)3);
            NBMEM_PREFETCH(next);
            if (function((PyObject *)(each + 1), generation, arg))
                return -1;
            each = next;
        }
    }
    return 0;
}
#else
typedef struct { int (*function)(PyObject *, int, void *); void *arg; int failed; } NbmemEach;

static int nbmem_collecting(void) { return 0; }

static int nbmem_each_step(PyObject *op, void *arg)
{
    NbmemEach *each = (NbmemEach *)arg;
    each->failed = each->function(op, 0, each->arg) != 0;
    return !each->failed;
}

static int nbmem_each_tracked(int (*function)(PyObject *, int, void *), void *arg)
{
    NbmemEach each = {function, arg, 0};
    PyUnstable_GC_VisitObjects(nbmem_each_step, &each);
    return each.failed ? -1 : 0;
}
#endif

/* -- running frames -- */

/* Is a signal waiting for its handler? */
static int nbmem_signalled(void)
{
#if PY_VERSION_HEX < 0x030C0000
    return _Py_atomic_load_relaxed(&_PyRuntime.ceval.signals_pending);
#elif PY_VERSION_HEX < 0x030D0000
    return _Py_atomic_load_relaxed(&_PyRuntime.ceval.signals_pending);
#else
    return (PyThreadState_Get()->eval_breaker & _PY_SIGNALS_PENDING_BIT) != 0;
#endif
}

#if PY_VERSION_HEX < 0x030E0000
#define NBMEM_SEES_FRAMES 1
typedef struct _PyInterpreterFrame NbmemFrame;

static inline PyCodeObject *nbmem_frame_code(void *address)
{
#if PY_VERSION_HEX < 0x030D0000
    return ((NbmemFrame *)address)->f_code;
#else
    return (PyCodeObject *)((NbmemFrame *)address)->f_executable;
#endif
}

static void *nbmem_next_complete(NbmemFrame *frame)
{
    while (frame != NULL && (
#if PY_VERSION_HEX >= 0x030C0000
               frame->owner == FRAME_OWNED_BY_CSTACK ||
#endif
               _PyFrame_IsIncomplete(frame)))
        frame = frame->previous;
    return frame;
}

static void *nbmem_top_frame(PyThreadState *thread)
{
#if PY_VERSION_HEX < 0x030D0000
    return thread->cframe == NULL ? NULL : nbmem_next_complete(thread->cframe->current_frame);
#else
    return nbmem_next_complete(thread->current_frame);
#endif
}

static void *nbmem_outer_frame(void *address)
{
    return nbmem_next_complete(((NbmemFrame *)address)->previous);
}

static PyObject *nbmem_frame_globals(void *address)
{
    return ((NbmemFrame *)address)->f_globals;
}

static int nbmem_frame_line(void *address)
{
    NbmemFrame *frame = (NbmemFrame *)address;
    return PyCode_Addr2Line(nbmem_frame_code(address), _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT));
}

static void nbmem_visit_frame(void *address, visitproc visit, void *arg)
{
    NbmemFrame *frame = (NbmemFrame *)address;
    Py_ssize_t i, count = nbmem_frame_code(address)->co_nlocalsplus;
    if (frame->owner == FRAME_OWNED_BY_GENERATOR) {
        /* the generator reports its own, all but what stands in a frame that runs at this moment */
        if (frame->stacktop >= 0)
            return;
    }
    else if (frame->owner == FRAME_OWNED_BY_THREAD) {
#if PY_VERSION_HEX < 0x030C0000
        NBMEM_VISIT(frame->f_func);
#else
        NBMEM_VISIT(frame->f_funcobj);
#endif
        NBMEM_VISIT(nbmem_frame_code(address));
        NBMEM_VISIT(frame->f_locals);
        NBMEM_VISIT(frame->frame_obj);
        if (frame->stacktop > count)
            count = frame->stacktop;
    }
    else
        return;
    for (i = 0; i < count; i++)
        NBMEM_VISIT(frame->localsplus[i]);
}
#else
#define NBMEM_SEES_FRAMES 0
static PyCodeObject *nbmem_frame_code(void *address) { return NULL; }
static void *nbmem_top_frame(PyThreadState *thread) { return NULL; }
static void *nbmem_outer_frame(void *address) { return NULL; }
static PyObject *nbmem_frame_globals(void *address) { return NULL; }
static int nbmem_frame_line(void *address) { return 0; }
static void nbmem_visit_frame(void *address, visitproc visit, void *arg) {}
#endif

#endif
