"""Heap snapshots and their differences, as text and as static HTML."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from nbmem._units import format_bytes, format_count, format_seconds
from nbmem.heap.graph import Heap
from nbmem.reports.heaprows import ChangeRow, GroupRow, ObjectRow, TypeRow, object_rows
from nbmem.reports.html import CELL, FAINT, FREED, NET, PEAK, bar, sized, small
from nbmem.reports.text import printable, size_text

if TYPE_CHECKING:
    from nbmem.reports.heapdiff import HeapDiff

_LONGEST = 60
_MOST_OBJECTS = 10
_NAME = "padding:1px 8px;text-align:left;vertical-align:top;border:0;font-family:monospace;"
_HEAD = f"{CELL}text-align:left;"
_TABLE = '<table style="font-size:90%;border-collapse:collapse;margin:4px 0">'

_Heads = Sequence[tuple[str, str]]
_TYPE_HEADS: _Heads = (
    ("count", "living objects"),
    ("shallow", "bytes of the objects and of the buffers that they own"),
    ("retained", "bytes that would be freed if all of them went"),
)
_OBJECT_HEADS: _Heads = (
    ("shallow", "bytes of the object and of the buffers that it owns"),
    ("retained", "bytes that would be freed if it went"),
)
_GROUP_HEADS: _Heads = (
    ("count", "new objects of this type that this one holds"),
    ("retained", "bytes that would be freed if they went"),
)
_CHANGE_HEADS: _Heads = (
    ("new", "objects that were not there before"),
    ("dead", "objects that are no longer there"),
    ("survived", "objects that were there and still are"),
    ("change", "objects after minus before"),
    ("new bytes", "bytes of the new objects"),
    ("dead bytes", "bytes of those that are no longer there"),
    ("change in bytes", "bytes after minus before, with what survivors grew"),
)


def shown(text: str, most: int = _LONGEST) -> str:
    """Make a name of the user's fit to be shown: cut, and without control characters."""
    whole = printable(text[: most + 1])  # what is cut away may be a megabyte
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def _plural(count: int, word: str) -> str:
    return f"{format_count(count)} {word}{'' if count == 1 else 's'}"


# -- snapshots


def _snapshot_headline(heap: Heap, rows: Sequence[TypeRow], totals: Mapping[str, int]) -> list[str]:
    garbage = totals["garbage_count"]
    return [
        f"{_plural(totals['object_count'], 'object')}, {format_bytes(totals['total_bytes'])}",
        _plural(len(heap.indices), "reference"),
        _plural(len(rows), "type"),
        f"garbage: {_plural(garbage, 'object')}, {format_bytes(totals['garbage_bytes'])}"
        if garbage
        else "no garbage",
        f"taken {time.strftime('%H:%M:%S', time.localtime(heap.taken))}",
        f"the snapshot takes {format_bytes(totals['nbytes'])}",
    ]


def _rest(rows: int, n: int, what: str) -> str:
    return f"… {format_count(rows - n)} {what}; .types() has them all" if rows > n else ""


def snapshot_text(heap: Heap, rows: Sequence[TypeRow], totals: Mapping[str, int], *, n: int) -> str:
    """Write a snapshot as text."""
    out = ["heap: " + " · ".join(_snapshot_headline(heap, rows, totals))]
    if n:
        out += ["", f"{'count':>12} {'shallow':>11} {'retained':>11}   type"]
    out += [
        f"{format_count(row.count):>12} {format_bytes(row.shallow_bytes):>11} "
        f"{format_bytes(row.retained_bytes):>11}   {shown(row.type)}"
        for row in rows[:n]
    ]
    out += _said(_rest(len(rows), n, "more types"))
    biggest = _biggest(heap, n)
    if biggest:
        out += ["", "biggest objects", f"{'shallow':>12} {'retained':>11}   object ← held by"]
    out += [
        f"{format_bytes(row.shallow_bytes):>12} {format_bytes(row.retained_bytes):>11}   "
        f"{shown(row.what or row.type)} ← {shown(row.held_by)}"
        for row in biggest
    ]
    return "\n".join([*out, *_notes(heap.notes)])


