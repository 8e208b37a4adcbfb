"""The heap at a moment and what became of it: ``%memsnap`` and ``%memdiff``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kernels import Kernel

NODES = "class Node: pass\nnodes = [Node() for _ in range(500)]"


def grown(report: str) -> tuple[int, int]:
    """Give new and dead objects of a difference's headline."""
    found = re.search(r"([\d,]+) new, ([\d,]+) dead", report)
    assert found is not None, report
    return int(found.group(1).replace(",", "")), int(found.group(2).replace(",", ""))


def test_without_a_name_it_shows_the_picture_and_the_difference_is_from_there(kernel: Kernel) -> None:
    out = kernel.run("%memsnap")
    assert out.result is None
    assert re.match(r"heap: [\d,]+ objects, [\d.]+ MiB · ", out.report)
    assert set(out.displays[-1]) == {"text/plain", "text/html"}
    kernel.run(NODES)
    first, second = kernel.run("%memdiff").report, kernel.run("%memdiff").report
    for report in (first, second):
        assert re.search(r"^ +500 +· +· +\+500 .* __main__\.Node$", report, re.MULTILINE)
        assert re.search(r"^ +1 +[\d.]+ KiB   list ← namespace of __main__", report, re.MULTILINE)


def test_with_a_name_it_is_a_variable_and_one_line_says_so(kernel: Kernel) -> None:
    out = kernel.run("%memsnap before")
    assert re.fullmatch(
        r"before: [\d,]+ objects, [\d.]+ MiB; %memdiff before compares it with later\n", out.stdout
    )
    assert out.displays == []
    assert kernel.value("type(before).__name__") == "HeapSnapshot"
    kernel.run(NODES)
    assert "__main__.Node" in kernel.run("%memdiff before").report
    assert "__main__.Node" in kernel.run("%memdiff").report, "it is the last one too"
    kernel.run("%memsnap after\ndel nodes")
    assert "+500" in kernel.run("%memdiff before after").report
    assert "-500" in kernel.run("%memdiff after").report
    kernel.run("%memsnap after")
    assert "__main__.Node" not in kernel.run("%memdiff before after").report


def test_two_in_a_row_differ_only_by_what_the_kernel_does_to_run_a_cell(kernel: Kernel) -> None:
    kernel.run("%memsnap")
    kernel.run("%memdiff")
    kernel.run("%memsnap before")
    kernel.run("%memdiff before -o d")
    new, dead = grown(kernel.run("%memdiff before").report)
    # The requests of two cells, their syntax trees and code, asyncio's tasks, timers and contexts, the
    # history (In, _i): some 150 objects; of nbmem's own there is none.
    assert new < 400
    assert dead < 400
    assert abs(kernel.value("d.delta_bytes")) < 10_000
    assert kernel.value("[t for t in d.types().type if t.startswith('nbmem.')]") == []
    assert kernel.value("int(d.new_by_holder().retained_bytes.max())") < 5_000


def test_rows_quiet_output_and_semicolon(kernel: Kernel) -> None:
    assert len(kernel.run("%memsnap -n 4").report.splitlines()) <= 16
    for line in (
        "%memsnap -q",
        "%memsnap ;",
        "%memsnap before ;",
        "%memsnap before -q",
        "%memdiff -q",
        "%memdiff before;",
    ):
        out = kernel.run(line)
        assert (out.status, out.stdout, out.stderr, out.displays, out.result) == ("ok", "", "", [], None), (
            line
        )
    assert kernel.run("%memsnap -o before").report.startswith("heap: ")
    kernel.run("df = 3\n%memsnap -q -o df\n%memdiff -q -o d")
    assert kernel.value("(type(df).__name__, type(d).__name__, d.exact)") == (
        "HeapSnapshot",
        "HeapDiff",
        True,
    )
    assert "growth of the heap" in kernel.run("%memdiff before -o d -n 2").report


def test_only_the_last_is_kept_and_only_if_no_variable_has_it(kernel: Kernel) -> None:
    kernel.run("import gc, weakref")
    alive = "sum(type(o).__name__ == 'HeapSnapshot' for o in gc.get_objects())"
    kernel.run("gc.collect();")
    kernel.run("%memsnap -q\n%memsnap -q\n%memsnap -q")
    assert kernel.value(alive) == 1
    kernel.run("%memsnap -q before")
    assert kernel.value(alive) == 1
    kernel.run("del before")
    assert kernel.value(alive) == 0
    assert "there is no snapshot to compare with; %memsnap takes one" in kernel.run("%memdiff").stderr
    kernel.run("%memsnap")
    kernel.run("%memdiff")
    assert kernel.value(alive) == 1, "showing a difference keeps nothing"


