"""Parsing of the report of `search.py --measure`."""

from __future__ import annotations


def recalls(text: str) -> dict[str, float]:
    """Return the recall of each line of the report."""
    rows = [line.split("  ") for line in text.splitlines()[2:-1]]
    return {name: float(next(filter(None, rest))) for name, *rest in rows}
