"""Figures in words, the same in the terminal's table, the report and the model card."""

from __future__ import annotations

from collections.abc import Sequence


def figure(value: float | None) -> str:
    """Three decimals; a dash where nothing was measured."""
    return "-" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """Both ends of an interval."""
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def verdict(difference: Sequence[float]) -> str:
    """What the interval of a difference between two runs says of the first."""
    low, high = difference
    return "better" if low > 0 else "worse" if high < 0 else "not sure"
