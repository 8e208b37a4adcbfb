"""What happened while code ran: resident size line by line, allocation stacks, collections."""

from nbmem.tracing.allocations import AllocationLog, AllocationStack, Frame
from nbmem.tracing.costs import LineCost, StackCost, Timeline, Trace, TraceSummary
from nbmem.tracing.sources import Source
from nbmem.tracing.tracer import Tracer

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
