"""The guard in plain Python: each test is a process of its own, as what fails here would kill it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

START = """
import nbmem, nbmem.process, resource, signal, sys, threading, time
MIB = 1 << 20
def eat(rows, size=100_000):
    while True:
        rows.append(bytearray(size))
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()
"""


def run(code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script."""
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.mark.twin
def test_many_small_steps_are_stopped_near_the_limit_and_the_process_goes_on() -> None:
    out = run("""
        nbmem.limit('300MB')
        rows = []
        try:
            eat(rows)
        except nbmem.MemoryLimitExceeded as error:
            print(isinstance(error, MemoryError), 290e6 < resident() < (345e6 if nbmem.process.NATIVE else 460e6), 'memory limit 286.1 MiB' in str(error))
        del rows
        print(nbmem.limit().stop_count, sum(range(10)))
    """).stdout.split()
    assert out == ["True", "True", "True", "1", "45"]


@pytest.mark.twin
def test_one_huge_allocation_fails_with_memory_error_at_once() -> None:
    out = run("""
        nbmem.limit('300MB')
        try:
            bytearray(50 * 10**9)
        except MemoryError as error:
            print(type(error).__name__, resident() < 150e6)
    """).stdout.split()
    assert out == ["MemoryError", "True"]


@pytest.mark.twin
def test_a_call_that_never_returns_to_python_is_stopped_by_its_allocations() -> None:
    out = run("""
        import itertools
        nbmem.limit('300MB')
        try:
            list(itertools.count())
        except MemoryError:
            print('stopped', resident() < 300e6)
    """).stdout.split()
    assert out == ["stopped", "True"]


def test_memory_that_is_only_reserved_takes_nothing_from_the_limit() -> None:
    out = run("""
        import mmap
        nbmem.limit('300MB')
        blocks = []
        for _ in range(200):  # 20 GB in all, not touched
            blocks.append(mmap.mmap(-1, 100 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            time.sleep(0.006)
        print(len(blocks))
    """).stdout.split()
    assert out == ["200"]


def test_off_puts_the_signal_and_the_allocation_limit_back_exactly() -> None:
    out = run("""
        resource.setrlimit(resource.RLIMIT_DATA, (40 * 10**9, resource.RLIM_INFINITY))
        def state():
            return [signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)], resource.getrlimit(resource.RLIMIT_DATA), \\
                threading.active_count(), len(__import__('os').listdir('/proc/self/fd'))
        nbmem.limit(); nbmem.limit('300MB'); nbmem.limit('off')
        before = state()
        for _ in range(3):
            nbmem.limit('300MB')
            assert state()[:2] != before[:2]
            nbmem.limit('off')
        print(state() == before)
    """).stdout.split()
    assert out == ["True"]


def test_a_lower_limit_of_somebody_else_stays() -> None:
    out = run("""
        resource.setrlimit(resource.RLIMIT_DATA, (200 * MIB, resource.RLIM_INFINITY))
        status = nbmem.limit('2GB')
        print(resource.getrlimit(resource.RLIMIT_DATA)[0] == 200 * MIB, status.allocation_limit_bytes)
        nbmem.limit('off')
        nbmem.limit('300MB')
        resource.setrlimit(resource.RLIMIT_DATA, (10**10, resource.RLIM_INFINITY))
        time.sleep(0.05)
        nbmem.limit('off')
        print(resource.getrlimit(resource.RLIMIT_DATA)[0])
    """).stdout.split()
    assert out == ["True", "None", str(10**10)]


def test_as_a_context_manager_it_holds_for_the_block() -> None:
    out = run("""
        with nbmem.limit('1GB') as outer:
            try:
                with nbmem.limit('300MB'):
                    eat([])
            except MemoryError:
                print(nbmem.limit().limit_bytes)
        print(nbmem.limit().limit_bytes)
    """).stdout.split()
    assert out == [str(10**9), "None"]


def test_code_that_catches_the_error_gets_it_again_and_then_an_interrupt() -> None:
    out = run("""
        nbmem.limit('300MB')
        rows, caught = [], 0
        try:
            while True:
                try:
                    eat(rows)
                except Exception as error:
                    caught += 1
        except nbmem.MemoryLimitInterrupt:
            print(caught, not isinstance(nbmem.MemoryLimitInterrupt(), Exception), resident() < 450e6)
    """).stdout.split()
    assert out == ["3", "True", "True"]


def test_code_that_frees_what_it_took_after_the_error_is_let_alone() -> None:
    out = run("""
        nbmem.limit('300MB')
        caught = 0
        for _ in range(5):
            rows = []
            try:
                eat(rows, 4 * MIB)
            except MemoryError:
                caught += 1
                rows.clear()
        print(caught)
    """).stdout.split()
    assert out == ["5"]


