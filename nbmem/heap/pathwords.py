"""A path as one would write it in Python, and what Python has no word for in words."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Sequence
from itertools import groupby
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    TracebackType,
)
from typing import Any

from nbmem.heap.belongings import runs_code
from nbmem.heap.frames import code_of, line_of
from nbmem.heap.hops import GONE, Hop
from nbmem.heap.references import MOST_LETTERS, short
from nbmem.heap.roots import Root
from nbmem.heap.typenames import module_of, name_of

#: An expression longer than this is nobody's to type.
MOST_CODE = 160
#: An int up to here is its own literal.
_PLAIN_INT = 1 << 62
#: A root whose expression is longer is told in words.
_MOST_ROOT = 60
_KINDS = {
    GeneratorType: "the generator ",
    CoroutineType: "the coroutine ",
    AsyncGeneratorType: "the async generator ",
}
_CACHE = "functools._lru_cache_wrapper"
#: References that lead from an error to the frames where it was raised.
_OF_ERRORS = ("__traceback__", "tb_next", "tb_frame", "f_back", "__context__", "__cause__")
Place = Callable[[str], str]


def place_of(filename: str) -> str:
    """Name a file as it is; notebooks know better."""
    return filename


def literal(key: Any) -> str | None:
    """Write a key so that it can be read back; None if that is not possible, or too long."""
    if type(key) is int and -_PLAIN_INT < key < _PLAIN_INT:
        return str(key)
    text = short(key)
    try:
        same: bool = type(key) in (str, bytes, int, float, bool, tuple, type(None)) and (
            ast.literal_eval(text) == key
        )
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return text if same else None


def is_name(text: Any) -> bool:
    """Tell whether something can stand as a name in source."""
    return type(text) is str and text.isidentifier() and not keyword.iskeyword(text)


def piece_of(hop: Hop) -> str | None:
    """Write the reference of a hop as it stands in an expression; None if Python has no word for it."""
    if hop.kind == "attribute":
        key = hop.key
        if not is_name(key) or len(key) > MOST_LETTERS or (hop.parent is not GONE and runs_code(hop.parent)):
            return None
        return f".{key}"
    if hop.kind in ("key", "index"):
        if hop.many:
            return None
        text = literal(hop.key)
        return (
            f"[{text.strip('()') if type(hop.key) is tuple and len(hop.key) > 1 else text}]" if text else None
        )
    if hop.kind == "field" and not hop.many:
        return f"[{hop.key[0]!r}][{hop.key[1]}]"
    return ".base" if hop.kind == "base" else None


def expressions(root: Root, hops: Sequence[Hop]) -> list[str | None]:
    """Write each step of a path as an expression; None from where that is no longer possible.

    Returns
    -------
    list of (str or None)
        The root's own first, then one for each hop.
    """
    code = root.code
    found = [code if code is None or not code.endswith(".") else code[:-1]]
    for number, hop in enumerate(hops):
        if code is not None:
            if number == 0 and _is_namespace(root):
                code = f"{code}{hop.key}" if hop.kind == "key" and is_name(hop.key) else None
            elif hop.kind == "class":
                code = f"type({code})"
            else:
                piece = piece_of(hop)
                code = None if piece is None else code + piece
            if code is not None and len(code) > MOST_CODE:
                code = None
        found.append(code)
    return found


def _is_namespace(root: Root) -> bool:
    return root.code is not None and (not root.code or root.code.endswith("."))


class _Phrase:
    """What is said so far: a head that grows, and what stands after it."""

    def __init__(self, head: str) -> None:
        self.pieces = [head]
        self.tail = ""

    def __str__(self) -> str:
        parts = []
        for piece, same in groupby(self.pieces):
            times = len(list(same))
            parts.append(piece * times if times <= 3 else f"({piece} × {times:,})")
        return "".join(parts) + self.tail

    def begin(self, head: str, tail: str) -> None:
        self.pieces, self.tail = [head], tail


def text_of(  # noqa: PLR0912  # one branch for each kind of reference
    root: Root, hops: Sequence[Hop], types: Sequence[str], place: Place = place_of
) -> str:
    """Write a path in one line.

    Parameters
    ----------
    root : Root
    hops : sequence of Hop
    types : sequence of str
        Names of the types of the hops' objects.
    place : callable
        Names the file of a piece of code.

    Returns
    -------
    str
        For instance ``df_cache['2019'][3].frame`` or ``local 'x' of load() at In[7] line 3, kept by the last
        error``. ``[*]``: several indices or keys lead on alike.
    """
    namespace = _is_namespace(root)
    worded = root.code is None or namespace or len(root.code) > _MOST_ROOT
    said = _Phrase(root.name if worded else str(root.code))
    anchor: str | None = None  # what is said before the references that lead through an error
    line: int | None = None
    cached = False
    for number, (hop, kind) in enumerate(zip(hops, types, strict=True)):
        parent = hop.parent
        if hop.kind == "attribute" and hop.key in _OF_ERRORS and _is_of_error(parent):
            anchor = str(said) if anchor is None else anchor
            if type(parent) is TracebackType:
                line = parent.tb_lineno
            said.pieces.append(f".{hop.key}")
            continue
        if number == 0 and namespace and hop.kind == "key":
            said.begin(f"{root.code}{hop.key if type(hop.key) is str else short(hop.key)}", "")
            if not is_name(hop.key):
                said.begin(f"{root.name}[{short(hop.key)}]", "")
        elif hop.kind == "local":
            by = str(said) if anchor is None else anchor
            own = root.value is parent and root.kind == "frame"
            said.begin(*_local(hop, by, line, place, running=f"{root.where}, running" if own else ""))
        elif hop.kind == "cell":
            said.begin(f"closure of {_function(parent)} (cell {short(hop.key)})", f", held by {said}")
        elif hop.kind == "context":
            held = "" if root.kind == "context variable" and number == 0 else f", held by {said}"
            said.begin(f"context variable {short(hop.key)}", held)
        elif hop.kind == "unnamed" and _type_name(parent) == _CACHE:
            said.begin(f"result cache of {said}", "")
            cached = True
            continue
        elif cached and hop.kind in ("unnamed", "key", "attribute") and not _is_last(number, hops):
            continue
        elif cached:
            pass
        elif hop.kind == "unnamed" and number == 0 and root.kind == "task":
            continue
        elif hop.kind == "gap":
            said.begin(f"{said} → … {hop.key:,} more … → {kind.removeprefix('__main__.')}", "")
        elif hop.kind == "class":
            said.begin(f"type({said})", "")
        elif hop.kind == "element":
            said.begin(f"an element of {said}", "")
        elif hop.kind == "key itself":
            said.begin(f"a key of {said}", "")
        elif hop.kind == "unnamed":
            said.begin(f"{said} → {kind.removeprefix('__main__.')}", "")
        else:
            said.pieces.append(_piece(hop))
        anchor, line, cached = None, None, False
    return str(said)


def _is_last(number: int, hops: Sequence[Hop]) -> bool:
    return number == len(hops) - 1


def _piece(hop: Hop) -> str:
    if hop.many and hop.kind in ("key", "index"):
        return "[*]"
    if hop.kind == "attribute":
        if hop.key == "_attrs" and module_of(type(hop.parent)).startswith("pandas"):
            return ".attrs"
        return f".{hop.key}" if type(hop.key) is str else f".{short(hop.key)}"
    if hop.kind == "base":
        return ".base"
    if hop.kind == "field":
        return f"[{hop.key[0]!r}][{'*' if hop.many else hop.key[1]}]"
    return f"[{short(hop.key)}]" if hop.kind == "key" else f"[{_index(hop.key)}]"


def _index(key: Any) -> str:
    return str(key) if type(key) is int else ", ".join(map(str, key))


def _local(hop: Hop, by: str, line: int | None, place: Place, *, running: str) -> tuple[str, str]:
    frame = hop.parent
    code = code_of(frame)
    what = f"local {hop.key!r}" if hop.key else "a value in use"
    if code is None:
        return what, f", held by {by}"
    where = f" at {place(code.co_filename)} line {line_of(frame, raised=line)}"
    if type(frame) is FrameType:
        held = running or f", kept by {by}"
        return what, f" of {_named(code)}{where}{held}"
    return what, f" of {_KINDS[type(frame)]}{_named(code)}, suspended{where}, held by {by}"


def _named(code: CodeType) -> str:
    name = code.co_qualname
    return "the module" if name == "<module>" else f"{name}()"


def _function(value: Any) -> str:
    if type(value) is MethodType:
        value = value.__func__
    return f"{value.__qualname__}()" if type(value) is FunctionType else "a function"


def _type_name(value: Any) -> str:
    return "" if value is GONE else name_of(type(value))


def _is_of_error(value: Any) -> bool:
    kind = type(value)
    return issubclass(kind, (BaseException, TracebackType, FrameType))