def test_unloading_lets_the_last_one_go(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem\nimport gc")
    callbacks = own_kernel.value("len(gc.callbacks)")
    own_kernel.run("%memsnap -q")
    own_kernel.run("%unload_ext nbmem")
    assert own_kernel.value("sum(type(o).__name__ == 'HeapSnapshot' for o in gc.get_objects())") == 0
    assert own_kernel.value("len(gc.callbacks)") == callbacks
    own_kernel.run("%load_ext nbmem")
    assert "there is no snapshot" in own_kernel.run("%memdiff").stderr


def test_no_object_of_the_users_is_kept_alive(kernel: Kernel) -> None:
    kernel.run("import weakref\nclass Node: pass\nnode = Node(); gone = weakref.ref(node)")
    kernel.run("%memsnap before\n%memsnap\n%memdiff before -o d")
    kernel.run("del node")
    assert kernel.value("gone() is None") is True


def test_files_are_written_and_compared_with(kernel: Kernel, tmp_path: Path) -> None:
    file = tmp_path / "heap.npz"
    kernel.run(f"%memsnap -q --save {file}")
    assert file.stat().st_size > 1_000_000
    kernel.run(NODES)
    report = kernel.run(f"%memdiff {file}").report
    assert "__main__.Node" in report
    assert "births were not noted" in report
    file.write_bytes(b"something else")
    out = kernel.run(f"%memdiff {file}")
    assert "is no heap snapshot, or is damaged" in out.stderr
    out = kernel.run(f"%memsnap -q --save {tmp_path}/no/where")
    assert "%memsnap: not saved to" in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%memdiff nope", "%memdiff: there is no 'nope'; %memsnap nope takes a snapshot under that name"),
        ("%memdiff number", "%memdiff: number is a int, no heap snapshot"),
        ("%memdiff snaps['a']", "takes names of snapshots, or of files of them; 'snaps[a]' is neither"),
        ("%memdiff before.data", "'before.data' is neither"),
        ("%memdiff before before before", "%memdiff does not know 'before'; it takes at most two snapshots"),
        ("%memdiff --save x", "%memdiff does not know '--save'"),
        ("%memdiff after before", "the first snapshot is the later one"),
        ("%memdiff 'before", "%memdiff: No closing quotation"),
        ("%memsnap number", "and number is a int: take another name, or -o number to replace it"),
        ("%memsnap a.b", "%memsnap takes the name of a variable, not 'a.b'"),
        ("%memsnap class", "%memsnap takes the name of a variable, not 'class'"),
        ("%memsnap -o 3", "%memsnap: -o takes the name of a variable, not '3'"),
        ("%memsnap a -o b", "%memsnap: give the name alone, or with -o"),
        ("%memsnap a b", "%memsnap does not know 'b'; it takes a name, -n ROWS, -o NAME, --save FILE and -q"),
        ("%memsnap -n few", "%memsnap: -n takes a number of rows, not 'few'"),
        ("%memsnap --sav x", "%memsnap does not know '--sav'"),
        ("%memsnap -o", "%memsnap: "),
    ],
)
def test_what_it_does_not_know_gives_one_clear_line(kernel: Kernel, line: str, message: str) -> None:
    kernel.run("number = 3\n%memsnap -q before\n%memsnap -q after")
    out = kernel.run(line)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert kernel.value("number") == 3


def test_names_are_looked_up_and_nothing_is_evaluated(kernel: Kernel) -> None:
    kernel.run("def boom():\n    global hit\n    hit = True\nhit = False")
    kernel.run("%memdiff boom()\n")
    kernel.run("%memsnap {boom()}")
    assert kernel.value("hit") is False


def test_flags_are_completed(kernel: Kernel) -> None:
    def complete(code: str) -> list[str]:
        return list(
            kernel.value(f"[c.text for c in get_ipython().Completer.completions({code!r}, {len(code)})]")
        )

    kernel.run("import warnings; warnings.simplefilter('ignore')")
    assert complete("%memsnap --s") == ["--save"]
    assert complete("%memdiff before --o") == ["--output"]
