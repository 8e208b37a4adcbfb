"""The line probe, native and twin, on code of all kinds."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import threading
from typing import Any

import pytest

from nbmem.process import NATIVE, ResidentSampler, counter, release_free_memory
from nbmem.tracing import _lineprobe_twin

pytestmark = [
    pytest.mark.twin,
    pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="no peak counter on this system"),
]

MIB = 1 << 20
PROBES: list[Any] = [_lineprobe_twin.LineProbe]
if NATIVE:
    from nbmem.tracing._lineprobe import LineProbe

    PROBES.append(LineProbe)
probes = pytest.mark.parametrize("make", PROBES, ids=lambda make: make.__module__.rsplit(".", 1)[1])


class Result:
    """What a probe said of a piece of code."""

    def __init__(self, probe: Any, rows: list[Any], error: BaseException | None) -> None:
        self.exact = probe.exact
        self.lost = probe.lost
        self.error = error
        self.rows = {row[1]: row for row in rows}
        self.hits = {row[1]: row[2] for row in rows}
        self.seconds = {row[1]: row[3] for row in rows}
        self.increment = {row[1]: row[5] for row in rows}
        self.spike = {row[1]: row[6] for row in rows}


def run(make: Any, code: str, **names: Any) -> Result:
    """Run code under a probe that watches all of it."""
    source = textwrap.dedent(code).lstrip("\n")
    sampler = ResidentSampler()
    probe = make(counter, sampler)
    probe.watch_file("<watched>", source.count("\n") + 1)
    compiled = compile(source, "<watched>", "exec")
    release_free_memory()  # what an earlier test freed would be used again, unseen
    sampler.start()
    error = None
    assert probe.start()
    try:
        exec(compiled, names)
    except BaseException as caught:  # noqa: BLE001
        error = caught
    rows = probe.stop()
    sampler.stop()
    assert sys.gettrace() is None
    return Result(probe, rows, error)


@probes
def test_each_line_is_counted_as_often_as_it_runs(make: Any) -> None:
    result = run(make, """
        total = 0
        for i in range(5):
            if i % 2:
                total += i
        while total < 10:
            total += 3
        """)  # fmt: skip
    assert result.hits == {1: 1, 2: 6, 3: 5, 4: 2, 5: 3, 6: 2}
    assert result.exact


@probes
def test_memory_counts_for_the_line_that_takes_and_the_line_that_frees_it(make: Any) -> None:
    result = run(make, """
        a = bytearray(64 << 20)
        b = bytearray(32 << 20) + bytearray(32 << 20)
        del a
        """)  # fmt: skip
    assert result.increment[1] == pytest.approx(64 * MIB, rel=0.03)
    assert result.increment[2] == pytest.approx(64 * MIB, rel=0.03)
    assert result.spike[2] == pytest.approx(128 * MIB, rel=0.03)
    assert result.increment[3] == pytest.approx(-64 * MIB, rel=0.03)


@probes
def test_a_call_counts_for_the_calling_line_too(make: Any) -> None:
    result = run(make, """
        def f():
            x = bytearray(40 << 20)
            return len(x)
        f()
        """)  # fmt: skip
    assert result.spike[2] == pytest.approx(40 * MIB, rel=0.03)
    assert result.spike[4] == pytest.approx(40 * MIB, rel=0.03)
    assert abs(result.increment[4]) < 2 * MIB


@probes
def test_an_exception_closes_the_lines_that_it_leaves(make: Any) -> None:
    result = run(make, """
        def f(n):
            if n:
                f(n - 1)
            raise KeyError(n)
        try:
            f(3)
        except KeyError:
            x = 1
        f(0)
        """)  # fmt: skip
    assert isinstance(result.error, KeyError)
    assert result.hits[2] == 5
    assert result.hits[4] == 2
    assert result.hits[8] == 1


@probes
def test_generators_that_end_are_closed_or_dropped_are_followed(make: Any) -> None:
    result = run(make, """
        def g():
            try:
                for i in range(100):
                    yield i
            finally:
                done.append(1)
        done = []
        list(g())
        h = g()
        next(h); next(h)
        h.close()
        k = g()
        next(k)
        del k
        e = g()
        next(e)
        try:
            e.throw(ValueError)
        except ValueError:
            pass
        """)  # fmt: skip
    assert result.error is None
    assert result.hits[6] == 4
    assert result.hits[4] >= 100


@probes
def test_what_a_generator_does_after_it_goes_on_counts_for_its_line(make: Any) -> None:
    result = run(make, """
        def g():
            x = (yield 1) or bytearray(48 << 20)
            yield len(x)
        total = sum(g())
        """)  # fmt: skip
    assert result.increment[2] + result.spike[2] >= 40 * MIB


@probes
def test_awaiting_takes_its_time_in_the_line_that_awaits(make: Any) -> None:
    result = run(make, """
        async def slow():
            await asyncio.sleep(0.1)
            return 1
        async def main():
            x = await slow()
            y = await asyncio.gather(slow(), slow())
        asyncio.run(main())
        """, asyncio=asyncio)  # fmt: skip
    assert result.error is None
    assert result.seconds[2] >= 0.19
    assert result.seconds[5] >= 0.09
    assert result.seconds[6] >= 0.09
    assert result.hits[2] == 3


@probes
def test_recursion_counts_time_and_growth_once(make: Any) -> None:
    result = run(make, """
        kept = []
        def down(n):
            kept.append(bytearray(8 << 20))
            if n:
                down(n - 1)
        down(4)
        """)  # fmt: skip
    assert result.hits[3] == 5
    assert result.increment[3] == pytest.approx(40 * MIB, rel=0.05)
    assert result.increment[5] == pytest.approx(32 * MIB, rel=0.05)
    assert result.increment[6] == pytest.approx(40 * MIB, rel=0.05)


@probes
def test_a_recursion_without_end_raises_its_error(make: Any) -> None:
    result = run(make, """
        def forever(n):
            return forever(n + 1)
        forever(0)
        """)  # fmt: skip
    assert isinstance(result.error, RecursionError)


@probes
def test_comprehensions_and_lambdas_on_one_line_are_part_of_it(make: Any) -> None:
    result = run(make, """
        x = [i for i in range(1000)]
        y = sum(i for i in x)
        z = list(map(lambda q: q + 1, x))
        """)  # fmt: skip
    if not make.can_sample and sys.version_info >= (3, 12):
        result.hits.pop(1)  # comprehensions are inlined there, and each turn is a line event of settrace
    assert set(result.hits.values()) == {1}


@probes
def test_other_threads_are_not_measured(make: Any) -> None:
    result = run(make, """
        def work():
            for i in range(1000):
                x = i
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """, threading=threading)  # fmt: skip
    assert result.hits.get(3, 0) == 0
    if make.can_sample:
        assert not result.exact
        assert result.rows[3][9], "entered where it was not seen"


@probes
def test_a_hot_line_is_not_exact_and_the_code_after_it_is_found_again(make: Any) -> None:
    result = run(make, """
        x = 0
        for i in range(400_000):
            x += i
        kept = bytearray(64 << 20)
        import time; time.sleep(0.3)
        last = bytearray(32 << 20)
        """)  # fmt: skip
    assert not result.exact
    assert result.rows[1][7] is False
    assert result.increment[4] == pytest.approx(64 * MIB, rel=0.1)
    assert result.increment[6] == pytest.approx(32 * MIB, rel=0.1)


@pytest.mark.skipif(not NATIVE, reason="the twin counts every hit")
def test_lines_of_code_that_was_entered_unseen_are_marked() -> None:
    result = run(LineProbe, """
        def f(n):
            y = n
            return y
        def once():
            return 1
        once()
        for i in range(600_000):
            f(i)
        """)  # fmt: skip
    entered = {line: row[9] for line, row in result.rows.items()}
    assert entered[2]
    assert entered[3]
    assert not entered[5], "once() did not run while the probe was quiet"


@probes
def test_a_trace_function_that_is_there_is_left_alone(make: Any) -> None:
    if sys.version_info >= (3, 12) and make.can_sample:
        pytest.skip("sys.monitoring needs no trace function")

    def theirs(*_: object) -> None: ...

    sampler = ResidentSampler()
    probe = make(counter, sampler)
    sys.settrace(theirs)
    try:
        assert not probe.start()
        assert sys.gettrace() is theirs
    finally:
        sys.settrace(None)
    assert counter.open_count == 0


@probes
def test_a_trace_function_that_the_code_sets_stays_and_the_loss_is_told(make: Any) -> None:
    if sys.version_info >= (3, 12) and make.can_sample:
        pytest.skip("sys.monitoring is not disturbed by a trace function")
    source = "x = 1\nsys.settrace(theirs)\ny = 2\ndef f(): pass\nf()\n"

    def theirs(*_: object) -> None: ...

    sampler = ResidentSampler()
    probe = make(counter, sampler)
    probe.watch_file("<watched>", 10)
    assert probe.start()
    exec(compile(source, "<watched>", "exec"), {"sys": sys, "theirs": theirs})
    rows = probe.stop()
    assert sys.gettrace() is theirs
    sys.settrace(None)
    assert probe.lost
    assert rows[0][1:3] == (1, 1)


@pytest.mark.skipif(not NATIVE, reason="there is one native probe")
def test_a_second_probe_is_refused_while_one_runs() -> None:
    first, second = (LineProbe(counter, ResidentSampler()) for _ in range(2))
    assert first.start()
    assert not second.start()
    first.stop()
    assert counter.open_count == 0


@probes
def test_a_file_of_another_name_can_count_for_the_same_lines(make: Any) -> None:
    sampler = ResidentSampler()
    probe = make(counter, sampler)
    scope = probe.watch_file("<cell>", 6)
    probe.watch_file("<timed>", 0, 2, same_as=scope)
    assert probe.start()
    exec(compile("a = 1\nb = 2\n", "<timed>", "exec"), {})
    rows = probe.stop()
    assert [row[1:3] for row in rows] == [(3, 1), (4, 1)]


@pytest.mark.skipif(not NATIVE, reason="compares the native part with its twin")
@pytest.mark.parametrize("seed", range(8))
def test_native_and_twin_count_the_same_hits_on_generated_code(seed: int) -> None:
    import random

    rng = random.Random(seed)

    def block(depth: int, indent: str) -> list[str]:
        lines: list[str] = []
        for _ in range(rng.randint(1, 3)):
            kind = rng.choice(["set", "for", "if", "try", "call", "with", "gen"]) if depth else "set"
            if kind == "set":
                lines.append(f"{indent}x = x + {rng.randint(1, 5)} if 'x' in dir() else 1")
            elif kind == "for":
                lines += [f"{indent}for i in range({rng.randint(0, 3)}):", *block(depth - 1, indent + "    ")]
            elif kind == "if":
                lines += [
                    f"{indent}if x % 2:",
                    *block(depth - 1, indent + "    "),
                    f"{indent}else:",
                    *block(depth - 1, indent + "    "),
                ]
            elif kind == "try":
                lines += [
                    f"{indent}try:",
                    *block(depth - 1, indent + "    "),
                    f"{indent}    1 / 0",
                    f"{indent}except ZeroDivisionError:",
                    *block(depth - 1, indent + "    "),
                ]
            elif kind == "call":
                lines += [
                    f"{indent}def f():",
                    f"{indent}    x = 2",
                    *block(depth - 1, indent + "    "),
                    f"{indent}    return x",
                    f"{indent}f()",
                ]
            elif kind == "with":
                lines += [f"{indent}with open('/dev/null') as file:", *block(depth - 1, indent + "    ")]
            else:
                lines += [
                    f"{indent}def g():",
                    f"{indent}    for k in range({rng.randint(0, 3)}):",
                    f"{indent}        yield k",
                    f"{indent}x = sum(g())",
                ]
        return lines

    code = "\n".join(["x = 1", *block(3, "")])
    assert run(LineProbe, code).hits == run(_lineprobe_twin.LineProbe, code).hits
