"""Load into a shell and out of it again, without a trace."""

from __future__ import annotations

from typing import Any

from nbmem.ipython.completion import complete_flags
from nbmem.ipython.magics import NbMem
from nbmem.ipython.measured import MeasuredCells

_KINDS = ("line", "cell")


def load(shell: Any) -> None:
    """Register the magics, the cell transformer, the hooks and the completion."""
    if _loaded(shell) is not None:
        return
    cells = MeasuredCells(shell)
    magics = NbMem(shell, cells)
    tables = shell.magics_manager.magics
    magics.replaced = {
        (kind, name): tables[kind].get(name) for kind in _KINDS for name in magics.magics[kind]
    }
    shell.register_magics(magics)
    cells.install()
    matchers = getattr(shell.Completer, "custom_matchers", None)
    if matchers is not None:
        matchers.append(complete_flags)


def unload(shell: Any) -> None:
    """Take everything out again that ``load`` put in, and nothing else."""
    magics = _loaded(shell)
    if magics is None:
        return
    magics.cells.remove()
    tables = shell.magics_manager.magics
    for (kind, name), previous in magics.replaced.items():
        if getattr(tables[kind].get(name), "__self__", None) is not magics:
            continue  # somebody has registered another since
        if previous is None:
            del tables[kind][name]
        else:
            tables[kind][name] = previous
    shell.magics_manager.registry.pop(type(magics).__name__, None)
    shell.configurables[:] = [other for other in shell.configurables if other is not magics]
    matchers = getattr(shell.Completer, "custom_matchers", None)
    if matchers is not None and complete_flags in matchers:
        matchers.remove(complete_flags)


def _loaded(shell: Any) -> NbMem | None:
    magics = shell.magics_manager.registry.get(NbMem.__name__)
    return magics if isinstance(magics, NbMem) else None
