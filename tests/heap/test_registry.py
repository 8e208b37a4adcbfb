"""What a library can tell of its types."""

from __future__ import annotations

import ctypes
import gc
import mmap
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nbmem
from nbmem import BadArgument
from nbmem.heap import foreign, registry
from nbmem.heap.capture import capture, capture_from
from nbmem.heap.graph import Heap


class Image:
    """Pixels at an address, as a library in C would have them."""

    def __init__(self, address: int = 0, size: int = 0) -> None:
        self.address, self.size = address, size


class Photo(Image):
    pass


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:
    before = list(registry._registered)
    yield
    registry._registered[:] = before


def node_of(heap: Heap, value: object) -> int:
    node = heap.node_at(id(value))
    assert node is not None
    return node


def node_of_address(heap: Heap, address: int) -> int:
    node = heap.node_at(address)
    assert node is not None
    return node


def retained(value: object) -> int:
    heap = capture()
    return int(heap.retained_bytes[node_of(heap, value)])


def test_a_buffer_is_part_of_what_its_object_retains() -> None:
    image = Image(0x10000, 5_000_000)
    before = retained(image)
    nbmem.register_type(Image, buffers=lambda image: [(image.address, image.size)])
    assert retained(image) - before == 5_000_000


def test_a_shared_buffer_counts_once_and_belongs_to_neither() -> None:
    nbmem.register_type(Image, buffers=lambda image: [(image.address, image.size)])
    first, second = Image(0x10000, 5_000_000), Image(0x10000, 5_000_000)
    heap = capture()
    assert heap.retained_bytes[node_of(heap, first)] < 10_000
    assert 5_000_000 < heap.retained_together([node_of(heap, first), node_of(heap, second)]) < 5_010_000
    buffer = node_of_address(heap, 0x10000)
    assert sorted(heap.referrers(buffer)) == sorted([node_of(heap, first), node_of(heap, second)])


def test_a_rule_holds_for_derived_types_and_the_last_counts() -> None:
    nbmem.register_type(Image, own_bytes=lambda image: 1_000_000)
    photo = Photo()
    with_parent = retained(photo)
    nbmem.register_type(Photo, own_bytes=lambda image: 3_000_000)
    assert retained(photo) - with_parent == pytest.approx(2_000_000, abs=5000)
    nbmem.register_type(Photo, own_bytes=lambda image: 4_000_000)
    assert retained(photo) - with_parent == pytest.approx(3_000_000, abs=5000)


def test_an_object_that_only_a_library_holds_is_found_through_its_rule() -> None:
    hidden = ["x" * 100_000]
    image = Image()
    address = id(hidden)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(hidden))
    try:
        del hidden
        assert retained(image) < 10_000
        nbmem.register_type(Image, references=lambda image: [ctypes.cast(address, ctypes.py_object).value])
        assert 100_000 < retained(image) < 110_000
    finally:
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(ctypes.cast(address, ctypes.py_object).value))


def test_a_reference_that_the_count_has_no_room_for_is_not_believed() -> None:
    holder = [{"text": "x" * 100_000}]
    image = Image()
    nbmem.register_type(Image, references=lambda image: [holder[0]])
    assert retained(image) < 10_000
    assert retained(holder) > 100_000


def test_as_many_references_are_believed_as_are_counted() -> None:
    hidden = ["x" * 100_000]
    address = id(hidden)
    images = [Image() for _ in range(5)]
    for _ in range(2):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(hidden))
    try:
        del hidden
        nbmem.register_type(
            Image, references=lambda image: [ctypes.cast(address, ctypes.py_object).value, None, images]
        )
        heap = capture()
        node = node_of_address(heap, address)
        assert len([each for each in heap.referrers(node) if heap.type_of(each).endswith("Image")]) == 2
        assert heap.surplus[node] == 0
        assert retained(images) > 100_000
    finally:
        for _ in range(2):
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(ctypes.cast(address, ctypes.py_object).value))


def test_a_rule_that_raises_costs_only_its_answer() -> None:
    def fail(image: Image) -> int:
        raise RuntimeError("no")

    nbmem.register_type(Image, own_bytes=fail)
    image = Image()
    heap = capture()
    assert heap.retained_bytes[node_of(heap, image)] < 10_000
    assert any("Image" in note for note in heap.notes)