def test_memory_that_malloc_holds_free_does_not_stop_code() -> None:
    out = run("""
        import ctypes
        nbmem.limit('300MB')
        libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
        libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        blocks = []
        for _ in range(2200):
            block = libc.malloc(100_000); libc.memset(block, 1, 100_000); blocks.append(block)
        keep = blocks.pop()
        for block in blocks: libc.free(block)  # free, and beneath a block in use: malloc keeps it
        print(resident() > 200e6)
        rows = [bytearray(MIB * 40) for _ in range(4)]
        print(sum(len(row) for row in rows) == 160 * MIB)
    """).stdout.split()
    assert out == ["True", "True"]


def test_a_busy_thread_is_stopped_and_a_waiting_one_is_not() -> None:
    out = run("""
        nbmem.limit('300MB')
        told, release = [], threading.Event()
        threading.excepthook = lambda args: told.append((args.thread.name, args.exc_type.__name__))
        def wait(): release.wait(); told.append('waited')
        waiting = threading.Thread(target=wait, name='waiting'); waiting.start()
        eater = threading.Thread(target=eat, args=([],), name='eater'); eater.start()
        eater.join(); release.set(); waiting.join()
        print(told, resident() < 450e6)
    """).stdout.strip()
    assert out == "[('eater', 'MemoryLimitExceeded'), 'waited'] True"


def test_the_warning_comes_once_at_four_fifths() -> None:
    done = run("""
        nbmem.limit('300MB')
        rows = [bytearray(MIB) for _ in range(180)]
        time.sleep(0.1)
        print('quiet', file=sys.stderr)
        rows += [bytearray(MIB) for _ in range(50)]
        time.sleep(0.1)
        rows += [bytearray(MIB) for _ in range(5)]
        time.sleep(0.1)
    """)
    quiet, warning = done.stderr.strip().splitlines()
    assert quiet == "quiet"
    assert "of the memory limit (286.1 MiB)" in warning


def test_children_do_not_inherit_it_by_fork_nor_by_exec_nor_theirs() -> None:
    out = run("""
        import subprocess, os
        nbmem.limit('300MB')
        ask = 'import resource,time; time.sleep(.1); print(resource.getrlimit(resource.RLIMIT_DATA)[0])'
        print(subprocess.run([sys.executable, '-c', ask], capture_output=True, text=True).stdout.strip())
        shell = f"sleep 0.02; ({sys.executable} -c '{ask}' | cat)"
        print(subprocess.run(shell, shell=True, capture_output=True, text=True).stdout.strip())
        sys.stdout.flush()
        if os.fork() == 0:
            print(resource.getrlimit(resource.RLIMIT_DATA)[0], nbmem.limit().limit_bytes, flush=True)
            os._exit(0)
        os.wait()
        print(resource.getrlimit(resource.RLIMIT_DATA)[0] > 0)
    """).stdout.split()
    assert out == ["-1", "-1", "-1", "None", "True"]


def test_processes_whose_parent_has_ended_do_not_keep_it(tmp_path: Path) -> None:
    out = run(f"""
        import os, subprocess
        nbmem.limit('300MB')
        for number in range(5):
            os.system("sh -c 'sleep 1; ulimit -d' > {tmp_path}/os%d &" % number)
            subprocess.run("nohup sh -c 'sleep 1; ulimit -d > {tmp_path}/sub%d' >/dev/null 2>&1 &" % number, shell=True)
        time.sleep(2.5)
        print(*(open(f"{tmp_path}/{{kind}}{{number}}").read().strip() for kind in ('os', 'sub') for number in range(5)))
    """).stdout.split()
    assert out == ["unlimited"] * 10


def test_a_childs_own_limit_is_the_childs() -> None:
    out = run("""
        import subprocess
        nbmem.limit('600MB')
        code = "import nbmem, nbmem.process, resource, time; nbmem.limit('300MB'); time.sleep(.5); print(resource.getrlimit(resource.RLIMIT_DATA)[0] > 0)"
        print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout)
    """).stdout.split()
    assert out == ["True"]


