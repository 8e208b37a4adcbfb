"""``nbmem.trace``: trace the body of a ``with`` statement."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from nbmem._errors import BadArgument
from nbmem.heap import Names, compare_names, record_names
from nbmem.reports.celltrace import CellTrace
from nbmem.tracing import Source, Tracer
from nbmem.tracing.sources import source_of_function, source_of_with


class Recording:
    """A trace with the names of a namespace; what ``nbmem.trace`` and ``%%memtrace`` both run.

    Parameters
    ----------
    title : str
        Heading of the result.
    sources : sequence of Source
        The source whose lines are measured.
    namespace : mapping
        Whose names are compared, before with after; no reference to its objects is kept.
    hidden : collection of str
        Names to pass over.
    rss, objects, stacks : bool
        See :func:`trace`.
    """

    def __init__(
        self,
        title: str,
        sources: Sequence[Source],
        namespace: Mapping[str, object],
        *,
        hidden: Collection[str] = (),
        rss: bool = False,
        objects: bool = False,
        stacks: bool = False,
    ) -> None:
        self.result = CellTrace(title, show_stacks=stacks)
        self.tracer = Tracer(rss=rss, objects=objects)
        for source in sources:
            self.tracer.watch(source)
        self._namespace = namespace
        self._hidden = frozenset(hidden)
        self._names: Names = {}

    def start(self) -> None:
        """Start to record."""
        self._names = record_names(self._namespace, self._hidden)
        self.tracer.start()

    def stop(self) -> CellTrace:
        """Stop, and fill the result."""
        try:
            data = self.tracer.stop()
        except BaseException:
            self.tracer.abandon()
            raise
        # The name that the result itself was given is no doing of the code.
        ours = {name for name, value in dict(self._namespace).items() if value is self.result}
        changes = compare_names(self._names, record_names(self._namespace, self._hidden))
        self.result._fill(data, [change for change in changes if change.name not in ours])
        return self.result


class trace:  # noqa: N801  # it is used like a function: with nbmem.trace() as t
    """Trace the body of a ``with`` statement: what each of its lines costs.

    Parameters
    ----------
    functions : callable or sequence of callable
        Functions whose lines are measured too.
    rss : bool
        Resident figures only: no allocation tracing, the least overhead.
    objects : bool
        Trace Python's object allocator too: small objects one by one, at a multiple of the time.
    stacks : bool
        Show the allocation stacks in the report; the frame ``.stacks`` is there anyway.

    Raises
    ------
    AlreadyRunning
        If a trace is running.
    BadArgument
        If one of ``functions`` is no Python function.

    Examples
    --------
    >>> import nbmem
    >>> with nbmem.trace() as t:
    ...     rows = [str(number) for number in range(100_000)]
    >>> t.summary["exact"], len(t.lines) > 0
    (True, True)
    """

    def __init__(
        self,
        functions: Sequence[Callable[..., object]] | Callable[..., object] = (),
        *,
        rss: bool = False,
        objects: bool = False,
        stacks: bool = False,
    ) -> None:
        if isinstance(functions, str):
            raise BadArgument(
                f"functions takes functions, not their names: without the quotes of {functions!r}"
            )
        several = [functions] if callable(functions) else functions
        self._sources = [source_of_function(function) for function in several]
        self._rss, self._objects, self._stacks = rss, objects, stacks
        self._recording: Recording | None = None
        self._finalizer: weakref.finalize[..., trace] | None = None

    def __enter__(self) -> CellTrace:
        caller = inspect.currentframe()
        frame: FrameType | None = caller.f_back if caller is not None else None
        # ExitStack.enter_context(nbmem.trace()): the caller is who called that
        while frame is not None and frame.f_globals.get("__name__") == "contextlib":
            frame = frame.f_back
        assert frame is not None
        try:
            body = source_of_with(frame)
            # A function's f_locals is a copy that its frame would keep alive: only a module's are compared.
            in_function = frame.f_code.co_flags & inspect.CO_NEWLOCALS
            namespace: Mapping[str, Any] = {} if in_function else frame.f_globals
            title = f"{frame.f_code.co_name}, line {frame.f_lineno}"
            self._recording = Recording(
                title,
                [body, *self._sources],
                namespace,
                rss=self._rss,
                objects=self._objects,
                stacks=self._stacks,
            )
            # Should an interrupt fall between here and the with statement, __exit__ is never called.
            self._finalizer = weakref.finalize(self, self._recording.tracer.abandon)
            self._finalizer.atexit = False
            self._recording.start()
            return self._recording.result
        finally:
            del frame, caller

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._recording is not None
        assert self._finalizer is not None
        self._recording.stop()
        self._finalizer.detach()
        self._recording = self._finalizer = None
