"""Load into a shell and out of it again, without a trace."""

from __future__ import annotations

from typing import Any

from nbmem.ipython.completion import complete_flags
from nbmem.ipython.magics import make_magics
from nbmem.ipython.session import NbMem

_KINDS = ("line", "cell")


def load(shell: Any) -> None:
    """Register the magics, the options, the cell transformer, the hooks and the completion."""
    if _loaded(shell) is not None:
        return
    session = NbMem(shell)
    session.magics = make_magics(shell, session)
    tables = shell.magics_manager.magics
    for magics in session.magics:
        for kind in _KINDS:
            session.replaced.update({(kind, name): tables[kind].get(name) for name in magics.magics[kind]})
        shell.register_magics(magics)
    shell.configurables.append(session)
    session.install()
    matchers = getattr(shell.Completer, "custom_matchers", None)
    if matchers is not None:
        matchers.append(complete_flags)


def unload(shell: Any) -> None:
    """Take everything out again that ``load`` put in, and nothing else."""
    session = _loaded(shell)
    if session is None:
        return
    session.remove()
    tables = shell.magics_manager.magics
    for (kind, name), previous in session.replaced.items():
        if not any(getattr(tables[kind].get(name), "__self__", None) is magics for magics in session.magics):
            continue  # somebody has registered another since
        if previous is None:
            del tables[kind][name]
        else:
            tables[kind][name] = previous
    ours = [session, *session.magics]
    for magics in session.magics:
        if shell.magics_manager.registry.get(type(magics).__name__) is magics:
            del shell.magics_manager.registry[type(magics).__name__]
    shell.configurables[:] = [other for other in shell.configurables if not any(other is own for own in ours)]
    matchers = getattr(shell.Completer, "custom_matchers", None)
    if matchers is not None and complete_flags in matchers:
        matchers.remove(complete_flags)


def _loaded(shell: Any) -> NbMem | None:
    return next((known for known in shell.configurables if isinstance(known, NbMem)), None)
