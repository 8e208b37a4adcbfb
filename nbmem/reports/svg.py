"""Pictures as text: SVG for static HTML, as an image that an untrusted notebook shows too."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from nbmem._units import format_bytes, format_seconds

# Literal colours that read on white and on JupyterLab's dark #111: the sanitiser of an untrusted
# notebook strips var() and currentColor.
LINE, FILL, AXIS, TEXT = "#2f7ed8", "#2f7ed8", "#8a8a8a", "#808080"

_MOST_POINTS = 600


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
    from html import escape

    return f'<img alt="{escape(description)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
