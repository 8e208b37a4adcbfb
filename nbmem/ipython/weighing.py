"""What would come back if the notebook let go of this or that: one capture, nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import FrameType, ModuleType
from typing import Any

from nbmem._units import format_count
from nbmem.heap.capture import capture
from nbmem.heap.graph import IMMORTAL
from nbmem.heap.pathwords import place_of
from nbmem.heap.released import Part, Survivor
from nbmem.heap.releases import Bundle, Reference, Weights, garbage_bytes, own_reach, paths_left
from nbmem.heap.rootpaths import RootPath
from nbmem.heap.scene import Scene
from nbmem.heap.typenames import name_of
from nbmem.ipython import kept
from nbmem.ipython.holders import known_by_name
from nbmem.ipython.targets import Target

KINDS = ("outputs", "errors", "figures", "widgets")
#: Rows of one kind of which it is told who else holds the object, and ways that are told of each.
_MOST_NAMED, _MOST_WAYS = 20, 3
#: Less than this is not worth a row.
_LEAST_FREE = 1 << 20
_MOST_LETTERS = 80


class Weighing:
    """The heap, and what goes if some references do. It holds live objects: to be forgotten after use.

    Parameters
    ----------
    shell : InteractiveShell or None
    namespace : dict
    targets : sequence of Target
        Objects that were named.
    wanted : collection of str
        Of ``KINDS``.
    frame : FrameType or None
        Who asks.

    Attributes
    ----------
    wanted : set of str
        With ``errors`` if the last error holds one of the targets.
    freed_bytes : int
        What goes with all of it.
    notes : list of str
    """

    def __init__(
        self,
        shell: Any,
        namespace: dict[str, Any],
        targets: Sequence[Target],
        wanted: Collection[str],
        frame: FrameType | None,
    ) -> None:
        self._shell, self._namespace, self._targets = shell, namespace, targets
        self._frame = frame
        self.wanted = set(wanted)
        self.notes: list[str] = []
        self._values: list[Any] = []
        self._bundles: dict[str, Bundle] = {}
        self._of_targets: list[Bundle] = []
        self._outputs: list[tuple[str, str, Any, Bundle]] = []
        self._figures: list[tuple[Any, Any, Bundle]] = []
        self._top = Bundle()
        self._shared = shell is not None and kept.is_result_shared(shell)
        # before the capture: without the native part, looking at attributes makes the dicts that hold them
        known = known_by_name(frame)
        self._heap = capture()
        self._place = known.get("place", place_of)
        deleted = {name for target in targets for name in target.names}
        self._scene = Scene(
            self._heap,
            roots=known["roots"],
            namespace=known["namespace"],
            hidden={*known.get("hidden", ()), *deleted},
        )
        self._scene.close_frames()
        self._gather()
        self._weights = Weights(self._heap, self._top)
        self.freed_bytes = self._weights.freed_bytes(self._top)

    def forget(self) -> None:
        """Let go of all objects, and of the heap."""
        self._top.forget()
        self._scene.forget()
        self._outputs.clear()
        self._figures.clear()
        self._bundles.clear()
        self._of_targets.clear()

    # -- which references

    def _gather(self) -> None:
        named = set()
        for target in self._targets:
            bundle = Bundle([Reference(self._namespace, target.value, 1) for _ in target.names])
            bundle.references += [
                kept.reference_of(self._shell, place, target.value, shared=self._shared)
                for place in target.places
            ]
            named.add(id(target.value))
            self._of_targets.append(bundle)
        errors = kept.errors(self._shell, shared=self._shared)
        if "errors" not in self.wanted and self._is_held_by(errors):
            self.wanted.add("errors")
            self.notes.append("the last error holds it too: that is let go of as a whole")
        for kind, bundle in zip(
            KINDS,
            (self._bundle_outputs(named), Bundle(errors), self._bundle_figures(), Bundle(kept.widgets())),
            strict=True,
        ):
            if kind in self.wanted:
                self._bundles[kind] = bundle
        self._top.parts += [*self._of_targets, *self._bundles.values()]

    def _is_held_by(self, errors: Sequence[Reference]) -> bool:
        values = [target.value for target in self._targets if not kept.is_everybodys(target.value)]
        values = [value for value in values if not issubclass(type(value), ModuleType)]
        if not values or not errors:
            return False
        addresses = self._heap.addresses[own_reach(self._heap, errors, self._scene)]
        known = set(addresses.tolist())
        return any(id(value) in known for value in values)

    def _bundle_outputs(self, named: set[int]) -> Bundle:
        bundle = Bundle()
        if self._shell is None or "outputs" not in self.wanted:
            return bundle
        found: dict[int, tuple[Any, list[kept.Place]]] = {}
        for place, value in kept.displayed(self._shell):
            if value is not None and id(value) not in named and not (type(value) is str and not value):
                found.setdefault(id(value), (value, []))[1].append(place)
        for value, places in found.values():
            part = Bundle(
                [kept.reference_of(self._shell, place, value, shared=self._shared) for place in places]
            )
            bundle.parts.append(part)
            self._outputs.append((kept.title_of(places), kept.command_of(places), value, part))
        return bundle

    def _bundle_figures(self) -> Bundle:
        bundle = Bundle()
        for number, reference in kept.figures():
            bundle.parts.append(Bundle([reference]))
            self._figures.append((number, reference.below, bundle.parts[-1]))
        return bundle

    # -- what they weigh

    def parts(self, *, alone: bool) -> tuple[Part, ...]:
        """Tell of each thing that can be released what it frees, and what holds it besides.

        Parameters
        ----------
        alone : bool
            What holds it if only it is released; else if all are.
        """
        found = [self._of_target(*each) for each in zip(self._targets, self._of_targets, strict=True)]
        for kind, bundle in self._bundles.items():
            count = self._count(kind, bundle)
            if count:
                found.append(getattr(self, f"_of_{kind}")(bundle, count, alone))
        return tuple(found)

    def _count(self, kind: str, bundle: Bundle) -> int:
        if kind == "widgets":
            return kept.widget_count()
        return len(bundle.parts) if kind in ("outputs", "figures") else len(bundle.references)

    def _of_target(self, target: Target, bundle: Bundle) -> Part:
        title = ", ".join([*target.names, *([kept.title_of(target.places)] if target.places else [])])
        return Part(
            kind="variable" if target.names else "output",
            name=title,
            type=name_of(type(target.value)),
            count=1,
            freed_bytes=self._weights.freed_bytes(bundle),
            held_by=self._held_by(target.value, self._top),
            command=f"%memfree {' '.join(target.asked)}",
        )

    def _of_outputs(self, bundle: Bundle, count: int, alone: bool) -> Part:
        weights = self._weights
        rows = sorted(self._outputs, key=lambda row: -self._retained(row[2]))
        parts = tuple(
            Part(
                "output", title, name_of(type(value)), 1, weights.freed_bytes(part),
                self._held_by(value, part if alone else self._top) if number < _MOST_NAMED else (), command,
            )
            for number, (title, command, value, part) in enumerate(rows)
        )  # fmt: skip
        name = "1 output" if count == 1 else f"{format_count(count)} outputs"
        return Part("output", name, "", count, weights.freed_bytes(bundle), (), self._flag("outputs"), parts)

    def _of_errors(self, bundle: Bundle, count: int, alone: bool) -> Part:
        title, kind = kept.error_title()
        freed, gone = self._weights.freed_bytes(bundle), bundle if alone else self._top
        held = [text for each in bundle.references for text in self._held_by(each.below, gone)]
        return Part("error", title, kind, 1, freed, tuple(dict.fromkeys(held)), self._flag("errors"))

    def _of_figures(self, bundle: Bundle, count: int, alone: bool) -> Part:
        weights = self._weights
        parts = tuple(
            Part(
                "figure", f"figure {number}", "", 1, weights.freed_bytes(part),
                self._held_by(manager, part if alone else self._top) if row < _MOST_NAMED else (),
                f"import matplotlib.pyplot as plt; plt.close({number!r})",
            )
            for row, (number, manager, part) in enumerate(self._figures)
        )  # fmt: skip
        name = "1 open figure" if count == 1 else f"{format_count(count)} open figures"
        return Part("figure", name, "", count, weights.freed_bytes(bundle), (), self._flag("figures"), parts)

    def _of_widgets(self, bundle: Bundle, count: int, alone: bool) -> Part:
        name = "1 widget" if count == 1 else f"{format_count(count)} widgets"
        freed = self._weights.freed_bytes(bundle)
        return Part("widget", name, "", count, freed, (), self._flag("widgets"))

    def leftovers(self, free: int) -> tuple[Part, ...]:
        """Tell of what nobody holds: garbage, and what malloc keeps for later, as it was before the look."""
        found = []
        garbage = garbage_bytes(self._heap)
        if garbage:
            name = "garbage that waits for the collector"
            found.append(Part("garbage", name, "", 1, garbage, (), "import gc; gc.collect()"))
        if free >= _LEAST_FREE:
            command = "import ctypes; ctypes.CDLL(None).malloc_trim(0)"
            found.append(Part("malloc", "free memory that malloc keeps, about", "", 1, free, (), command))
        return tuple(found)

    def _flag(self, kind: str) -> str:
        return f"nbmem.free({kind}=True)" if self._shell is None else f"%memfree --{kind}"

    def _retained(self, value: object) -> int:
        node = self._weights.node_of(value)
        return 0 if node is None else int(self._heap.retained_bytes[node])

    # -- what lives on

    def lives_on(self, target: Target) -> bool:
        """Tell whether something holds an object after all."""
        node = self._weights.node_of(target.value)
        if node is None or kept.is_everybodys(target.value) or self._heap.refcounts[node] == IMMORTAL:
            return False
        return not self._weights.is_freed(target.value, self._top)

    def survivor(self, target: Target, most: int) -> Survivor:
        """Tell what would hold an object."""
        paths = self._ways(target.value, self._top, most)
        kind = name_of(type(target.value))
        return Survivor(", ".join(target.asked), kind, self._retained(target.value), "held", tuple(paths))

    def _held_by(self, value: Any, gone: Bundle) -> tuple[str, ...]:
        if kept.is_everybodys(value) or self._weights.is_freed(value, gone):
            return ()
        texts = [path.text for path in self._ways(value, gone, _MOST_WAYS)]
        return tuple(
            text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…" for text in texts
        )

    def _ways(self, value: Any, gone: Bundle, most: int) -> list[RootPath]:
        return paths_left(self._scene, self._weights, gone, value, self._place, most)
