"""Loss and score of the training steps, left on the device and seldom read.

Reading a number waits until the device has finished all steps before it, and the device then idles
until the host has prepared the next step. A single process therefore reads about once a second.
Several workers read after the same step, so that an error stops all of them together.
"""

from __future__ import annotations

import time

import tensorflow as tf

SECONDS, STEPS = 1.0, 20  # between reads: of a single process, of several workers


class StepFigures:
    """Figures of the steps that were not yet read, and of those that the last read covered.

    Args:
      workers: number of processes that train together.
    """

    def __init__(self, workers: int = 1):
        self.workers = workers
        self._unread: list[dict[str, tf.Tensor]] = []
        self._read: list[dict[str, tf.Tensor]] = []
        self._read_at = -SECONDS  # the first step's figures are read

    def add(self, figures: dict[str, tf.Tensor]) -> None:
        """Add the figures of a step: `loss` and `score`, means of the epoch up to this step."""
        self._unread.append(figures)

    def read_if_due(self) -> dict[str, float]:
        """Return the figures of the last step if it is time to read them, else {}."""
        if self.workers > 1:
            due = len(self._unread) >= STEPS
        else:
            due = time.monotonic() - self._read_at >= SECONDS
        return self.read() if due else {}

    def read(self) -> dict[str, float]:
        """Wait for all steps so far and return the figures of the last one; {} before any step."""
        if self._unread:
            self._read, self._unread = self._unread, []
        last = self._read[-1] if self._read else {}
        values = {name: float(value) for name, value in last.items()}
        self._read_at = time.monotonic()
        return values

    def losses(self) -> list[float]:
        """Return the losses of the steps that the last read covered; it makes one read per step."""
        return [float(figures["loss"]) for figures in self._read]
