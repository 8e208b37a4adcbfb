"""What in a heap is nbmem's own: that is left out of every picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmem.heap.dominators import retained_mask
from nbmem.heap.draft import Draft
from nbmem.heap.walk import locate, looked_up, refers_to

_PACKAGE = "nbmem"
_OWN, _CALLABLE = 1, 2  # bits
# What others keep of ours: callbacks, magics.
_CALLABLES = ("method", "function", "builtin_function_or_method")
namespace_of: Callable[[Any], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__


def is_own(module: str) -> bool:
    """Tell whether a module is part of nbmem, by its name."""
    return module.partition(".")[0] == _PACKAGE


def leave_out_own(draft: Draft, own_types: NDArray[np.bool_], frame_namespaces: list[int]) -> None:
    """Leave out nbmem's modules, classes, their instances, its frames, and what nobody else leads to.

    Parameters
    ----------
    draft : Draft
    own_types : (t,) array of bool
        Which of its types are nbmem's.
    frame_namespaces : list of int
        Addresses of the globals of the running frames, the first nodes.
    """
    modules = [
        module
        for name, module in list(sys.modules.items())
        if type(module) is ModuleType and type(name) is str and is_own(name)
    ]
    namespaces = {id(namespace_of(module)) for module in modules}
    known = [*namespaces, *map(id, modules), *draft.type_addresses[: len(own_types)][own_types].tolist()]
    own = np.zeros(len(draft), np.bool_)
    found = locate(draft.addresses, np.array(known, np.uint64))
    own[found[found >= 0]] = True
    own[: len(frame_namespaces)] |= np.array([each in namespaces for each in frame_namespaces], np.bool_)
    kinds = np.zeros(len(draft.types), np.uint8)
    kinds[: len(own_types)] = np.where(own_types, _OWN, 0)
    kinds[[number for number, name in enumerate(draft.types) if name in _CALLABLES]] |= _CALLABLE
    of_nodes = looked_up(kinds, draft.type_index)
    own |= (of_nodes & _OWN).view(np.bool_)
    nodes = np.flatnonzero(of_nodes & _CALLABLE).astype(np.uint32)
    own[nodes[refers_to(draft.indptr, draft.indices, nodes, own.view(np.uint8)).view(np.bool_)]] = True
    roots = np.flatnonzero(draft.surplus > 0)
    gone = retained_mask(draft.indptr, draft.indices, roots, np.flatnonzero(own))
    draft.keep(~(gone | own))
