"""What the operating system and the allocators know of this process."""

from nbmem.process.allocators import (
    MallocCounters,
    PymallocCounters,
    allocated_block_count,
    malloc_counters,
    pymalloc_counters,
    release_free_memory,
)
from nbmem.process.gcevents import GcEvent, GcLog, GcRecorder
from nbmem.process.interrupts import deferred_interrupt
from nbmem.process.peak import (
    NATIVE,
    CounterWithChildren,
    Interval,
    PeakCounter,
    PeakMeter,
    PolledCounter,
    ResidentSampler,
    counter,
    has_exact_peak,
)
from nbmem.process.resident import occupied_bytes, resident_bytes

__all__ = [
    "NATIVE",
    "CounterWithChildren",
    "GcEvent",
    "GcLog",
    "GcRecorder",
    "Interval",
    "MallocCounters",
    "PeakCounter",
    "PeakMeter",
    "PolledCounter",
    "PymallocCounters",
    "ResidentSampler",
    "allocated_block_count",
    "counter",
    "deferred_interrupt",
    "has_exact_peak",
    "malloc_counters",
    "occupied_bytes",
    "pymalloc_counters",
    "release_free_memory",
    "resident_bytes",
]
