"""Who holds an object of the notebook's."""

from __future__ import annotations

import ast
import linecache
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from nbmem._errors import BadArgument
from nbmem.ipython.notebook import running_shell

if TYPE_CHECKING:
    from nbmem.reports.rootpaths import RootPaths
    from nbmem.reports.typepaths import TypePaths


def look(value: object, *, title: str, asked: str | None, most: int, frame: FrameType | None) -> RootPaths:
    """Find out who holds an object, with all that the notebook knows by name."""
    from nbmem.heap.pathwords import place_of
    from nbmem.heap.rootpaths import find_root_paths
    from nbmem.reports.rootpaths import RootPaths

    known = known_by_name(frame)
    # not **known: a call of that kind keeps the object in a tuple that nobody can see
    found = find_root_paths(
        value,
        roots=known["roots"],
        namespace=known["namespace"],
        hidden=known.get("hidden", ()),
        place=known.get("place", place_of),
        asked=asked,
        frame=frame,
        most=most,
    )
    return RootPaths(found, title=title)


def look_at_type(kind: type | str, *, most: int, frame: FrameType | None) -> TypePaths:
    """Find out who holds the instances of a type, with all that the notebook knows by name."""
    from nbmem.heap.rootgroups import find_groups
    from nbmem.reports.typepaths import TypePaths

    return TypePaths(find_groups(kind, most=most, **known_by_name(frame)))


def known_by_name(frame: FrameType | None) -> dict[str, Any]:
    """Collect what has a name: the notebook's, or outside of notebooks that of the caller's module."""
    from nbmem.heap.paths import SPREAD
    from nbmem.heap.roots import Root
    from nbmem.ipython.roots import notebook_roots

    shell = running_shell()
    if shell is None:
        namespace = sys.modules["__main__"].__dict__ if frame is None else frame.f_globals
        return {
            "roots": [Root(namespace, "variable", "the program", "", mark=SPREAD)],
            "namespace": namespace,
        }
    roots, hidden = notebook_roots(shell)
    return {"roots": roots, "namespace": shell.user_ns, "hidden": hidden, "place": cell_namer(shell)}


def cell_namer(shell: Any) -> Any:
    """Give what names the file of a cell's code ``In[7]``."""

    def place(filename: str) -> str:
        named = getattr(shell.compile, "format_code_name", lambda name: None)(filename)
        return str(named[1]) if named else filename

    return place


def root_paths(obj: object, n: int = 10) -> RootPaths:
    """Tell who holds an object: the shortest paths from all that has a name, and what to type to cut them.

    Parameters
    ----------
    obj : object
        Anything. The name that it is given by here is no answer, nor is this look.
    n : int
        How many paths at most.

    Returns
    -------
    RootPaths
        ``paths`` (a frame, one row per path), ``steps`` (one row per object on each), ``freed_bytes``.

    Raises
    ------
    BadArgument
        If ``n`` is no number of paths.

    Examples
    --------
    >>> cache = {"2019": [bytearray(1000)]}
    >>> nbmem.root_paths(cache["2019"][0]).paths.path[0]
    "cache['2019'][0]"
    """
    from nbmem.reports.heaprows import whole

    most = whole(n)
    frame = sys._getframe(1)
    asked = _argument(frame)
    try:
        return look(obj, title=asked or "", asked=asked, most=most, frame=frame)
    finally:
        del frame


def type_paths(kind: type | str, n: int = 10) -> TypePaths:
    """Tell who holds the instances of a type, grouped by the shape of the way to them.

    Parameters
    ----------
    kind : type or str
        The class, or its name, with or without its module. Instances of derived classes do not count.
    n : int
        How many groups at most.

    Returns
    -------
    TypePaths
        ``groups`` (a frame, one row per group, those that retain most first).

    Raises
    ------
    BadArgument
        If there is no instance, or no such type.
    """
    from nbmem.reports.heaprows import whole

    if not isinstance(kind, (type, str)):
        raise BadArgument(f"type_paths takes a class or its name, not {type(kind).__name__}")
    return look_at_type(kind, most=whole(n), frame=sys._getframe(1))


def _argument(frame: FrameType) -> str | None:
    """Read from the source what the function was called with; None if the source is gone."""
    positions = list(frame.f_code.co_positions())
    line, end_line, column, end_column = positions[frame.f_lasti // 2]
    if line is None or end_line is None or column is None or end_column is None:
        return None
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)[line - 1 : end_line]
    if not lines:
        return None
    try:
        # columns count bytes
        data = [each.encode() for each in lines]
        data[-1] = data[-1][:end_column]
        data[0] = data[0][column:]
        tree = ast.parse(b"".join(data).decode().strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
    if isinstance(tree, ast.Call) and tree.args and not isinstance(tree.args[0], ast.Starred):
        return ast.unparse(tree.args[0])
    return None
