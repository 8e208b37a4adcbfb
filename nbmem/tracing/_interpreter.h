/* What the line probe needs of CPython below its public API, kept in one place.

   3.11: an armed trace function slows every instruction of every frame of the thread. The evaluation
   hook (PEP 523) takes the trace function off while code that nobody watches runs, and puts it back on
   the way out, so that only watched lines pay. With the hook in place, a Python call takes C stack again
   (as up to 3.10), so it is installed only under an ordinary recursion limit.

   3.12+: sys.monitoring watches single code objects, nothing of this is needed. */

#ifndef NBMEM_INTERPRETER_H
#define NBMEM_INTERPRETER_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030D0000
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#define NBMEM_UNDEF_CORE 1
#endif
#undef _PyGC_FINALIZED  /* both header sets define it, alike */
#include "internal/pycore_interp.h"
#include "internal/pycore_frame.h"
#ifdef NBMEM_UNDEF_CORE
#undef Py_BUILD_CORE
#endif
#endif

/* Ask the main thread to call a function between two instructions; needs no GIL. */
static int nbmem_ask(int (*function)(void *))
{
    if (Py_AddPendingCall(function, NULL) != 0)
        return -1;
#if PY_VERSION_HEX < 0x030D0000
    /* Up to 3.12 a call that is added from another thread does not stop the evaluation loop: the bit is
       computed with "can *this* thread handle it" (ceval.c, COMPUTE_EVAL_BREAKER). Set it. */
    _Py_atomic_store_relaxed(&PyInterpreterState_Main()->ceval.eval_breaker, 1);
#endif
    return 0;
}

static int nbmem_has_profile(void)
{
    return PyThreadState_Get()->c_profilefunc != NULL;
}

/* Tell whether a code object is watched; foreign: it is about to run on another thread than the probe's.
   Must not raise nor disturb a raised exception. */
typedef int (*nbmem_is_watched)(PyObject *code, int foreign);

#if PY_VERSION_HEX < 0x030C0000

#include <opcode.h>

/* With the hook, a Python call takes C stack: deeper than this, the hook goes. */
#define NBMEM_HIGHEST_LIMIT 3000               /* of the recursion limit; the stack is some megabytes */
#define NBMEM_DEEPEST_ELSEWHERE 100            /* calls on other threads, whose stacks may be small */

static PyThreadState *nbmem_thread = NULL;     /* the thread that is probed */
static uint64_t nbmem_thread_id = 0;           /* a thread state's address may come back, its number not */
static Py_tracefunc nbmem_function = NULL;
static PyObject *nbmem_object = NULL;          /* kept alive by the probe itself while it runs */
static nbmem_is_watched nbmem_watched = NULL;
static int nbmem_armed = 0;
static int nbmem_unwatched_depth = 0;          /* > 0: inside code that nobody watches */
static int nbmem_hooked = 0;
static int nbmem_hooked_throughout = 0;        /* was the hook there from start to end? */
static long nbmem_generation = 0;              /* counts installations: frames of an old one keep still */

static int nbmem_owns_trace(void)
{
    /* sys.settrace(saved) of somebody else puts our object back under Python's own trampoline: not ours then */
    return nbmem_thread != NULL && nbmem_thread->c_traceobj == nbmem_object
        && (nbmem_thread->c_tracefunc == nbmem_function || nbmem_thread->c_tracefunc == NULL);
}

static void nbmem_set_trace(int on)
{
    PyThreadState *thread = nbmem_thread;
    if (!nbmem_owns_trace())
        return;                                /* a debugger took over: hands off */
    thread->c_tracefunc = on ? nbmem_function : NULL;
    thread->cframe->use_tracing = (on || thread->c_profilefunc != NULL) ? 255 : 0;
}

static int nbmem_is_alive(PyInterpreterState *interp)
{
    PyThreadState *thread;
    for (thread = PyInterpreterState_ThreadHead(interp); thread != NULL; thread = PyThreadState_Next(thread))
        if (thread == nbmem_thread && thread->id == nbmem_thread_id)
            return 1;
    return 0;
}

static PyObject *nbmem_evaluate(PyThreadState *thread, struct _PyInterpreterFrame *frame, int throwing);

static void nbmem_unhook(PyInterpreterState *interp)
{
    if (_PyInterpreterState_GetEvalFrameFunc(interp) == nbmem_evaluate)
        _PyInterpreterState_SetEvalFrameFunc(interp, _PyEval_EvalFrameDefault);
    if (!nbmem_hooked)
        return;
    nbmem_hooked = 0;
    nbmem_hooked_throughout = 0;
    nbmem_unwatched_depth = 0;
    if (nbmem_armed && nbmem_is_alive(interp))
        nbmem_set_trace(1);
}

