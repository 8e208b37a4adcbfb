"""What each line of some functions costs: ``nbmem.profile_lines`` and its result."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from nbmem._errors import BadArgument
from nbmem.reports.listing import FunctionLines, profile_html, profile_text
from nbmem.reports.selection import frame_place
from nbmem.tracing import LineCost, Source, Trace, Tracer
from nbmem.tracing.sources import source_of_function

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_WAITING = {
    inspect.CO_GENERATOR: "nothing iterated over it",
    inspect.CO_ASYNC_GENERATOR: "nothing iterated over it",
    inspect.CO_COROUTINE: "nothing awaited it",
}


class LineProfile:
    """What each line of some functions cost while a call ran.

    Sizes are bytes. Frames are made anew at each access; the profile holds no object of the user's.

    Attributes
    ----------
    title : str
        The names of the functions.
    data : Trace
        The plain data that the frames are made of.
    """

    def __init__(self, data: Trace, functions: Sequence[FunctionLines]) -> None:
        self.title = ", ".join(function.name for function in functions)
        self.data = data
        self._functions = tuple(functions)

    @property
    def lines(self) -> pd.DataFrame:
        """One row per source line of each function, those that did not run too.

        Columns ``function, file, line, source, hits, seconds, mem_usage_bytes, increment_bytes, spike_bytes,
        peak_bytes, exact``. ``mem_usage_bytes`` is the highest resident size of the process while the line
        ran, ``peak_bytes`` the same above the start; ``increment_bytes`` the size after the line minus
        before, summed over its runs; ``spike_bytes`` the largest rise within one run, given back or not.
        What was not measured is ``<NA>``.
        """
        import pandas as pd

        frame = pd.DataFrame(
            [
                (
                    function.name, function.file, line.line, line.source, line.hits, line.seconds,
                    line.resident_bytes, line.increment_bytes, line.spike_bytes, line.peak_bytes, line.exact,
                )
                for function in self._functions
                for line in function.lines
            ],
            columns=pd.Index(
                [
                    "function", "file", "line", "source", "hits", "seconds", "mem_usage_bytes",
                    "increment_bytes", "spike_bytes", "peak_bytes", "exact",
                ]
            ),
        )  # fmt: skip
        whole = [name for name in frame.columns if name.endswith("_bytes") or name in ("line", "hits")]
        return frame.astype({**dict.fromkeys(whole, "Int64"), "seconds": "float64", "exact": "bool"})

    @property
    def summary(self) -> pd.Series[Any]:
        """The totals of the call, by name: see :class:`nbmem.tracing.TraceSummary`."""
        import pandas as pd

        return pd.Series(asdict(self.data.summary), name=self.title, dtype=object)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the figures, and which functions have none."""
        absent = tuple(function.absence for function in self._functions if function.absence)
        return (*absent, *self.data.notes)

    def to_text(self) -> str:
        """Write the profile as text, in memory_profiler's columns."""
        return profile_text(self.data, self._functions)

    def to_html(self) -> str:
        """Write the profile as static HTML: no script, no request, readable in an untrusted notebook."""
        return profile_html(self.data, self._functions, title=self.title)

    def plot(self) -> Figure:
        """Draw resident size over time with the line that ran, by matplotlib; return the figure."""
        from nbmem.reports.plot import plot_trace

        return plot_trace(self.data, title=self.title)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.to_html()}

    def __repr__(self) -> str:
        return self.to_text()


class LineRecording:
    """A line profile in the making; what ``nbmem.profile_lines`` and ``%mprun`` both run.

    Parameters
    ----------
    sources : sequence of Source
        The functions.
    include_children : bool
        See :func:`profile_lines`.
    places : mapping, optional
        What people call a file name: ``"In [3]"``.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        include_children: bool = False,
        places: Mapping[str, str] | None = None,
    ) -> None:
        self._sources = _told_apart(sources)
        self._places = places or {}
        self._tracer = Tracer(rss=True, children=include_children)
        for source in self._sources:
            self._tracer.watch(source)

    def run(self, call: Callable[[], object], done: Callable[[LineProfile], object]) -> None:
        """Measure a call; hand the profile over when it has ended, by an exception too, which then passes.

        Raises
        ------
        AlreadyRunning
            If a trace is running; nothing was called then.
        """
        __tracebackhide__ = True
        self._tracer.start()
        try:
            call()
        finally:
            done(self._stop())

    def _stop(self) -> LineProfile:
        try:
            trace = self._tracer.stop()
        except BaseException:
            self._tracer.abandon()
            raise
        found: dict[str, list[LineCost]] = {source.name: [] for source in self._sources}
        for line in trace.lines:
            found[line.function].append(line)
        gone = [source.name for source in self._sources if not any(source.lines)]
        if gone:
            note = f"the source of {', '.join(gone)} is not to be found: figures by line number"
            trace = replace(trace, notes=(*trace.notes, note))
        functions = [
            FunctionLines(
                source.name,
                source.filename,
                self._places.get(source.filename) or _place(source.filename),
                tuple(found[source.name]),
                _absence(source, found[source.name], trace),
            )
            for source in self._sources
        ]
        return LineProfile(trace, functions)


def _place(filename: str) -> str:
    """Name a file for people: that of a cell is a number that says nothing."""
    return "a cell" if frame_place(filename, 1) == "cell line 1" else filename


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Leave out what is there twice, also as part of another; give each of the rest a name of its own."""
    whole = [source for source in sources if not any(_is_within(source, other) for other in sources)]
    result: list[Source] = []
    for source in whole:
        if any(source.code is known.code for known in result):
            continue
        names = {known.name for known in result}
        number = next(number for number in range(1, len(names) + 2) if _numbered(source, number) not in names)
        result.append(replace(source, name=_numbered(source, number)))
    return result


