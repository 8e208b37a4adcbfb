"""Who holds it, in a real kernel: what is named, what is to be typed, and that the object goes then."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.holders.cases import CASES, Case
from tests.holders.stage import ask, build, done, is_gone, like, prepare
from tests.kernels import Kernel


@pytest.fixture(scope="module")
def kernels() -> Iterator[dict[bool, Kernel]]:
    """Give the kernels that run: by whether libraries are loaded in them."""
    found: dict[bool, Kernel] = {}
    yield found
    for kernel in found.values():
        kernel.stop()


def _kernel(kernels: dict[bool, Kernel], case: Case) -> Kernel:
    if bool(case.needs) not in kernels:
        kernels[bool(case.needs)] = Kernel()
        libraries = ("numpy", "pandas", "ipywidgets", "matplotlib.pyplot") if case.needs else ()
        prepare(kernels[bool(case.needs)], *libraries)
    return kernels[bool(case.needs)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_holder_is_named_and_its_cure_frees_the_object(kernels: dict[bool, Kernel], case: Case) -> None:
    for library in case.needs:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    kernel = _kernel(kernels, case)
    build(kernel, case)

    answer = ask(kernel, case.ask)

    assert answer.figures["state"] == case.state, answer.text
    held = answer.held
    assert len(held) == (1 + case.more if case.kind else 0), answer.text
    if held:
        assert held[0].kind == case.kind
        assert like(held[0].text, case.path), f"{held[0].text!r}, not {case.path!r}"
        assert like(held[0].cure, case.cure), f"{held[0].cure!r}, not {case.cure!r}"
        assert answer.figures["is_freed"] == all(path.cure for path in held)
    cures = [path.cure for path in answer.paths if path.cure] + [case.otherwise] * (not case.cure)
    for cure in cures:
        if cure.startswith("%memfree") and not kernel.value(
            "'memfree' in get_ipython().magics_manager.magics['line']"
        ):
            pytest.skip("%memfree is not there yet")
        done(kernel.run(cure))
    assert is_gone(kernel, case), answer.text


def test_no_fewer_than_forty_holders_are_judged() -> None:
    assert len(CASES) >= 55
    assert len({case.name for case in CASES}) == len(CASES)
