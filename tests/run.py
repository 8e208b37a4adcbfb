"""What ``make test`` runs: everything it needs installed, the tests, and the twins' tests without the native part.

The tests are run in groups, each in a process of its own, two at a time. What a group says comes whole when it has
ended. Options are for pytest, in the groups with the native part. For a few tests, run pytest itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")
#: Pictures of the heap are in a process of their own: what they leave behind in malloc is not measured by others.
HEAP = (
    "tests/heap",
    "tests/reports/test_heapdiff.py",
    "tests/reports/test_objectsize.py",
    "tests/reports/test_snapshot.py",
)
#: What starts kernels. Jupyter looks for free ports and binds them a second later: two groups could take the same.
NOTEBOOKS = ("tests/ipython", "tests/holders", "tests/test_browser.py", "tests/test_notebooks.py")
#: What a clean copy of the source is without. Native parts that were built in place would be packed too, and of the
#: caches, files disappear while they are copied.
LEFT_OUT = shutil.ignore_patterns(
    ".venv", ".git", "*.so", "build", "dist", "*.egg-info", "__pycache__", ".*cache", ".hypothesis"
)
#: pytest's exit codes where it was interrupted, and where no test is left after its options.
INTERRUPTED, NO_TESTS = 2, 5
#: How often it is told how far the groups are.
TOLD_SECONDS = 30.0


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


@dataclass(frozen=True)
class Group:
    """Tests that are run in one process.

    Parameters
    ----------
    name : str
    arguments : tuple of str
        Of pytest.
    starts_kernels : bool
        Of such groups, one is run at a time.
    twins : Path or None
        The folder of a build without the native part.
    """

    name: str
    arguments: tuple[str, ...]
    starts_kernels: bool = False
    twins: Path | None = None


class Run:
    """A group that is being run; what it says goes to a file."""

    def __init__(self, group: Group, file: Path) -> None:
        self.group = group
        self._file = file
        self._began = time.monotonic()
        environment, folder, arguments = dict(os.environ), ROOT, list(group.arguments)
        if group.twins is not None:
            environment |= {"PYTHONPATH": str(group.twins / "site"), "NBMEM_EXPECT_TWIN": "1"}
            folder = group.twins
            arguments += ["-q", "-m", "twin", "-p", "no:cacheprovider"]
        if sys.stdout.isatty():
            arguments.append("--color=yes")
        with file.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self._file.read_text(errors="replace")

    @property
    def progress(self) -> str:
        """How far it is."""
        found = re.findall(r"\[ *(\d+)%\]", self.text)
        return f"{self.group.name} {found[-1] if found else 0} %"

    def ended(self) -> Ended:
        """Give what became of it, and print what it said."""
        seconds = time.monotonic() - self._began
        print(f"\n== {self.group.name}, {minutes(seconds)}", self.text, sep="\n", flush=True)
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in self.text.splitlines()]
        last = lines[-1].strip("= ") if lines else "said nothing"
        failures = tuple(line for line in lines if line.startswith(("FAILED ", "ERROR ")))
        return Ended(self.group.name, self.process.returncode, seconds, last, failures)


@dataclass(frozen=True)
class Ended:
    """What became of a group.

    Parameters
    ----------
    name : str
    code : int
        The exit code; below 0, the signal that ended the process.
    seconds : float
    last : str
        The last line that it said: how many tests passed.
    failures : tuple of str
        The lines that name tests.
    """

    name: str
    code: int
    seconds: float
    last: str
    failures: tuple[str, ...]

    def __str__(self) -> str:
        what = {0: "passed", NO_TESTS: "empty"}.get(self.code, "FAILED")
        last = re.sub(r" in \d+\.\d+s.*", "", self.last)
        if self.code < 0:
            last = f"ended by signal {-self.code}"
        return f"{what}  {minutes(self.seconds):>5}  {self.name}: {last}"


def minutes(seconds: float) -> str:
    """Write minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def build_twins(target: Path) -> None:
    """Build without the native part, and put the tests beside it."""
    source = target / "source"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    # What a build needs is installed here; an isolated one would get it once more.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--target", str(target / "site"), str(source)],
        check=True, env={**os.environ, "NBMEM_PURE": "1"}, cwd=target,
    )  # fmt: skip
    shutil.copytree(ROOT / "tests", target / "tests")
    shutil.copy(ROOT / "pyproject.toml", target / "pyproject.toml")


def groups(twins: Path, options: list[str]) -> list[Group]:
    """List the groups; the longest come first, so that two processes end at about the same time."""
    others = tuple(f"--ignore={path}" for path in (*HEAP, *NOTEBOOKS))
    return [
        Group("notebooks", (*NOTEBOOKS, *options), starts_kernels=True),
        Group("heap", (*HEAP, *options)),
        Group("heap of the twins", HEAP, twins=twins),
        Group("the others", (*others, *options)),
        Group("notebooks of the twins", NOTEBOOKS, twins=twins, starts_kernels=True),
        Group("the others of the twins", others, twins=twins),
    ]


def run_all(waiting: list[Group], folder: Path, at_once: int) -> list[Ended]:
    """Run groups, some of them at the same time, and say how far they are."""
    running: list[Run] = []
    ended: list[Ended] = []
    began = told = time.monotonic()
    try:
        while waiting or running:
            kernels = any(run.group.starts_kernels for run in running)
            fit = [group for group in waiting if not (kernels and group.starts_kernels)]
            if fit and len(running) < at_once:
                waiting.remove(fit[0])
                running.append(Run(fit[0], folder / f"{fit[0].name}.txt"))
                print(f"{minutes(time.monotonic() - began)}  begins: {fit[0].name}", flush=True)
                continue
            time.sleep(0.2)
            for run in [run for run in running if run.process.poll() is not None]:
                running.remove(run)
                ended.append(run.ended())
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                print(f"{minutes(told - began)}  {', '.join(run.progress for run in running)}", flush=True)
    except KeyboardInterrupt:
        # The terminal has interrupted them too: they end their kernels now.
        for run in running:
            run.process.wait()
            ended.append(run.ended())
    finally:
        for run in running:
            if run.process.poll() is None:
                run.process.terminate()
    return ended


def exit_code(ended: list[Ended], count: int, options: list[str]) -> int:
    """Give one code for all: the highest of pytest's, above 128 where a signal ended a group."""
    codes = [each.code if each.code >= 0 else 128 - each.code for each in ended]
    if len(ended) < count:
        codes.append(INTERRUPTED)
    if options and min(codes) != NO_TESTS:  # options may leave no test of one group, not of all
        codes = [0 if code == NO_TESTS else code for code in codes]
    return max(codes)


def main() -> int:
    """Run all the tests; give the exit code."""
    options = sys.argv[1:]
    began = time.monotonic()
    ensure_browser()
    # Where matplotlib has no list of fonts yet, it says so while it makes one: in no test's output, please.
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], check=True, cwd=ROOT)
    with tempfile.TemporaryDirectory(prefix="nbmem-tests-") as directory:
        folder = Path(directory)
        build_twins(folder / "twins")
        all_groups = groups(folder / "twins", options)
        ended = run_all(list(all_groups), folder, min(2, os.cpu_count() or 1))
    print(f"\n== in all, {minutes(time.monotonic() - began)}")
    for each in ended:
        print(each)
        for failure in each.failures:
            print(f"  {failure}")
    return exit_code(ended, len(all_groups), options)


if __name__ == "__main__":
    sys.exit(main())