def snapshot_html(heap: Heap, rows: Sequence[TypeRow], totals: Mapping[str, int], *, n: int) -> str:
    """Write a snapshot as static HTML."""
    most_own = max((row.shallow_bytes for row in rows[:n]), default=0)
    most_kept = max((row.retained_bytes for row in rows[:n]), default=0)
    types = [
        (
            [
                format_count(row.count),
                _plain(row.shallow_bytes, most_own, PEAK),
                _plain(row.retained_bytes, most_kept, NET),
            ],
            [row.type],
        )
        for row in rows[:n]
    ]
    parts = [_title("heap", _snapshot_headline(heap, rows, totals))]
    if n:
        parts.append(_table(_TYPE_HEADS, ["type"], types))
    parts += map(small, _said(_rest(len(rows), n, "more types")))
    parts.append(_folded("biggest objects", _objects_html(_biggest(heap, n))))
    parts += map(small, _notes(heap.notes))
    return _framed(parts)


def _biggest(heap: Heap, n: int) -> list[ObjectRow]:
    return object_rows(heap, np.flatnonzero(heap.living), min(n, _MOST_OBJECTS))


# -- differences


def _diff_headline(diff: HeapDiff, rows: Sequence[ChangeRow]) -> list[str]:
    parts = [
        f"{format_bytes(diff.delta_bytes, signed=True)}",
        f"{_signed(diff.delta_count)} {'object' if abs(diff.delta_count) == 1 else 'objects'}",
    ]
    if diff.same_process:
        new, dead = sum(row.new_count or 0 for row in rows), sum(row.dead_count or 0 for row in rows)
        survived = sum(row.survived_count or 0 for row in rows)
        parts.append(f"{format_count(new)} new, {format_count(dead)} dead, {format_count(survived)} survived")
    parts.append(f"{format_seconds(abs(diff.seconds))} {'apart' if diff.seconds >= 0 else 'BACK in time'}")
    return parts


def _changed(rows: Sequence[ChangeRow]) -> list[ChangeRow]:
    return [row for row in rows if row.delta_bytes or row.delta_count or row.new_count or row.dead_count]


def diff_text(diff: HeapDiff, rows: Sequence[ChangeRow], groups: Sequence[GroupRow], *, n: int) -> str:
    """Write a difference as text."""
    changed = _changed(rows)
    out = ["growth of the heap: " + " · ".join(_diff_headline(diff, rows))]
    if changed and n:
        heads = _change_heads(diff)
        out += ["", " ".join(f"{name:>{_width(name)}}" for name, _ in heads) + "   type"]
        for row in changed[:n]:
            figures = zip(heads, _change_figures(row, diff), strict=True)
            out.append(
                " ".join(f"{figure:>{_width(name)}}" for (name, _), figure in figures)
                + f"   {shown(row.type)}"
            )
        out += _said(_rest(len(changed), n, "more types changed"))
    if groups:
        out += ["", "new objects, by what holds them", f"{'count':>10} {'retained':>11}   type ← held by"]
        out += [
            f"{format_count(row.count):>10} {format_bytes(row.retained_bytes):>11}   "
            f"{shown(row.type)} ← {shown(row.held_by)}"
            for row in groups
        ]
    return "\n".join([*out, *_notes(diff.notes)])


