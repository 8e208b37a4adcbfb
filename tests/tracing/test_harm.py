"""What must not happen to the program that is looked at. Each in an interpreter of its own: a crash is a failure."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(code: str) -> str:
    """Run a script in a fresh interpreter; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


HOT = """
    def hot():
        x = 0
        for i in range(400_000):
            x += i
        return x
"""


def test_coroutines_that_are_freed_on_another_thread_do_no_harm() -> None:
    out = run(f"""
    import threading, types, nbmem
    @types.coroutine
    def pause():
        yield 1
    async def f():
        await pause()
    {HOT}
    with nbmem.trace([f, hot], rss=True) as t:
        waiting = [f() for _ in range(100)]
        for one in waiting: one.send(None)
        one = None
        thread = threading.Thread(target=waiting.clear); thread.start(); thread.join()
        junk = [b"x" * (60 + i % 400) for i in range(20_000)]
        hot()
    print(t.summary["exact"])
    """)  # fmt: skip
    assert out == "True"


def test_deep_recursion_after_the_limit_was_raised_inside_the_trace_works() -> None:
    out = run("""
    import sys, nbmem
    def deep(n):
        return deep(n - 1) + 1 if n else 0
    with nbmem.trace(rss=True):
        sys.setrecursionlimit(10**6)
        print(deep(50_000))
    """)
    assert out == "50000"


def test_threads_with_small_stacks_recurse_as_deep_as_before() -> None:
    out = run("""
    import threading, nbmem
    def deep(n):
        return deep(n - 1) + 1 if n else 0
    def work(): print(deep(900))
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=work)
    threading.stack_size(0)
    with nbmem.trace(rss=True):
        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=work); thread.start(); thread.join()
    """)
    assert out == "900"


def test_a_trace_function_that_is_saved_and_put_back_goes_on_working() -> None:
    out = run("""
    import sys, nbmem
    def w():
        return 1
    with nbmem.trace([w], rss=True) as t:
        old = sys.gettrace()
        sys.settrace(lambda *a: None)
        sys.settrace(old)
        print(w())
    print(bool(t.lines.exact.all()) if sys.version_info < (3, 12) else False, sys.gettrace())
    """)
    assert out.split() == ["1", "False", "None"]


def test_a_probe_whose_stop_was_lost_does_not_crash_later() -> None:
    out = run("""
    import sys, gc, nbmem
    from nbmem.tracing import Tracer
    def f(): return 1
    tracer = Tracer(rss=True); tracer.start()
    Tracer._running = None
    del tracer; gc.collect()
    sys.settrace(None)
    print(f(), sum(f() for _ in range(1000)))
    """)
    assert out == "1 1000"


def test_hostile_callbacks_of_the_collector_are_left_alone() -> None:
    out = run("""
    import gc, nbmem
    class Hostile:
        def __call__(self, *a): pass
        def __getattr__(self, name): raise RuntimeError(name)
        def __eq__(self, other): raise RuntimeError("eq")
    theirs = Hostile(); gc.callbacks.append(theirs)
    with nbmem.trace(rss=True): gc.collect()
    print(len(gc.callbacks), gc.callbacks[0] is theirs)
    real = gc.callbacks
    with nbmem.trace(rss=True): gc.callbacks = []
    print(len(real))
    """)
    assert out.split() == ["1", "True", "1"]


def test_code_that_closes_every_descriptor_ends_the_trace_well() -> None:
    out = run("""
    import os, nbmem
    with nbmem.trace(rss=True) as t:
        os.closerange(3, 256)
        x = 1
    print(t.summary["exact"])
    with nbmem.trace(rss=True) as t: y = 1
    print(t.summary["exact"])
    """)
    assert out.split() == ["False", "True"]


def test_files_that_a_forked_child_opens_are_its_own() -> None:
    out = run("""
    import os, tempfile, nbmem
    def child(path):
        os.closerange(3, 256)
        files = [open(path + str(i), "w") for i in range(6)]
        return files
    with tempfile.TemporaryDirectory() as folder, nbmem.trace(rss=True):
        path = os.path.join(folder, "f")
        pid = os.fork()
        if pid == 0:
            files = child(path)
            for f in files: f.write("user data")
            for f in files: f.close()
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        print(status, {open(path + str(i)).read() for i in range(6)})
    """)
    assert out == "0 {'user data'}"


def test_lines_that_ran_on_another_thread_are_not_exact() -> None:
    out = run("""
    import threading, nbmem
    def g():
        x = bytearray(20 << 20)
        return x
    with nbmem.trace([g], rss=True) as t:
        thread = threading.Thread(target=g); thread.start(); thread.join()
    print([bool(e) for e in t.lines[t.lines.function == "g()"].exact])
    """)
    assert out.endswith("False, False]")


def test_a_profiler_that_the_code_switches_on_stays_on_and_is_told() -> None:
    out = run("""
    import cProfile, sys, threading, nbmem
    def theirs(*a): pass
    threading.setprofile(theirs)
    with nbmem.trace(): pass
    print(sys.getprofile(), threading._profile_hook is theirs)
    threading.setprofile(None)
    profile = cProfile.Profile()
    with nbmem.trace() as t:
        profile.enable()
    print(sys.getprofile() is profile if sys.version_info < (3, 12) else True)
    profile.disable()
    print(any("profile function" in note for note in t.notes) or sys.version_info >= (3, 12))
    """)
    assert out.split() == ["None", "True", "True", "True"]


def test_file_names_whose_hash_raises_are_passed_over() -> None:
    out = run("""
    import nbmem
    class Name(str):
        def __hash__(self): raise RuntimeError("hash")
    code = compile("def f(): return 3\\nx = f()", Name("odd"), "exec")
    space = {}
    with nbmem.trace(rss=True): exec(code, space)
    print(space["x"])
    """)
    assert out == "3"


def test_tracing_again_and_again_does_not_grow() -> None:
    out = run("""
    import gc, os, time, nbmem
    def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
    def once():
        with nbmem.trace() as t: x = [0] * 1000
        return len(t.to_text()) + len(t.to_html())
    for _ in range(15): once()
    gc.collect(); time.sleep(0.2)  # a thread that was joined is gone from the system a moment later
    before = resident(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    for _ in range(60): once()
    gc.collect(); time.sleep(0.2); after = resident(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    print(after[0] - before[0] < 3_000_000, before[1:] == after[1:])
    """)
    assert out.split() == ["True", "True"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the evaluation hook is for 3.11")
def test_the_evaluation_hook_is_gone_after_a_trace() -> None:
    out = run("""
    import ctypes, sys, nbmem
    get = ctypes.pythonapi._PyInterpreterState_GetEvalFrameFunc
    get.restype = ctypes.c_void_p; get.argtypes = (ctypes.c_void_p,)
    interpreter = ctypes.pythonapi.PyInterpreterState_Get; interpreter.restype = ctypes.c_void_p
    before = get(interpreter())
    with nbmem.trace(rss=True):
        during = get(interpreter())
    print(before == get(interpreter()), before != during)
    """)
    assert out.split() == ["True", "True"]
