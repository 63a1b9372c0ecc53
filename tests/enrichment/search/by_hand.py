"""Shared by the tests of what is measured of an index."""

from __future__ import annotations


def recalls(text: str) -> dict[str, float]:
    """By what is searched: the recall that is told."""
    rows = [line.split("  ") for line in text.splitlines()[2:-1]]
    return {name: float(next(filter(None, rest))) for name, *rest in rows}
