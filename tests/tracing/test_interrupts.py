"""Ctrl-C at any moment leaves nothing switched on."""

from __future__ import annotations

import subprocess
import sys

import pytest

STORM = """
import gc, os, random, signal, sys, threading, time
import nbmem
from nbmem.process import counter
from nbmem.tracing import Source, Tracer

stop = threading.Event()
may_come = False

# Ctrl-C as it is, where the script can catch it: within its own ``except``, nothing could.
def interrupt(number, frame):
    global may_come
    if may_come:
        may_come = False
        signal.default_int_handler(number, frame)

def storm():
    while not stop.wait(random.random() * 0.03):
        os.kill(os.getpid(), signal.SIGINT)

def once():
    global may_come
    tracer = Tracer()
    tracer.watch(Source("cell", "<cell>", 1, ("x = [0] * 100", "y = bytearray(10)")))
    try:
        may_come = True
        tracer.start()
        exec(compile("x = [0] * 100\\ny = bytearray(10)", "<cell>", "exec"))
    finally:
        may_come = False
        while Tracer._running is tracer:
            try:
                may_come = True
                tracer.stop()
                may_come = False
            except KeyboardInterrupt:
                pass

signal.signal(signal.SIGINT, interrupt)
handler = signal.getsignal(signal.SIGINT)
thread = threading.Thread(target=storm); thread.start()
interrupted = finished = 0
end = time.monotonic() + 4
while time.monotonic() < end or min(interrupted, finished) <= 5:
    try:
        once()
        finished += 1
    except KeyboardInterrupt:
        interrupted += 1
stop.set(); thread.join(); time.sleep(0.3)
import memray
with memray.Tracker("/tmp/nbmem-storm-%d" % os.getpid()):  # refused if one were left on
    pass
os.unlink("/tmp/nbmem-storm-%d" % os.getpid())
print(interrupted > 5, finished > 5, sys.gettrace(), sys.getprofile(), counter.open_count,
      [c for c in gc.callbacks if "nbmem" in repr(c)], signal.getsignal(signal.SIGINT) is handler,
      len(os.listdir("/proc/self/task")))
"""


def test_a_storm_of_interrupts_leaves_everything_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", "True", "None", "None", "0", "[]", "True", "1"]


ENTERED = """
import os, random, signal, sys, threading
from nbmem.tracing.allocations import MemrayTracer

def handler(number, frame):
    for each in range(random.randrange(200)):
        len(str(each))

signal.signal(signal.SIGUSR1, handler)
sys.setswitchinterval(1e-5)
stop = threading.Event()
def storm():
    while not stop.wait(random.random() * 0.002):
        os.kill(os.getpid(), signal.SIGUSR1)

def allocate():
    return [bytearray(30_000) for _ in range(50)]

thread = threading.Thread(target=storm)
thread.start()
callers = set()
for _ in range(100):
    tracer = MemrayTracer(objects=False)
    tracer.start()
    allocate()
    tracer.stop()
    for stack in tracer.read(0).stacks:
        names = [function for function, _, _ in stack.frames]
        if "allocate" in names:
            callers.update(names[names.index("allocate") + 1:])
stop.set()
thread.join()
print(callers)
"""


def test_frames_that_ended_while_allocations_began_to_be_traced_call_nothing_any_more() -> None:
    pytest.importorskip("memray")
    done = subprocess.run(
        [sys.executable, "-c", ENTERED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "{'<module>'}\n"
