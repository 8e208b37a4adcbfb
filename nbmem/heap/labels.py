"""What a node is, in words: the names of modules, of their namespaces, of frames, of classes."""

from __future__ import annotations

import sys
import threading
from types import CodeType, ModuleType

import numpy as np

from nbmem.heap.draft import Draft
from nbmem.heap.graph import INTERNED, STATIC, Heap
from nbmem.heap.own import namespace_of
from nbmem.heap.registry import Rule
from nbmem.heap.typenames import name_of
from nbmem.heap.walk import locate

#: How classes are named.
CLASSES = Rule(type, label=lambda kind: f"class {name_of(kind)}")

_MODULE, _NAMESPACE = "module ", "namespace of "


def label_modules(draft: Draft) -> None:
    """Put names on the modules that are loaded, and on their namespaces."""
    modules = {
        name: module
        for name, module in list(sys.modules.items())
        if type(name) is str and issubclass(type(module), ModuleType)
    }
    wanted = [*map(id, modules.values()), *(id(namespace_of(module)) for module in modules.values())]
    labelled = [prefix + name for prefix in (_MODULE, _NAMESPACE) for name in modules]
    nodes = locate(draft.addresses, np.array(wanted, np.uint64)).tolist()
    for label, node in zip(labelled, nodes, strict=True):
        if node >= 0:
            draft.labels.setdefault(node, label)


def frame_label(thread: int, code: CodeType, line: int) -> str:
    """Name a running frame."""
    name = "" if thread == threading.main_thread().ident else f", thread {thread}"
    return f"{code.co_qualname}() in {code.co_filename}, line {line}{name}"


def namespaces(heap: Heap) -> frozenset[int]:
    """List the nodes that are modules or their namespaces."""
    return frozenset(node for node, label in heap.labels.items() if label.startswith((_MODULE, _NAMESPACE)))


def label_of(heap: Heap, node: int) -> str:
    """Say what a node is.

    Parameters
    ----------
    heap : Heap
    node : int
        ``len(heap)`` stands for the virtual root.

    Returns
    -------
    str
        For instance ``namespace of __main__``, ``load() in data.py, line 7``, ``class shop.Order``, ``native
        code``; the type's name of what has no other.
    """
    if node == len(heap):
        return "native code"
    known = heap.labels.get(node)
    if known is not None:
        return f"built-in {known}" if heap.states[node] == STATIC else known
    return "interned str" if heap.states[node] == INTERNED else heap.type_of(node)
