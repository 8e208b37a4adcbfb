"""What the objects of well-known libraries hold outside Python's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nbmem.heap.registry import Buffer, Rule


def _arrow(pyarrow: Any) -> list[Rule]:
    def of_array(array: Any) -> Iterable[Buffer]:
        return [_arrow_buffer(each) for each in array.buffers() if each is not None]

    def of_chunks(chunked: Any) -> Iterable[Buffer]:
        return [buffer for chunk in chunked.chunks for buffer in of_array(chunk)]

    def of_table(table: Any) -> Iterable[Buffer]:
        return [buffer for column in table.columns for buffer in of_chunks(column)]

    def of_batch(batch: Any) -> Iterable[Buffer]:
        return [buffer for column in batch.columns for buffer in of_array(column)]

    return [
        Rule(pyarrow.Buffer, buffers=lambda buffer: [_arrow_buffer(buffer)]),
        Rule(pyarrow.Array, buffers=of_array),
        Rule(pyarrow.ChunkedArray, buffers=of_chunks),
        Rule(pyarrow.Table, buffers=of_table),
        Rule(pyarrow.RecordBatch, buffers=of_batch),
    ]


def _arrow_buffer(buffer: Any) -> Buffer:
    while buffer.parent is not None:
        buffer = buffer.parent
    return Buffer(int(buffer.address), (int(buffer.size) + 63) & ~63, "Arrow buffer")


FOREIGN: tuple[tuple[str, Callable[[Any], list[Rule]]], ...] = (("pyarrow", _arrow),)