def _numbered(source: Source, number: int) -> str:
    return source.name if number == 1 else f"{source.name} #{number}"


def _is_within(source: Source, other: Source) -> bool:
    return any(source.code is nested for nested in other.nested)


def _absence(source: Source, lines: Sequence[LineCost], trace: Trace) -> str:
    """Say why a function has no figures, if it has none."""
    if any(line.hits for line in lines):
        return ""
    if trace.summary.lines_by == "not traced":
        return f"{source.name} was not measured"
    if trace.summary.exact and not all(line.exact for line in lines):
        return (
            f"{source.name} was not seen running; it may have run on another thread or unseen, see the notes"
        )
    assert source.code is not None
    waiting = next((words for flag, words in _WAITING.items() if source.code.co_flags & flag), "")
    if waiting:
        return f"{source.name} never ran: it was not called, or {waiting}; there is nothing to show"
    return f"{source.name} was never called in this process: there is nothing to show"


def profile_lines(
    functions: Callable[..., object] | Iterable[Callable[..., object]],
    call: str | Callable[[], object],
    *,
    namespace: dict[str, Any] | None = None,
    include_children: bool = False,
) -> LineProfile:
    """Measure what each line of some functions costs while a call runs, exactly.

    Parameters
    ----------
    functions : callable or iterable of callable
        The functions: methods, properties, generators, coroutines and decorated ones too. Functions defined
        inside them are measured with them.
    call : str or callable
        Source to execute, or a function to call without arguments. What it returns is let go.
    namespace : dict, optional
        Where source runs; the globals of the caller if not given.
    include_children : bool
        Add child processes to all sizes. They are polled, and nothing is exact then.

    Returns
    -------
    LineProfile

    Raises
    ------
    BadArgument
        If one of ``functions`` is no Python function, or ``call`` cannot be called.
    AlreadyRunning
        If a trace is running.

    Notes
    -----
    What the call raises passes through, and there is no profile then;
    ``with nbmem.trace(functions=...) as t`` has the figures all the same.

    Examples
    --------
    >>> import nbmem
    >>> def load(count):
    ...     rows = bytearray(count)
    ...     return len(rows + rows)
    >>> profile = nbmem.profile_lines(load, lambda: load(50_000_000))
    >>> profile.lines.hits.tolist(), bool(profile.lines.spike_bytes.max() > 99_000_000)
    ([0, 1, 1], True)
    """
    __tracebackhide__ = True
    if isinstance(functions, str):
        raise BadArgument(
            f"profile_lines takes functions, not their names: without the quotes of {functions!r}"
        )
    several: list[Any] = (
        list(functions) if isinstance(functions, Iterable) and not callable(functions) else [functions]
    )
    if not several:
        raise BadArgument("profile_lines needs at least one function whose lines to measure")
    sources = [source_of_function(function) for function in several]
    run = _runner(call, namespace if namespace is not None else sys._getframe(1).f_globals)
    profiles: list[LineProfile] = []
    LineRecording(sources, include_children=include_children).run(run, profiles.append)
    return profiles[0]


def _runner(call: str | Callable[[], object], namespace: dict[str, Any]) -> Callable[[], None]:
    if isinstance(call, str):
        code = compile(call, "<profile_lines>", "exec")

        def execute() -> None:
            __tracebackhide__ = True
            exec(code, namespace)

        return execute
    if not callable(call):
        raise BadArgument(f"profile_lines takes source or a callable, not {type(call).__name__}")

    def run() -> None:
        __tracebackhide__ = True
        if inspect.iscoroutine(made := call()):
            made.close()
            raise BadArgument(
                "the call made a coroutine that nobody awaits; pass for example lambda: asyncio.run(main())"
            )

    return run
