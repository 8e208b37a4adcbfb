"""``nbmem.snapshot`` and its result, in this process."""

from __future__ import annotations

import gc
import io
import os
import pickle
import random
import re
import subprocess
import sys
import time
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nbmem
from nbmem.heap import owned_bytes
from nbmem.heap.births import AVAILABLE

HERE = "tests.reports.test_snapshot"


class Node:
    """Something that refers to others."""

    def __init__(self, *others: object) -> None:
        self.others = list(others)


class Held:
    """What the tests ask for: alive as long as they run."""

    def __init__(self) -> None:
        self.big = [bytearray(1000) for _ in range(3000)]
        shared = bytearray(50_000)
        self.first, self.second = Node(shared), Node(shared)


held = Held()


@pytest.fixture(scope="module")
def taken() -> nbmem.HeapSnapshot:
    return nbmem.snapshot(watch=False)


def test_the_types_add_up_to_the_living_heap(taken: nbmem.HeapSnapshot) -> None:
    types = taken.types()
    assert list(types.columns) == ["type", "count", "shallow_bytes", "retained_bytes"]
    assert types["count"].sum() == taken.object_count == len(taken)
    assert types.shallow_bytes.sum() == taken.total_bytes
    assert types.retained_bytes.is_monotonic_decreasing
    assert (types.retained_bytes >= types.shallow_bytes).all()
    assert taken.reference_count > taken.object_count


def test_instances_of_a_class_are_counted(taken: nbmem.HeapSnapshot) -> None:
    assert int(taken.types().set_index("type")["count"][f"{HERE}.Node"]) == 2


def test_the_biggest_objects_have_words_sizes_and_holders(taken: nbmem.HeapSnapshot) -> None:
    biggest = taken.biggest(2000)
    assert list(biggest.columns) == [
        "type", "what", "shallow_bytes", "retained_bytes", "refcount", "held_by", "address",
    ]  # fmt: skip
    assert biggest.retained_bytes.is_monotonic_decreasing
    assert len(biggest) == 2000
    (row,) = biggest[biggest.address == hex(id(held.big))].itertuples()
    assert row.type == "list"
    assert row.retained_bytes == taken.retained_bytes(held.big)
    assert row.held_by in ("dict", f"{HERE}.Held")
    assert (biggest.what.str.startswith("namespace of ")).any()
    assert len(taken.biggest(3)) == 3
    assert len(taken.biggest(0)) == 0


def test_an_object_retains_what_goes_with_it(taken: nbmem.HeapSnapshot) -> None:
    expected = owned_bytes(held.big) + sum(map(owned_bytes, held.big))
    assert taken.retained_bytes(held.big) == pytest.approx(expected, rel=0.03)
    assert taken.shallow_bytes(held.big) == pytest.approx(owned_bytes(held.big), rel=0.03)


def test_several_objects_retain_together_what_they_share(taken: nbmem.HeapSnapshot) -> None:
    alone = taken.retained_bytes(held.first) + taken.retained_bytes(held.second)
    together = taken.retained_bytes(held.first, held.second)
    assert together == alone + taken.shallow_bytes(held.first.others[0])


def test_what_was_made_later_is_not_in_it(taken: nbmem.HeapSnapshot) -> None:
    later = Node()
    with pytest.raises(nbmem.NotMeasured, match="Node is not in the snapshot: it was made after it"):
        taken.retained_bytes(later)
    with pytest.raises(nbmem.NotMeasured, match="HeapSnapshot is not in the snapshot"):
        taken.shallow_bytes(taken)
    with pytest.raises(nbmem.BadArgument, match="takes the object that it is about"):
        taken.retained_bytes()


def test_an_address_that_another_type_has_now_is_not_taken_for_the_old_object() -> None:
    node = Node()
    before = nbmem.snapshot(watch=False)

    class Other(Node):
        __qualname__ = "Other"

    node.__class__ = Other
    with pytest.raises(nbmem.NotMeasured, match="Other is not in the snapshot"):
        before.shallow_bytes(node)


def test_asking_runs_no_code_of_the_objects() -> None:
    class Hostile:
        __class__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

    hostile = Hostile()
    assert nbmem.snapshot(watch=False).shallow_bytes(hostile) > 0


def test_it_keeps_no_object_alive() -> None:
    node = Node()
    gone = weakref.ref(node)
    snapshot = nbmem.snapshot()
    snapshot.types()
    snapshot.retained_bytes(node)
    del node
    assert gone() is None
    assert len(snapshot) > 0


def test_nothing_of_nbmems_own_is_in_it(taken: nbmem.HeapSnapshot) -> None:
    assert not [name for name in taken.types().type if name.startswith("nbmem.")]
    first, second = nbmem.snapshot(watch=False), nbmem.snapshot(watch=False)
    assert abs(second.total_bytes - first.total_bytes) < 2_000


def test_garbage_in_cycles_is_told_apart() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            node = Node(bytearray(1000))
            node.others.append(node)
        del node
        snapshot = nbmem.snapshot(watch=False)
    finally:
        gc.enable()
        gc.collect()
    assert snapshot.garbage_count >= 300
    assert snapshot.garbage_bytes >= 100_000
    assert int(snapshot.types().set_index("type")["count"][f"{HERE}.Node"]) == 2
    assert "garbage: " in repr(snapshot)