def test_where_the_stack_or_the_descriptors_are_used_up_only_the_limits_own_error_comes() -> None:
    out = run("""
        import os, resource
        nbmem.limit('300MB')
        def deep(rows):
            try:
                deep(rows)
            except RecursionError:
                eat(rows)
        def first_error(work):
            names, rows = [], []
            # where an allocation was refused, the limit's error comes too, anywhere, until the rows are gone
            while not names or rows:
                try:
                    try:
                        if not names:
                            work(rows)
                    except Exception as error:
                        names.append(type(error).__name__)
                    rows.clear()
                except MemoryError:
                    pass
            return names[0]
        print(first_error(deep))
        files = []
        try:
            while True: files.append(open('/dev/null'))
        except OSError:
            pass
        print(first_error(eat))
    """).stdout.split()
    # with no frame left the handler cannot run: then the allocation fails, a little above
    assert out[0] in ("MemoryLimitExceeded", "MemoryError")
    assert out[1] == "MemoryLimitExceeded"


def test_a_forked_child_has_the_signal_and_the_files_as_they_were() -> None:
    out = run("""
        import os
        state = lambda: (signal.getsignal(signal.SIGURG) is signal.SIG_DFL, sorted(os.readlink(f'/proc/self/fd/{n}') for n in
                 os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}') and 'proc' in os.readlink(f'/proc/self/fd/{n}')))
        nbmem.limit('300MB')
        if os.fork() == 0:
            found = state()
            print(found[0], [path for path in found[1] if 'stat' in path or 'loadavg' in path], flush=True)
            os._exit(0)
        os.wait()
    """).stdout.strip()
    assert out == "True []"


def test_children_inherit_it_when_asked() -> None:
    out = run("""
        import subprocess
        nbmem.limit('300MB', children=True)
        code = 'bytearray(10**10)'
        print('MemoryError' in subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr)
    """).stdout.split()
    assert out == ["True"]


def test_a_signal_handler_of_somebody_else_is_let_alone() -> None:
    out = run("""
        handler = lambda number, frame: print('theirs')
        signal.signal(signal.SIGURG, handler)
        nbmem.limit('300MB')
        try:
            eat([])
        except MemoryError:
            print('stopped')
        signal.raise_signal(signal.SIGURG)
        nbmem.limit('off')
        print(signal.getsignal(signal.SIGURG) is handler)
    """).stdout.split()
    assert out == ["stopped", "theirs", "True"]


def test_an_interrupt_in_the_middle_leaves_it_working() -> None:
    out = run("""
        nbmem.limit('300MB')
        threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
        try:
            time.sleep(20)
        except KeyboardInterrupt:
            print('interrupted')
        try:
            eat([])
        except MemoryError:
            print('stopped')
    """).stdout.split()
    assert out == ["interrupted", "stopped"]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("'lots'", "'lots' is not a limit; write for example 8GB, 75%, auto or off"),
        ("'0%'", "'0%' is no share of the memory"),
        ("'300%'", "'300%' is no share of the memory"),
        ("'1MB'", "is below the"),
        ("10**15", "is more than the"),
        ("[1]", "a limit is a size, not list"),
        ("float('nan')", "is not a limit"),
        ("-5", "is below the"),
    ],
)
def test_what_is_no_limit_gives_one_clear_line_and_changes_nothing(size: str, message: str) -> None:
    out = (
        run(f"""
        nbmem.limit('1GB')
        try:
            nbmem.limit({size})
        except nbmem.BadArgument as error:
            print(error)
        print(nbmem.limit().limit_bytes)
    """)
        .stdout.strip()
        .splitlines()
    )
    assert len(out) == 2
    assert message in out[0]
    assert out[1] == str(10**9)


def test_off_the_main_thread_it_is_refused() -> None:
    out = (
        run("""
        def try_it():
            try:
                nbmem.limit('1GB')
            except nbmem.BadArgument as error:
                print(error)
        thread = threading.Thread(target=try_it); thread.start(); thread.join()
        print(nbmem.limit().limit_bytes)
    """)
        .stdout.strip()
        .splitlines()
    )
    assert out == ["a memory limit can be set on the main thread only", "None"]


def test_shares_are_of_the_memory_that_the_process_can_have() -> None:
    out = (
        run("""
        from nbmem.process.machine import memory_ceiling
        most = memory_ceiling().bytes
        print(nbmem.limit('75%').limit_bytes == int(most * 0.75), nbmem.limit('auto').limit_bytes == int(most * 0.9))
        print(nbmem.limit())
    """)
        .stdout.strip()
        .splitlines()
    )
    assert out[0] == "True True"
    assert "auto: 90% of " in out[1]


def test_a_late_signal_does_no_harm() -> None:
    out = run("""
        import os
        nbmem.limit('300MB'); nbmem.limit('off')
        os.kill(os.getpid(), signal.SIGURG)
        time.sleep(0.05)
        print('alive')
    """).stdout.split()
    assert out == ["alive"]
