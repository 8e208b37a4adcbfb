"""What keeps a large share of the heap, and what nodes are called."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

PRELUDE = """
from nbmem.heap.capture import capture
from nbmem.heap.suspects import suspects
from nbmem.heap.labels import label_of

class Row:
    def __init__(self):
        self.data = bytearray(10_000)

def words(heap, suspect):
    return [label_of(heap, node) for node in suspect.path]
"""


def run(body: str) -> Any:
    """Run code in a process of its own: its heap is small."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + body], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)


def test_one_object_that_keeps_most_is_the_suspect_and_its_bytes_pile_up_below() -> None:
    found = run(
        "cache = {'rows': {'all': [bytearray(1000) for _ in range(50_000)]}}\n"
        "heap = capture(); first = suspects(heap)[0]\n"
        "print((first.type_name, words(heap, first), bool(first.share > 0.5), heap.type_of(first.accumulation),"
        " int(first.retained_bytes) == int(heap.retained_bytes[first.nodes[0]])))"
    )
    assert found == ("dict", ["dict", "dict", "list"], True, "list", True)


def test_many_of_one_type_that_only_together_keep_much_are_one_group() -> None:
    found = run(
        "for i in range(3000): globals()[f'row{i}'] = Row()\n"
        "heap = capture(); first = suspects(heap)[0]\n"
        "print((first.type_name, len(first.nodes), first.accumulation, bool(first.share > 0.5)))"
    )
    assert found == ("__main__.Row", 3000, None, True)


def test_where_nothing_stands_out_there_are_no_suspects() -> None:
    assert run("print([each.type_name for each in suspects(capture(), share=0.5)])") == []


def test_a_local_of_a_running_function_is_kept_by_its_frame() -> None:
    found = run(
        "def load():\n"
        "    batch = [bytearray(1000) for _ in range(50_000)]\n"
        "    return capture()\n"
        "heap = load(); first = suspects(heap)[0]\n"
        "print((first.type_name, words(heap, first)))"
    )
    assert found == ("(running frame)", ["load() in <string>, line 14", "list"])


def test_nodes_are_called_what_they_are() -> None:
    found = run(
        "import json\n"
        "heap = capture()\n"
        "where = [json, json.__dict__, Row, int, globals()]\n"
        "print([label_of(heap, heap.node_at(id(each))) for each in where] + [label_of(heap, len(heap))])"
    )
    assert found == [
        "module json", "namespace of json", "class __main__.Row", "built-in class int",
        "namespace of __main__", "native code",
    ]  # fmt: skip