def test_what_keeps_much_of_the_heap_is_a_suspect() -> None:
    hoard = [bytearray(1 << 20) for _ in range(200)]
    suspects = nbmem.snapshot(watch=False).suspects()
    assert list(suspects.columns) == [
        "type", "count", "what", "retained_bytes", "share", "accumulation", "accumulation_bytes",
    ]  # fmt: skip
    first = suspects.iloc[0]
    assert first.retained_bytes >= 200 << 20
    assert first.accumulation_bytes >= 200 << 20
    assert "list" in first.accumulation
    assert 0.3 < first["share"] <= 1
    del hoard
    with pytest.raises(nbmem.BadArgument, match="share is 2; it takes a part"):
        nbmem.snapshot(watch=False).suspects(2)


def test_when_and_how_large_it_is_are_told(taken: nbmem.HeapSnapshot) -> None:
    assert isinstance(taken.taken, pd.Timestamp)
    assert abs(taken.taken.timestamp() - time.time()) < 600
    arrays = len(taken.data) * 28 + taken.reference_count * 4
    assert arrays < taken.nbytes < 3 * arrays


@pytest.mark.parametrize("n", [-1, 2.5, "3", True])
def test_a_number_of_rows_is_a_whole_number(taken: nbmem.HeapSnapshot, n: object) -> None:
    with pytest.raises(nbmem.BadArgument, match="it takes a number of rows"):
        taken.biggest(n)  # type: ignore[arg-type]


# -- files


def test_saved_and_loaded_it_is_the_same(taken: nbmem.HeapSnapshot, tmp_path: Path) -> None:
    path = tmp_path / "heap.npz"
    taken.save(path)
    loaded = nbmem.HeapSnapshot.load(path)
    pd.testing.assert_frame_equal(loaded.types(), taken.types())
    pd.testing.assert_frame_equal(loaded.biggest(), taken.biggest())
    assert loaded.retained_bytes(held.big) == taken.retained_bytes(held.big)
    assert (loaded.taken, loaded.notes) == (taken.taken, taken.notes)
    assert [each.name for each in tmp_path.iterdir()] == ["heap.npz"]
    with np.load(path, allow_pickle=False) as archive:
        assert len(archive["addresses"]) == len(taken.data)


def test_pickled_it_is_the_same(taken: nbmem.HeapSnapshot) -> None:
    copy = pickle.loads(pickle.dumps(taken))
    pd.testing.assert_frame_equal(copy.types(), taken.types())


