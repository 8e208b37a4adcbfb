"""Let go of what a notebook keeps, and tell what came back: ``nbmem.free``."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Collection, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from nbmem.ipython.notebook import running_shell

if TYPE_CHECKING:
    from nbmem.heap.released import Release, Survivor
    from nbmem.ipython.targets import Target
    from nbmem.ipython.weighing import Weighing
    from nbmem.reports.freed import Freed

#: Objects whose paths are looked for, and paths of each.
_MOST_SURVIVORS, _MOST_PATHS = 8, 5


def free(
    *names: str,
    outputs: bool = False,
    errors: bool = False,
    figures: bool = False,
    widgets: bool = False,
    dry_run: bool = False,
) -> Freed:
    """Release objects with all that the notebook keeps of them; tell what came back, and what still holds.

    Without an argument nothing is released: the result tells what could be.

    Parameters
    ----------
    *names : str
        Variables: each is deleted, and with it every ``Out[n]``, ``_``, ``_n`` and other reference of the
        notebook's to the same object; if the last error holds it, that is let go of too. Other variables are
        not touched. ``"Out[4]"``, ``"_4"``, ``"_"``: what was displayed; no variable is deleted. Outside of
        notebooks they are names of the caller's module.
    outputs : bool
        Let go of all that was displayed.
    errors : bool
        Let go of the last error, with what its frames hold.
    figures, widgets : bool
        Close all figures of pyplot's, all widgets of ipywidgets'.
    dry_run : bool
        Change nothing; tell what would be released.

    Returns
    -------
    Freed
        ``frame`` (what was released), ``freed_bytes``, ``python_bytes``, ``system_bytes``, ``paths`` (what
        holds objects that are still alive, and the cures).

    Raises
    ------
    BadArgument
        If one of the names cannot be used; nothing is released then.
    MemoryError, NotMeasured
        As for :func:`nbmem.snapshot`; nothing is released then.

    Examples
    --------
    >>> batch = bytearray(1 << 20)
    >>> nbmem.free("batch").freed_bytes >= 1 << 20
    True
    """
    flags = {"outputs": outputs, "errors": errors, "figures": figures, "widgets": widgets}
    wanted = [kind for kind, on in flags.items() if on]
    return release(names, wanted, dry_run=dry_run, frame=sys._getframe(1))


def release(
    names: Sequence[str], wanted: Collection[str], *, dry_run: bool, frame: FrameType | None
) -> Freed:
    """Do what :func:`free` does.

    Parameters
    ----------
    names : sequence of str
    wanted : collection of str
        Of ``outputs``, ``errors``, ``figures``, ``widgets``.
    dry_run : bool
    frame : FrameType or None
        Who asks: outside of notebooks the names are those of its module.
    """
    from nbmem.ipython.weighing import KINDS
    from nbmem.reports.freed import Freed

    nothing = not names and not wanted
    releasing = _Releasing(names, KINDS if nothing else wanted, frame)
    try:
        return Freed(releasing.look(nothing=nothing) if nothing or dry_run else releasing.carry_out())
    finally:
        releasing.forget()


class _Releasing:
    """Objects to be released. It holds them: to be forgotten after use."""

    def __init__(self, names: Sequence[str], wanted: Collection[str], frame: FrameType | None) -> None:
        # the engine and numpy are loaded before memory is measured
        from nbmem.heap.rootpaths import find_root_paths  # noqa: F401
        from nbmem.ipython import weighing  # noqa: F401
        from nbmem.ipython.targets import Targets

        self._shell = running_shell()
        self._frame = frame
        self._namespace: dict[str, Any] = (
            self._shell.user_ns if self._shell is not None
            else sys.modules["__main__"].__dict__ if frame is None else frame.f_globals
        )  # fmt: skip
        self._wanted = wanted
        self._notes: list[str] = []
        self._weighing: Weighing | None = None
        self._named = Targets(self._shell, self._namespace, names)
        self._targets: list[Target] = self._named.found

    def forget(self) -> None:
        """Let go of all objects."""
        self._named.forget()
        self._frame = None
        if self._weighing is not None:
            self._weighing.forget()
            self._weighing = None

    def _weigh(self) -> Weighing:
        from nbmem.ipython.weighing import Weighing

        # kept here, so that an interrupt finds it to be forgotten
        self._weighing = Weighing(self._shell, self._namespace, self._targets, self._wanted, self._frame)
        return self._weighing

    def look(self, *, nothing: bool) -> Release:
        """Tell what could be released, or what would be; change nothing."""
        from nbmem.heap.released import Release
        from nbmem.process.allocators import releasable_bytes
        from nbmem.process.resident import resident_bytes

        free = releasable_bytes() if nothing else 0
        weighing = self._weigh()
        parts = weighing.parts(alone=nothing)
        if nothing:
            parts += weighing.leftovers(free)
        survivors = [weighing.survivor(each, _MOST_PATHS) for each in self._lasting(weighing)]
        return Release(
            "could" if nothing else "would", parts, weighing.freed_bytes, None, None, resident_bytes(),
            tuple(survivors), tuple(weighing.notes),
        )  # fmt: skip

    def _lasting(self, weighing: Weighing) -> list[Target]:
        found = [target for target in self._targets if weighing.lives_on(target)]
        if len(found) > _MOST_SURVIVORS:
            left = len(found) - _MOST_SURVIVORS
            weighing.notes.append(f"{left} more of the objects live on; their paths are not told")
        return found[:_MOST_SURVIVORS]

    def carry_out(self) -> Release:
        """Release, collect, trim, and tell."""
        from nbmem.heap.released import Release
        from nbmem.process.allocators import bytes_in_use, release_free_memory
        from nbmem.process.resident import resident_bytes

        resident = resident_bytes()
        weighing = self._weigh()
        parts, freed, notes = weighing.parts(alone=False), weighing.freed_bytes, weighing.notes
        lasting = self._lasting(weighing)
        self._wanted = weighing.wanted
        going = [_watch(target) for target in self._targets if target not in lasting]
        weighing.forget()
        self._weighing = weighing = None  # type: ignore[assignment]  # its arrays are not to be measured
        before = bytes_in_use()
        self._let_go()
        survivors = [self._look_at(target) for target in lasting]
        del lasting
        self._named.forget()
        gc.collect()
        survivors += [
            self._look_again(*each) for each in going if each[1] is not None and each[1]() is not None
        ]
        gc.collect()
        after = bytes_in_use()
        release_free_memory()
        now = resident_bytes()
        return Release(
            "done", parts, freed, None if before is None or after is None else before - after,
            resident - now, now, tuple(survivors), (*notes, *self._notes),
        )  # fmt: skip

    def _let_go(self) -> None:
        from nbmem.ipython import kept
        from nbmem.process.interrupts import deferred_interrupt

        shell = self._shell
        with deferred_interrupt():
            for target in self._targets:
                for name in target.names:
                    self._namespace.pop(name, None)
                    if shell is not None and shell.user_ns_hidden.get(name, kept.NOTHING) is target.value:
                        del shell.user_ns_hidden[name]
                for place in target.places:
                    kept.let_go_of_output(shell, place)
            if "outputs" in self._wanted and shell is not None:
                for place, _ in list(kept.displayed(shell)):
                    kept.let_go_of_output(shell, place)
            if "errors" in self._wanted:
                kept.let_go_of_errors(shell)
        # these run code of other libraries
        if "figures" in self._wanted:
            kept.close_figures()
        if "widgets" in self._wanted:
            self._notes += kept.close_widgets()

    def _look_at(self, target: Target) -> Survivor:
        return self._survivor(", ".join(target.asked), target)

    def _look_again(self, name: str, reference: Any) -> Survivor:
        """Look who holds an object that should have gone: a finalizer may have put it somewhere."""
        from nbmem.ipython.targets import Target

        target = Target(reference())
        try:
            return self._survivor(name, target)
        finally:
            target.forget()

    def _survivor(self, name: str, target: Target) -> Survivor:
        from nbmem.heap.released import Survivor
        from nbmem.ipython.holders import look

        found = look(target.value, title=name, asked=None, most=_MOST_PATHS, frame=self._frame).data
        return Survivor(name, found.type, found.retained_bytes, found.state, found.paths)


def _watch(target: Target) -> tuple[str, Callable[[], Any]]:
    """Take note of an object so that it can be asked whether it is gone; not every object allows it."""
    try:
        return ", ".join(target.asked), weakref.ref(target.value)
    except TypeError:
        return ", ".join(target.asked), _nothing


def _nothing() -> None:
    """Stand for a weak reference where there can be none."""
