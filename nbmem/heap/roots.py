"""What holds objects and has a name: the interpreter's part. A notebook adds its own."""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, CoroutineType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from nbmem.heap.belongings import is_library_file
from nbmem.heap.ends import module_namespaces
from nbmem.heap.frames import exit_callbacks, live_frames, thread_name
from nbmem.heap.own import namespace_of
from nbmem.heap.paths import ALSO, END, SPREAD
from nbmem.heap.typenames import module_of, name_of

#: A task of a longer name is not spoken of in a cure.
_MOST_TITLE = 60


@dataclass(frozen=True, slots=True)
class Root:
    """Something that holds objects, is there for a reason of its own, and has a name.

    Parameters
    ----------
    value : object
        It, as it stands in the heap.
    kind : str
        ``variable``, ``output``, ``error``, ``figure``, ``widget``, ``comm``, ``module``, ``class``,
        ``frame``, ``thread``, ``task``, ``context variable``, ``logger``, ``event loop``, ``exit callback``,
        ``signal handler``, ``trace function``, ``shell``, ``native code``.
    name : str
        In words.
    code : str or None
        The expression that gives it; None if there is none. Of a namespace what stands before a name.
    imports : str
        The module that has to be imported before the expression can be used.
    mark : int
        ``END``; ``SPREAD`` where each reference from it is a root of its own; ``ALSO`` where other roots may
        be found beyond it.
    cure : str
        What lets go of all that it holds, if that is known.
    advice : str
        Why there is none, or what it does.
    cuts : tuple of (object, object)
        The references that the cure takes away, from and to; None for one from outside the heap. They are the
        root's own, and no way is looked for beyond them.
    address : int
        Of its node, where that stands for no object; 0: that of ``value``.
    where : str
        Of a running frame: in which thread.
    """

    value: Any
    kind: str
    name: str
    code: str | None = None
    imports: str = ""
    mark: int = END
    cure: str = ""
    advice: str = ""
    cuts: tuple[tuple[Any, Any], ...] = ()
    address: int = 0
    where: str = ""


def interpreter_roots() -> list[Root]:
    """List what holds objects in any interpreter."""
    return [
        Root(sys.modules, "module", "the loaded modules", "sys.modules", "sys"),
        *_of_modules(),
        *_of_threads(),
        *_of_frames(),
        *_of_logging(),
        *_of_asyncio(),
        *_of_native(),
    ]


def _of_modules() -> Iterator[Root]:
    for address, name in module_namespaces().items():
        module = sys.modules.get(name)
        namespace = None if module is None else namespace_of(module)
        if id(namespace) == address:
            code = "" if name == "__main__" else f"{name}."
            yield Root(
                namespace, "module", f"module {name}", code, "" if name == "__main__" else name, mark=SPREAD
            )


def _of_threads() -> Iterator[Root]:
    active: dict[int, Any] = vars(threading).get("_active", {})
    for ident, thread in list(active.items()):
        yield Root(
            thread,
            "thread",
            f"thread {thread_name(ident)!r}",
            advice=f"until the thread {thread_name(ident)!r} ends",
        )


def _of_frames() -> Iterator[Root]:
    main = threading.main_thread().ident
    for address, (frame, thread) in live_frames().items():
        where = "" if thread == main else f" in thread {thread_name(thread)!r}"
        name = frame.f_code.co_qualname
        yield Root(
            frame,
            "frame",
            f"{name}(){where}, running",
            advice=f"until {name}() ends{where}",
            address=address,
            where=where,
        )


def _of_logging() -> Iterator[Root]:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    yield Root(logging.root, "logger", "the root logger", "logging.getLogger()", "logging")
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if type(name) is str and issubclass(type(logger), logging.Logger):
            yield Root(logger, "logger", f"logger {name!r}", f"logging.getLogger({name!r})", "logging")


