"""The sdist and the wheel hold what they must, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.run import LEFT_OUT, ROOT


def test_the_sdist_builds_and_the_wheel_is_built_from_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    # What is packed is looked at and not run: the compiler need not make it fast.
    environment = {**os.environ, "CFLAGS": f"{os.environ.get('CFLAGS', '')} -O0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    for needed in (
        "nbmem/process/_meter.pyx",
        "nbmem/process/_meter.pxd",
        "nbmem/tracing/_interpreter.h",
        "LICENSE",
        "README.md",
    ):
        assert needed in names
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert "nbmem/py.typed" in names
    assert "nbmem/process/_meter.pyi" in names
    assert not [
        name for name in names if name.startswith(("tests", "bench", "notebooks")) or name.endswith(".c")
    ]
    if sys.platform.startswith("linux"):
        assert [name for name in names if name.startswith("nbmem/process/_meter.") and name.endswith(".so")]
        assert [
            name for name in names if name.startswith("nbmem/tracing/_lineprobe.") and name.endswith(".so")
        ]
