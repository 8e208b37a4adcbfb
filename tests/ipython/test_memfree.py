"""How to free it: ``%memfree`` and ``nbmem.free``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kernels import Kernel, Output

MIB = 1 << 20
BIG = (
    "import weakref, gc\n"
    "class Big:\n"
    "    def __init__(self, mib=4): self.data = bytearray(mib << 20)\n"
)  # fmt: skip
FAILS = BIG + (
    "def load():\n    batch = Big()\n    globals()['ref'] = weakref.ref(batch)\n    1 / 0\nload()"
)  # fmt: skip
SHOWN = BIG + "def made():\n    big = Big(); globals()['ref'] = weakref.ref(big)\n    return big\nmade()"
UNCHANGED = (
    "(sorted(n for n in globals() if not n.startswith('_i')), sorted(Out), [id(v) for v in Out.values()], "
    "id(_), id(__), id(___))"
)


def figures(kernel: Kernel, expression: str) -> list[int]:
    """Give bytes that a result tells: freed, back to Python, back to the system."""
    return list(
        kernel.value(f"[{expression}.freed_bytes, {expression}.python_bytes, {expression}.system_bytes]")
    )


def survives(kernel: Kernel, expression: str) -> list[str]:
    """Give the paths that a result names for what is still alive."""
    return list(kernel.value(f"list({expression}.paths.path)"))


def is_gone(kernel: Kernel, reference: str = "ref") -> bool:
    return bool(kernel.value(f"{reference}() is None"))


# -- alone: what could be released


def test_alone_it_tells_what_could_be_released_by_holder_and_releases_nothing(kernel: Kernel) -> None:
    shown = kernel.run(BIG + "Big(3)").execution_count
    kernel.run("held = Big(5)")
    also = kernel.run("held").execution_count
    kernel.run("def load():\n    batch = Big(7)\n    1 / 0\nload()")
    before = kernel.value(UNCHANGED)
    out = kernel.run("%memfree -o could")
    assert out.result is None
    assert out.report.startswith("memfree: nothing is released; all together would free 10.0 MiB")
    rows = {row["name"].partition(",")[0]: row for row in kernel.value("could.frame.to_dict('records')")}
    assert abs(rows[f"Out[{shown}]"]["freed_bytes"] - 3 * MIB) < 20_000
    assert rows[f"Out[{shown}]"]["command"] == f"%memfree Out[{shown}]"
    assert rows[f"Out[{also}]"]["freed_bytes"] < 1000
    assert rows[f"Out[{also}]"]["held_by"] == "held"
    error = rows["ZeroDivisionError in load()"]
    assert abs(error["freed_bytes"] - 7 * MIB) < 20_000
    assert error["command"] == "%memfree --errors"
    kernel.run("del could")
    assert kernel.value(UNCHANGED) == before
    assert kernel.value("hasattr(__import__('sys'), 'last_traceback')")


def test_garbage_and_what_malloc_could_give_back_have_rows_and_commands_that_work(kernel: Kernel) -> None:
    kernel.run(BIG + "gc.disable()\nbig = Big(6); big.self = big; ref = weakref.ref(big); del big")
    kernel.run("%memfree -q -o could")
    rows = kernel.value("could.frame.set_index('kind')[['freed_bytes', 'command']].to_dict('index')")
    assert rows["garbage"]["freed_bytes"] > 6 * MIB
    assert not is_gone(kernel)
    kernel.run(rows["garbage"]["command"])
    assert is_gone(kernel)
    kernel.run("gc.enable()\nblocks = [bytes(40_000) for _ in range(1500)]\nlast = bytes(40_000)\ndel blocks")
    kernel.run("%memfree -q -o could")
    rows = kernel.value("could.frame.set_index('kind')[['freed_bytes', 'command']].to_dict('index')")
    before = kernel.value("__import__('nbmem').process.resident_bytes()")
    assert rows["malloc"]["freed_bytes"] > 40 * MIB
    kernel.run(rows["malloc"]["command"])
    gained = before - kernel.value("__import__('nbmem').process.resident_bytes()")
    assert abs(gained - rows["malloc"]["freed_bytes"]) < 8 * MIB


def test_what_two_outputs_share_is_said(kernel: Kernel) -> None:
    kernel.run(BIG + "shared = Big(4)\n[shared]")
    kernel.run("(shared,)")
    kernel.run("%memfree -q --errors\ndel shared\nTrue;")
    out = kernel.run("%memfree")
    assert re.search(r"2 outputs share 4\.0 MiB: that goes with the last of them", out.report)


# -- names


def test_a_name_goes_with_every_copy_that_the_notebook_has_of_its_object(kernel: Kernel) -> None:
    kernel.run(BIG + "big = Big(); ref = weakref.ref(big)\nbig")
    kernel.run("big")
    kernel.run("_;\nbig")
    out = kernel.run("%memfree -o freed big")
    assert is_gone(kernel)
    freed, python, system = figures(kernel, "freed")
    assert abs(freed - 4 * MIB) < 20_000
    assert abs(python - freed) < 300_000
    assert system > freed - 2 * MIB, "with what malloc had free before"
    assert "released 4.0 MiB · back to Python 4.1 MiB · back to the system" in out.report or (
        "released 4.0 MiB · back to Python 4.0 MiB" in out.report
    )
    assert kernel.value("'big' in globals()") is False
    assert (
        kernel.value("[n for n in get_ipython().user_ns_hidden if n[1:].isdigit() and n in globals()]") == []
    )


def test_it_finds_the_object_in_the_frames_of_the_last_error_and_lets_that_go_as_a_whole(
    kernel: Kernel,
) -> None:
    assert kernel.run(FAILS.replace("    1 /", "    globals()['kept'] = batch\n    1 /")).status == "error"
    out = kernel.run("%memfree kept")
    assert is_gone(kernel)
    assert "note: the last error holds it too: that is let go of as a whole" in out.report
    assert "No traceback" in (kernel.run("%debug").stderr + kernel.run("%debug").stdout)


def test_an_error_that_does_not_hold_the_object_stays_to_be_debugged(kernel: Kernel) -> None:
    kernel.run(FAILS)
    kernel.run("other = Big(); other_ref = weakref.ref(other)\n%memfree -q other")
    assert is_gone(kernel, "other_ref")
    assert not is_gone(kernel)
    assert kernel.value("hasattr(__import__('sys'), 'last_traceback')")


def test_another_variable_of_the_same_object_stays_and_is_told_with_its_cure(kernel: Kernel) -> None:
    kernel.run(BIG + "big = Big(); alias = big; cache = {'x': [big]}; ref = weakref.ref(big)")
    out = kernel.run("%memfree -o freed big")
    assert not is_gone(kernel)
    assert survives(kernel, "freed") == ["alias", "cache['x'][0]"]
    assert "big (Big) is still alive and retains 4.0 MiB, held by" in out.report
    assert "cure: del cache['x'][0]" in out.report
    kernel.run("\n".join(kernel.value("list(freed.paths.cure)")))
    assert is_gone(kernel)


def test_a_variable_of_the_same_value_but_another_object_is_not_touched(kernel: Kernel) -> None:
    kernel.run("a = [1.5, 'x' * 1000]; b = [1.5, 'x' * 1000]\na")
    kernel.run("b")
    kernel.run("%memfree -q a")
    assert kernel.value("('a' in globals(), len(b), list(Out.values()) == [b])") == (False, 2, True)


def test_small_values_are_the_same_object_everywhere_and_only_the_name_goes(kernel: Kernel) -> None:
    number = kernel.run("x = 5\n5").execution_count
    out = kernel.run("%memfree x")
    assert "still alive" not in out.report
    assert kernel.value(f"('x' in globals(), Out[{number}])") == (False, 5)


def test_several_names_of_several_objects_go_together(kernel: Kernel) -> None:
    kernel.run(
        BIG
        + "a = Big(); b = a; c = Big(); a.other = c.other = Big()\nrefs = [weakref.ref(a), weakref.ref(c)]"
    )
    out = kernel.run("%memfree a, b c")
    assert "released 12.0 MiB" in out.report
    assert "4.0 MiB go only with several of these together: they share it" in out.report
    assert kernel.value("[r() for r in refs]") == [None, None]


# -- Out[n], _n, _


@pytest.mark.parametrize("how", ["Out[{n}]", "_{n}", "_"])
def test_what_was_displayed_goes_by_each_of_its_names(kernel: Kernel, how: str) -> None:
    out = kernel.run(SHOWN)
    assert not is_gone(kernel)
    kernel.run("%memfree -q " + how.format(n=out.execution_count))
    assert is_gone(kernel)


def test_what_was_displayed_goes_also_when_out_and_the_numbered_name_are_deleted(kernel: Kernel) -> None:
    out = kernel.run(SHOWN)
    number = out.execution_count
    kernel.run(f"del Out[{number}], _{number}")
    kernel.run("1")
    kernel.run("2")
    kernel.run("3")
    kernel.run("4")
    assert not is_gone(kernel)
    kernel.run(f"%memfree -q _{number}")
    assert is_gone(kernel)


def test_a_variable_that_names_an_output_is_not_touched_and_told(kernel: Kernel) -> None:
    out = kernel.run(BIG + "big = Big()\nbig")
    kernel.run(f"%memfree -o freed Out[{out.execution_count}]")
    assert kernel.value("'big' in globals()") is True
    assert survives(kernel, "freed") == ["big"]
    assert kernel.value("list(Out)") == []


def test_names_of_the_users_own_that_look_like_the_notebooks_are_the_users(kernel: Kernel) -> None:
    kernel.run(BIG + "big = _2024 = Big(); _ = big")
    kernel.run("%memfree -o freed big")
    assert kernel.value("('_2024' in globals(), '_' in globals())") == (True, True)
    assert sorted(survives(kernel, "freed"))
    kernel.run("ref = weakref.ref(_2024)\n%memfree -q _2024\n%memfree -q _")
    assert is_gone(kernel)
    assert kernel.run("7").result == "7"
    assert kernel.run("_ + 1").result == "8"


# -- flags


def test_outputs_lets_go_of_all_that_was_displayed(kernel: Kernel) -> None:
    kernel.run(BIG + "refs = []\ndef made():\n    refs.append(weakref.ref(big := Big())); return big")
    for _ in range(5):
        kernel.run("made()")
    kernel.run("%memfree -q --outputs")
    assert kernel.value("([r() for r in refs], list(Out), (_, __, ___))") == ([None] * 5, [], ("", "", ""))


@pytest.mark.parametrize("again", [1, 3])
def test_errors_lets_go_of_the_last_error(kernel: Kernel, again: int) -> None:
    for _ in range(again):
        kernel.run(FAILS)
    kernel.run("pass")
    out = kernel.run("%memfree --errors")
    assert "released 4.0 MiB" in out.report
    assert is_gone(kernel)
    assert "No traceback" in kernel.run("%debug").stderr
    assert "No traceback" in (tb := kernel.run("%tb")).stdout + tb.stderr


def test_chained_errors_and_syntax_errors_go_too(kernel: Kernel) -> None:
    kernel.run(BIG + (
        "def load():\n    batch = Big(); globals()['ref'] = weakref.ref(batch)\n"
        "    try: 1 / 0\n    except ZeroDivisionError as error: raise KeyError('x') from error\nload()"
    ))  # fmt: skip
    kernel.run("x = = 1")
    kernel.run("%memfree -q --errors")
    assert is_gone(kernel)


def test_an_error_generator_or_frame_that_somebody_else_holds_keeps_its_meaning(kernel: Kernel) -> None:
    kernel.run(BIG + (
        "def count():\n    for i in range(9): yield i\n"
        "def load(steps):\n    batch = Big(); globals()['ref'] = weakref.ref(batch)\n    next(steps)\n    raise KeyError(batch)\n"
        "steps = count()\n"
        "try: load(steps)\nexcept KeyError as e: kept = e\n"
        "frame = kept.__traceback__.tb_next.tb_frame\nraise kept"
    ))  # fmt: skip
    kernel.run("%memfree -q --errors")
    assert not is_gone(kernel)
    assert kernel.value("(next(steps), type(frame.f_locals['batch']).__name__)") == (1, "Big")
    kernel.run("del kept, frame; gc.collect()")
    assert is_gone(kernel)


def test_figures_closes_those_of_pyplot(kernel: Kernel) -> None:
    kernel.run(BIG + (
        "import matplotlib.pyplot as plt\n%config InlineBackend.close_figures = False\n"
        "figure = plt.figure(3); figure.big = Big(); ref = weakref.ref(figure.big); del figure\nplt.figure(4);"
    ))  # fmt: skip
    out = kernel.run("%memfree")
    assert "2 open figures" in out.report
    assert "import matplotlib.pyplot as plt; plt.close(3)" in out.report
    kernel.run("%memfree -q --figures")
    assert is_gone(kernel)
    assert kernel.value("plt.get_fignums()") == []
    kernel.run("%config InlineBackend.close_figures = True")


def test_widgets_closes_all_and_one_that_fails_keeps_none_of_the_others(kernel: Kernel) -> None:
    kernel.run(BIG + (
        "import ipywidgets\nclass Bad(ipywidgets.Text):\n    def close(self): raise RuntimeError('no')\n"
        "bad = Bad(); slider = ipywidgets.IntSlider(); slider.big = Big(); ref = weakref.ref(slider.big); del slider"
    ))  # fmt: skip
    out = kernel.run("%memfree --widgets")
    assert is_gone(kernel)
    assert "note: a __main__.Bad did not close: RuntimeError" in out.report
    kernel.run("del Bad.close\nbad.close(); del bad, Bad")


def test_all_takes_everything_at_once_with_a_name(kernel: Kernel) -> None:
    kernel.run(FAILS)
    kernel.run("import ipywidgets\nslider = ipywidgets.Text(); slider.big = Big(); mine = Big()\n"
               "refs = [ref, weakref.ref(slider.big), weakref.ref(mine)]; del slider\nmine")  # fmt: skip
    out = kernel.run("%memfree --all mine")
    assert "released 12.0 MiB" in out.report
    assert kernel.value("[r() for r in refs]") == [None] * 3


def test_a_dry_run_tells_the_same_and_changes_nothing(kernel: Kernel) -> None:
    kernel.run(FAILS)
    kernel.run("big = Big(); alias = big\nbig")
    kernel.run("Big(2)")
    before = kernel.value(UNCHANGED)
    out = kernel.run("%memfree --dry-run --all big")
    assert out.report.startswith("memfree: dry run, nothing is released; it would free 6.0 MiB")
    assert "big (Big) is still alive and retains 4.0 MiB, held by" in out.report
    assert "cure: del alias" in out.report
    assert kernel.value(UNCHANGED) == before
    assert not is_gone(kernel)
    assert "released 6.0 MiB" in kernel.run("%memfree --all big").report


def test_cures_of_refchain_are_understood(kernel: Kernel) -> None:
    for code in (FAILS, SHOWN):
        kernel.run(code)
        assert not is_gone(kernel)
        kernel.run("%refchain -q -o held ref()")
        cures = kernel.value("held.cures")
        assert len(cures) == 1
        assert cures[0].startswith("%memfree ")
        assert kernel.run(cures[0]).status == "ok"
        assert is_gone(kernel)


# -- what it must not do


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%memfree bigg", "%memfree: there is no 'bigg'; did you mean big?"),
        ("%memfree big nothing", "%memfree: there is no 'nothing'"),
        ("%memfree --outputs big nothing", "%memfree: there is no 'nothing'"),
        ("%memfree Out[4000]", "%memfree: nothing is kept as Out[4000]; did you mean Out["),
        ("%memfree _4000", "%memfree: nothing is kept as Out[4000]"),
        (
            "%memfree cache[0]",
            "%memfree: 'cache[0]' is no name; it takes names of variables, Out[n], _n and _",
        ),
        ("%memfree In", "%memfree: In is IPython's own"),
        ("%memfree __name__", "%memfree: __name__ is Python's own"),
        ("%memfree _i1", "%memfree: "),
        ("%memfree --output", "%memfree does not know '--output'; did you mean --outputs?"),
        ("%memfree --what", "%memfree does not know '--what'; it takes names, Out[n], --outputs"),
        ("%memfree -o 1x big", "%memfree: -o takes the name of a variable, not '1x'"),
        ("%memfree 'big", "%memfree: No closing quotation"),
    ],
)
def test_what_it_cannot_use_gives_one_clear_line_and_nothing_goes(
    kernel: Kernel, line: str, message: str
) -> None:
    kernel.run("big = bytearray(1000)\nbig")
    before = kernel.value(UNCHANGED)
    out = kernel.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert kernel.value(UNCHANGED) == before


def test_objects_that_raise_when_touched_are_released_by_identity(kernel: Kernel) -> None:
    kernel.run(
        "import weakref\n"
        "class Hostile:\n"
        "    __class__ = property(lambda self: 1 / 0)\n"
        "    def __eq__(self, other): raise RuntimeError\n"
        "    def __bool__(self): raise RuntimeError\n"
        "    def __len__(self): raise RuntimeError\n"
        "    def __repr__(self): raise RuntimeError\n"
        "    __hash__ = None\n"
        "    def _ipython_display_(self): pass\n"
        "hostile = Hostile(); ref = weakref.ref(hostile); array = np.ones(1 << 17)\n"
        "proxy = weakref.proxy(array)\nOut[7000] = hostile; Out[7001] = array; Out[7002] = proxy; other = [hostile, array]"
    )
    out = kernel.run("%memfree --dry-run --outputs hostile array proxy")
    assert (out.status, out.stderr) == ("ok", "")
    out = kernel.run("%memfree hostile array proxy")
    assert (out.status, out.stderr) == ("ok", "")
    assert not is_gone(kernel)
    assert "cure: del other[0]" in out.report
    kernel.run("%memfree -q other")
    assert is_gone(kernel)


def test_an_object_that_its_finalizer_brings_back_is_told_of(kernel: Kernel) -> None:
    kernel.run(
        BIG + "shelf = []\nclass Undead(Big):\n    def __del__(self): shelf.append(self)\n"
        "undead = Undead(); undead.me = undead"
    )
    out = kernel.run("%memfree -o freed undead")
    assert out.status == "ok"
    assert kernel.value("len(shelf)") == 1
    # weak references are cleared before the finalizer runs: what came back shows in the bytes only
    assert kernel.value("freed.python_bytes") < MIB


def test_names_and_keys_are_escaped_and_cut(kernel: Kernel) -> None:
    kernel.run("big = bytearray(1 << 20)\nkept = {'<img onerror=1>' * 50: big}")
    out = kernel.run("%memfree big")
    html = out.displays[-1]["text/html"]
    assert "<img" not in html
    assert "&lt;img onerror=1&gt;" in html
    assert len(html) < 30_000


def test_nothing_is_kept_alive_no_name_is_added_and_no_output_made(kernel: Kernel) -> None:
    kernel.run(BIG + "gc.disable()\nbig = Big(); ref = weakref.ref(big); alias = big")
    before = kernel.value("sorted(n for n in globals() if n[0] != '_')")
    for line in ("%memfree", "%memfree --dry-run --all big", "%memfree -q big", "%memfree nothing"):
        assert kernel.run(line).result is None
    assert kernel.value("sorted(n for n in globals() if n[0] != '_')") == [n for n in before if n != "big"]
    kernel.run("del alias")
    assert is_gone(kernel), "without a collection"
    kernel.run("gc.enable()")


def test_the_session_goes_on_in_good_health(kernel: Kernel) -> None:
    kernel.run(FAILS)
    kernel.run("11")
    kernel.run("%memfree -q --all")
    assert kernel.run("_, __, Out").result == "('', '', {})"
    first = kernel.run("12")
    assert kernel.run("_ + 1").result == "13"
    assert kernel.run(f"Out[{first.execution_count}], _{first.execution_count}").result == "(12, 12)"
    assert kernel.run("%xdel ref").status == "ok"
    assert kernel.run("%memfree -q --all\n%xdel load").status == "ok"
    assert kernel.run("1 / 0").error == "ZeroDivisionError"
    assert "ZeroDivisionError" in str((tb := kernel.run("%tb")).stdout + tb.traceback + tb.error)
    assert "12" in kernel.run("%history -l 20").stdout
    assert kernel.run("%reset -f out").status == "ok"


def test_the_result_of_a_cell_that_somebody_holds_is_not_changed(kernel: Kernel) -> None:
    kernel.run(BIG + "big = Big(); ref = weakref.ref(big)\nshell = get_ipython()")
    kernel.run(
        "held = shell.run_cell('big'); failed = shell.run_cell('1 / 0')\n%memfree -o freed --errors --outputs big"
    )
    assert kernel.value("(held.result is ref(), type(failed.error_in_exec).__name__)") == (
        True,
        "ZeroDivisionError",
    )
    assert survives(kernel, "freed") == ["held.result"]


def test_an_interrupt_leaves_all_or_takes_all(kernel: Kernel) -> None:
    kernel.run(BIG + "many = [[] for _ in range(3_000_000)]\nbig = Big(); alias = big\nbig")
    for delay in (0.2, 0.8, 1.6):
        kernel.run("big = alias\nbig")
        message = kernel.send("%memfree -q big")
        time.sleep(delay)
        kernel.manager.interrupt_kernel()
        out: Output = kernel.collect(message)
        assert out.error in ("", "KeyboardInterrupt")
        named, shown = kernel.value("('big' in globals(), sum(value is alias for value in Out.values()))")
        assert named == (shown > 0)
        assert kernel.run("1 + 1").result == "2"
    kernel.run("del many\n%memfree -q --errors")


def test_a_thousand_outputs_are_weighed_at_once(kernel: Kernel) -> None:
    kernel.run("for i in range(7000, 8000): Out[i] = bytearray(10_000)\nimport time")
    kernel.run("start = time.perf_counter()\n%memfree -q -o could\nseconds = time.perf_counter() - start")
    seconds, total, rows = kernel.value("(seconds, could.freed_bytes, len(could.frame))")
    assert total > 10_000_000
    assert rows >= 1000
    assert seconds < 10, "half a second on an idle machine"
    kernel.run("%memfree -q --outputs")
    assert kernel.value("len(Out)") == 0


# -- from Python


def test_the_function_does_what_the_magic_does(kernel: Kernel) -> None:
    kernel.run(FAILS)
    kernel.run("import nbmem\nbig = Big(); other = weakref.ref(big)\nbig")
    out = kernel.run("nbmem.free('big', errors=True)")
    assert out.result is not None
    assert "released 8.0 MiB" in out.result
    assert is_gone(kernel)
    assert is_gone(kernel, "other")
    assert kernel.run("nbmem.free('nothing')").error == "BadArgument"
    assert kernel.run("nbmem.free(np.ones(3))").error == "BadArgument"
    assert "nothing is released" in str(kernel.run("nbmem.free()").result)


def test_outside_of_notebooks_it_works_on_the_callers_globals() -> None:
    code = BIG + (
        "import sys, nbmem\n"
        "big = Big(); ref = weakref.ref(big); alias = big\n"
        "def load():\n    batch = Big(); globals()['lost'] = weakref.ref(batch); 1 / 0\n"
        "try: load()\nexcept ZeroDivisionError as error:\n"
        "    sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()\n"
        "print('nbmem.free(errors=True)' in str(nbmem.free()), lost() is None)\n"
        "freed = nbmem.free('big', errors=True)\n"
        "print('big' in globals(), lost() is None, freed.paths.cure.tolist(), 'IPython' in sys.modules)\n"
        "del alias\nprint(ref() is None)\n"
        "try: nbmem.free('__name__')\nexcept nbmem.BadArgument as error: print(error)"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "True False", "False True ['del alias'] False", "True", "__name__ is Python's own",
    ], done.stderr  # fmt: skip


def test_in_a_terminal_it_frees_and_the_report_is_text(tmp_path: Path) -> None:
    import pexpect

    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--colors=nocolor", "--no-banner", "--no-confirm-exit", "--quick"],
        encoding="utf-8", timeout=60, dimensions=(50, 140), env={**os.environ, "IPYTHONDIR": str(tmp_path)},
    )  # fmt: skip

    def ask(text: str) -> str:
        child.sendline(text)
        child.sendline("print('do' + 'ne')")
        child.expect("\r\ndone\r\n|: done\r\n")
        return str(child.before)

    child.expect(r"In \[1\]: ")
    ask("%load_ext nbmem")
    ask(
        "import weakref; Big = type('Big', (), {}); big = Big(); big.data = bytearray(5 << 20); ref = weakref.ref(big)"
    )
    ask("big")
    ask("(lambda batch: 1 / 0)(big)")
    out = ask("%memfree big")
    assert "released 5.0 MiB" in out
    assert "<div" not in out
    assert "the last error holds it too" in out
    assert "gone: True" in ask("print('gone:', ref() is None)")
    assert "No traceback" in ask("%debug")
    assert "UsageError" in ask("%memfree bigg")
    child.sendline("exit")
    child.expect(pexpect.EOF)
