"""What a notebook keeps because it was displayed, failed or is shown, and how it lets go of it."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nbmem.heap.attributes import attributes
from nbmem.heap.frames import code_of
from nbmem.heap.releases import Reference
from nbmem.heap.typenames import name_of

#: Stands for what is not there.
NOTHING: Any = object()
UNDERSCORES = ("_", "__", "___")
_NUMBERED = re.compile(r"_(\d{1,9})")
_ERRORS = ("last_exc", "last_value", "last_traceback", "last_type")
_OF_RESULT = ("error_in_exec", "error_before_exec")
#: Shorter text and smaller numbers are shared by whoever has the same.
_LEAST_OWN_TEXT = 64
_LEAST_OWN_INT = 1 << 30
_exception = vars(BaseException)["__traceback__"].__get__


def _holder(value: object) -> Any:
    """Give what refers to the attributes of an instance: its dict, or where it has none, itself."""
    held = attributes(value)[0]
    return value if held is None else held


def _attribute(value: object, name: str, default: Any = None) -> Any:
    held, pairs = attributes(value)
    return (dict(pairs) if held is None else held).get(name, default)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the notebook keeps a displayed object.

    Parameters
    ----------
    kind : str
        ``Out``, ``hidden``, ``name``, ``hook``, ``last``, ``running``.
    key : int or str
    holder : object
        What refers to it; not told of the last result, whose references are counted.
    """

    kind: str
    key: Any
    holder: Any = None


def is_everybodys(value: object) -> bool:
    """Tell whether the same object stands for the same value everywhere: small numbers, short text, None."""
    kind = type(value)
    if kind is int:
        return abs(value) < _LEAST_OWN_INT  # type: ignore[arg-type]
    if kind is str or kind is bytes or kind is tuple or kind is frozenset:
        return len(value) < (_LEAST_OWN_TEXT if kind in (str, bytes) else 1)  # type: ignore[arg-type]
    return kind in (bool, type(None), type(Ellipsis), type(NotImplemented), float, complex)


def displayed(shell: Any) -> Iterator[tuple[Place, Any]]:
    """List all places where the notebook keeps what was displayed, with what lies there."""
    history, hidden, hook = shell.history_manager.output_hist, shell.user_ns_hidden, shell.displayhook
    for number, value in list(history.items()):
        yield Place("Out", number, history), value
    for name, value in list(hidden.items()):
        if is_number(name) or name in UNDERSCORES:
            yield Place("hidden", name, hidden), value
    for name, value in list(shell.user_ns.items()):
        if is_notebooks(shell, name, value):
            yield Place("name", name, shell.user_ns), value
    for name in UNDERSCORES:
        yield Place("hook", name, _holder(hook)), _attribute(hook, name)
    # no local name for the result: references to it are counted
    if shell.last_execution_result is not None:
        yield Place("last", "result"), shell.last_execution_result.result
    if hook.exec_result is not None and hook.exec_result is not shell.last_execution_result:
        yield Place("running", "result", _holder(hook.exec_result)), hook.exec_result.result


def is_number(name: object) -> bool:
    """Tell whether IPython gives such a name to what was displayed: ``_4``."""
    return type(name) is str and _NUMBERED.fullmatch(name) is not None


def is_notebooks(shell: Any, name: object, value: object) -> bool:
    """Tell whether a name of the namespace is the notebook's own for what was displayed, not the user's."""
    if type(name) is not str:
        return False
    if name in UNDERSCORES:
        return _attribute(shell.displayhook, name, NOTHING) is value
    if not is_number(name):
        return False
    shown = shell.history_manager.output_hist.get(int(name[1:]), NOTHING)
    return shown is value or shell.user_ns_hidden.get(name, NOTHING) is value


def let_go_of_output(shell: Any, place: Place) -> None:
    """Take a displayed object out of one place."""
    if place.kind == "hook":
        setattr(shell.displayhook, place.key, "")  # as DisplayHook.flush does
    elif place.kind in ("last", "running"):
        _change_result(shell, place.kind, "result")
    elif place.key in UNDERSCORES:
        place.holder[place.key] = ""
    else:
        place.holder.pop(place.key, None)


def is_result_shared(shell: Any) -> bool:
    """Tell whether somebody besides the shell has the last result; before anything here refers to it."""
    # the shell's, and the argument's
    return sys.getrefcount(shell.last_execution_result) > 2


def _of_last(shell: Any, value: object, *, shared: bool) -> Reference:
    """Refer to what the last result holds; where others have that result, to the result."""
    last = shell.last_execution_result
    return Reference(_attribute(shell, "_trait_values"), last) if shared else Reference(_holder(last), value)


def _change_result(shell: Any, which: str, *fields: str) -> None:
    """Clear fields of a cell's result; somebody else's copy stays as it is."""
    if which == "last" and is_result_shared(shell):
        shell.last_execution_result = copy.copy(shell.last_execution_result)
    result = shell.last_execution_result if which == "last" else shell.displayhook.exec_result
    for name in fields:
        setattr(result, name, None)


