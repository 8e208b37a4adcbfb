"""Who holds it, by nbmem and by peers: the table of docs/holders.md."""

from __future__ import annotations

import importlib.util
import platform
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.claims import Claim
from tests.heap.judge import ROOT
from tests.holders.cases import CASES, Case
from tests.holders.stage import ask, build, is_gone, like, prepare
from tests.kernels import Kernel

PAGE = ROOT / "docs" / "holders.md"
_TEXT = Path(__file__).with_name("holders.md")
#: Seconds that one answer of a peer may take.
_PATIENCE = 30.0
#: What loads a peer, and what prints its answer.
_PEERS = {
    "objgraph": (
        "objgraph",
        "import objgraph, io\n"
        "def bench_ask(get):\n    out = io.StringIO()\n"
        "    objgraph.show_chain(objgraph.find_backref_chain(get(), objgraph.is_proper_module), output=out)\n"
        "    return out.getvalue()\n",
    ),
    "guppy3": (
        "guppy",
        "import guppy\nbench_heap = guppy.hpy()\n"
        "def bench_ask(get): return str(bench_heap.iso(get()).shpaths)\n",
    ),
}
#: What an answer has to say to have named a root of a kind.
_KINDS = {
    "output": r"\bOut\b|output_hist|displayhook|user_ns_hidden|'_\d*'|\b_\d+\b",
    "error": r"last_(value|traceback|exc)|InteractiveTB",
    "frame": r"\bserver?\b|lambda",
    "task": r"nightly|\bjob\b",
    "event loop": r"_scheduled|EventLoop",
    "exit callback": r"atexit|goodbye",
    "signal handler": r"SIGUSR2|getsignal",
    "trace function": r"\b(get|set)(trace|profile)\b",
    "logger": r"app\.(db|web|mem)",
    "figure": r"\bfigs\b|Gcf|FigureManager",
    "widget": r"_instances|\bcomms\b",
    "comm": r"\bcomms\b|\btargets\b",
    "native code": r"native|refcount",
}
_SHELL = r"\bcallbacks\b|input_transformers_post|type_printers"
_NOTHING = r"\Z"


@dataclass
class _Row:
    case: Case
    path: str = ""
    cure: str = ""
    advice: str = ""
    is_named: bool = False
    is_cured: bool = False
    peers: dict[str, bool | str] | None = None


def holders(rounds: int) -> Claim:
    """Judge all cases, ask the peers, write the page. One round: answers do not vary as times do."""
    claim = Claim(
        "who holds it, in a real kernel, and how to free it",
        "each case has one holder; the root is to be named, and the cure, typed as it stands, to free the "
        "object, by a weak reference; every row is in docs/holders.md",
    )
    rows = [_Row(case, peers={}) for case in CASES if all(map(_is_there, case.needs))]
    for libraries in (False, True):
        _judge_nbmem([row for row in rows if bool(row.case.needs) == libraries], claim)
    for peer, (module, load) in _PEERS.items():
        if not _is_there(module):
            claim.notes.append(f"{peer} left out: it is not installed")
            continue
        _judge_peer(peer, load, rows)
    claim.add("holders judged", [float(len(rows))], "rows", at_least=40)
    claim.add("root named by nbmem", [_share(row.is_named for row in rows)], "%", at_least=100)
    curable = [row for row in rows if row.case.cure]
    claim.add(
        f"cure works, of {len(curable)} that have one", [_share(row.is_cured for row in curable)], "%",
        at_least=100,
    )  # fmt: skip
    for peer in _PEERS:
        answers = [row.peers[peer] is True for row in rows if row.peers and peer in row.peers]
        if answers:
            claim.add(f"root named by {peer}", [_share(answers)], "%")
    PAGE.write_text(_page(rows, claim.notes), encoding="utf-8")
    return claim


def _share(values: Iterator[bool] | list[bool]) -> float:
    return 100 * statistics.mean(map(float, values))


