"""Rate-limited logging, so that clients cannot fill a server's disk."""

from __future__ import annotations

import logging
import time

_LINES = 10  # from one source line in a period
_SECONDS = 60.0
_LONGEST = 4000  # last characters of a traceback, which contain the error


class _FewLines(logging.Filter):
    """A filter that passes a few records per source line a minute and counts the dropped ones."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # by place: start, count

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), time.monotonic()
        since, count = self._seen.get(place, (now, 0))
        if now - since > _SECONDS:
            left_out = count - _LINES
            since, count = now, 0
            if left_out > 0:
                record.msg = f"{record.msg} ({left_out:,} similar lines dropped before)"
        self._seen[place] = since, count + 1
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = text[-_LONGEST:]  # formatters keep an existing text
        return count < _LINES


_FILTER = _FewLines()


def limit_log_lines(*loggers: str) -> None:
    """Limit the rate of these loggers."""
    for name in loggers:
        logging.getLogger(name).addFilter(_FILTER)  # adds the same filter only once