def reference_of(shell: Any, place: Place, value: object, *, shared: bool) -> Reference:
    """Refer from a place to what lies there; ``shared``: as of :func:`is_result_shared`."""
    if place.kind == "last":
        return _of_last(shell, value, shared=shared)
    return Reference(place.holder, value, 1 if place.kind in ("name", "hidden", "hook", "Out") else None)


def title_of(places: list[Place]) -> str:
    """Name places: ``Out[4], _``; what says the same again is left out."""
    numbers = [place.key for place in places if place.kind == "Out"]
    names = [place.key for place in places if place.kind in ("hidden", "name", "hook")]
    found = [f"Out[{number}]" for number in numbers]
    found += [name for name in dict.fromkeys(names) if not (is_number(name) and int(name[1:]) in numbers)]
    return ", ".join(found) or "IPython's last result"


def command_of(places: list[Place]) -> str:
    """Write what to type so that these places are cleared."""
    if all(place.kind in ("last", "running") for place in places):
        return "%memfree --outputs"
    return f"%memfree {title_of(places).partition(',')[0]}"


# -- the last error --


def errors(shell: Any, *, shared: bool) -> list[Reference]:
    """List the references to the last error; ``shared``: as of :func:`is_result_shared`."""
    own = vars(sys)
    found = [Reference(own, own.get(name)) for name in _ERRORS]
    if shell is not None:
        handler, syntax = shell.InteractiveTB, shell.SyntaxTB
        found.append(Reference(_holder(handler), _attribute(handler, "tb")))
        debugger = _attribute(handler, "pdb")
        if debugger is not None and not _in_use(debugger):
            found.append(Reference(_holder(handler), debugger))
        found.append(Reference(_holder(syntax), _attribute(syntax, "last_syntax_error")))
        for name in _OF_RESULT:
            value = getattr(shell.last_execution_result, name, None)
            if value is not None:
                found.append(_of_last(shell, value, shared=shared))
    return [each for each in found if each.below is not None and not isinstance(each.below, type)]


def error_title() -> tuple[str, str]:
    """Say which error it is and where it was raised, and its type."""
    value = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if not isinstance(value, BaseException):
        return "the last error", ""
    place, trace = "", _exception(value)
    while trace is not None:
        code = code_of(trace.tb_frame)
        place = "" if code is None else f" in {code.co_qualname}()"
        trace = trace.tb_next
    kind = name_of(type(value))
    return f"{kind.rpartition('.')[2]}{place.replace('<module>()', 'the cell')}", kind


def let_go_of_errors(shell: Any) -> None:
    """Let go of the last error, so that nothing of it is kept and ``%debug`` has nothing to debug.

    No frame is cleared: one that nobody else holds goes by itself, and one that somebody holds is theirs.
    """
    for name in _ERRORS:
        vars(sys).pop(name, None)
    if shell is None:
        return
    handler = shell.InteractiveTB
    if _attribute(handler, "tb") is not None:
        handler.tb = None
    debugger = _attribute(handler, "pdb")
    if debugger is not None and not _in_use(debugger):
        handler.pdb = None  # the next %debug makes one; this one holds the frames it looked at
    shell.SyntaxTB.last_syntax_error = None
    if shell.last_execution_result is not None:
        _change_result(shell, "last", *_OF_RESULT)


def _in_use(debugger: Any) -> bool:
    return getattr(debugger, "curframe", None) is not None


# -- figures and widgets --


def figures() -> list[tuple[Any, Reference]]:
    """List pyplot's open figures: their numbers, and the references."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    known: dict[Any, Any] = {} if helpers is None else helpers.Gcf.figs
    return [(number, Reference(known, manager)) for number, manager in list(known.items())]


def close_figures() -> None:
    """Close all figures of pyplot's."""
    if figures():
        sys.modules["matplotlib._pylab_helpers"].Gcf.destroy_all()


def widgets() -> list[Reference]:
    """List the references that go when all widgets are closed."""
    registry = _registry()
    comms = getattr(getattr(sys.modules.get("comm"), "get_comm_manager", dict)(), "comms", {})
    found = []
    for number, widget in list(registry.items()):
        found.append(Reference(registry, widget))
        comm = comms.get(number)
        if comm is not None:
            found.append(Reference(comms, comm))
            values = _attribute(widget, "_trait_values")
            found += [Reference(values, comm)] if values is not None else []
    return found


def _registry() -> dict[str, Any]:
    return getattr(sys.modules.get("ipywidgets.widgets.widget"), "_instances", None) or {}


def widget_count() -> int:
    """Count the widgets that are registered."""
    return len(_registry())


def close_widgets() -> list[str]:
    """Close all widgets, as ``Widget.close_all`` does; one that fails does not keep the others.

    Returns
    -------
    list of str
        What failed.
    """
    failed = []
    for widget in list(_registry().values()):
        try:
            widget.close()
        except Exception as error:  # noqa: BLE001  # a class of the user's may have a close of its own
            failed.append(f"a {name_of(type(widget))} did not close: {name_of(type(error))}")
    return failed
