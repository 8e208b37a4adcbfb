"""Which variable: ``%memvars`` and ``nbmem.variables``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kernels import Kernel

MIB = 1 << 20


def rows(kernel: Kernel, arguments: str = "") -> dict[str, dict[str, object]]:
    """Give the frame's rows by name."""
    out = kernel.run(f"%memvars -q -o frame {arguments}", store_history=False)
    assert (out.status, out.displays) == ("ok", [])
    listed = kernel.value("frame.to_dict('records')")
    return {row["name"]: row for row in listed}


def test_the_table_tells_what_deleting_frees_and_who_holds_the_rest(kernel: Kernel) -> None:
    kernel.run("big = np.ones(4 << 17)\nview = big[:10]\nalone = np.ones(2 << 17)\ncache = {'x': [big]}")
    report = kernel.run("%memvars").report
    lines = report.splitlines()
    assert lines[0].startswith("names: deleting all 4 frees 6.0 MiB")
    assert lines[3].split()[:5] == ["alone", "ndarray", "262,144", "2.0", "MiB"]
    (line,) = [line for line in lines if line.startswith("big ")]
    assert "view.base, inside cache['x']" in line
    assert " · " in line


def test_the_frame_has_the_columns_and_is_what_the_function_gives(kernel: Kernel) -> None:
    kernel.run("import nbmem\na = np.ones(1 << 17)\nb = [a]")
    found = rows(kernel)
    assert list(found["a"]) == [
        "name", "type", "shape", "shallow_bytes", "retained_bytes", "freed_if_deleted_bytes", "shared_bytes",
        "held_by",
    ]  # fmt: skip
    assert found["a"]["shape"] == (1 << 17,)
    assert found["a"]["held_by"] == "b[0]"
    assert kernel.value("nbmem.variables().set_index('name').loc['a'].to_dict()") == {
        key: value for key, value in found["a"].items() if key != "name"
    }


def test_a_displayed_value_is_held_by_the_outputs_and_freed_by_nothing(kernel: Kernel) -> None:
    out = kernel.run("value = np.ones(3 << 17)\nvalue")
    found = rows(kernel)["value"]
    assert found["freed_if_deleted_bytes"] == 0
    assert f"Out[{out.execution_count}]" in str(found["held_by"])
    kernel.run("1;\n%xdel value\nvalue = np.ones(3 << 17)")
    assert int(str(rows(kernel)["value"]["freed_if_deleted_bytes"])) > 3 * MIB


def test_what_the_last_error_holds_is_told(kernel: Kernel) -> None:
    kernel.run("def load():\n    batch = np.ones(3 << 17)\n    globals()['kept'] = batch\n    1 / 0\nload()")
    assert "the last error" in str(rows(kernel)["kept"]["held_by"])


def test_modules_hidden_and_underscore_names_come_with_a_only(kernel: Kernel) -> None:
    kernel.run("import gc\n_own = [1.5]\nplain = [1.5]")
    assert set(rows(kernel)) == {"plain"}
    everything = rows(kernel, "-a")
    assert {"gc", "_own", "plain", "In", "Out"} <= set(everything)
    assert everything["gc"]["held_by"] != ""


def test_patterns_number_and_order(kernel: Kernel) -> None:
    kernel.run("df1 = np.ones(1 << 17)\ndf2 = np.ones(2 << 17)\nother = np.ones(3 << 17)")
    assert list(rows(kernel, "df*")) == ["df2", "df1"]
    assert list(rows(kernel, "-s name df* other")) == ["df1", "df2", "other"]
    report = kernel.run("%memvars -n 1 df* other").report
    assert "other" in report
    assert "… 2 more; -n 3 shows all" in report


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "%memvars nothing*",
            "%memvars: no name is like nothing*; -a looks among hidden names and modules too",
        ),
        ("%memvars -n many", "-n takes a number of rows, 1 or more, not 'many'"),
        ("%memvars -s size", "-s takes one of freed, retained, shallow, shared, name, type, not 'size'"),
        ("%memvars -o 1x", "-o takes the name of a variable, not '1x'"),
        ("%memvars --what", "%memvars does not know '--what'"),
        ("%memvars -n", "%memvars: "),
        ("%memvars 'x", "%memvars: No closing quotation"),
    ],
)
def test_what_it_cannot_use_gives_one_clear_line(kernel: Kernel, line: str, message: str) -> None:
    out = kernel.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1


def test_nothing_is_kept_alive_and_no_output_is_made(kernel: Kernel) -> None:
    kernel.run("import weakref\nclass Big: pass\nbig = Big(); ref = weakref.ref(big)")
    out = kernel.run("%memvars")
    assert out.result is None
    kernel.run("del big")
    assert kernel.value("ref() is None")


def test_hostile_names_and_objects_are_shown_as_text_and_not_run(kernel: Kernel) -> None:
    kernel.run(
        "class Hostile:\n"
        "    __class__ = property(lambda self: 1 / 0)\n"
        "    shape = property(lambda self: 1 / 0)\n"
        "    def __getattribute__(self, name): raise RuntimeError(name)\n"
        "    def __len__(self): raise RuntimeError\n"
        "    def __repr__(self): raise RuntimeError\n"
        "hostile = Hostile()\n"
        "import weakref\nclass Plain: pass\nplain = Plain(); proxy = weakref.proxy(plain)\n"
        "globals()['<img onerror=1>'] = [hostile, bytearray(1 << 20)]\nglobals()['n' * 1_000_000] = 5"
    )
    out = kernel.run("%memvars -a -n 500")
    assert (out.status, out.stderr) == ("ok", "")
    html = out.displays[-1]["text/html"]
    assert "<img" not in html
    assert "&lt;img onerror=1&gt;" in html
    assert len(html) < 300_000
    assert rows(kernel)["hostile"]["held_by"] == "<img onerror=1>[0]"


def test_a_thousand_names_take_well_under_a_second(kernel: Kernel) -> None:
    kernel.run(
        "import nbmem, time, pandas as pd\nfor i in range(1000): globals()[f'v{i}'] = [np.ones(50), float(i)]"
    )
    kernel.run("t = time.thread_time(); f = nbmem.variables(); first = time.thread_time() - t")
    kernel.run("t = time.thread_time(); f = nbmem.variables(); second = time.thread_time() - t")
    first, second, count = kernel.value("(first, second, len(f))")
    assert count >= 1000
    assert min(first, second) < 1.5, "0.35 s on an idle machine"


def test_outside_of_notebooks_it_is_the_callers_globals_and_loads_no_ipython() -> None:
    code = (
        "import sys, nbmem\nbig = bytearray(1 << 20)\nalias = big\nother = bytearray(1 << 20)\n"
        "frame = nbmem.variables().set_index('name')\n"
        "print(frame.held_by['big'], frame.freed_if_deleted_bytes['other'] > 1 << 20, 'IPython' in sys.modules)\n"
        "try: nbmem.variables([1])\nexcept nbmem.BadArgument as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "alias True False", "variables takes a namespace, a dict such as globals(), not list",
    ], done.stderr  # fmt: skip
