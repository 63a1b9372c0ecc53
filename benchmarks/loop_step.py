"""Benchmark of `fit` with input and callbacks, for `bench.py --what=step --records=...`."""

from __future__ import annotations

import contextlib
import tempfile
import time
from typing import Any

from attr_extractor.config import Config
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import fit
from attr_extractor.training.callbacks import Progress
from benchmarks import our_step, timing


class _Enough(Exception):  # noqa: N818 - not an error
    """Signal that all steps have been timed, to stop `fit` before it validates and saves."""


class Stopwatch(Progress):
    """Progress bar that records the seconds from the end of one batch to the end of the next.

    Args:
      wanted: number of batches after which training ends.
      progress: arguments of the progress bar.
    """

    def __init__(self, wanted: int, *progress: Any):
        super().__init__(*progress)
        self.wanted = wanted
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.last = time.perf_counter()  # validation and saving between epochs do not count

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now
        if len(self.seconds) == self.wanted:
            raise _Enough


def run(config: Config, schema: Schema, steps: int, records: str) -> tuple[list[float], int]:
    """Return seconds like timing.time_steps, from the training loop, and trained parameters."""
    wanted = 1 + timing.WARMUP + steps
    epoch = dataset.steps_per_epoch(Manifest.read(records), config.data)
    one_phase = {"epochs": -(-wanted // epoch), "image_sizes": {}, "freeze_trunk_epochs": 0}
    config = config.model_copy(update={"train": config.train.model_copy(update=one_phase)})
    watches: list[Stopwatch] = []

    def progress(*arguments: Any) -> Stopwatch:
        watches.append(Stopwatch(wanted, *arguments))
        return watches[-1]

    with tempfile.TemporaryDirectory() as run_dir, contextlib.suppress(_Enough):
        fit.train(config, records, run_dir, progress)
    return watches[0].seconds, our_step.parameters(watches[0].model)
