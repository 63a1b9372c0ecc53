"""How a server of this package is asked to end."""

from __future__ import annotations

import asyncio
import signal


def stop_asked() -> asyncio.Event:
    """An event of the running loop that SIGTERM and SIGINT set from now on."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped
