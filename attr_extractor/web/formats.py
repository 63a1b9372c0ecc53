"""Numbers as text, the same in pages and terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def thousands(value: Any) -> Any:
    """Return an integer with thousands separators, a dash for None; any other value as is."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


def figure(value: float | None) -> str:
    """Format with three decimals; a dash if nothing was measured."""
    return "-" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """Format both ends of an interval; a dash if nothing was measured."""
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def percent(part: float, whole: float) -> str:
    """Return a share in percent with one decimal, 0.0 and 100.0 only if exact.

    A dash if `whole` is 0.
    """
    if not whole:
        return "-"
    share = 100 * part / whole
    if 0 < part < whole:
        share = min(max(share, 0.1), 99.9)
    return f"{share:.1f} %"


def share(value: float | None) -> str:
    """Format a share in percent with one decimal; a dash if nothing was measured."""
    return "-" if value is None else f"{100 * value:.1f} %"


def p_value(p: float) -> str:
    """Format a p-value with three decimals."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def share_interval(ends: Sequence[float] | None) -> str:
    """Format both ends of an interval in percent; a dash if nothing was measured."""
    return "-" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def duration(seconds: float) -> str:
    """Return hours and minutes, or minutes and seconds if it is less than an hour."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
