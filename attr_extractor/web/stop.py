"""Stop signals of this package's servers."""

from __future__ import annotations

import asyncio
import signal


def stop_asked() -> asyncio.Event:
    """Return an event of the running loop that SIGTERM and SIGINT set."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped
