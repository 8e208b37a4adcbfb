"""What a look at an object tells, and what it does not: itself, the name that was asked by, the loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.holders.cases import Case
from tests.holders.stage import ask, build, done, is_gone, prepare
from tests.kernels import Kernel

#: Both ways of asking, for these.
ALIKE = {
    "a variable": "kept = [made()]",
    "an output": "made()",
    "an error": "def load():\n    batch = made()\n    1 / 0\nload()",
    "a cache": "import functools\n@functools.lru_cache\ndef load(n): return made()\nload(1); None",
    "a class": "class Store: pass\nStore.kept = made()",
    "a generator": "def rows():\n    table = made()\n    yield 1\n    print(table)\ngen = rows()\nnext(gen); None",
    "nothing": "thing = made(); thing.me = thing; del thing",
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Kernel]:
    kernel = Kernel()
    prepare(kernel, "numpy", "pandas")
    yield kernel
    kernel.stop()


def run(kernel: Kernel, *cells: str) -> None:
    build(kernel, Case("", cells, "error", ""))


@pytest.mark.parametrize("name", list(ALIKE))
def test_the_magic_and_the_function_say_the_same(stage: Kernel, name: str) -> None:
    run(stage, ALIKE[name])
    answer = ask(stage, "ref()", twice=True)
    assert answer.again == [(path.text, path.cure) for path in answer.paths]


@pytest.mark.parametrize(
    ("cell", "paths"),
    [
        ("for each in items:\n    found = nbmem.root_paths(each)", ["items[0]", "each"]),
        ("def look(thing):\n    return nbmem.root_paths(thing)\nfound = look(items[0])", ["items[0]"]),
        ("found = [nbmem.root_paths(each) for each in items][0]", ["items[0]"]),
        ("found = nbmem.root_paths(items[0])", ["items[0]"]),
        ("found = nbmem.root_paths(obj=items[0])", ["items[0]"]),
        ("thing = items[0]\nfound = nbmem.root_paths(thing)", ["items[0]", "thing"]),
        ("thing = items[0]\n%refchain -q -o found thing", ["items[0]", "thing"]),
        ("%refchain -q -o found items[0]", ["items[0]"]),
        ("%refchain -q items[0]\n%refchain -q -o found items[0]", ["items[0]"]),
    ],
)
def test_neither_the_look_nor_what_it_was_asked_by_is_an_answer(
    stage: Kernel, cell: str, paths: list[str]
) -> None:
    run(stage, "items = [made()]", cell)
    assert stage.value("[path.text for path in found.data.paths]") == paths


def test_a_result_that_is_displayed_and_kept_holds_nothing(stage: Kernel) -> None:
    run(stage, "kept = made()", "nbmem.root_paths(kept)", "found = _", "del kept")
    assert stage.value("__import__('gc').collect() and False or ref()") is None


def test_two_holders_are_two_paths_and_both_cures_are_needed(stage: Kernel) -> None:
    run(stage, "kept = {'a': made()}\ndef work(): pass\nwork.cache = [kept['a']]")
    answer = ask(stage, "ref()")
    assert [path.text for path in answer.paths] == ["kept['a']", "work.cache[0]"]
    assert answer.figures["is_freed"]
    done(stage.run(answer.paths[0].cure))
    assert stage.value("ref() is None") is False
    done(stage.run(answer.paths[1].cure))
    assert stage.value("__import__('gc').collect() and False or ref() is None") is True


def test_ways_that_lead_through_the_reference_to_cut_are_one_path(stage: Kernel) -> None:
    run(stage, "box = [made()]\nother = {'box': box}\nthird = [[box]]")
    answer = ask(stage, "ref()")
    assert [path.text for path in answer.paths] == ["box[0]"]
    assert answer.paths[0].also == ("other['box'][0]", "third[0][0][0]")


def test_a_million_links_are_followed_without_recursion(stage: Kernel) -> None:
    run(stage, "head = [made()]\nfor _i in range(999_999): head = [head]\ndel _i")
    answer = ask(stage, "ref()")
    text = "head([0] × 19,999) → … 980,000 more … → Thing"
    assert [(path.text, path.cure) for path in answer.paths] == [(text, "del head")]
    assert answer.figures["is_freed"]
    done(stage.run("del head"))
    assert is_gone(stage, Case("", (), "", ""))


def test_a_hundred_thousand_holders_and_another_one_are_told_at_once(stage: Kernel) -> None:
    run(stage, "kept = made()\nrows = [{'thing': kept} for _ in range(100_000)]\nmore = (1, kept)\ndel kept")
    answer = ask(stage, "ref()")
    assert {path.text: path.count for path in answer.paths} == {"more[1]": 1, "rows[*]['thing']": 100_000}
    for path in answer.paths:
        done(stage.run(path.cure))
    assert is_gone(stage, Case("", (), "", ""))


def test_what_is_everywhere_is_told_in_ten_paths(stage: Kernel) -> None:
    run(stage)
    answer = ask(stage, "None")
    assert len(answer.paths) == 10
    assert not answer.figures["is_freed"]
    assert not any(path.cure for path in answer.paths)


def test_no_cure_takes_anything_from_a_library(stage: Kernel) -> None:
    run(stage, "import json, logging, numpy, pandas")
    for expression in (
        "get_ipython().events", "get_ipython().kernel.comm_manager", "json.dumps", "numpy.ndarray", "sys.stdout",
    ):  # fmt: skip
        answer = ask(stage, expression)
        cures = [path.cure for path in answer.paths]
        assert not [cure for cure in cures if cure], f"{expression}: {cures}"


@pytest.mark.parametrize(
    ("cell", "name", "line"),
    [
        ("kept = made()\nother = kept", "kept", "del kept alone frees nothing of 98.1 KiB; all of it is held by other"),
        ("kept = {'a': made(), 'b': bytearray(1 << 20)}\nother = [kept['b']]", "kept", "del kept alone frees 98."),
        (
            "import numpy as np\nkept = {'a': np.ones(1 << 17)}\nview = kept['a'][5:]",
            "kept",
            "the rest is held by view.base",
        ),
        (
            "import pandas as pd, numpy as np\nkept = pd.DataFrame(np.ones((1000, 50)))\nkept['x'] = 1.5\ncolumn = kept[3]",
            "kept",
            "the rest is held by column._mgr.",
        ),
    ],
)  # fmt: skip
def test_it_is_told_what_deleting_the_name_would_free_and_what_holds_the_rest(
    stage: Kernel, cell: str, name: str, line: str
) -> None:
    run(stage, cell)
    assert line in done(stage.run(f"%refchain {name}")).report


def test_what_deleting_a_name_frees_is_what_the_allocator_gets_back(stage: Kernel) -> None:
    run(
        stage,
        "import nbmem._units\nfrom nbmem.process.allocators import *\n"
        "kept = {'rows': [{'n': float(i), 's': str(i) * 5} for i in range(20_000)], 'big': bytearray(1 << 22)}\n"
        "other = kept['rows'][:5_000]",
        "%refchain -q -o found kept",
    )
    stage.run("from tests.heap.judge import in_use_bytes\nimport gc\ngc.collect()\nbefore = in_use_bytes()")
    stage.run("del kept")
    freed = stage.value("before - in_use_bytes()")
    told = stage.value("found.freed_if_deleted_bytes")
    assert abs(told - freed) < 0.03 * freed
    # of other only the rows that kept had too are the rest
    assert stage.value("found.rest_held_by.path.tolist()") == ["other[*]"]


@pytest.mark.parametrize(
    ("cell", "expression"),
    [
        ("kept = {'rows': [{'n': float(i)} for i in range(20_000)]}", "kept['rows']"),
        ("kept = [bytes(1 << 22), 1]", "kept[0]"),
        ("import numpy as np\nkept = {'view': np.ones(1 << 19)[5:]}", "kept['view'].base"),
        (
            "import functools\n@functools.lru_cache\ndef load(n): return [float(i) for i in range(n)]\nload(50_000); None",
            "load(50_000)",
        ),
    ],
)  # fmt: skip
def test_what_the_cures_free_is_what_the_allocators_get_back(
    stage: Kernel, cell: str, expression: str
) -> None:
    run(stage, cell)
    answer = ask(stage, expression)
    run_gc = "from tests.heap.judge import in_use_bytes\nimport gc\ngc.collect()\nbefore = in_use_bytes()"
    done(stage.run(run_gc))
    for path in answer.paths:
        done(stage.run(path.cure))
    freed = stage.value("before - in_use_bytes()")
    copied = 8 * ((1 << 19) - 5) if expression.endswith("base") else 0
    assert abs(answer.figures["freed_bytes"] - copied - freed) < 0.03 * answer.figures["freed_bytes"]


def test_markup_in_names_is_text(stage: Kernel) -> None:
    run(stage, "names = {'<img onerror=alert(1)>': [made()]}")
    html = done(stage.run("%refchain ref()")).displays[-1]["text/html"]
    assert "<img" not in html
    assert "&lt;img" in html


def test_a_look_makes_neither_frame_objects_nor_attribute_dicts(stage: Kernel) -> None:
    run(
        stage,
        "def rows():\n    table = made()\n    yield 1\n    print(table)\ngen = rows()\nnext(gen)\n"
        "class Row: pass\nrow = Row()\nrow.gen = gen\ndel gen",
        "from nbmem.heap.attributes import attributes",
        "%refchain -q -o first ref()\n%refchain -q -o second ref()",
    )
    assert stage.value("attributes(row)[0]") is None
    steps = [stage.value(f"{name}.steps.retained_bytes.tolist()") for name in ("first", "second")]
    assert steps[0][1:] == steps[1][1:]


def test_instances_of_a_type_are_grouped_by_what_holds_them(stage: Kernel) -> None:
    run(
        stage,
        "first = [made() for _ in range(30)]\nsecond = {'a': {'b': made()}}\nclass Holder: pass\nHolder.kept = made()",
    )
    out = done(stage.run("found = nbmem.type_paths(Thing)\ndisplay(found)")).report
    found = stage.value("found.groups[['path', 'count']].values.tolist()")
    assert found[0] == ["first[*]", 30]
    assert sorted(found[1:]) == [["Holder.kept", 1], ["second['a']['b']", 1]]
    assert "first[*]   30 × retain" in out
