"""What is meant by the names that are to be released: all of them, or an error."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nbmem._errors import BadArgument
from nbmem.heap.typenames import name_of
from nbmem.ipython.kept import UNDERSCORES, Place, displayed, is_everybodys, is_notebooks, is_number

#: What IPython itself puts into a namespace, and what it and Python name so.
_OTHERS = frozenset(
    {"In", "Out", "_ih", "_oh", "_dh", "_i", "_ii", "_iii", "get_ipython", "exit", "quit", "_exit_code"}
)
_OWN = re.compile(r"_i\d+|__\w+__")
_OUTPUT = re.compile(r"Out\[(\d{1,9})\]")


@dataclass(slots=True, eq=False)
class Target:
    """One object that is to be released. It holds the object: to be forgotten after use.

    Parameters
    ----------
    value : object
    names : list of str
        Names of the namespace that go.
    places : list of Place
        Where the notebook keeps it because it was displayed; they go too.
    asked : list of str
        What it was named by.
    """

    value: Any
    names: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Let go of the object."""
        self.value = None
        self.places.clear()


class Targets:
    """The objects that names stand for; each once. It holds them: to be forgotten after use.

    Parameters
    ----------
    shell : InteractiveShell or None
    namespace : dict
    names : sequence of str
        Variables, ``Out[n]``, ``_n``, ``_``.

    Raises
    ------
    BadArgument
        If one of them is nothing that can be released.
    """

    def __init__(self, shell: Any, namespace: dict[str, Any], names: Sequence[str]) -> None:
        self._shell, self._namespace = shell, namespace
        self.found: list[Target] = []
        try:
            for name in names:
                self._resolve(name)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Let go of all objects."""
        for target in self.found:
            target.forget()

    def _resolve(self, name: str) -> None:
        shell, namespace = self._shell, self._namespace
        if type(name) is not str:
            raise BadArgument(f"free takes names as text, such as 'df', not {name_of(type(name))}")
        shown = _OUTPUT.fullmatch(name)
        if shown is not None and shell is not None:
            self._find_output(name, int(shown.group(1)))
        elif not name.isidentifier() or keyword.iskeyword(name):
            takes = "names of variables" if shell is None else "names of variables, Out[n], _n and _"
            raise BadArgument(f"{name[:60]!r} is no name; it takes {takes}")
        elif name in namespace and not (shell is not None and is_notebooks(shell, name, namespace[name])):
            if (name in _OTHERS and shell is not None) or _OWN.fullmatch(name):
                raise BadArgument(f"{name} is {'Python' if name.startswith('__') else 'IPython'}'s own")
            target = self._add(namespace[name], name)
            target.names += [] if name in target.names else [name]
        elif shell is not None and (name in UNDERSCORES or is_number(name)):
            self._find_output(name, int(name[1:]) if is_number(name) else None)
        else:
            raise BadArgument(f"there is no {name[:60]!r}{self._hint(name)}")

    def _find_output(self, name: str, number: int | None) -> None:
        """Find what a name of the notebook's stands for, wherever that is still kept."""
        kinds = ("hook", "hidden", "name") if number is None else ("Out", "hidden", "name")
        keys = {name} if number is None else {number, f"_{number}"}
        for place, value in displayed(self._shell):
            if place.kind not in kinds or place.key not in keys:
                continue
            if number is None and type(value) is str and not value:
                continue  # what IPython puts there for nothing
            target = self._add(value, name)
            if is_everybodys(value):
                target.places += [
                    here for here, other in displayed(self._shell) if here.key in keys and other is value
                ]
            return
        what = f"Out[{number}]" if number is not None else name
        raise BadArgument(f"nothing is kept as {what}{self._hint(what)}")

    def _add(self, value: Any, name: str) -> Target:
        target = next((each for each in self.found if each.value is value), None)
        if target is None:
            target = Target(value)
            # small numbers are the same object wherever they come from
            if self._shell is not None and not is_everybodys(value):
                target.places += [place for place, other in displayed(self._shell) if other is value]
            self.found.append(target)
        target.asked += [] if name in target.asked else [name]
        return target

    def _hint(self, name: str) -> str:
        known = [each for each in list(self._namespace) if type(each) is str and not each.startswith("_")]
        if self._shell is not None:
            hidden = self._shell.user_ns_hidden
            known = [each for each in known if each not in _OTHERS and each not in hidden]
            known += [f"Out[{number}]" for number in list(self._shell.history_manager.output_hist)]
        near = difflib.get_close_matches(name[:60], known, 1)
        return f"; did you mean {near[0][:60]}?" if near else ""
