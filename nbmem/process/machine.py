"""How much memory this process may have: the machine's, or its control group's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: cgroup v1 writes "no limit" as the largest page-aligned number.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most memory that this process can have, in bytes, and what sets it."""

    bytes: int
    set_by: str


def memory_ceiling(root: str = "/") -> Ceiling:
    """Find the smallest of physical memory and the limits of the control groups (v1 and v2).

    Parameters
    ----------
    root : str
        Where ``proc`` and ``sys`` are looked for.
    """
    import psutil

    ceiling = Ceiling(int(psutil.virtual_memory().total), "this machine's memory")
    for limit in _group_limits(Path(root)):
        if 0 < limit < ceiling.bytes:
            ceiling = Ceiling(limit, "the control group's limit (its container)")
    return ceiling


def _group_limits(root: Path) -> Iterator[int]:
    """Give the limits of the control groups that this process is in, the outer ones too."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux, or no procfs
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        for mounted, place in _mounts(mounts, v1=bool(controllers)):
            inside = path[len(mounted) :] if mounted != "/" and path.startswith(mounted) else path
            base = root / place.lstrip("/")
            folder = base / inside.strip("/")
            # In a container the path may be the host's: then the mount itself is the container's group.
            for group in (folder, *folder.parents):
                if group != base and base not in group.parents:
                    break
                yield _number(group / name)


def _mounts(lines: list[str], *, v1: bool) -> Iterator[tuple[str, str]]:
    """Give the root and the place of each mount of control groups (v1: of the memory controller)."""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if (kind[0] == "cgroup" and "memory" in kind[2].split(",")) if v1 else kind[0] == "cgroup2":
            yield fields[3], fields[4].replace("\\040", " ")


def _number(file: Path) -> int:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # not there, or not ours to read
        return 0
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT else 0
