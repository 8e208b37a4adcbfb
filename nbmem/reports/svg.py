"""Pictures as text: SVG for static HTML, as an image that an untrusted notebook shows too."""

from __future__ import annotations

import base64
import colorsys
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from nbmem._units import format_bytes, format_seconds

# Literal colours that read on white and on JupyterLab's dark #111: the sanitiser of an untrusted
# notebook strips var() and currentColor.
LINE, FILL, AXIS, TEXT = "#2f7ed8", "#2f7ed8", "#8a8a8a", "#808080"

_MOST_POINTS = 600

Tone = Literal["whole", "line", "frame", "rest"]
#: Of a tone's boxes: hue, how far it goes around that, saturation, least and most lightness. All are light
#: enough for dark text, and stand out from white and from dark grey.
_TONES: dict[Tone, tuple[float, float, float, float, float]] = {
    "whole": (0.60, 0.00, 0.12, 0.76, 0.76),
    "line": (0.585, 0.02, 0.80, 0.72, 0.80),
    "frame": (0.09, 0.045, 0.80, 0.66, 0.76),
    "rest": (0.60, 0.00, 0.04, 0.80, 0.80),
}
_INK = "#16191d"
_ROW, _LETTER = 19, 6.65
#: Notebooks keep every picture: not many boxes, and not more bytes than that, whatever the names.
_MOST_BOXES, _LONGEST = 500, 150_000


def timeline_svg(
    seconds: Sequence[float], resident: Sequence[int], *, base: int, width: int = 720, height: int = 120
) -> str:
    """Draw resident size over time, above the size at the start.

    Parameters
    ----------
    seconds, resident : sequence
        Equal length; at least two points.
    base : int
        Resident bytes that are drawn as zero.
    """
    left, right, top, bottom = 78, 8, 8, 20
    span = max(seconds[-1], 1e-9)
    values = [value - base for value in resident]
    high, low = max(*values, 0), min(*values, 0)
    scale = max(high - low, 1)
    inner_width, inner_height = width - left - right, height - top - bottom

    def x(at: float) -> float:
        return left + inner_width * at / span

    def y(value: float) -> float:
        return top + inner_height * (high - value) / scale

    points = _thinned(list(zip(seconds, values, strict=True)))
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    area = f"{x(points[0][0]):.1f},{y(0):.1f} {path} {x(points[-1][0]):.1f},{y(0):.1f}"
    labels = "".join(
        f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">'
        f"{format_bytes(value, signed=True)}</text>"
        for value in (high, *([0] if y(0) - y(high) > 14 else []), *([low] if y(low) - y(0) > 14 else []))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="{TEXT}">'
        f'<polygon points="{area}" fill="{FILL}" fill-opacity="0.18"/>'
        f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.5" stroke-linejoin="round"/>'
        f'<line x1="{left}" y1="{y(0):.1f}" x2="{width - right}" y2="{y(0):.1f}" '
        f'stroke="{AXIS}" stroke-width="0.7"/>'
        f"{labels}"
        f'<text x="{left}" y="{height - 5}">0 s</text>'
        f'<text x="{width - right}" y="{height - 5}" text-anchor="end">{format_seconds(span)}</text>'
        "</svg>"
    )


def _thinned(points: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Keep at most so many points as there are pixels to show them; of each group the lowest and highest."""
    group = -(-2 * len(points) // _MOST_POINTS)
    if group <= 2:
        return points
    kept = []
    for start in range(0, len(points), group):
        part = points[start : start + group]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [points[0], *kept, points[-1]]


def image(svg: str, *, description: str) -> str:
    """Wrap a picture into an ``<img>`` with a data URI, which every notebook's sanitiser keeps."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(description)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


@dataclass(frozen=True, slots=True)
class Box:
    """A box of an icicle.

    Parameters
    ----------
    depth : int
        Rows from the top.
    start, share : float
        Left edge and width, parts of the whole.
    words : tuple of str
        What may be written in it, the most first; the last is cut where it does not fit.
    amount : str
        What is written behind it where there is room.
    tone : {"whole", "line", "frame", "rest"}
        Its hue.
    shade : str
        What its shade is made from: the same everywhere for the same text.
    hint : str
        The hover title.
    """

    depth: int
    start: float
    share: float
    words: tuple[str, ...]
    amount: str
    tone: Tone
    shade: str = ""
    hint: str = ""


def icicle(boxes: Callable[[int, float], Iterable[Box]], *, description: str, width: int = 900) -> str:
    """Draw boxes below each other, each within the one above.

    Parameters
    ----------
    boxes : callable
        Gives about so many boxes, the whole among them, each of at least such a share: that of two pixels.
        It is asked for fewer where the picture becomes too large.
    description : str
        What the picture shows, for those who do not see it.
    width : int
        Pixels.
    """
    most = _MOST_BOXES
    while True:
        drawn = list(boxes(most, 2 / width))
        parts = "".join(_drawn(box, width) for box in drawn)
        if len(parts.encode()) <= _LONGEST or most == 1:
            break
        most = max(2 * most // 3, 1)
    height = _ROW * (1 + max(box.depth for box in drawn))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(description)}" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'style="max-width:100%;height:auto;display:block" font-size="11" fill="{_INK}" '
        f'font-family="DejaVu Sans Mono,Menlo,Consolas,monospace">{parts}</svg>'
    )


def _drawn(box: Box, width: int) -> str:
    x, y = box.start * width, box.depth * _ROW
    # a gap of half a pixel keeps neighbours of one colour apart
    wide = max(box.share * width - 0.5, 0.5)
    hint = f"<title>{escape(box.hint, quote=False)}</title>" if box.hint else ""
    words = _fitted(box.words, box.amount, wide - 6)
    text = f'<text x="{x + 3:.1f}" y="{y + 13}">{escape(words, quote=False)}</text>' if words else ""
    color = shade(box.tone, box.shade)
    return (
        f'<g>{hint}<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{_ROW - 1}" rx="2" fill="{color}"/>'
        f"{text}</g>"
    )


def shade(tone: Tone, text: str) -> str:
    """Choose a colour of a tone by a text; not by ``hash``, which differs from process to process."""
    hue, around, saturation, darkest, lightest = _TONES[tone]
    number = zlib.crc32(text.encode(errors="backslashreplace"))
    turn, light = (number & 0xFFFF) / 0xFFFF, (number >> 16) / 0xFFFF
    red, green, blue = colorsys.hls_to_rgb(
        hue + around * (2 * turn - 1), darkest + (lightest - darkest) * light, saturation
    )
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _fitted(words: Sequence[str], amount: str, room: float) -> str:
    """Choose the most that fits into so many pixels; nothing rather than a single letter."""
    columns = int(room / _LETTER)
    tail = f" · {amount}" if amount else ""
    for text in words:
        if _columns(text + tail) <= columns:
            return text + tail
    if columns > 2 * len(tail) + 8:  # the name has more of the room
        return _shortened(words[-1], columns - len(tail)) + tail
    return next((text for text in words if _columns(text) <= columns), _shortened(words[-1], columns))


def _shortened(text: str, columns: int) -> str:
    cut = text[: max(columns - 1, 0)]
    while cut and _columns(cut) >= columns:
        cut = cut[:-1]
    return f"{cut}…" if len(cut) > 1 else ""


def _columns(text: str) -> int:
    """Count the columns of a fixed-width font: wide signs take two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)
