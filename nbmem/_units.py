"""The only formatter of bytes, counts and seconds, and the parser of what people write for them."""

from __future__ import annotations

import re

from nbmem._errors import BadArgument

KIB, MIB = 1 << 10, 1 << 20

_SUFFIXES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGTP", start=1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGTP", start=1)},
    # "8G" is what people write for memory; like the kernel and Docker, binary
    **{letter: 1024**power for power, letter in enumerate("KMGTP", start=1)},
}


def format_bytes(count: float, *, signed: bool = False) -> str:
    """Write a size in binary units, three or four significant digits.

    >>> format_bytes(31_981_568), format_bytes(-512), format_bytes(2048, signed=True)
    ('30.5 MiB', '-512 B', '+2.0 KiB')
    """
    sign = "-" if count < 0 else "+" if signed and count > 0 else ""
    value = abs(float(count))
    for suffix in _SUFFIXES:
        # 1023.96 would print as "1024.0": the next unit says it better
        if value < 1023.95 or suffix == _SUFFIXES[-1]:
            break
        value /= 1024
    return f"{sign}{value:.0f} B" if suffix == "B" else f"{sign}{value:,.1f} {suffix}"


def format_count(count: int) -> str:
    """Write a count with separators.

    >>> format_count(3000000)
    '3,000,000'
    """
    return f"{count:,}"


def format_seconds(seconds: float) -> str:
    """Write a duration in the unit that keeps three digits readable.

    >>> format_seconds(0.0000042), format_seconds(0.0123), format_seconds(3.5), format_seconds(125)
    ('4.2 µs', '12.3 ms', '3.50 s', '2 min 5 s')
    """
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def parse_bytes(text: str) -> int:
    """Read a size as people write it.

    Parameters
    ----------
    text : str
        A number and a unit: ``"2 GiB"``, ``"800MB"``, ``"8G"`` (binary), ``"4096"`` (bytes).

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    BadArgument
        If it is not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*", text)
    factor = _FACTORS.get(match.group(2).upper()) if match else None
    if match is None or factor is None:
        raise BadArgument(f"{text!r} is not a size; write for example 800MB, 2GiB or 4096")
    return int(float(match.group(1)) * factor)
