"""Runners of build tasks: processes on this machine, or a cluster through Apache Beam.

Both are given the paths of task files. The results of a task are also files, so finished tasks of
an interrupted build are not repeated.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Protocol, TypeVar

from tqdm import tqdm

from attr_extractor.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[str], None]  # a module-level function, so that other processes can import it


class Runner(Protocol):
    """A runner that applies a function to each of several task files, in any order."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """Run `work` on every task and wait for all; `name` is shown in the progress bar."""


class Local:
    """Processes on this machine, started once and used for all tasks of a build."""

    def __init__(self, num_workers: int):
        # spawn, because a process that has loaded TensorFlow must not be forked
        self._pool = ProcessPoolExecutor(
            max(1, num_workers), get_context("spawn"), initializer=_leave_with_the_parent
        )

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """See `Runner`; raises InputError if a worker process was killed."""
        goes_on = "rerun the command to resume; "
        done = self.map(work, tasks, name, goes_on)
        for _ in tqdm(done, total=len(tasks), desc=name, unit="task"):
            pass

    def map(
        self, work: Callable[[T], R], tasks: Sequence[T], name: str, advice: str = ""
    ) -> Iterator[R]:
        """Yield the results of `work` per task, in order; raises as `run` does, with `advice`."""
        try:
            yield from self._pool.map(work, tasks)
        except BrokenProcessPool as error:
            raise InputError(
                f"{name}: a worker process was killed, perhaps out of memory; {advice}"
                "--num_workers=1 needs less memory"
            ) from error


def _is_no_bad_input(record: logging.LogRecord) -> bool:
    """Return whether to log a record of Beam; bad input is raised and needs no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], InputError))


def _leave_with_the_parent() -> None:
    """Exit this process if its parent is killed; otherwise it would wait forever."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Beam:
    """Workers of Apache Beam: a cluster, or by default threads on this machine.

    Workers need this package, and must reach the records folder, the photos and the table by the
    same paths.
    """

    def __init__(self, arguments: Sequence[str] = ()):
        """Create a runner from Beam's own flags, such as `--runner=FlinkRunner`.

        Raises:
          InputError: if Apache Beam is not installed, or a flag is invalid.
        """
        try:
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
        except ImportError as error:
            raise InputError(
                "--runner=beam needs Apache Beam: pip install 'attr-extractor[beam]'"
            ) from error
        for argument in arguments:
            if not argument.startswith("--"):
                raise InputError(f"--beam={argument}: Beam flags must start with --")
        logging.getLogger("apache_beam.runners.common").addFilter(_is_no_bad_input)
        self._options = PipelineOptions(list(arguments))
        try:
            beam.Pipeline(options=self._options)
        except ValueError as error:  # no runner for these flags
            raise InputError(f"--beam={' '.join(arguments)}: {error}") from error

    def __enter__(self) -> Beam:
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing: every call of `run` opens and closes its own pipeline."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """See `Runner`."""
        import apache_beam as beam

        if not tasks:
            return
        with beam.Pipeline(options=self._options) as pipeline:
            created = pipeline | "tasks" >> beam.Create(list(tasks))
            # without a reshuffle one worker would run all the tasks that it creates
            _ = created | "spread" >> beam.Reshuffle() | name >> beam.Map(work)
