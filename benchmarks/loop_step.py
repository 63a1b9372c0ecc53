"""Benchmark of the training loop with input and callbacks, also for `bench.py --what=step`."""

from __future__ import annotations

import contextlib
import tempfile
import time
from typing import Any, NamedTuple

from attr_extractor.config import Config
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import fit
from attr_extractor.training.callbacks import Progress
from benchmarks import our_step, timing
from benchmarks.host_reads import Reads, count_reads


class _Enough(Exception):  # noqa: N818 - not an error
    """Signal that all steps have been timed, to stop training before it validates and saves."""


class Stopwatch(Progress):
    """Progress bar that records the seconds of the steps.

    A step ends on the device when its figures are read. The seconds between two reads are divided
    among the steps between them; only with a read in every step are they those of single steps.

    Args:
      wanted: number of steps after which training ends.
      reads: counts the host's reads.
      progress: arguments of the progress bar.
    """

    def __init__(self, wanted: int, reads: Reads, *progress: Any):
        super().__init__(*progress)
        self.wanted = wanted
        self.reads = reads
        self.seconds: list[float] = []
        self.logged = 0  # steps whose figures were read
        self.other_reads = 0  # in the other steps
        self._steps = 0  # since the last lap

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._start = time.perf_counter()  # validation and saving between epochs do not count
        self._reads_before = self.reads.count

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        self._steps += 1
        if logs:
            self.logged += 1
        else:
            self.other_reads += self.reads.count - self._reads_before
        enough = len(self.seconds) + self._steps == self.wanted
        if enough:
            float(self.model.losses_seen.result())  # waits for the steps so far
        if logs or enough:
            self._lap()
        self._reads_before = self.reads.count
        if enough:
            raise _Enough

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_test_begin(logs)
        self._lap()  # the last step of an epoch has been read

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._lap()  # the same, in a run without validation

    def _lap(self) -> None:
        now = time.perf_counter()
        self.seconds += [(now - self._start) / self._steps for _ in range(self._steps)]
        self._start, self._steps = now, 0


class LoopTimes(NamedTuple):
    """Measurement of the loop."""

    seconds: list[float]  # of every step
    logged: int  # steps whose figures were read
    other_reads: int  # the host's reads in the other steps
    parameters: int


def measure_loop(config: Config, records: str, steps: int) -> LoopTimes:
    """Train `steps` steps, after a first one and timing.WARMUP more, and return their times."""
    wanted = 1 + timing.WARMUP + steps
    epoch = dataset.steps_per_epoch(Manifest.read(records), config.data)
    one_phase = {"epochs": -(-wanted // epoch), "image_sizes": {}, "freeze_trunk_epochs": 0}
    config = config.model_copy(update={"train": config.train.model_copy(update=one_phase)})
    watches: list[Stopwatch] = []
    with count_reads() as reads, tempfile.TemporaryDirectory() as run_dir:

        def progress(*arguments: Any) -> Stopwatch:
            watches.append(Stopwatch(wanted, reads, *arguments))
            return watches[-1]

        with contextlib.suppress(_Enough):
            fit.train(config, records, run_dir, progress)
    watch = watches[0]
    return LoopTimes(
        watch.seconds, watch.logged, watch.other_reads, our_step.parameters(watch.model)
    )


def run(config: Config, schema: Schema, steps: int, records: str) -> tuple[list[float], int]:
    """Return seconds like timing.time_steps, from the training loop, and trained parameters."""
    times = measure_loop(config, records, steps)
    return times.seconds, times.parameters