def diff_html(diff: HeapDiff, rows: Sequence[ChangeRow], groups: Sequence[GroupRow], *, n: int) -> str:
    """Write a difference as static HTML."""
    changed = _changed(rows)
    parts = [_title("growth of the heap", _diff_headline(diff, rows))]
    if changed and n:
        most = max(abs(row.delta_bytes) for row in changed[:n])
        types = []
        for row in changed[:n]:
            figures = _change_figures(row, diff)
            figures[-1] = sized(row.delta_bytes, most, NET if row.delta_bytes > 0 else FREED)
            types.append((figures, [row.type]))
        parts.append(_table(_change_heads(diff), ["type"], types))
        parts += map(small, _said(_rest(len(changed), n, "more types changed")))
    if groups:
        parts.append(_folded("new objects, by what holds them", _groups_html(groups), opened=True))
    parts += map(small, _notes(diff.notes))
    return _framed(parts)


def _change_heads(diff: HeapDiff) -> _Heads:
    return _CHANGE_HEADS if diff.same_process else (_CHANGE_HEADS[3], _CHANGE_HEADS[6])


def _change_figures(row: ChangeRow, diff: HeapDiff) -> list[str]:
    change = [_signed(row.delta_count), size_text(row.delta_bytes)]
    if not diff.same_process:
        return change
    return [
        _count(row.new_count),
        _count(row.dead_count),
        _count(row.survived_count),
        change[0],
        format_bytes(row.new_bytes) if row.new_bytes else "·",
        format_bytes(row.dead_bytes) if row.dead_bytes else "·",
        change[1],
    ]


def _width(head: str) -> int:
    return max(len(head), 11 if "bytes" in head else 10)


def _count(count: int | None) -> str:
    return format_count(count) if count else "·"


def _signed(count: int) -> str:
    return f"{'+' if count > 0 else ''}{format_count(count)}" if count else "·"


# -- both


def _plain(size: int, most: int, color: str) -> str:
    return format_bytes(size) + bar(size, most, color)


def _said(words: str) -> list[str]:
    return [words] if words else []


def _notes(notes: Iterable[str]) -> list[str]:
    return [printable(f"note: {note}"[:300]) for note in notes]


def _title(name: str, parts: Sequence[str]) -> str:
    return f'<p style="margin:4px 0"><b>{name}</b> &nbsp;{escape(" · ".join(parts))}</p>'


def _folded(title: str, content: str, *, opened: bool = False) -> str:
    if not content:
        return ""
    state = " open" if opened else ""
    return f'<details{state} style="margin:4px 0"><summary>{title}</summary>{content}</details>'


def _framed(parts: Iterable[str]) -> str:
    return f'<div class="nbmem">{"".join(parts)}</div>'


def _objects_html(objects: Sequence[ObjectRow]) -> str:
    if not objects:
        return ""
    most = max(row.retained_bytes for row in objects)
    rows = [
        (
            [format_bytes(row.shallow_bytes), _plain(row.retained_bytes, most, NET)],
            [row.type, row.what, row.held_by],
        )
        for row in objects
    ]
    return _table(_OBJECT_HEADS, ["type", "what", "held by"], rows)


def _groups_html(groups: Sequence[GroupRow]) -> str:
    most = max(row.retained_bytes for row in groups)
    rows = [
        ([format_count(row.count), _plain(row.retained_bytes, most, NET)], [row.type, row.held_by])
        for row in groups
    ]
    return _table(_GROUP_HEADS, ["type", "held by"], rows)


def _table(heads: _Heads, names: Sequence[str], rows: Iterable[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Write a table: figures, which are HTML already, and then words, which are not."""
    head = "".join(f'<th style="{CELL}" title="{hint}">{name}</th>' for name, hint in heads)
    head += "".join(f'<th style="{_HEAD}">{name}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{CELL}">{figure}</td>' for figure in figures)
        + "".join(_word(word, first=not at) for at, word in enumerate(words))
        + "</tr>"
        for figures, words in rows
    )
    return f"{_TABLE}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _word(word: str, *, first: bool) -> str:
    cut = shown(word)
    title = f' title="{escape(shown(word, 300))}"' if len(cut) < len(word) else ""
    return f'<td style="{_NAME}{"" if first else FAINT}"{title}>{escape(cut)}</td>'
