"""Run the quickstart notebook in a real kernel and show what it found: ``make demo``."""

# ruff: noqa: T201  # a command: it prints

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "00_quickstart.ipynb"
EXECUTED = HERE.parent / "build" / "demo" / NOTEBOOK.name
#: Seconds that one cell may take.
TIMEOUT = 300

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_HEADLINE = re.compile(r"^In \[\d+\]: .*?peak \+([\d.,]+) (B|KiB|MiB|GiB)")


class ThisInterpreter(KernelSpecManager):
    """The one kernel is the interpreter that runs this file; nothing is installed or looked up."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Describe the kernel."""
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name=kernel_name,
            language="python",
        )


def execute(notebook: Any) -> str | None:
    """Run all cells in place.

    Returns
    -------
    str or None
        What went wrong, in one line; None if nothing did.
    """
    with tempfile.TemporaryDirectory(prefix="nbmem-") as directory:
        manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=ThisInterpreter(),
            connection_file=str(Path(directory, "kernel.json")),
            transport="ipc" if os.name == "posix" else "tcp",  # ipykernel warns of unencrypted TCP
        )
        client = NotebookClient(
            notebook, km=manager, timeout=TIMEOUT, resources={"metadata": {"path": str(HERE)}}
        )
        try:
            client.execute(cleanup_kc=True)  # a manager that it is given, it would leave running
        except CellExecutionError as error:
            return f"{error.ename}: {' '.join(error.evalue.split())}"
        except CellTimeoutError:
            return f"a cell took longer than {TIMEOUT} s"
        except DeadKernelError:
            return "the kernel died, perhaps for want of memory; the tour needs 1 GiB"
    return None


def texts(cell: Any) -> list[str]:
    """List the outputs of a cell as plain text."""
    outputs = cell.get("outputs", [])
    return [str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs]


def peak_bytes(report: str) -> float:
    """Read the peak above the start from a trace's headline; 0 if the text is no trace."""
    found = _HEADLINE.match(report)
    return float(found[1].replace(",", "")) * _UNITS[found[2]] if found else 0.0


def costliest_report(notebook: Any) -> str:
    """Find the trace with the highest peak above its start; ``""`` if there is none."""
    reports = [text for cell in notebook.cells for text in texts(cell) if peak_bytes(text)]
    return max(reports, key=peak_bytes, default="")


def main() -> int:
    """Run the notebook, save it, print the costliest cell and the closing line."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown, executed = (path.relative_to(HERE.parent) for path in (NOTEBOOK, EXECUTED))
    print(f"Running {shown}: 336,776 flights, each step traced line by line …", flush=True)
    began = time.perf_counter()
    problem = execute(notebook)
    seconds = time.perf_counter() - began
    EXECUTED.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED)
    if problem is not None:
        print(f"The notebook failed: {problem} (all outputs so far: {executed})", file=sys.stderr)
        return 1
    traced = sum(1 for cell in notebook.cells for text in texts(cell) if peak_bytes(text))
    print(f"\nThe costliest of {traced} traced cells:\n\n{costliest_report(notebook)}\n")
    print("".join(texts(notebook.cells[-1])).strip())
    print(f"It took {seconds:.1f} s, the kernel's start included.")
    print(f"All outputs: {executed}. To try it yourself: make lab opens the live tutorial.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
