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

    def state() -> tuple[object, ...]:
        # only our callbacks and threads: hypothesis and the kernels' clients have some of their own
        return (
            gc.isenabled(), [callback for callback in gc.callbacks if "nbmem" in repr(callback)],
            sys.gettrace(), sys.getprofile(), tracemalloc.is_tracing(),
            [thread.name for thread in threading.enumerate() if thread.name.startswith("nbmem")],
        )  # fmt: skip

    before = state()
    yield
    assert state() == before


@pytest.fixture(scope="module")
def shared_kernel() -> Iterator[Kernel]:
    """One kernel with nbmem and numpy loaded, for the tests of a module, which leave it as it was."""
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
