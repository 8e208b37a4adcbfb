"""What a statement costs: ``nbmem.memit`` and its result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbmem._errors import BadArgument
from nbmem._units import MIB, format_count, format_seconds
from nbmem.process.runs import Run, measure_runs

if TYPE_CHECKING:
    import pandas as pd


class MemitResult:
    """The runs of one statement.

    It has memory_profiler's attributes (sizes in MiB) and, beside them, bytes.

    Attributes
    ----------
    mem_usage : list of float
        The peak of each run, MiB.
    baseline : float
        Resident size before the first run, MiB.
    repeat, timeout, interval, include_children
        As they were asked for.
    peak_bytes, increment_bytes, net_bytes : int
        The highest peak; how much above the baseline it is; what stayed after the last run.
    exact : bool
        Whether every peak is the kernel's own.
    finished : bool
        Whether every run that was asked for came to its end.
    """

    def __init__(
        self,
        runs: list[Run],
        *,
        repeat: int,
        timeout: float | None,
        interval: float,
        include_children: bool,
    ) -> None:
        self._runs = tuple(runs)
        self.repeat = repeat
        self.timeout = timeout
        self.interval = interval
        self.include_children = include_children
        before = runs[0].interval.before_bytes
        self.mem_usage = [run.interval.peak_bytes / MIB for run in runs]
        self.baseline = before / MIB
        self.peak_bytes = max(run.interval.peak_bytes for run in runs)
        self.increment_bytes = self.peak_bytes - before
        self.net_bytes = runs[-1].interval.after_bytes - before
        self.exact = all(run.interval.exact for run in runs)
        self.finished = len(runs) == repeat and all(run.finished for run in runs)

    @property
    def runs(self) -> pd.DataFrame:
        """The runs as a frame.

        Columns ``run, seconds, before_bytes, peak_bytes, after_bytes, increment_bytes, net_bytes, exact,
        finished``; increments are above the run's own start.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "run": number,
                    "seconds": run.seconds,
                    "before_bytes": run.interval.before_bytes,
                    "peak_bytes": run.interval.peak_bytes,
                    "after_bytes": run.interval.after_bytes,
                    "increment_bytes": run.interval.peak_bytes - run.interval.before_bytes,
                    "net_bytes": run.interval.after_bytes - run.interval.before_bytes,
                    "exact": run.interval.exact,
                    "finished": run.finished,
                }
                for number, run in enumerate(self._runs, start=1)
            ]
        )

    def __str__(self) -> str:
        lines = [
            f"peak memory: {self.peak_bytes / MIB:.2f} MiB, increment: {self.increment_bytes / MIB:.2f} MiB"
        ]
        if self.repeat > 1:
            increments = [run.interval.peak_bytes - run.interval.before_bytes for run in self._runs]
            shown = ", ".join(f"{size / MIB:.2f}" for size in increments[:10])
            more = f" … ({len(increments)} runs)" if len(increments) > 10 else ""
            lines.append(f"increment of each run: {shown} MiB{more}")
        if not self.finished:
            done = sum(run.finished for run in self._runs)
            lines.append(
                f"stopped after {format_seconds(self.timeout or 0.0)}: {done} of {self.repeat} runs finished"
            )
        freed = sum(run.freed_count for run in self._runs)
        if freed >= 1000:
            lines.append(
                f"a full garbage collection freed {format_count(freed)} objects meanwhile; "
                "if they were there before, the increment is too low: run it again"
            )
        if not self.exact:
            reason = "child processes" if self.include_children else "this system keeps no exact peak, it"
            verb = "are" if self.include_children else "is"
            lines.append(
                f"not exact: {reason} {verb} polled each {self.interval:g} s, shorter peaks are missed"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<MemitResult : {self}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def memit(
    statement: str | Callable[[], object],
    *,
    setup: str | None = None,
    repeat: int = 1,
    timeout: float | None = None,
    interval: float = 0.1,
    include_children: bool = False,
    namespace: dict[str, Any] | None = None,
) -> MemitResult:
    """Measure the peak resident size of a statement or a call.

    Parameters
    ----------
    statement : str or callable
        Source to execute, or a function to call without arguments.
    setup : str, optional
        Source that runs once before, unmeasured.
    repeat : int
        Number of runs, each measured.
    timeout : float, optional
        Seconds for all runs; the run that exceeds it is stopped.
    interval : float
        Seconds between two looks where polling is needed (children; systems without an exact counter).
    include_children : bool
        Add child processes, to the baseline too.
    namespace : dict, optional
        Where source runs; the globals of the caller if not given.

    Returns
    -------
    MemitResult

    Raises
    ------
    BadArgument
        If an option cannot be used. What the statement raises passes through.

    Examples
    --------
    >>> import nbmem
    >>> result = nbmem.memit("b = bytearray(50_000_000)")
    >>> 49 < result.increment_bytes / 1e6 < 51
    True
    """
    __tracebackhide__ = True
    if not isinstance(repeat, int) or repeat < 1:
        raise BadArgument(f"repeat is {repeat!r}; it takes a whole number of runs, 1 or more")
    for name, seconds in (("timeout", timeout), ("interval", interval)):
        if seconds is None and name == "timeout":
            continue
        if not isinstance(seconds, (int, float)) or not (seconds > 0 and math.isfinite(seconds)):
            raise BadArgument(f"{name} is {seconds!r}; it takes a number of seconds above 0")
    space = namespace if namespace is not None else sys._getframe(1).f_globals
    if callable(statement):
        run: Callable[[], object] = statement
    elif isinstance(statement, str):
        code = compile(statement, "<memit>", "exec")

        def run() -> object:
            exec(code, space)
            return None

    else:
        raise BadArgument(f"memit takes source or a callable, not {type(statement).__name__}")
    if setup is not None:
        exec(compile(setup, "<memit setup>", "exec"), space)
    runs = measure_runs(
        run, repeat=repeat, timeout=timeout, interval=interval, include_children=include_children
    )
    return MemitResult(
        runs, repeat=repeat, timeout=timeout, interval=interval, include_children=include_children
    )