def test_senseless_answers_are_not_added() -> None:
    nbmem.register_type(Image, buffers=lambda image: [(0, 100), (5, 0), (7, -3), (1 << 80, 9), (9, 1 << 80)])
    heap = capture_from([Image()])
    assert "(native buffer)" not in heap.types
    for size in (-5, 0, 1 << 80):
        nbmem.register_type(Image, own_bytes=lambda image, size=size: size)  # type: ignore[misc]
        assert capture_from([Image()]).retained_bytes[0] < 1000


def test_a_size_of_its_own_is_not_asked_beside_buffers() -> None:
    class Sized(Image):
        def __sizeof__(self) -> int:
            return 7_000_000

    sized = Sized(0x10000, 5_000_000)
    assert retained(sized) > 6_900_000
    nbmem.register_type(Sized, buffers=lambda image: [(image.address, image.size)])
    assert 5_000_000 < retained(sized) < 5_010_000


@pytest.mark.parametrize("bad", [3, "Image", None])
def test_only_types_can_be_registered(bad: Any) -> None:
    with pytest.raises(BadArgument, match="takes a type"):
        nbmem.register_type(bad, own_bytes=lambda value: 1)


def test_something_has_to_be_told() -> None:
    with pytest.raises(BadArgument, match="buffers="):
        nbmem.register_type(Image)


def test_a_buffer_within_an_array_is_the_array() -> None:
    array = np.ones(100_000)
    image = Image(array.ctypes.data + 80, 8000)
    nbmem.register_type(Image, buffers=lambda image: [(image.address, image.size)])
    heap = capture()
    assert node_of(heap, array) in heap.referents(node_of(heap, image)).tolist()
    assert heap.node_at(image.address) is None


# -- the libraries' own rules --


def test_an_anonymous_mapping_counts_and_a_file_s_does_not(tmp_path: Any) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1_000_000))
    memory = mmap.mmap(-1, 1_000_000)
    with path.open("r+b") as file:
        of_file = mmap.mmap(file.fileno(), 0)
    closed = mmap.mmap(-1, 1_000_000)
    closed.close()
    heap = capture()
    assert 1_000_000 < heap.retained_bytes[node_of(heap, memory)] < 1_010_000
    assert heap.retained_bytes[node_of(heap, of_file)] < 1000
    assert heap.retained_bytes[node_of(heap, closed)] < 1000
    memory.close()  # no view of ours is left, or this would raise
    of_file.close()


def test_what_ctypes_owns_counts_once() -> None:
    whole = (ctypes.c_double * 100_000)()
    part = (ctypes.c_double * 100).from_buffer(whole)
    copy = (ctypes.c_double * 100).from_buffer_copy(whole)
    elsewhere = ctypes.cast(ctypes.addressof(whole), ctypes.POINTER(ctypes.c_double))
    heap = capture_from([whole, part, copy, elsewhere])
    sizes = [int(heap.shallow_bytes[node_of(heap, each)]) for each in (whole, part, copy, elsewhere)]
    assert 800_000 < sizes[0] < 810_000
    assert max(sizes[1], sizes[3]) < 300 < 800 < sizes[2] < 1200


def test_a_torch_storage_is_one_node_of_all_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN what the rules ask of torch, as torch 2 answers it: it is too large to install for tests
    class UntypedStorage:
        device = types.SimpleNamespace(type="cpu")

        def data_ptr(self) -> int:
            return 0x20000

        def nbytes(self) -> int:
            return 8_000_000

    class TensorBase:
        _base, grad, is_leaf = (
            property(lambda self: None),
            property(lambda self: None),
            property(lambda self: True),
        )
        device = property(lambda self: UntypedStorage.device)

    class Tensor(TensorBase):
        storage = UntypedStorage()

        def untyped_storage(self) -> UntypedStorage:
            return self.storage

    fake: Any = types.ModuleType("torch")
    fake.Tensor, fake.UntypedStorage = Tensor, UntypedStorage
    fake._C = types.SimpleNamespace(TensorBase=TensorBase)
    monkeypatch.setitem(sys.modules, "torch", fake)
    tensors = [Tensor(), Tensor()]
    heap = capture_from([tensors])
    assert heap.types.count("(torch storage)") == 1
    assert 8_000_000 < heap.retained_bytes[0] < 8_010_000


def test_a_library_of_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    rules = registry.rules()
    assert {rule.kind for rule in rules} >= {mmap.mmap}
    gc.collect()


