"""The ways to run a cell: plain, by nbmem, and by each peer."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from bench.kernel import CellError, Kernel
from bench.workloads import Workload

#: Load memory_profiler's magics under names of their own, as nbmem has a %memit too. It needs distutils,
#: which Python 3.12 took out and setuptools brings along.
MEMORY_PROFILER = """
try:
    import distutils.version
except ImportError:
    import setuptools
import memory_profiler
bench_magics = memory_profiler.MemoryProfilerMagics(get_ipython())
get_ipython().register_magic_function(bench_magics.memit, "line", "peer_memit")
get_ipython().register_magic_function(bench_magics.mprun, "line", "peer_mprun")
"""

_BEGIN, _END = "bench_began = bench_clock()", "bench_seconds = bench_clock() - bench_began"

_TRACEMALLOC = f"""
tracemalloc.start({{frames}})
{_BEGIN}
{{body}}
{_END}
bench_found = tracemalloc.take_snapshot().statistics("lineno")
tracemalloc.stop()
"""

_MEMRAY = f"""
with memray.Tracker(destination=memray.FileDestination("capture.bin", overwrite=True){{options}}):
    {_BEGIN}
{{body}}
    {_END}
bench_found = list(memray.FileReader("capture.bin").get_high_watermark_allocation_records())
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a body.

    Parameters
    ----------
    name : str
        For the tables.
    setup : str
        What it needs; where that raises, the variant is left out.
    cell : str
        The template of the cell, with ``{body}``.
    seconds : str
        The expression that tells how long the body alone took.
    indented : bool
        Whether the body stands in a ``with`` statement.
    """

    name: str
    setup: str
    cell: str
    seconds: str = "bench_seconds"
    indented: bool = False

    def code(self, body: str) -> str:
        """Write the cell for a body."""
        return self.cell.replace("{body}", textwrap.indent(body, "    ") if self.indented else body).strip()


PLAIN = Variant("plain", "", f"{_BEGIN}\n{{body}}\n{_END}")

#: The plain cell, measured as the others are: how far from 1 its ratio is, is noise.
AGAIN = Variant("plain again", "", PLAIN.cell)

NBMEM = (
    Variant(
        "%%memtrace",
        "%load_ext nbmem",
        "%%memtrace -o bench_trace\n{body}",
        "bench_trace.data.summary.seconds",
    ),
    Variant(
        "%%memtrace --rss",
        "%load_ext nbmem",
        "%%memtrace --rss -o bench_trace\n{body}",
        "bench_trace.data.summary.seconds",
    ),
)

PEERS = (
    Variant("tracemalloc, 1 frame", "import tracemalloc", _TRACEMALLOC.replace("{frames}", "1")),
    Variant("tracemalloc, 10 frames", "import tracemalloc", _TRACEMALLOC.replace("{frames}", "10")),
    Variant("memray", "import memray", _MEMRAY.replace("{options}", ""), indented=True),
    Variant(
        "memray, Python allocators",
        "import memray",
        _MEMRAY.replace("{options}", ", trace_python_allocators=True"),
        indented=True,
    ),
)


def usable(kernel: Kernel, variants: tuple[Variant, ...]) -> tuple[list[Variant], list[str]]:
    """Set the variants up and run each once on an empty body; give those that work, and why others do not."""
    working, notes = [], []
    for variant in variants:
        try:
            kernel.run(variant.setup)
            kernel.run(variant.code("pass"))
        except CellError as error:
            notes.append(f"{variant.name} left out: {error}")
        else:
            working.append(variant)
    return working, notes


def function_cells(kernel: Kernel, workload: Workload) -> tuple[str, str]:
    """Put the work in a function of a file, as ``%mprun`` wants it; give the cells: plain, line by line.

    Raises
    ------
    CellError
        If memory_profiler cannot be used.
    """
    source = f"def work():\n{textwrap.indent(workload.function_body, '    ')}\n"
    (kernel.directory / "bench_cell.py").write_text(source, encoding="utf-8")
    kernel.run(MEMORY_PROFILER)
    kernel.run("import sys; sys.path.insert(0, '.'); import bench_cell")
    for name in workload.inputs:
        kernel.run(f"bench_cell.{name} = {name}")
    return "bench_cell.work()", "%peer_mprun -f bench_cell.work bench_cell.work()"
