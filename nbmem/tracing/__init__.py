"""What happened while code ran: resident size line by line, allocation stacks, collections."""

from nbmem.tracing.allocations import AllocationLog, AllocationStack, Frame
from nbmem.tracing.sources import Source
from nbmem.tracing.tracer import LineCost, StackCost, Timeline, Trace, Tracer, TraceSummary

__all__ = [
    "AllocationLog",
    "AllocationStack",
    "Frame",
    "LineCost",
    "Source",
    "StackCost",
    "Timeline",
    "Trace",
    "TraceSummary",
    "Tracer",
]
