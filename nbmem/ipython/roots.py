"""What holds objects in a notebook and has a name: outputs, errors, figures, widgets, the shell."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from nbmem.heap.attributes import attribute_values, attributes
from nbmem.heap.paths import ALSO, END, SPREAD
from nbmem.heap.roots import Root
from nbmem.heap.typenames import name_of

_UNDERSCORES = ("_", "__", "___")
_EVERYBODYS = (type, ModuleType, FunctionType, BuiltinFunctionType, int, str, bool, float, type(None))
_ERRORS = ("last_exc", "last_value", "last_traceback")
FREE_ERRORS = "%memfree --errors"


def notebook_roots(shell: Any) -> tuple[list[Root], set[str]]:
    """List what holds objects in a notebook.

    Parameters
    ----------
    shell : InteractiveShell

    Returns
    -------
    (list of Root, set of str)
        The roots, and the names of the namespace that say nothing which they do not: ``_``, ``_4``.
    """
    outputs = output_values(shell)
    hidden = {
        name
        for name, value in list(shell.user_ns.items())
        if is_output_name(name) and any(value is each for each in outputs.values())
    }
    roots = [
        Root(shell.user_ns, "variable", "the notebook", "", mark=SPREAD),
        *_of_outputs(shell, outputs),
        *_of_errors(shell),
        *_of_figures(),
        *_of_widgets(),
        Root(shell.history_manager.output_hist, "shell", "Out", "Out"),
        Root(shell.user_ns_hidden, "shell", "IPython's hidden names", "get_ipython().user_ns_hidden"),
        Root(shell, "shell", "IPython", "get_ipython()", mark=END),
    ]
    return roots, hidden


def is_output_name(name: str) -> bool:
    """Tell whether IPython gives such a name to what was displayed."""
    return name in _UNDERSCORES or re.fullmatch(r"_\d+", name) is not None


def output_values(shell: Any) -> dict[str, Any]:
    """List what the notebook keeps because it was displayed, by the expressions that give it."""
    found: dict[str, Any] = {
        f"Out[{number}]": value for number, value in list(shell.history_manager.output_hist.items())
    }
    for names in (shell.user_ns_hidden, shell.user_ns):
        for name, value in list(names.items()):
            if name in _UNDERSCORES and getattr(shell.displayhook, name, None) is not value:
                continue  # the user's own
            if is_output_name(name) and not any(value is each for each in found.values()):
                found[name] = value
    for name in _UNDERSCORES:
        value = getattr(shell.displayhook, name, "")
        if not any(value is each for each in found.values()):
            found[f"get_ipython().displayhook.{name}"] = value
    result = getattr(shell.last_execution_result, "result", None)
    if result is not None and not any(result is each for each in found.values()):
        found["get_ipython().last_execution_result.result"] = result
    return found


def output_holders(shell: Any) -> list[Any]:
    """List the objects that refer to what was displayed; the user's namespace is not among them."""
    found: list[Any] = [shell.history_manager.output_hist, shell.user_ns_hidden]
    for each in (
        shell.displayhook,
        shell.last_execution_result,
        getattr(shell.displayhook, "exec_result", None),
    ):
        if each is not None:
            found += [each, attributes(each)[0]]
    return [each for each in found if each is not None]


def _of_outputs(shell: Any, outputs: dict[str, Any]) -> Iterator[Root]:
    holders = output_holders(shell)
    named = {id(value) for name, value in list(shell.user_ns.items()) if not is_output_name(name)}
    seen: set[int] = set()
    for code, value in outputs.items():
        if issubclass(type(value), _EVERYBODYS) or id(value) in seen:
            continue
        seen.add(id(value))
        is_listed = code.startswith("Out")
        name = code if is_listed or code.startswith("get_ipython()") else f"output {code}"
        if code in shell.user_ns_hidden and shell.user_ns.get(code) is not value:
            name += ", hidden by IPython"
        # where it has no name besides, those that IPython gave it go too
        spaces = [] if id(value) in named else [shell.user_ns]
        yield Root(
            value, "output", name, code if is_listed else None, mark=ALSO,
            cure=f"%memfree {code if is_listed else '--outputs'}",
            advice="" if is_listed else "it lets go of all that was displayed",
            cuts=tuple((holder, value) for holder in [*holders, *spaces]),
        )  # fmt: skip


def _of_errors(shell: Any) -> Iterator[Root]:
    found = [getattr(sys, name, None) for name in _ERRORS]
    found.append(getattr(shell.InteractiveTB, "tb", None))
    last = shell.last_execution_result
    found += [getattr(last, "error_in_exec", None), getattr(last, "error_before_exec", None)]
    holders = [
        vars(sys), shell.InteractiveTB, attributes(shell.InteractiveTB)[0],
        last, None if last is None else attributes(last)[0],
    ]  # fmt: skip
    values = {id(value): value for value in found if value is not None}
    pairs = tuple((holder, value) for value in values.values() for holder in holders if holder is not None)
    for value in values.values():
        yield Root(
            value, "error", "the last error", mark=ALSO, cure=FREE_ERRORS,
            cuts=tuple(pair for pair in pairs if pair[1] is value),
        )  # fmt: skip


def _of_figures() -> Iterator[Root]:
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    figures: dict[Any, Any] = {} if helpers is None else helpers.Gcf.figs
    for number, manager in list(figures.items()):
        yield Root(
            manager, "figure", f"pyplot figure {number}", mark=ALSO,
            cure=f"import matplotlib.pyplot as plt; plt.close({number!r})", cuts=((figures, manager),),
        )  # fmt: skip


def _of_widgets() -> Iterator[Root]:
    registry: dict[str, Any] = getattr(sys.modules.get("ipywidgets.widgets.widget"), "_instances", None) or {}
    manager: Any = getattr(sys.modules.get("comm"), "get_comm_manager", dict)()
    comms: dict[str, Any] = getattr(manager, "comms", {})
    targets: dict[str, Any] = getattr(manager, "targets", {})
    for number, widget in list(registry.items()):
        comm = comms.get(number)
        cuts = [(registry, widget)]
        if comm is not None:
            cuts += [(comms, comm)]
        code = f"import ipywidgets; ipywidgets.widgets.widget._instances[{number!r}].close()"
        name = f"ipywidgets' registry ({name_of(type(widget)).rpartition('.')[2]})"
        yield Root(widget, "widget", name, mark=ALSO, cure=code, cuts=tuple(cuts))
    for number, comm in list(comms.items()):
        if number not in registry:
            target = attribute_values(comm)[0].get("target_name", "")
            yield Root(
                comm, "comm", f"the comm {target!r}" if type(target) is str else "a comm", mark=ALSO,
                cure=f"import comm; comm.get_comm_manager().comms[{number!r}].close()", cuts=((comms, comm),),
            )  # fmt: skip
    if targets:
        yield Root(targets, "comm", "the targets of comms", "comm.get_comm_manager().targets", "comm")
