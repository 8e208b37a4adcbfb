"""A real kernel to measure in: cells go in, and the time until it is idle again comes back."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.manager import start_new_kernel

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

#: Cells that time a body take this clock; it is there in every kernel, so that no cell imports it.
CLOCK = "from time import perf_counter as bench_clock\nimport gc\nget_ipython().cache_size = 0"


class CellError(Exception):
    """A cell raised; the message is the error's last line."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one cell gave: seconds from request to idle, what it printed, how many displays it made."""

    seconds: float
    stdout: str
    display_count: int


class Kernel:
    """One kernel with a profile and a directory of its own; use it in a ``with`` statement.

    Parameters
    ----------
    timeout : float
        Seconds that one cell may take.
    """

    def __init__(self, *, timeout: float = 180.0) -> None:
        self._timeout = timeout
        self._home = tempfile.TemporaryDirectory(prefix="nbmem-bench-")
        self.directory = Path(self._home.name)
        # The user's own profile and startup files would be measured with the rest.
        environment = {
            **os.environ,
            "IPYTHONDIR": str(self.directory / "ipython"),
            "PYTHONWARNINGS": "ignore",
        }
        self._manager, self._client = start_new_kernel(
            kernel_name="python3",
            startup_timeout=120,
            cwd=str(self.directory),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.run(CLOCK)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._home.cleanup()

    def run(self, code: str) -> Reply:
        """Run a cell to its end.

        Raises
        ------
        CellError
            If it raised.
        """
        began = time.perf_counter()
        message_id = self._client.execute(code)
        stdout, displays, failure = "", 0, ""
        while True:
            message = self._client.get_iopub_msg(timeout=self._timeout)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind == "stream" and content["name"] == "stdout":
                stdout += content["text"]
            elif kind == "error":
                failure = _ANSI.sub("", f"{content['ename']}: {content['evalue']}")
            elif kind in ("display_data", "execute_result"):
                displays += 1
        seconds = time.perf_counter() - began
        while self._client.get_shell_msg(timeout=self._timeout)["parent_header"].get("msg_id") != message_id:
            pass
        if failure:
            raise CellError(failure)
        return Reply(seconds, stdout, displays)

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the kernel that gives plain data."""
        return ast.literal_eval(self.run(f"print(repr({expression}))").stdout)
