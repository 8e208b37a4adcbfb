"""The walk over all objects: the native part, or its twin where that was not built."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbmem.heap._walk import (
        ITEMSIZE_AT_1,
        ITEMSIZE_AT_2,
        SEES_LOCALS,
        beside,
        itemsize_of,
        locate,
        measured,
        refers_to,
        select,
        walk,
    )
else:
    try:
        from nbmem.heap._walk import (
            ITEMSIZE_AT_1,
            ITEMSIZE_AT_2,
            SEES_LOCALS,
            beside,
            itemsize_of,
            locate,
            measured,
            refers_to,
            select,
            walk,
        )
    except ImportError:  # built without the native part
        from nbmem.heap._walk_twin import (
            ITEMSIZE_AT_1,
            ITEMSIZE_AT_2,
            SEES_LOCALS,
            beside,
            itemsize_of,
            locate,
            measured,
            refers_to,
            select,
            walk,
        )

__all__ = [
    "ITEMSIZE_AT_1",
    "ITEMSIZE_AT_2",
    "SEES_LOCALS",
    "beside",
    "itemsize_of",
    "locate",
    "measured",
    "refers_to",
    "select",
    "walk",
]
