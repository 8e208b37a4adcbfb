"""Snapshots as files: numpy's ``.npz``, without pickle, so that reading one executes nothing."""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nbmem._errors import BadArgument
from nbmem.heap.graph import Heap
from nbmem.reports.heapview import shown

_FORMAT = "nbmem heap snapshot 1"
_OF_NODES = {
    "addresses": np.uint64,
    "type_index": np.uint32,
    "shallow_bytes": np.int64,
    "refcounts": np.uint32,
    "surplus": np.int32,
    "states": np.uint8,
}
_ARRAYS = {**_OF_NODES, "indptr": np.uint32, "indices": np.uint32, "type_addresses": np.uint64}
_WORDS = "words"
# What reading a file that is no such one ends in.
_DAMAGES = (
    zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, SyntaxError, OverflowError,
    RuntimeError,  # encrypted, nested without end, not implemented
)  # fmt: skip


def save_heap(path: str | os.PathLike[str], heap: Heap) -> None:
    """Write a heap beside its place, then put it there in one step.

    Raises
    ------
    OSError
        If it cannot be written; what was there is still there then.
    """
    words = {
        "format": _FORMAT,
        "types": heap.types,
        "labels": list(heap.labels.items()),
        "taken": heap.taken,
        "origin": heap.origin,
        "notes": heap.notes,
    }
    arrays: dict[str, Any] = {name: getattr(heap, name) for name in _ARRAYS}
    arrays[_WORDS] = np.frombuffer(json.dumps(words).encode(), np.uint8)
    place = Path(path)
    if place.is_dir():
        raise IsADirectoryError(f"{place} is a folder; name a file in it")
    name = place.parent / f".nbmem-{secrets.token_hex(8)}"
    try:
        with open(name, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, place)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def load_heap(path: str | os.PathLike[str]) -> Heap:
    """Read a heap.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    BadArgument
        If it is no file of :func:`save_heap`, or damaged.
    """
    with open(path, "rb") as file:
        try:
            return _heap(file)
        except _DAMAGES as error:
            raise BadArgument(
                f"{os.fspath(path)!r} is no heap snapshot, or is damaged: {shown(str(error), 120)}"
            ) from None


def _heap(file: IO[bytes]) -> Heap:
    with zipfile.ZipFile(file) as archive:
        words = json.loads(bytes(_array(archive, _WORDS, np.uint8)))
        if not isinstance(words, dict) or words.get("format") != _FORMAT:
            raise ValueError("another format")
        arrays: dict[str, Any] = {name: _array(archive, name, kind) for name, kind in _ARRAYS.items()}
    types = _texts(words["types"])
    _check(arrays, len(types))
    for array in arrays.values():
        array.flags.writeable = False
    return Heap(
        **arrays,
        types=types,
        labels={int(node): str(label) for node, label in words["labels"]},
        taken=float(words["taken"]),
        origin=str(words["origin"]),
        notes=_texts(words["notes"]),
    )


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("its names are no texts")
    return tuple(values)


def _array(archive: zipfile.ZipFile, name: str, kind: type) -> NDArray[Any]:
    """Read one array, believing no size that the file only claims."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    with archive.open(entry) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{name} is of another version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype != kind or len(shape) != 1:
            raise ValueError(f"{name} is no row of {np.dtype(kind)}")
        content = member.read()
    if len(content) != shape[0] * dtype.itemsize:
        raise ValueError(f"{name} is cut off")
    return np.frombuffer(bytearray(content), kind)


def _check(arrays: dict[str, NDArray[Any]], types: int) -> None:
    """See to it that the arrays are a graph: what works on them does not look again."""
    count = len(arrays["addresses"])
    if any(len(arrays[name]) != count for name in _OF_NODES) or len(arrays["type_addresses"]) != types:
        raise ValueError("its arrays do not fit together")
    begins, targets = arrays["indptr"], arrays["indices"]
    if (
        len(begins) != count + 1
        or int(begins[0]) != 0
        or int(begins[-1]) != len(targets)
        or np.any(begins[1:] < begins[:-1])
        or (len(targets) and int(targets.max()) >= count)
        or (count and int(arrays["type_index"].max()) >= types)
    ):
        raise ValueError("its references do not fit together")
