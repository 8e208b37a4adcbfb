"""The running notebook, where there is one: its namespace, and what in it holds objects."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from nbmem.heap.holders import Holder
from nbmem.reports.variables import listed_names, measure_variables

if TYPE_CHECKING:
    import pandas as pd


def running_shell() -> Any:
    """Give IPython's shell; None where IPython is not loaded or does not run."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def notebook_holders(shell: Any) -> list[Holder]:
    """List what holds objects in a notebook and has a name: outputs, the last error, figures, widgets.

    Parameters
    ----------
    shell : InteractiveShell
    """
    found = [
        Holder(shell.history_manager.output_hist, "Out"),
        Holder(shell.user_ns_hidden, "IPython's hidden names", vague=True),
        Holder(shell.displayhook, "IPython's display hook", vague=True),
        Holder(shell.last_execution_result, "IPython's last result, until the next cell", vague=True),
        Holder(shell.InteractiveTB, "the last error (InteractiveTB)", vague=True),
    ]
    errors = ("last_traceback", "last_value", "last_exc")
    found += [
        Holder(getattr(sys, name), f"the last error (sys.{name})", vague=True)
        for name in errors
        if getattr(sys, name, None) is not None
    ]
    pyplot = sys.modules.get("matplotlib._pylab_helpers")
    if pyplot is not None:
        found.append(Holder(pyplot.Gcf.figs, "pyplot's open figures", vague=True))
    widgets = getattr(sys.modules.get("ipywidgets.widgets.widget"), "_instances", None)
    if widgets is not None:
        found.append(Holder(widgets, "ipywidgets' registry", vague=True))
    return [holder for holder in found if holder.value is not None]


def variables(namespace: dict[str, Any] | None = None) -> pd.DataFrame:
    """Tell of each variable what deleting it would free, what it shares, and who else holds it.

    Parameters
    ----------
    namespace : dict, optional
        Names to objects; the notebook's if none is given, outside of notebooks the caller's globals.

    Returns
    -------
    pandas.DataFrame
        Columns ``name, type, shape, shallow_bytes`` (the object, with the buffers that it owns itself),
        ``retained_bytes`` (what would be freed if the object went), ``freed_if_deleted_bytes`` (what
        ``del name`` would free: 0 where something else holds the object), ``shared_bytes`` (what it leads to
        that would stay, because something else holds it too), ``held_by`` (what else holds the object, and
        with which names it shares). Those that free most come first. Modules, and names that begin with an
        underscore or are IPython's, are left out.

    Raises
    ------
    BadArgument
        If it is no dict.
    """
    shell = running_shell()
    if namespace is None:
        namespace = sys._getframe(1).f_globals if shell is None else shell.user_ns
    hidden = shell.user_ns_hidden if shell is not None and namespace is shell.user_ns else ()
    names = listed_names(namespace, hidden) if issubclass(type(namespace), dict) else ()
    holders = [] if shell is None else notebook_holders(shell)
    return measure_variables(namespace, names, holders=holders).frame