def _of_asyncio() -> Iterator[Root]:
    events, tasks = sys.modules.get("asyncio.events"), sys.modules.get("asyncio.tasks")
    if events is None or tasks is None:
        return
    loop = events._get_running_loop()
    if loop is not None:
        yield Root(loop, "event loop", "the event loop", "asyncio.get_event_loop()", "asyncio")
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):  # the first until CPython 3.11
        listed = getattr(tasks, name, None)
        listed = getattr(listed, "data", listed)
        if type(listed) is not set:
            continue
        for each in list(listed):
            task = each() if issubclass(type(each), weakref.ref) else each
            kind = type(task)
            # of somebody else's classes nothing is asked
            if task is None or module_of(kind) not in {"_asyncio", "asyncio.tasks"} or task.done():
                continue
            title = task.get_name()
            code = f"next(task for task in asyncio.all_tasks() if task.get_name() == {title!r})"
            running = task.get_coro()
            ours = type(running) is CoroutineType and not is_library_file(running.cr_code.co_filename)
            yield Root(
                task, "task", f"the task {title!r} of asyncio", code, "asyncio",
                cure=f"{code}.cancel()" if ours and len(title) <= _MOST_TITLE else "",
                advice="it is still to be run" + ("; cancelling ends it" if ours else ": a library's"),
            )  # fmt: skip


def _of_native() -> Iterator[Root]:
    """List what the interpreter keeps in C, and tells when it is asked."""
    for function, arguments, named in exit_callbacks():
        what = _callable(function)
        for part, whose in ((function, ""), (arguments, "arguments of "), (named, "arguments of ")):
            if part is not None and part != ():
                cuts = tuple((None, each) for each in (function, arguments, named) if each is not None)
                yield Root(part, "exit callback", f"{whose}the exit callback {what}", mark=ALSO, cuts=cuts)
    for number in sorted(signal.valid_signals()):
        handler = signal.getsignal(number)
        if handler is not None and not isinstance(handler, int):
            name = signal.Signals(number).name if number in iter(signal.Signals) else str(int(number))
            code = f"signal.{name}" if name.isidentifier() else name
            yield Root(
                handler,
                "signal handler",
                f"the handler of the signal {name}",
                f"signal.getsignal({code})",
                "signal",
                mark=ALSO,
                # what it gives back is not to be displayed
                cure=f"signal.signal({code}, signal.SIG_DFL);",
                cuts=((None, handler),),
            )
    for name in ("trace", "profile"):
        function = getattr(sys, f"get{name}")()
        if function is not None:
            code = f"sys.get{name}()"
            yield Root(
                function, "trace function", f"the {name} function", code, "sys",
                mark=ALSO, cure=f"sys.set{name}(None)", cuts=((None, function),),
            )  # fmt: skip


def _callable(function: Any) -> str:
    for name in ("__qualname__", "__name__"):
        found = _static(function, name)
        if found:
            return f"{found}()"
    return name_of(type(function))


def _static(value: Any, name: str) -> str:
    """Read a name of a function, of a method what it is a method of; nobody's code runs."""
    if type(value) is MethodType:
        return _static(value.__func__, name)
    if type(value) in (FunctionType, BuiltinFunctionType):
        found = vars(type(value)).get(name)
        text = found.__get__(value) if found is not None else ""
        return text if type(text) is str else ""
    return ""


def is_class_by_name(kind: type) -> bool:
    """Tell whether a class is what its module has under its name."""
    here: Any = sys.modules.get(module_of(kind))
    for part in type.__dict__["__qualname__"].__get__(kind).split("."):
        if issubclass(type(here), ModuleType):
            here = dict.get(namespace_of(here), part)
        elif issubclass(type(here), type):
            here = type.__dict__["__dict__"].__get__(here).get(part)
        else:
            return False
    return here is kind


def outer_frames(namespace: dict[str, Any]) -> list[FrameType]:
    """List the frames of this thread outside of all that run in a namespace: those that run the notebook."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)  # not this one: it would hold itself
    inside = -1
    while frame is not None:
        if frame.f_globals is namespace:
            inside = len(frames)
        frames.append(frame)
        frame = frame.f_back
    return frames[inside + 1 :]
