"""What peers say of the sizes of structures: a program of its own, for a fresh process.

``python -m bench.peersizes SCALE NAME…`` writes one line of JSON per structure and peer, as each is found.
"""

from __future__ import annotations

import gc
import importlib
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from tests.heap.judge import drop
from tests.heap.structures import STRUCTURES

PEERS = ("pympler", "guppy3", "getsizeof", "pandas")
_PATIENCE = 30  # seconds for one answer


def _asked(holder: Any, sessions: dict[str, Any]) -> dict[str, Callable[[], int | None]]:
    def by_pandas() -> int | None:
        pandas = sys.modules.get("pandas")
        if pandas is None or not isinstance(holder, (pandas.DataFrame, pandas.Series, pandas.Index)):
            return None
        usage = holder.memory_usage(deep=True)
        return int(usage.sum() if isinstance(holder, pandas.DataFrame) else usage)

    def by_pympler() -> int:
        from pympler.asizeof import asizeof

        return int(asizeof(holder))

    def by_guppy() -> int:
        from guppy import hpy

        session = sessions.setdefault("guppy", hpy())
        return int(session.iso(holder).domisize)

    return {
        "getsizeof": lambda: sys.getsizeof(holder),
        "pandas": by_pandas,
        "pympler": by_pympler,
        "guppy3": by_guppy,
    }


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError(f"no answer in {_PATIENCE} s")


def main(scale: float, names: list[str]) -> None:
    """Ask all peers of all structures."""
    for library in dict.fromkeys(library for name in names for library in STRUCTURES[name].needs):
        importlib.import_module(library)
    signal.signal(signal.SIGALRM, _give_up)
    sessions: dict[str, Any] = {}
    for name in names:
        print(json.dumps({"name": name}), flush=True)
        holder = STRUCTURES[name].build(scale)
        for peer, ask in _asked(holder, sessions).items():
            answer: dict[str, Any] = {"name": name, "peer": peer}
            signal.alarm(_PATIENCE)
            try:
                answer["bytes"] = ask()
            except Exception as error:  # noqa: BLE001  # that it fails is the answer
                answer["error"] = type(error).__name__
            finally:
                signal.alarm(0)
            print(json.dumps(answer), flush=True)
        drop(holder)
        del holder
        gc.collect()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
