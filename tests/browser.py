"""A real JupyterLab in a real Chromium, for tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.run import find_browser

TOKEN = "nbmem-tests"
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Lab:
    """A JupyterLab server whose files, settings and runtime are in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "notebooks"
        self.settings = folder / "settings"
        self.root.mkdir()
        self.port = _free_port()
        self.set("notification", {"fetchNews": "false", "checkForUpdates": False})
        environment = {
            **os.environ,
            **{name: str(folder / name.lower()) for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")},
        }  # fmt: skip
        self._log = (folder / "server.log").open("w")
        self._server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
                "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0",
                f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={self.root}",
                "--LabApp.expose_app_in_browser=True", f"--LabApp.user_settings_dir={self.settings}",
                f"--LabApp.workspaces_dir={folder / 'workspaces'}", "--LabApp.extension_manager=readonly",
            ],
            env=environment, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        self._wait()

    def set(self, plugin: str, values: dict[str, object], package: str = "apputils-extension") -> None:
        """Write a setting of JupyterLab's."""
        path = self.settings / "@jupyterlab" / package / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def _wait(self) -> None:
        url = f"http://127.0.0.1:{self.port}/api/status?token={TOKEN}"
        for _ in range(300):
            try:
                urllib.request.urlopen(url, timeout=2).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        self.stop()
        raise AssertionError((self.folder / "server.log").read_text()[-3000:])

    def stop(self) -> None:
        """End the server and its kernels."""
        self._server.terminate()
        try:
            self._server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()


@contextmanager
def browser(folder: Path, *, dark: bool = False) -> Iterator[tuple[Any, list[str]]]:
    """Open Chromium; give a page, and the list of requests that left the machine (all refused)."""
    from playwright.sync_api import sync_playwright

    refused: list[str] = []

    def route(handler: Any) -> None:
        url = handler.request.url
        if url.startswith(("http://127.0.0.1", "data:", "blob:", "file:", "about:")):
            handler.continue_()
        else:
            refused.append(url)
            handler.abort()

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder), executable_path=find_browser(), headless=True, args=_ARGUMENTS,
            viewport={"width": 1280, "height": 1000}, color_scheme="dark" if dark else "light",
        )  # fmt: skip
        try:
            context.route("**/*", route)
            yield context.pages[0], refused
        finally:
            context.close()


def open_notebook(page: Any, lab: Lab, name: str) -> None:
    """Open a notebook and wait until its kernel is there: running before that waits for ever."""
    page.goto(f"http://127.0.0.1:{lab.port}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    page.evaluate(
        """() => Promise.race([
            (async () => {
                const session = jupyterapp.shell.currentWidget.sessionContext;
                await session.ready; await session.session.kernel.info;
            })(),
            new Promise((_, reject) => setTimeout(() => reject('no kernel in 90 s'), 90000)),
        ])"""
    )


def run_all(page: Any, cells: int) -> None:
    """Run all cells and wait until the last has its number."""
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.wait_for_function(
        """count => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]
            .filter(prompt => /\\[\\d+\\]/.test(prompt.textContent)).length >= count""",
        arg=cells, timeout=120_000,
    )  # fmt: skip
