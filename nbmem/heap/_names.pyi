from collections.abc import Callable, Collection
from typing import Any

def differing(
    namespace: dict[str, object],
    hidden: Collection[str],
    names: dict[str, tuple[int, str, int]],
    sizer: Any,
    type_name: Callable[[type], str | None],
) -> tuple[dict[str, tuple[int, str, int]], int]: ...
