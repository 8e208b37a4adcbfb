"""Fixtures: real kernels, and a guard that no recorder is left running."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.kernels import Kernel


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Every test leaves the interpreter as it found it."""

    def ours() -> list[object]:  # hypothesis has a callback of its own
        return [callback for callback in gc.callbacks if "nbmem" in repr(callback)]

    before = (
        gc.isenabled(), ours(), sys.gettrace(), sys.getprofile(), tracemalloc.is_tracing(),
        threading.active_count(),
    )  # fmt: skip
    yield
    after = (
        gc.isenabled(), ours(), sys.gettrace(), sys.getprofile(), tracemalloc.is_tracing(),
        min(threading.active_count(), before[-1]),
    )  # fmt: skip
    assert after == before


@pytest.fixture(scope="session")
def shared_kernel() -> Iterator[Kernel]:
    """One kernel with nbmem and numpy loaded, for tests that leave it as it was."""
    kernel = Kernel()
    out = kernel.run("%load_ext nbmem\nimport numpy as np")
    assert out.status == "ok"
    yield kernel
    kernel.stop()


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """Give the shared kernel, its namespace cleared."""
    shared_kernel.run("%reset -f\nimport numpy as np", store_history=False)
    return shared_kernel


@pytest.fixture
def own_kernel() -> Iterator[Kernel]:
    """Give a kernel of the test's own, in which nothing is loaded."""
    kernel = Kernel()
    yield kernel
    kernel.stop()
