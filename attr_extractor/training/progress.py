"""The progress bar of a run: images/s, time left, loss and mean score."""

from __future__ import annotations

from typing import Any

import keras
from tqdm import tqdm


class Progress(keras.callbacks.Callback):
    """Progress bar of the whole run, from its first seconds: images/s, time left, loss and score.

    With several workers, only the chief shows it.

    Close it if training ends with an exception; otherwise the error is on the bar's line.
    """

    def __init__(self, total_steps: int, start_step: int, batch_size: int, shown: bool = True):
        super().__init__()
        self.shown = shown
        self.batch_size = batch_size
        self.bar = tqdm(
            total=total_steps * batch_size,
            initial=start_step * batch_size,
            unit="img",
            mininterval=1.0,
            smoothing=0.05,
            disable=not shown,
        )
        self.started = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.started:  # the first step traces the graph and says nothing about speed
            self.bar.unpause()
            self.started = True
        self.bar.update(self.batch_size)
        if logs:
            self.bar.set_postfix(
                loss=f"{logs['loss']:.4g}", score=f"{logs['score']:.3f}", refresh=False
            )

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.unpause()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        parts = [f"{name} {value:.4g}" for name, value in (logs or {}).items()]
        if self.shown:
            self.bar.write(f"epoch {epoch + 1}: {', '.join(parts)}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """End the bar's line; may be called twice."""
        self.bar.close()
