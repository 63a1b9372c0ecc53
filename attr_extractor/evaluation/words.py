"""Format of figures in the terminal's table, the report and the model card."""

from __future__ import annotations

from collections.abc import Sequence


def figure(value: float | None) -> str:
    """Format with three decimals; a dash if nothing was measured."""
    return "-" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """Format both ends of an interval."""
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def verdict(difference: Sequence[float]) -> str:
    """Return the verdict on the first of two runs, by the interval of their difference."""
    low, high = difference
    return "better" if low > 0 else "worse" if high < 0 else "not sure"
