"""Logs of a bounded length: whatever clients send, a server's disk does not fill."""

from __future__ import annotations

import logging
import time

_LINES = 10  # of one kind in a period
_SECONDS = 60.0
_LONGEST = 4000  # characters of a traceback: its end, where the error is


class _FewLines(logging.Filter):
    """Lets some records of a kind through a minute; the next one after says how many were not."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # by place: since when, count

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), time.monotonic()
        since, count = self._seen.get(place, (now, 0))
        if now - since > _SECONDS:
            left_out = count - _LINES
            since, count = now, 0
            if left_out > 0:
                record.msg = f"{record.msg} ({left_out:,} more like it before)"
        self._seen[place] = since, count + 1
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = text[-_LONGEST:]  # formatters keep what is there
        return count < _LINES


_FILTER = _FewLines()


def few_lines(*loggers: str) -> None:
    """Bounds what these loggers write."""
    for name in loggers:
        logging.getLogger(name).addFilter(_FILTER)  # which one filter is added to once
