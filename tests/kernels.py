"""Real kernels for tests: start one, run cells in it, look at what it sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from jupyter_client.manager import start_new_kernel

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Output:
    """What one cell sent."""

    status: str = ""
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    displays: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    traceback: str = ""
    execution_count: int | None = None

    @property
    def report(self) -> str:
        """The text of the last display."""
        return str(self.displays[-1]["text/plain"]) if self.displays else ""


#: The open descriptors of a process by what they lead to; IPython's history and the sockets come and go.
DESCRIPTORS = (
    "sorted(t for f in __import__('os').listdir('/proc/self/fd') "
    "if (t := (lambda p: __import__('os').path.lexists(p) and __import__('os').readlink(p) or '')"
    "('/proc/self/fd/' + f)) and not __import__('re').search('sqlite|profile_default|socket:|/fd$|pipe:|eventpoll|eventfd', t))"
)


class Kernel:
    """One kernel; cells run one after the other."""

    def __init__(self, extra_arguments: list[str] | None = None) -> None:
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", startup_timeout=120, extra_arguments=extra_arguments or []
        )

    def send(self, code: str, **options: Any) -> str:
        """Send a cell and do not wait."""
        return str(self.client.execute(code, **options))

    def collect(self, message_id: str, timeout: float = 120) -> Output:
        """Wait for a cell that was sent."""
        out = Output()
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=timeout)
            except Empty:
                raise AssertionError(f"the kernel said nothing for {timeout} s; so far: {out}") from None
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream" and content["name"] == "stdout":
                out.stdout += content["text"]
            elif kind == "stream":
                out.stderr += content["text"]
            elif kind == "execute_result":
                out.result = content["data"]["text/plain"]
            elif kind == "display_data":
                out.displays.append(content["data"])
            elif kind == "error":
                out.error = content["ename"]
                out.traceback = _ANSI.sub("", "\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                break
        reply = self.client.get_shell_msg(timeout=timeout)
        while reply["parent_header"].get("msg_id") != message_id:
            reply = self.client.get_shell_msg(timeout=timeout)
        out.status = reply["content"]["status"]
        out.execution_count = reply["content"].get("execution_count")
        return out

    def run(self, code: str, timeout: float = 120, **options: Any) -> Output:
        """Run a cell to its end."""
        return self.collect(self.send(code, **options), timeout)

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the kernel that gives plain data."""
        import ast

        out = self.run(f"print(repr({expression}))", store_history=False)
        assert out.status == "ok", out.traceback
        return ast.literal_eval(out.stdout)

    def stop(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