static PyObject *nbmem_evaluate(PyThreadState *thread, struct _PyInterpreterFrame *frame, int throwing)
{
    PyObject *result;
    int depth;
    long generation = nbmem_generation;
    if (!nbmem_hooked)
        return _PyEval_EvalFrameDefault(thread, frame, throwing);
    if (thread != nbmem_thread || thread->id != nbmem_thread_id) {
        if (thread->recursion_limit - thread->recursion_remaining > NBMEM_DEEPEST_ELSEWHERE)
            nbmem_unhook(thread->interp);
        else
            nbmem_watched((PyObject *)frame->f_code, 1);
        return _PyEval_EvalFrameDefault(thread, frame, throwing);
    }
    if (Py_GetRecursionLimit() > NBMEM_HIGHEST_LIMIT) {
        nbmem_unhook(thread->interp);
        return _PyEval_EvalFrameDefault(thread, frame, throwing);
    }
    depth = nbmem_unwatched_depth;
    if (nbmem_watched((PyObject *)frame->f_code, 0)) {
        if (depth == 0)
            return _PyEval_EvalFrameDefault(thread, frame, throwing);
        nbmem_unwatched_depth = 0;
        if (nbmem_armed)
            nbmem_set_trace(1);
        result = _PyEval_EvalFrameDefault(thread, frame, throwing);
        if (nbmem_hooked && generation == nbmem_generation) {   /* else: stopped, or unhooked, inside */
            nbmem_unwatched_depth = depth;
            nbmem_set_trace(0);
        }
        return result;
    }
    if (depth > 0)
        return _PyEval_EvalFrameDefault(thread, frame, throwing);
    nbmem_unwatched_depth = 1;
    nbmem_set_trace(0);
    result = _PyEval_EvalFrameDefault(thread, frame, throwing);
    if (nbmem_hooked && generation == nbmem_generation) {
        nbmem_unwatched_depth = 0;
        if (nbmem_armed)
            nbmem_set_trace(1);
    }
    return result;
}

static int nbmem_install(Py_tracefunc function, PyObject *object, nbmem_is_watched watched, int with_hook)
{
    PyThreadState *thread = PyThreadState_Get();
    if (thread->c_tracefunc != NULL || nbmem_thread != NULL)
        return -1;
    PyEval_SetTrace(function, object);
    if (thread->c_tracefunc != function)       /* an audit hook refused */
        return -1;
    nbmem_function = function;
    nbmem_object = object;
    nbmem_watched = watched;
    nbmem_armed = 1;
    nbmem_unwatched_depth = 0;
    nbmem_thread = thread;
    nbmem_thread_id = thread->id;
    nbmem_generation++;
    nbmem_hooked = with_hook && Py_GetRecursionLimit() <= NBMEM_HIGHEST_LIMIT
        && _PyInterpreterState_GetEvalFrameFunc(thread->interp) == _PyEval_EvalFrameDefault;
    nbmem_hooked_throughout = nbmem_hooked;
    if (nbmem_hooked)
        _PyInterpreterState_SetEvalFrameFunc(thread->interp, nbmem_evaluate);
    return 0;
}

/* Returns 1 if the trace function was still ours, 0 if somebody had replaced it. */
static int nbmem_uninstall(void)
{
    PyThreadState *here = PyThreadState_Get();
    int ours = 0, throughout = nbmem_hooked_throughout;
    nbmem_armed = 0;
    nbmem_unhook(here->interp);
    nbmem_hooked_throughout = throughout;
    /* Stopped on another thread than it was started on: that one's trace function is to go, not this one's. */
    if (nbmem_thread == here ? nbmem_thread_id == here->id : nbmem_is_alive(here->interp)) {
        ours = nbmem_owns_trace();
        if (nbmem_thread->c_traceobj == nbmem_object)
            _PyEval_SetTrace(nbmem_thread, NULL, NULL);
    }
    nbmem_thread = NULL;
    nbmem_object = NULL;
    return ours;
}

/* Take the trace function again that somebody saved and put back as if it were one of Python's. */
static void nbmem_retake(void)
{
    if (nbmem_thread == PyThreadState_Get() && nbmem_thread->c_traceobj == nbmem_object) {
        PyEval_SetTrace(nbmem_function, nbmem_object);
        if (!nbmem_armed || nbmem_unwatched_depth > 0)
            nbmem_thread->c_tracefunc = NULL;
    }
}

static void nbmem_arm(int on)
{
    nbmem_armed = on;
    if (nbmem_unwatched_depth == 0)
        nbmem_set_trace(on);
}

/* At a return event: does the frame only pause (yield, await), to go on later? */
static int nbmem_pauses(PyFrameObject *frame, PyCodeObject *code)
{
    int last = PyFrame_GetLasti(frame);
    return last >= 0 && (unsigned char)((char *)code->co_code_adaptive)[last] == YIELD_VALUE;
}

#else

static int nbmem_install(Py_tracefunc f, PyObject *o, nbmem_is_watched w, int h) { return -1; }
static int nbmem_uninstall(void) { return 1; }
static void nbmem_arm(int on) { }
static void nbmem_retake(void) { }
static const int nbmem_hooked_throughout = 1;
static int nbmem_owns_trace(void) { return 1; }
static int nbmem_pauses(PyFrameObject *frame, PyCodeObject *code) { return 0; }

#endif
#endif