def _is_there(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


class _Stage:
    """A kernel that is begun anew when it has died."""

    def __init__(self, load: str, *, libraries: bool) -> None:
        self._load = load
        self._libraries = ("numpy", "pandas", "ipywidgets", "matplotlib.pyplot") if libraries else ()
        self._kernel: Kernel | None = None

    def use(self, act: Callable[[Kernel], None]) -> str:
        """Do something in it; give what failed."""
        try:
            if self._kernel is None:
                self._kernel = Kernel()
                prepare(self._kernel, *self._libraries, frozen=not self._load)
            act(self._kernel)
        except AssertionError as error:
            alive = self._kernel is not None and self._kernel.manager.is_alive()
            self.stop()
            return "too slow" if alive else f"crashed ({type(error).__name__})"
        return ""

    def stop(self) -> None:
        if self._kernel is not None:
            self._kernel.stop()
        self._kernel = None


def _judge_nbmem(rows: list[_Row], claim: Claim) -> None:
    def judge(kernel: Kernel) -> None:
        build(kernel, row.case)
        answer = ask(kernel, row.case.ask)
        held = answer.held
        if not row.case.kind:
            row.is_named = not held and answer.figures["state"] == row.case.state
            row.path = f"nothing: {answer.figures['state']}"
            return
        if not held:
            return
        row.path, row.cure, row.advice = held[0].text, held[0].cure, held[0].advice
        row.is_named = held[0].kind == row.case.kind and like(held[0].text, row.case.path)
        for path in answer.paths:
            if path.cure:
                kernel.run(path.cure)
        row.is_cured = bool(row.cure) and is_gone(kernel, row.case)

    stage = _Stage("", libraries=bool(rows and rows[0].case.needs))
    try:
        for row in rows:
            failed = stage.use(judge)
            if failed:
                claim.notes.append(f"{row.case.name}: {failed}")
    finally:
        stage.stop()


def _judge_peer(peer: str, load: str, rows: list[_Row]) -> None:
    def judge(kernel: Kernel) -> None:
        build(kernel, row.case)
        assert kernel.run(load).status == "ok"
        out = kernel.run(f"print(bench_ask(lambda: {row.case.ask}))", timeout=_PATIENCE)
        assert row.peers is not None
        if out.status != "ok":
            row.peers[peer] = out.error
        elif row.case.kind:
            row.peers[peer] = re.search(_pattern(row.case), out.stdout) is not None
        else:
            row.peers[peer] = "->" not in out.stdout and "hpy()" not in out.stdout

    for libraries in (False, True):
        stage = _Stage(load, libraries=libraries)
        try:
            for row in rows:
                if bool(row.case.needs) == libraries:
                    failed = stage.use(judge)
                    if failed and row.peers is not None:
                        row.peers[peer] = failed
        finally:
            stage.stop()


def _pattern(case: Case) -> str:
    """Say what an answer has to contain to have named the root of a case."""
    if case.kind == "shell":
        return _SHELL
    if case.kind in _KINDS:
        return _KINDS[case.kind]
    held = re.search(r"(?:held|kept) by (\w+)", case.path)
    path = re.sub(r"^(?:an? \w+ of |result cache of |context variable |type\()", "", case.path)
    name = held.group(1) if held else re.match(r"[\w.]*", path).group()  # type: ignore[union-attr]
    words = [word for word in name.split(".") if word]
    if case.kind == "module":  # what the module has, whatever the module is called
        return re.escape(words[2 if words[0] == "user_package" else 1])
    if case.kind == "class" and len(words) > 2:
        return rf"\b{re.escape(words[1])}\b"
    return rf"\b{re.escape(words[0])}\b"


def _page(rows: list[_Row], notes: list[str]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in (
        "ipython",
        "ipykernel",
        "ipywidgets",
        "matplotlib",
        "pandas",
        "pyarrow",
        "objgraph",
        "guppy3",
    ):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    lines = [
        _TEXT.read_text(encoding="utf-8").rstrip(), "",
        f"CPython {platform.python_version()}, {', '.join(found)}.", "",
        *(f"{note[:1].upper()}{note[1:]}.\n" for note in notes),
        "| what holds it | nbmem says | root | cure | printed | objgraph | guppy3 |",
        "| --- | --- | :---: | :---: | --- | :---: | :---: |",
    ]  # fmt: skip
    for row in rows:
        cure = f"`{_cell(row.cure)}`" if row.cure else f"*none*: {_cell(row.advice)}" if row.case.kind else ""
        works = "✓" if row.is_cured or (not row.case.cure and not row.cure) else "✗"
        peers = [_mark((row.peers or {}).get(peer)) for peer in _PEERS]
        lines.append(
            f"| {_cell(row.case.name)} | `{_cell(row.path)}` | {_mark(row.is_named)} "
            f"| {works if row.case.kind else ''} | {cure} | {' | '.join(peers)} |"
        )
    named = sum(row.is_named for row in rows)
    cured = sum(row.is_cured for row in rows)
    right = [sum((row.peers or {}).get(peer) is True for row in rows) for peer in _PEERS]
    curable = sum(bool(row.case.cure) for row in rows)
    totals = " | ".join(f"**{each} of {len(rows)}**" for each in right)
    lines.append(f"| **right** | | **{named} of {len(rows)}** | **{cured} of {curable}** | | {totals} |")
    return "\n".join(lines) + "\n"


def _mark(answer: bool | str | None) -> str:
    if isinstance(answer, str):
        return answer
    return "" if answer is None else "✓" if answer else "–"


def _cell(text: str) -> str:
    text = re.sub(r"\b[0-9a-f]{32}\b|\b\d{12,}\b", "…", text)
    text = text.replace("`", "'").replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 140 else text[:139] + "…"
