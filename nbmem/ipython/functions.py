"""Find the functions that ``-f`` names."""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError

from nbmem._errors import BadArgument
from nbmem.tracing.sources import source_of_function

#: Attributes that are functions with a name of their own; asking an object for them would call those.
_COMPUTED = (property, functools.cached_property)


def find_function(name: str, namespace: Mapping[str, object], *, magic: str) -> Callable[..., object]:
    """Find a function by its dotted name; nothing is called or evaluated.

    Parameters
    ----------
    name : str
    namespace : mapping
        Where the first part is looked up, before the builtins.
    magic : str
        Who asks, for the messages.

    Raises
    ------
    UsageError
        If there is no such function, in one line.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{magic}: -f takes the name of a function, such as load or Model.fit, not {name!r}")
    first, *rest = name.split(".")
    try:
        value: Any = namespace[first] if first in namespace else vars(builtins)[first]
        for part in rest[:-1]:
            value = getattr(value, part)
        if rest:
            static = inspect.getattr_static(value, rest[-1], None)
            value = static if isinstance(static, _COMPUTED) else getattr(value, rest[-1])
    except Exception:  # noqa: BLE001  # an attribute may be somebody's code
        raise UsageError(
            f"{magic}: there is no {name!r} to watch with -f; define or import it first"
        ) from None
    try:
        source_of_function(value)
    except BadArgument as error:
        raise UsageError(f"{magic} -f {name}: {error}") from None
    function: Callable[..., object] = value
    return function
