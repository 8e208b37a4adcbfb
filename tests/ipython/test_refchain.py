"""Who holds it: ``%refchain``, its flags, and what it cannot use."""

from __future__ import annotations

import pytest

from tests.kernels import Kernel


def test_flags(kernel: Kernel) -> None:
    kernel.run("import nbmem\nthing = [1.5]\nitems = {'a': thing}\nothers = [thing]\nthird = (thing,)")
    out = kernel.run("%refchain -n 2 thing")
    numbered = [line for line in out.report.splitlines() if line[:3].strip().isdigit()]
    assert len(numbered) == 3
    assert numbered[-1] == " 3  thing, the name that was asked by"
    out = kernel.run("%refchain -q -o held thing")
    assert out.displays == []
    assert out.result is None
    assert kernel.value("(type(held).__name__, held.state, len(held))") == ("RootPaths", "held", 4)
    assert kernel.value("list(held.paths.columns)") == [
        "kind", "root", "path", "count", "length", "retained_bytes", "cure", "advice",
    ]  # fmt: skip
    assert kernel.value("held.cures[-1]") == "del thing"


def test_the_report_has_the_path_its_objects_and_the_cure(kernel: Kernel) -> None:
    kernel.run("cache = {'2019': [0, bytearray(1 << 20)]}")
    report = kernel.run("%refchain cache['2019'][1]").report.splitlines()
    assert report[0].startswith("cache['2019'][1] (bytearray): retains 1.0 MiB · 1 path holds it")
    assert report[2:] == [
        " 1  cache['2019'][1]",
        "    dict 1.0 MiB › list 1.0 MiB › ▸bytearray 1.0 MiB",
        "    cure: del cache['2019'][1]",
    ]


def test_locals_of_the_function_that_calls_it_are_seen(kernel: Kernel) -> None:
    out = kernel.run(
        "keep = []\ndef f():\n    local = bytearray(100_000)\n    keep.append(local)\n"
        "    get_ipython().run_line_magic('refchain', 'local')\nf()"
    )
    assert " 1  keep[0]" in out.report
    assert "running" not in out.report


def test_the_errors_of_the_expression_are_the_users(kernel: Kernel) -> None:
    for line, error in (("nope", "NameError"), ("1 / 0", "ZeroDivisionError"), ("[1, 2", "SyntaxError")):
        out = kernel.run(f"%refchain {line}")
        assert out.error == error
        assert "holders.py" not in out.traceback


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%refchain", "%refchain needs an expression, for example: %refchain df"),
        ("%refchain -n none x", "-n takes a number of paths, 1 or more, not 'none'"),
        ("%refchain -o 1x x", "-o takes the name of a variable, not '1x'"),
        ("%refchain -t int x", "-t takes one type and no expression, not 'x' too"),
        ("%refchain -t DataFram", "no object is of a type 'DataFram'"),
        (
            "%refchain -z x",
            "option -z not recognized; it takes -n N, -o NAME, -q and an expression, or -t TYPE",
        ),
    ],
)
def test_what_it_cannot_use_gives_one_clear_line(kernel: Kernel, line: str, message: str) -> None:
    kernel.run("x = [1]")
    out = kernel.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
