"""Loading and unloading, and the terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kernels import Kernel

STATE = """
import json, sys, gc
def state():
    ip = get_ipython()
    return json.dumps({
        'line': sorted(ip.magics_manager.magics['line']), 'cell': sorted(ip.magics_manager.magics['cell']),
        'memit': type(getattr(ip.magics_manager.magics['line'].get('memit'), '__self__', None)).__name__,
        'registry': sorted(ip.magics_manager.registry), 'configurables': [type(c).__name__ for c in ip.configurables],
        'transformers': len(ip.input_transformers_cleanup), 'pre': len(ip.events.callbacks['pre_run_cell']),
        'post': len(ip.events.callbacks['post_run_cell']), 'matchers': len(ip.Completer.custom_matchers),
        'gc': len(gc.callbacks), 'trace': repr(sys.gettrace()), 'names': sorted(n for n in ip.user_ns if n[0] != '_'),
    })
"""


def state(kernel: Kernel) -> dict[str, object]:
    """Describe the shell."""
    return dict(json.loads(kernel.value("state()")))


def test_loading_prints_nothing_is_idempotent_and_unloading_undoes_it_exactly(own_kernel: Kernel) -> None:
    own_kernel.run(STATE)
    own_kernel.run("%unload_ext nbmem")  # IPython loads its own extension magics when they are first used
    before = state(own_kernel)
    out = own_kernel.run("%load_ext nbmem")
    assert (out.stdout, out.stderr, out.displays) == ("", "", [])
    loaded = state(own_kernel)
    assert "memtrace" in str(loaded["cell"])
    own_kernel.run("%load_ext nbmem\nimport nbmem\nnbmem.load_ipython_extension(get_ipython())\ndel nbmem")
    assert state(own_kernel) == loaded
    own_kernel.run("%memit -q 1")
    own_kernel.run("%unload_ext nbmem")
    assert state(own_kernel) == before
    assert "not found" in own_kernel.run("%memit 1").stderr
    own_kernel.run("%load_ext nbmem")
    assert state(own_kernel) == loaded
    assert "peak memory" in own_kernel.run("%reload_ext nbmem\n%memit 1").stdout


def test_a_magic_of_the_same_name_is_back_after_unloading(own_kernel: Kernel) -> None:
    own_kernel.run(
        "from IPython.core.magic import register_line_cell_magic\n@register_line_cell_magic\ndef memit(line, cell=None): print('theirs')"
    )
    own_kernel.run("%load_ext nbmem")
    assert "peak memory" in own_kernel.run("%memit 1").stdout
    own_kernel.run("%unload_ext nbmem")
    assert own_kernel.run("%memit 1").stdout == "theirs\n"


def test_a_cell_that_unloads_nbmem_while_it_is_traced_ends_well(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem")
    assert own_kernel.run("%%memtrace\n%unload_ext nbmem\nx = 1").status == "ok"
    assert own_kernel.run("%load_ext nbmem\nx").result == "1"
    assert "y = 1" in own_kernel.run("%%memtrace\ny = 1").report


def test_importing_nbmem_loads_neither_pandas_nor_ipython_nor_widgets() -> None:
    code = (
        "import sys, nbmem; print([m for m in ('pandas', 'numpy', 'IPython', 'ipywidgets', 'matplotlib', 'memray',"
        " 'psutil', 'memory_profiler') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_a_trace_that_is_only_looked_at_loads_neither_pandas_nor_matplotlib(own_kernel: Kernel) -> None:
    own_kernel.run("%load_ext nbmem")
    own_kernel.run("%%memtrace\nx = 1")
    assert (
        own_kernel.value("[m for m in ('pandas', 'matplotlib', 'numpy') if m in __import__('sys').modules]")
        == []
    )


def test_public_names_are_these() -> None:
    import nbmem

    assert sorted(nbmem.__all__) == [
        "AlreadyRunning", "BadArgument", "CellTrace", "HeapDiff", "HeapSnapshot", "LineProfile", "MemitResult",
        "MemoryLimit", "MemoryLimitExceeded", "MemoryLimitInterrupt", "NbmemError", "NotMeasured", "ObjectSize",
        "RootPaths", "SessionReport", "TypePaths", "history", "limit", "memit", "profile_lines", "register_type",
        "root_paths", "session", "sizeof", "snapshot", "trace", "type_paths", "variables",
    ]  # fmt: skip
    for name in nbmem.__all__:
        assert getattr(nbmem, name) is not None
        assert name in dir(nbmem)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nbmem.nothing  # type: ignore[attr-defined]


def test_flags_are_completed(kernel: Kernel) -> None:
    def complete(code: str) -> list[str]:
        return list(
            kernel.value(f"[c.text for c in get_ipython().Completer.completions({code!r}, {len(code)})]")
        )

    kernel.run("import warnings; warnings.simplefilter('ignore')")
    assert complete("%%memtrace --o") == ["--objects", "--output"]
    assert "-r" in complete("%memit -")
    assert complete("%memwatch re") == ["report"]
    assert complete("%memwatch on --q") == ["--quiet"]
    assert complete("%memvars --s") == ["--sort"]
    assert "-d" in complete("%memsize -")
    assert complete("%%memtrace --stacks -f ")[:1] != ["-s"]


def test_in_a_terminal_the_report_is_text_and_a_typo_is_one_line(tmp_path: object) -> None:
    import pexpect

    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--colors=nocolor", "--no-banner", "--no-confirm-exit", "--quick"],
        encoding="utf-8", timeout=60, dimensions=(50, 140), env={**__import__("os").environ, "IPYTHONDIR": str(tmp_path)},
    )  # fmt: skip

    def ask(text: str) -> str:
        child.sendline(text)
        child.sendline("print('do' + 'ne')")  # the report's heading looks like a prompt
        child.expect("\r\ndone\r\n|: done\r\n")
        return str(child.before)

    child.expect(r"In \[1\]: ")
    ask("%load_ext nbmem")
    assert "peak memory" in ask("%memit b = bytearray(50 << 20)")
    out = ask("get_ipython().run_cell('%%memtrace\\na = bytearray(30 << 20)\\nb = a + a\\n');")
    assert "a = bytearray(30 << 20)" in out
    assert "<div" not in out
    assert "▸ " in out
    typo = ask("%memit -x 1")
    assert "UsageError" in typo
    assert "Traceback" not in typo
    child.sendline("%%memtrace --rss")
    child.expect(r"\.\.\.: ")
    child.sendline("c = bytearray(10 << 20)")
    child.expect(r"\.\.\.: ")
    child.sendline("")
    assert "c = bytearray(10 << 20)" in ask("").split("source")[1]
    child.sendline("exit")
    child.expect(pexpect.EOF)
