"""Run a case in a kernel: build, ask, apply the cure, look whether the object is gone."""

from __future__ import annotations

import ast
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.holders.cases import SETUP, Case
from tests.kernels import Kernel

_MODULES = {
    "user_module.py": "class Registry:\n    items = []\n",
    "user_package/__init__.py": "",
    "user_package/part.py": "CACHE = {}\n",
}
#: Asked in one cell, so that both ways of asking see the same. The second is left out where it takes long.
_ASK = """%refchain -q -o held {ask}
again = [(path.text, path.cure) for path in nbmem.root_paths({ask}).data.paths] if {twice} else None
print(repr(([tuple(getattr(path, name) for name in {names!r}) for path in held.data.paths],
    {{name: getattr(held.data, name) for name in {fields!r}}}, held.to_text(400), again)))
del held, again"""
_NAMES = ("kind", "root", "text", "count", "cure", "advice", "asked", "also")
_FIELDS = ("state", "is_freed", "freed_bytes", "retained_bytes", "refcount")


@dataclass(frozen=True)
class Told:
    """One path, as it was told."""

    kind: str
    root: str
    text: str
    count: int
    cure: str
    advice: str
    asked: bool
    also: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What nbmem said."""

    paths: list[Told]
    figures: dict[str, Any]
    text: str
    again: list[tuple[str, str]] | None

    @property
    def held(self) -> list[Told]:
        """All but the name that was asked by."""
        return [path for path in self.paths if not path.asked]


def prepare(kernel: Kernel, *libraries: str, frozen: bool = True) -> None:
    """Give a kernel what the cases need: nbmem, libraries, and the modules of a user's.

    What is there then is frozen, so that the collections of each case take no time; nbmem sees it all the same,
    tools that ask ``gc.get_referrers`` do not.
    """
    directory = tempfile.mkdtemp(prefix="nbmem-user-")
    for name, text in _MODULES.items():
        path = Path(directory, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    loaded = "".join(f"import {library}\n" for library in ("gc", "nbmem.heap.rootpaths", *libraries))
    done(kernel.run(f"import sys; sys.path.insert(0, {directory!r})\n{loaded}%load_ext nbmem"))
    if frozen:
        done(kernel.run("gc.freeze()"))


def done(out: Any) -> Any:
    """Make sure that a cell ran to its end."""
    assert out.status == "ok", out.traceback
    return out


def build(kernel: Kernel, case: Case) -> None:
    """Clear the namespace, and run the cells of a case."""
    kernel.run("%reset -f", store_history=False)
    for cell in ("import nbmem" + SETUP, *case.cells):
        out = kernel.run(cell)
        assert out.status == "ok" or case.kind == "error", out.traceback


def ask(kernel: Kernel, expression: str, *, twice: bool = False) -> Answer:
    """Ask who holds an object, by the magic, and by the function too."""
    out = done(kernel.run(_ASK.format(ask=expression, names=_NAMES, fields=_FIELDS, twice=twice)))
    paths, figures, text, again = ast.literal_eval(out.stdout)
    return Answer([Told(*path) for path in paths], figures, text, again)


def is_gone(kernel: Kernel, case: Case) -> bool:
    """Collect, and look."""
    return bool(kernel.value(f"__import__('gc').collect() and False or bool({case.gone})"))


def like(found: str, wanted: str) -> bool:
    """Compare two texts; ``#`` in what is wanted stands for a number or a name that was made up."""
    pattern = re.escape(wanted).replace(r"\#", r"(?:#|\d+)")
    return re.fullmatch(pattern, plain(found)) is not None


def plain(text: str) -> str:
    """Leave out what differs from run to run."""
    text = re.sub(r"\b(In|Out)\[\d+\]", r"\1[n]", text)
    text = re.sub(r"(?<![\w'])_\d+\b", "_n", text)
    return re.sub(r"[0-9a-f]{32}|\b\d{9,}\b", "#", text)
