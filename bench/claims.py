"""What a benchmark says: a claim with its figures, and each figure with its target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a claim.

    Parameters
    ----------
    what : str
        What was measured.
    value : float
        The figure that is compared with the target.
    unit : str
        ``"x"`` for ratios, ``"ms"``, ``"%"`` or ``"MiB"``.
    low, high : float
        Smallest and largest single measurement.
    at_least, at_most : float, optional
        The target; a peer's figure has none.
    """

    what: str
    value: float
    unit: str
    low: float
    high: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below


@dataclass(slots=True)
class Claim:
    """A row of the promise: its words, how the figures were taken, the figures, what to know about them."""

    title: str
    method: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        values: Sequence[float],
        unit: str,
        *,
        worst: bool = False,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Add a figure: the median of its measurements, or with ``worst`` the largest of them."""
        if not values:
            return
        value = max(values) if worst else statistics.median(values)
        self.figures.append(
            Figure(what, value, unit, min(values), max(values), at_least=at_least, at_most=at_most)
        )


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide pair by pair: both of a pair come from the same round, so slow spells of the machine cancel."""
    return [one / other for one, other in zip(above, below, strict=False)]
