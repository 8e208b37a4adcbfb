"""What the tests of the walk share: a walk's arrays by address, and both parts in the place of the one in use."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from nbmem.heap import _walk_twin, asked, capture, draft, own

try:
    from nbmem.heap import _walk as native
except ImportError:
    native = None  # type: ignore[assignment]

PARTS: list[Any] = [_walk_twin] if native is None else [native, _walk_twin]
NAMES = [part.__name__.rpartition(".")[2] for part in PARTS]
needs_native = pytest.mark.skipif(native is None, reason="built without the native part")


@dataclass
class Node:
    """One object as a walk took it down; no reference to it."""

    type_name: str
    type_address: int
    size: int
    refcount: int
    surplus: int
    state: int
    targets: Counter[int]


def put_in_use(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let captures be made by a part."""
    for module, names in (
        (capture, ("walk", "itemsize_of", "beside", "SEES_LOCALS")),
        (draft, ("select",)),
        (own, ("refers_to",)),
        (asked, ("measured",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(part, name))


def taken_down(part: Any, starts: list[Any] | None, ends: Any = (), rules: Any = ()) -> dict[int, Node]:
    """Walk, and give what was taken down by address; of frames nothing."""
    result = part.walk(starts, list(ends), list(rules), np.ndarray, capture._itemsize_at())
    read = {
        name: np.frombuffer(result[name], kind).tolist()
        for name, kind in {**draft._OF_NODES, "indptr": np.uint32, "indices": np.uint32}.items()
    }
    addresses, begins, types = read["addresses"], read["indptr"], result["types"]
    assert len(addresses) == len(set(addresses))
    assert len(begins) == len(addresses) + 1
    return {
        address: Node(
            types[read["type_index"][i]].__name__,
            id(types[read["type_index"][i]]),
            read["shallow_bytes"][i],
            read["refcounts"][i],
            read["surplus"][i],
            read["states"][i],
            Counter([addresses[target] for target in read["indices"][begins[i] : begins[i + 1]]]),
        )
        for i, address in enumerate(addresses)
        if i >= len(result["frames"])
    }
