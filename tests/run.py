"""What ``make test`` runs: everything it needs installed, the tests, and the twins' tests without the native part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
HEAP = (
    "tests/heap",
    "tests/holders",
    "tests/reports/test_heapdiff.py",
    "tests/reports/test_objectsize.py",
    "tests/reports/test_snapshot.py",
)


def find_browser() -> str | None:
    """Find a browser on the path."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def ensure_browser() -> None:
    """Install Chromium where that is possible; else say what to install, and fail in CI."""
    if find_browser() is not None:
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=False, env=environment)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
    if find_browser() is None:
        print(f"The browser tests need Chromium: apt-get install {' '.join(PACKAGES)}", flush=True)
        if os.environ.get("CI") == "true":
            sys.exit("CI=true: a missing browser is a failure")


def run_twins(target: Path) -> int:
    """Build without the native part, and run the tests that hold for the twins on that build."""
    environment = {**os.environ, "NBMEM_PURE": "1"}
    source = target / "source"
    # A clean copy: the native parts that were built in place would be packed too.
    shutil.copytree(
        ROOT, source,
        ignore=shutil.ignore_patterns(".venv", ".git", "*.so", "build", "*.egg-info", "__pycache__", ".*cache"),
    )  # fmt: skip
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target / "site")]
    subprocess.run([*pip, str(source)], check=True, env=environment, cwd=target)
    shutil.copytree(ROOT / "tests", target / "tests")
    shutil.copy(ROOT / "pyproject.toml", target / "pyproject.toml")
    environment = {**os.environ, "PYTHONPATH": str(target / "site"), "NBMEM_EXPECT_TWIN": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "twin", "-p", "no:cacheprovider"]
    ignored = [f"--ignore={path}" for path in HEAP]
    return max(
        subprocess.run([*command, *paths], check=False, env=environment, cwd=target).returncode
        for paths in (ignored, HEAP)
    )


def main() -> int:
    """Run all the tests; give the exit code."""
    ensure_browser()
    with tempfile.TemporaryDirectory(prefix="nbmem-twin-") as directory:
        print("== without the native part", flush=True)
        twins = run_twins(Path(directory))
    print("== with the native part", flush=True)
    # Pictures of the heap in a process of their own: what they leave behind in malloc is not measured by others.
    pytest = [sys.executable, "-m", "pytest"]
    ignored = [f"--ignore={path}" for path in HEAP]
    codes = [
        subprocess.run([*pytest, *paths, *sys.argv[1:]], check=False, cwd=ROOT).returncode
        for paths in ([*ignored], [*HEAP])
    ]
    return twins or max(codes)


if __name__ == "__main__":
    sys.exit(main())
