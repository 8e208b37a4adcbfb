"""Complete the flags of nbmem's magics."""

from __future__ import annotations

import re
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from nbmem.ipython import traced
from nbmem.ipython.magics import (
    memfree,
    memit,
    memlimit,
    memsize,
    memsnap,
    memvars,
    memwatch,
    mprun,
    refchain,
)

_FLAGS = {
    "%%memtrace": traced.FLAGS,
    "%memfree": memfree.FLAGS,
    "%memit": memit.FLAGS,
    "%%memit": memit.FLAGS,
    "%memwatch": memwatch.FLAGS,
    "%memlimit": memlimit.FLAGS,
    "%memsnap": memsnap.SNAP_FLAGS,
    "%memdiff": memsnap.DIFF_FLAGS,
    "%memvars": memvars.FLAGS,
    "%memsize": memsize.FLAGS,
    "%refchain": refchain.FLAGS,
    "%mprun": mprun.FLAGS,
    "%%mprun": mprun.FLAGS,
}
_WORDS = {"%memwatch": memwatch.WORDS, "%memlimit": memlimit.WORDS}


def _offered(magic: str, begun: str) -> tuple[str, ...]:
    return _FLAGS.get(magic, ()) if begun.startswith("-") else _WORDS.get(magic, ())


@context_matcher(identifier="nbmem.flags")
def complete_flags(context: Any) -> dict[str, Any]:
    """Offer the flags where the word at the cursor begins with a dash, else the magic's own words."""
    match = re.match(r"\s*(%%?\w+)\s(?:.*\s)?([-\w]*)$", context.line_with_cursor[: context.cursor_position])
    flags = _offered(*match.groups()) if match else ()
    found = [flag for flag in flags if match is not None and flag.startswith(match.group(2))]
    return {
        "completions": [SimpleCompletion(text=flag, type="param") for flag in found],
        "matched_fragment": match.group(2) if match else "",
        "suppress": bool(found),
    }
