"""How much memory a process may have, read from control groups laid out in a folder."""

from __future__ import annotations

from pathlib import Path

import psutil

from nbmem.process.machine import memory_ceiling

V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2 = "41 31 0:38 {root} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"


def lay_out(root: Path, groups: str, mounts: str, limits: dict[str, str]) -> Path:
    """Write the files of a machine."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(mounts)
    for path, text in limits.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_without_control_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    ceiling = memory_ceiling(str(tmp_path))
    assert ceiling.bytes == psutil.virtual_memory().total
    assert "machine" in ceiling.set_by


def test_a_limit_of_version_2_counts(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/app/memory.max": "300000000\n"}
    ceiling = memory_ceiling(str(lay_out(tmp_path, "0::/app\n", V2.format(root="/"), files)))
    assert ceiling.bytes == 300_000_000
    assert "control group" in ceiling.set_by


def test_the_limit_of_an_outer_group_counts_too(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/memory.max": "500000000\n",
        "sys/fs/cgroup/memory.max": "900000000\n",
    }
    assert (
        memory_ceiling(str(lay_out(tmp_path, "0::/a/b\n", V2.format(root="/"), files))).bytes == 500_000_000
    )


def test_a_limit_of_version_1_counts_and_its_no_limit_does_not(tmp_path: Path) -> None:
    groups = "9:name=systemd:/x\n4:cpu,memory:/docker/1\n0::/\n"
    files = {
        "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "700000000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert memory_ceiling(str(lay_out(tmp_path, groups, V1.format(root="/"), files))).bytes == 700_000_000


def test_in_a_container_the_mount_itself_is_the_group(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "400000000\n"}
    root = lay_out(tmp_path, "4:memory:/docker/1\n", V1.format(root="/docker/1"), files)
    assert memory_ceiling(str(root)).bytes == 400_000_000


def test_a_path_of_the_host_that_is_not_there_falls_back_to_the_mount(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "450000000\n"}
    root = lay_out(tmp_path, "0::/system.slice/docker-1.scope\n", V2.format(root="/"), files)
    assert memory_ceiling(str(root)).bytes == 450_000_000


def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/app/memory.max": str(1 << 58)}
    root = lay_out(tmp_path, "0::/app\n", V2.format(root="/"), files)
    assert memory_ceiling(str(root)).bytes == psutil.virtual_memory().total


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/app/memory.max": "nonsense\n", "sys/fs/cgroup/memory.max": "\xff"}
    root = lay_out(tmp_path, "0::/app\n", V2.format(root="/") + "broken line\n", files)
    assert memory_ceiling(str(root)).bytes == psutil.virtual_memory().total
