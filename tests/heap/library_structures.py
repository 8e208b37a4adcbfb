"""Structures whose sizes are judged: of numpy, pandas, scipy, pyarrow, polars and torch."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from tests.heap.structures import built, count, structure

# -- numpy --


def _np() -> Any:
    import numpy

    return numpy


built("array of 80 MB", lambda s: _np().ones(count(s, 10_000_000)), "numpy")
built("a[:10] that keeps 80 MB", lambda s: _np().ones(count(s, 10_000_000))[:10], "numpy")
built("a[::2]", lambda s: _np().ones(count(s, 1_000_000))[::2], "numpy")
built(
    "broadcast_to",
    lambda s: _np().broadcast_to(_np().ones(count(s, 100_000)), (1000, count(s, 100_000))),
    "numpy",
)
built("[a, a[:]]", lambda s: [a := _np().ones(count(s, 1_000_000)), a[:]], "numpy")
built("small arrays of numpy", lambda s: [_np().arange(i % 5 * 10) for i in range(count(s, 40_000))], "numpy")
built("array of many dimensions", lambda s: [_np().zeros((1,) * 20) for i in range(count(s, 2000))], "numpy")
built(
    "object array of 1 kB strings",
    lambda s: _np().array([f"{i:01000}" for i in range(count(s, 10_000))], object),
    "numpy",
)
built("array of fixed-width str", lambda s: _np().array([f"{i}" for i in range(count(s, 100_000))]), "numpy")
built(
    "array of StringDType",
    lambda s: _np().array(
        [f"text number {i} " * 3 for i in range(count(s, 50_000))], _np().dtypes.StringDType()
    ),
    "numpy",
)
built("masked array", lambda s: _np().ma.masked_greater(_np().arange(float(count(s, 500_000))), 5.0), "numpy")
built(
    "recarray",
    lambda s: _np().rec.fromarrays(
        [_np().arange(count(s, 100_000)), _np().ones(count(s, 100_000))], names="number,value"
    ),
    "numpy",
)
built(
    "structured array with objects",
    lambda s: _np().array([(i * 1000, f"name {i}", i / 7) for i in range(count(s, 20_000))], "i8,O,f4"),
    "numpy",
)
built("subclass of ndarray", lambda s: _np().ones(count(s, 500_000)).view(_sub()), "numpy")
built("memoryview of an array", lambda s: memoryview(_np().ones(count(s, 500_000)))[5:9], "numpy")
built("array over bytes", lambda s: _np().frombuffer(bytes(count(s, 4_000_000)), "i4")[7:], "numpy")
built(
    "datetime64 array",
    lambda s: _np().arange("1970", "2070", dtype="M8[h]")[: count(s, 800_000)].copy(),
    "numpy",
)
built("scalars of numpy", lambda s: list(_np().arange(float(count(s, 20_000)))), "numpy")
built(
    "rows of a structured array",
    lambda s: list(_np().zeros(count(s, 50_000), [("a", "f8"), ("b", "i4", 5)])),
    "numpy",
)
built(
    "row that keeps 16 MB", lambda s: _np().zeros(count(s, 1_000_000), [("a", "f8"), ("b", "i8")])[5], "numpy"
)
built("raw values of numpy", lambda s: [_np().void(bytes(i % 90)) for i in range(count(s, 10_000))], "numpy")
built("iterator over an array", lambda s: _np().ones((count(s, 1000), 1000))[::2].flat, "numpy")
built("broadcast of arrays", lambda s: _np().broadcast(_np().ones((count(s, 1000), 1000))[::2], 5), "numpy")
built("nditer over an array", lambda s: _np().nditer(_np().ones((count(s, 1000), 1000))[::2]), "numpy")
built("random generators", lambda s: [_np().random.default_rng(i) for i in range(count(s, 300))], "numpy")
built("array that was resized", lambda s: _resized(count(s, 500_000)), "numpy")
built("memmap of a file", lambda s: _memmap(count(s, 20_000_000)), "numpy")

_subclass: list[type] = []


def _sub() -> type:
    if not _subclass:
        numpy = _np()
        _subclass.append(type("Measured", (numpy.ndarray,), {"unit": "m"}))
    return _subclass[0]


def _resized(n: int) -> Any:
    array = _np().ones(10)
    array.resize(n, refcheck=False)
    return array


def _memmap(size: int) -> Any:
    descriptor, path = tempfile.mkstemp()
    try:
        os.truncate(path, size)
        return _np().memmap(path, "u1", "r")
    finally:
        os.close(descriptor)
        os.unlink(path)


# -- pandas --


def _pd() -> Any:
    import pandas

    return pandas


def _words(n: int) -> list[str]:
    return [f"word number {i} of the text" for i in range(n)]


def _table(n: int) -> Any:
    numbers = _np().arange(n)
    return _pd().DataFrame({"a": numbers, "b": numbers * 2, "c": numbers / 7, "d": numbers % 2 == 0})


@structure("DataFrame of object columns", "pandas")
def _(scale: float) -> Any:
    n = count(scale, 50_000)
    return _pd().DataFrame({"s": _np().array(_words(n), object), "n": _np().arange(n)}, dtype=object)


@structure("Series sliced from a big one", "pandas")
def _(scale: float) -> Any:
    return _pd().Series(_np().ones(count(scale, 5_000_000)))[10:20]


@structure("100 k references to one 1 kB str, in a Series", "pandas")
def _(scale: float) -> Any:
    shared = "x" * 1000 + str(scale)
    return _pd().Series([shared] * count(scale, 100_000), dtype=object)


@structure("index after a lookup", "pandas")
def _(scale: float) -> Any:
    index = _pd().Index(_np().arange(count(scale, 200_000)) * 7 % 1_000_003)
    index.get_loc(7)
    return index


@structure("object index after a lookup", "pandas")
def _(scale: float) -> Any:
    index = _pd().Index(_words(count(scale, 50_000)), dtype=object)
    index.get_loc("word number 7 of the text")
    return index


@structure("MultiIndex after a lookup", "pandas")
def _(scale: float) -> Any:
    n = count(scale, 300)
    index = _pd().MultiIndex.from_product([range(n), [f"k{i}" for i in range(300)]])
    index.get_loc((1, "k7"))
    return index


@structure("str index after a lookup", "pandas")
def _(scale: float) -> Any:
    index = _pd().Index(_words(count(scale, 50_000)), dtype="str")
    index.get_loc("word number 7 of the text")
    return index


@structure("DataFrame with an index by time, after a lookup", "pandas")
def _(scale: float) -> Any:
    pandas = _pd()
    n = count(scale, 200_000)
    frame = pandas.DataFrame({"x": _np().ones(n)}, index=pandas.date_range("2000", periods=n, freq="min"))
    frame.loc["2000-01-01 00:05":"2000-01-01 00:09"]
    frame.index.get_loc(pandas.Timestamp("2000-01-01 00:07"))
    return frame


@structure("DataFrame with rows left out", "pandas")
def _(scale: float) -> Any:
    frame = _table(count(scale, 300_000))
    return frame[frame["a"] % 3 == 0]


@structure("DataFrame shared by copies", "pandas")
def _(scale: float) -> Any:
    frame = _table(count(scale, 200_000))
    return [frame, frame.copy(deep=False), frame[["a", "c"]], frame["b"]]


built(
    "DataFrame of ints",
    lambda s: _pd().DataFrame(_np().arange(count(s, 1_000_000)).reshape(-1, 10)),
    "pandas",
)
built("DataFrame of floats", lambda s: _pd().DataFrame(_np().ones((count(s, 100_000), 10))), "pandas")
built("DataFrame of four kinds", lambda s: _table(count(s, 200_000)), "pandas")
built("Series of str", lambda s: _pd().Series(_words(count(s, 100_000)), dtype="str"), "pandas", "pyarrow")
built(
    "Series of str, Python's",
    lambda s: _pd().Series(_words(count(s, 50_000)), dtype=_pd().StringDtype("python")),
    "pandas",
)
built(
    "categorical",
    lambda s: _pd().Series([f"kind {i % 500}" for i in range(count(s, 200_000))], dtype="category"),
    "pandas",
)
built(
    "Arrow-backed DataFrame",
    lambda s: (
        _pd()
        .DataFrame({"n": range(count(s, 100_000)), "s": _words(count(s, 100_000))})
        .convert_dtypes(dtype_backend="pyarrow")
    ),
    "pandas",
    "pyarrow",
)
built(
    "nullable ints",
    lambda s: _pd().Series([i if i % 7 else None for i in range(count(s, 100_000))], dtype="Int64"),
    "pandas",
)
built(
    "datetimes with a zone",
    lambda s: _pd().Series(
        _pd().date_range("2000", periods=count(s, 200_000), freq="min", tz="Europe/Berlin")
    ),
    "pandas",
)
built(
    "intervals and periods",
    lambda s: (
        _pd().interval_range(0, count(s, 50_000)),
        _pd().period_range("2000", periods=count(s, 50_000), freq="D"),
    ),
    "pandas",
)
built(
    "sparse Series",
    lambda s: _pd().Series(
        _pd().arrays.SparseArray(
            _np().where(_np().arange(count(s, 500_000)) % 9 == 0, 1.5, 0.0), fill_value=0.0
        )
    ),
    "pandas",
)
built("DataFrame with a MultiIndex", lambda s: _table(count(s, 100_000)).set_index(["a", "d"]), "pandas")
built("groups of a DataFrame", lambda s: _grouped(count(s, 100_000)), "pandas")
built("Timestamps", lambda s: [_pd().Timestamp(i * 10**9) for i in range(count(s, 10_000))], "pandas")


def _grouped(n: int) -> Any:
    grouped = _table(n).assign(k=_np().arange(n) % 100).groupby("k")
    grouped.sum()
    return grouped


# -- scipy --


@structure("CSR matrix", "scipy.sparse")
def _(scale: float) -> Any:
    import scipy.sparse

    return scipy.sparse.random(10_000, count(scale, 10_000), 0.005, format="csr", rng=1)


@structure("sparse matrices: COO, DOK, LIL", "scipy.sparse")
def _(scale: float) -> Any:
    import scipy.sparse

    made = scipy.sparse.random(1000, count(scale, 1000), 0.01, format="coo", rng=1)
    return made, made.todok(), made.tolil()


@structure("k-d tree", "scipy.spatial")
def _(scale: float) -> Any:
    import scipy.spatial

    return scipy.spatial.cKDTree(_np().random.default_rng(1).random((count(scale, 100_000), 3)))


# -- pyarrow --


def _pa() -> Any:
    import pyarrow

    return pyarrow


def _arrow_table(n: int) -> Any:
    return _pa().table({"n": list(range(n)), "x": [i / 7 for i in range(n)], "s": _words(n)})


built("pyarrow table", lambda s: _arrow_table(count(s, 200_000)), "pyarrow")
built("slice of a pyarrow table", lambda s: _arrow_table(count(s, 200_000)).slice(10, 20), "pyarrow")
built(
    "pyarrow array, chunked",
    lambda s: _pa().chunked_array([[f"a{i}" for i in range(count(s, 50_000))]] * 2),
    "pyarrow",
)
built(
    "pyarrow array of dictionaries",
    lambda s: _pa().array([f"kind {i % 5000}" for i in range(count(s, 200_000))]).dictionary_encode(),
    "pyarrow",
)
built(
    "pyarrow array of lists and structs",
    lambda s: _pa().array([{"a": [i, i + 1], "b": f"text {i}"} for i in range(count(s, 50_000))]),
    "pyarrow",
)
built("pyarrow record batch", lambda s: _arrow_table(count(s, 100_000)).to_batches()[0], "pyarrow")
built("pyarrow array over one of numpy", lambda s: _pa().array(_np().ones(count(s, 1_000_000))), "pyarrow")
built(
    "array of numpy over one of pyarrow",
    lambda s: _pa().array([i / 7 for i in range(count(s, 200_000))]).to_numpy()[3:],
    "pyarrow",
)
built(
    "pyarrow buffer over bytes",
    lambda s: _pa().py_buffer(bytes(count(s, 3_000_000))).slice(10, 10),
    "pyarrow",
)
built(
    "pyarrow buffer that was allocated",
    lambda s: _pa().allocate_buffer(count(s, 3_000_000)).slice(1, 1),
    "pyarrow",
)
built(
    "small arrays of pyarrow",
    lambda s: [_pa().array([float(i)] * (i % 30)) for i in range(count(s, 10_000))],
    "pyarrow",
)
built(
    "scalars of pyarrow",
    lambda s: [*_pa().array(range(count(s, 20_000))), *_pa().array(_words(count(s, 10_000)))],
    "pyarrow",
)
built(
    "long text in scalars of pyarrow",
    lambda s: list(_pa().array([f"{i}" * 100 for i in range(count(s, 10_000))])),
    "pyarrow",
)
built(
    "list in a scalar of pyarrow",
    lambda s: _pa().array([[i] for i in range(count(s, 100_000))])[5],
    "pyarrow",
)
built(
    "record in a scalar of pyarrow",
    lambda s: _pa().array([{"a": [i]} for i in range(count(s, 100_000))])[5],
    "pyarrow",
)
built("category in a scalar of pyarrow", lambda s: _coded(s)[5], "pyarrow")
built(
    "dictionary in a struct of pyarrow",
    lambda s: _pa().StructArray.from_arrays([_coded(s)], ["a"]),
    "pyarrow",
)
built(
    "dictionary in a list of pyarrow, in a table",
    lambda s: _pa().table({"a": _pa().ListArray.from_arrays([0, 5], _coded(s))}),
    "pyarrow",
)
built("dictionary in an extension of pyarrow", lambda s: _extension(_coded(s)), "pyarrow")
built("scalar of a pyarrow array", lambda s: _pa().array(_words(count(s, 100_000)))[5], "pyarrow")


def _coded(scale: float) -> Any:
    """Give a column of few rows that has a long dictionary."""
    words = _pa().array(_words(count(scale, 100_000)))
    return _pa().DictionaryArray.from_arrays(_pa().array([5] * 10, "int32"), words)


def _extension(storage: Any) -> Any:
    return _pa().ExtensionArray.from_storage(_pa().opaque(storage.type, "words", "nobody"), storage)


@structure("pyarrow output stream", "pyarrow")
def _(scale: float) -> Any:
    stream = _pa().BufferOutputStream()
    stream.write(bytes(count(scale, 3_000_000)))
    return stream.getvalue()


# -- polars --


def _pl() -> Any:
    import polars

    return polars


built(
    "polars frame",
    lambda s: _pl().DataFrame({"n": _np().arange(count(s, 2_000_000)), "x": _np().ones(count(s, 2_000_000))}),
    "polars",
)
built("polars frame of text", lambda s: _pl().DataFrame({"s": _words(count(s, 2_000_000))}), "polars")
built("polars frame, clone and column", lambda s: _shared_polars(count(s, 2_000_000)), "polars")
built(
    "slice of a polars series",
    lambda s: _pl().Series("x", _np().arange(count(s, 5_000_000))).slice(10, 20),
    "polars",
)


def _shared_polars(n: int) -> Any:
    frame = _pl().DataFrame({"n": _np().arange(n), "x": _np().ones(n)})
    return [frame, frame.clone(), frame["x"]]


# -- torch --


def _torch() -> Any:
    import torch

    return torch


built("torch tensor", lambda s: _torch().ones(count(s, 2_000_000)), "torch")
built("view of a torch tensor", lambda s: _torch().ones(count(s, 2_000_000))[10:20], "torch")
built("torch tensor over an array", lambda s: _torch().from_numpy(_np().ones(count(s, 1_000_000))), "torch")
built("array over a torch tensor", lambda s: _torch().ones(count(s, 1_000_000)).numpy(), "torch")


@structure("torch parameters with gradients", "torch")
def _(scale: float) -> Any:
    torch = _torch()
    layer = torch.nn.Linear(count(scale, 1000), 1000)
    layer(torch.ones(count(scale, 1000))).sum().backward()
    return layer


built("torch module", lambda s: _torch().nn.Linear(count(s, 1000), 1000), "torch")


#: Where nbmem is known to see too little, and why.
LIMITS = {
    "array of StringDType": "numpy keeps the text in an arena of the dtype's, whose size it tells nobody",
    "random generators": "80 bytes of each are numpy's own, in no object",
    "pyarrow output stream": "a buffer tells its size, not how much was reserved for it",
    "slice of a polars series": "a polars slice shows where it begins, not what it is a part of",
}