def test_a_library_that_raises_whatever_is_asked_of_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Raising(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    for name in ("torch", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, Raising(name))
    assert {rule.kind for rule in registry.rules()} >= {mmap.mmap}


def test_a_library_that_waits_for_its_first_use_is_not_loaded() -> None:
    code = (
        "import sys, importlib.util as util, nbmem.heap.capture as c\n"
        "spec = util.find_spec('wave')\n"
        "spec.loader = util.LazyLoader(spec.loader)\n"
        "lazy = sys.modules['torch'] = util.module_from_spec(spec)\n"
        "spec.loader.exec_module(lazy)\n"
        "c.capture()\n"
        "print(type(lazy).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "_LazyModule\n"


def test_an_array_that_arrow_looks_at_belongs_to_it_when_nobody_else_has_it() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="an extra of its own")
    arrow = pyarrow.array(np.ones(1_000_000))
    assert 8_000_000 < retained(arrow) < 8_010_000
    array = np.ones(1_000_000)
    arrow = pyarrow.array(array)
    heap = capture()
    assert heap.retained_bytes[node_of(heap, arrow)] < 10_000
    assert 8_000_000 < heap.retained_together([node_of(heap, arrow), node_of(heap, array)]) < 8_020_000
    holder = [arrow, array]
    del arrow, array
    assert 8_000_000 < retained(holder) < 8_020_000


def test_what_classes_of_the_user_s_have_in_the_place_of_arrow_s_is_not_run() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="an extra of its own")
    run: list[str] = []

    def trap(name: str) -> Any:
        def ran(self: Any, *given: Any) -> Any:
            run.append(name)
            raise AssertionError(name)

        return property(ran) if name in {"storage", "type", "value", "is_valid", "storage_type"} else ran

    class Words(pyarrow.ExtensionArray):  # type: ignore[misc]
        pass

    class Word(pyarrow.ExtensionScalar):  # type: ignore[misc]
        pass

    class WordType(pyarrow.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), "tests.words")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Any:
            return cls()

        def __arrow_ext_class__(self) -> type:
            return Words

        def __arrow_ext_scalar_class__(self) -> type:
            return Word

    coded = pyarrow.array([f"word {i}" for i in range(50_000)]).dictionary_encode()
    array = pyarrow.ExtensionArray.from_storage(WordType(), coded)
    scalar = array[5]
    assert type(array) is Words
    assert type(scalar) is Word
    del coded
    for name in ("buffers", "storage", "field", "__len__", "__getitem__", "nbytes", "type"):
        setattr(Words, name, trap(name))
    for name in ("value", "as_py", "is_valid", "type"):
        setattr(Word, name, trap(name))
    WordType.storage_type = trap("storage_type")
    for held, least in (([array, scalar], 800_000), ([scalar], 600_000)):
        heap = capture_from(held)
        assert least < heap.retained_together(range(len(held))) < least + 200_000
        assert not heap.notes
    assert not run


def test_an_array_that_was_never_filled_ends_nothing() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="an extra of its own")
    empty = pyarrow.Int64Array.__new__(pyarrow.Int64Array)
    assert capture_from([empty]).retained_bytes[0] < 1000


def test_methods_of_a_frame_that_the_user_derived_are_not_run() -> None:
    polars = pytest.importorskip("polars", reason="an extra of its own")

    class Frame(polars.DataFrame):  # type: ignore[misc]
        def get_columns(self) -> Any:
            raise AssertionError

    frame = Frame({"a": np.arange(100_000)})
    heap = capture_from([frame])
    assert heap.retained_bytes[0] > 800_000
    assert not heap.notes


def test_nothing_is_imported_that_was_not_loaded() -> None:
    code = (
        "import sys, nbmem.heap.capture as c\n"
        "c.capture()\n"
        "print([name for name in ('pandas', 'pyarrow', 'polars', 'scipy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_library_s_rules_can_be_made() -> None:
    for name, make in foreign.FOREIGN:
        library = sys.modules.get(name)
        if library is not None:
            assert list(make(library))


def test_a_buffer_that_lies_behind_a_long_list_is_not_taken_for_a_part_of_it() -> None:
    # what a list owns is not where the list is
    heap = capture()
    lists = [
        node for node in np.flatnonzero(heap.shallow_bytes > 4096).tolist() if heap.type_of(node) == "list"
    ]
    address = int(heap.addresses[lists[0]]) + 2048
    held = [0] * 100_000

    class Behind:
        pass

    behind = Behind()
    nbmem.register_type(Behind, buffers=lambda _: [(address, 5000)])
    heap = capture()
    assert heap.retained_bytes[node_of(heap, behind)] >= 5000
    del held