def test_one_of_another_process_knows_no_object_of_this(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    code = f"import nbmem; nbmem.snapshot().save({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    other = nbmem.HeapSnapshot.load(path)
    assert other.object_count > 1000
    with pytest.raises(nbmem.NotMeasured, match="of another process"):
        other.shallow_bytes(held)


def test_a_save_that_fails_leaves_what_was_there(
    taken: nbmem.HeapSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "heap.npz"
    path.write_bytes(b"precious")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        taken.save(path)
    assert path.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        taken.save(tmp_path)


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.fixture(scope="module")
def small() -> bytes:
    """Give the bytes of a saved heap that is small enough to damage it in many ways."""
    code = (
        "import sys, io, nbmem.reports.snapshotfile as f, numpy as np, tempfile, os\n"
        "from nbmem.heap.graph import Heap\n"
        "a = lambda kind, *values: np.array(values, kind)\n"
        "heap = Heap(a('u8', 16, 32), a('u4', 0, 0), a('i8', 48, 64), a('u4', 1, 1), a('i4', 1, 0), a('u1', 2, 2),"
        " a('u4', 0, 1, 1), a('u4', 1), ('list',), a('u8', 8), {0: 'x'}, 1.0, 'o', ('n',))\n"
        "path = os.path.join(tempfile.mkdtemp(), 'x')\nf.save_heap(path, heap)\n"
        "sys.stdout.buffer.write(open(path, 'rb').read())"
    )
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout


def contents(saved: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(saved)) as archive:
        return dict(archive)


def damaged(saved: bytes) -> Iterator[bytes]:
    yield b""
    yield b"\x93NUMPY"
    yield b"no zip at all " * 100
    yield npz(a=np.arange(3))
    yield npz(words=np.array([{"a": 1}], dtype=object))
    yield saved[: len(saved) // 2]
    whole = contents(saved)
    for name in whole:
        yield npz(**{key: value for key, value in whole.items() if key != name})
        yield npz(**(whole | {name: whole[name][:-1]}))
        yield npz(**(whole | {name: whole[name].astype("f8")}))
        yield npz(**(whole | {name: whole[name].reshape(1, -1)}))
    for name, value in {"indptr": [0, 9, 1], "indices": [7], "type_index": [0, 3]}.items():
        yield npz(**(whole | {name: np.array(value, np.uint32)}))
    for text in (b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"format": "nbmem heap snapshot 1"}'):
        yield npz(**(whole | {"words": np.frombuffer(text, np.uint8)}))
    squeezed = io.BytesIO()
    np.savez_compressed(squeezed, **whole)
    yield squeezed.getvalue()


def test_a_file_that_is_none_or_damaged_gives_one_clear_line(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "heap.npz"
    path.write_bytes(small)
    assert nbmem.HeapSnapshot.load(path).types()["count"].tolist() == [2]
    for content in damaged(small):
        path.write_bytes(content)
        with pytest.raises(nbmem.BadArgument, match="is no heap snapshot, or is damaged") as error:
            nbmem.HeapSnapshot.load(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
    with pytest.raises(FileNotFoundError):
        nbmem.HeapSnapshot.load(tmp_path / "nothing.npz")


def test_no_byte_that_is_changed_crashes_the_reader(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "heap.npz"
    dice = random.Random(4)
    for _ in range(600):
        content = bytearray(small)
        for _ in range(dice.choice([1, 1, 4])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        path.write_bytes(content)
        with suppress(nbmem.BadArgument):
            nbmem.HeapSnapshot.load(path).to_html()


def test_a_size_that_a_file_only_claims_takes_no_memory(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "heap.npz"
    bomb = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(small)) as source, zipfile.ZipFile(bomb, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "indices.npy":
                content = content.replace(b"(1,), }", b"(99999999999999,), }", 1)
            target.writestr(name, content)
    path.write_bytes(bomb.getvalue())
    with pytest.raises(nbmem.BadArgument, match="damaged"):
        nbmem.HeapSnapshot.load(path)


# -- as it is shown

HOSTILE = "<img src=x onerror=alert(1)>\n\x1b[31m\u202e$x^$" + "é" * 1_000_000


@pytest.fixture(scope="module")
def hostile() -> nbmem.HeapSnapshot:
    kind = type("Hostile", (), {})
    kind.__qualname__ = HOSTILE
    kept = [kind() for _ in range(200_000)]
    snapshot = nbmem.snapshot(watch=False)
    kept.clear()
    return snapshot


def test_the_report_leads_with_the_totals(taken: nbmem.HeapSnapshot) -> None:
    text = repr(taken)
    assert text.startswith(f"heap: {taken.object_count:,} objects, ")
    assert len(text.splitlines()) == 32
    assert "more types; .types() has them all" in text
    assert "biggest objects" in text
    assert "namespace of " in text
    assert len(taken.to_text(3).splitlines()) == 13
    assert len(taken.to_text(0).splitlines()) == 2
    bundle = taken._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert len(bundle["text/html"]) < 40_000


def test_the_html_survives_a_sanitiser(taken: nbmem.HeapSnapshot) -> None:
    html = taken.to_html()
    assert not re.search(r"<(script|style|svg)|var\(|currentColor|url\(|https?:", html)


def test_names_of_types_are_escaped_and_cut(hostile: nbmem.HeapSnapshot) -> None:
    html, text = hostile.to_html(), hostile.to_text()
    assert "<img" not in html
    assert "&lt;img" in html
    assert "<img" in text
    for sign in ("\u202e", "\x1b"):
        assert sign not in html
        assert sign not in text
    assert len(html) < 60_000
    assert max(map(len, text.splitlines())) < 200
    assert hostile.plot()._repr_png_()[:4] == b"\x89PNG"


def test_the_plot_is_not_registered_with_pyplot(taken: nbmem.HeapSnapshot) -> None:
    from matplotlib import pyplot

    assert taken.plot()._repr_png_()[:4] == b"\x89PNG"
    assert pyplot.get_fignums() == []


def test_a_snapshot_that_is_only_looked_at_loads_neither_pandas_nor_matplotlib() -> None:
    code = (
        "import sys, nbmem; s = nbmem.snapshot(); d = s.diff(nbmem.snapshot()); "
        "repr(s), s.to_html(), repr(d), d.to_html();"
        "print([m for m in ('pandas', 'IPython', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not AVAILABLE, reason="built without the native part")
def test_an_object_that_took_the_place_of_another_is_not_in_the_snapshot() -> None:
    nodes = [Node() for _ in range(1000)]
    places = {id(node) for node in nodes}
    taken = nbmem.snapshot()
    nodes.clear()
    later = [Node() for _ in range(1000)]
    impostor = next(node for node in later if id(node) in places)
    with pytest.raises(nbmem.NotMeasured, match="made after it"):
        taken.retained_bytes(impostor)


def test_references_have_the_names_that_python_has_for_them(taken: nbmem.HeapSnapshot) -> None:
    rows = taken.references(held).set_index("name")
    assert {".big", ".first", ".second"} <= set(rows.index)
    assert rows.type[".big"] == "list"
    assert rows.retained_bytes[".big"] == taken.retained_bytes(held.big)
    assert list(taken.references(held.big, n=3).type) == ["bytearray"] * 3
    assert all(name.startswith("[") for name in taken.references(held.big, n=3).name)


def test_referrers_are_what_refers_to_an_object(taken: nbmem.HeapSnapshot) -> None:
    shared = held.first.others[0]
    assert list(taken.referrers(shared).type) == ["list", "list"]
    assert (taken.referrers(shared).retained_bytes < 50_000).all()
