"""Bytes, counts and seconds as people read and write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbmem import BadArgument
from nbmem._units import format_bytes, format_count, format_seconds, parse_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"),
     (1024**2 - 1, "1.0 MiB"), (31_981_568, "30.5 MiB"), (-2048, "-2.0 KiB"), (5 * 1024**4, "5.0 TiB")],
)  # fmt: skip
def test_sizes_are_in_binary_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_a_signed_size_shows_its_plus_and_zero_none() -> None:
    assert [format_bytes(n, signed=True) for n in (2048, 0, -2048)] == ["+2.0 KiB", "0 B", "-2.0 KiB"]


@given(st.integers(min_value=0, max_value=2**60))
def test_a_formatted_size_reads_back_within_its_precision(size: int) -> None:
    assert parse_bytes(format_bytes(size).replace(",", "")) == pytest.approx(size, rel=0.06, abs=1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("8GB", 8_000_000_000),
        ("8 GiB", 8 * 2**30),
        ("8G", 8 * 2**30),
        ("1.5k", 1536),
        (".5 MB", 500_000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-3MB", "3 XB", "3,5 MB", "nan", "1e3"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadArgument, match="write for example 800MB"):
        parse_bytes(text)


def test_durations_and_counts_are_readable() -> None:
    assert [format_seconds(s) for s in (0, 5e-6, 0.0123, 3.5, 125)] == [
        "0.0 µs", "5.0 µs", "12.3 ms", "3.50 s", "2 min 5 s",
    ]  # fmt: skip
    assert format_count(3_000_000) == "3,000,000"
