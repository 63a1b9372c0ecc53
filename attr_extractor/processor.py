"""What the operating system says about the processor."""

from __future__ import annotations

from pathlib import Path


def cpu_info(key: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; empty on systems without it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
