"""Who does the work of a build: processes of this machine, or a cluster by way of Apache Beam.

Both are given the paths of task files. A task's results are files as well, so work that was done
before a build was interrupted is done.
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
Work = Callable[[str], None]  # a function of a module, so that other processes can import it


class Runner(Protocol):
    """Does work on each of several task files, in any order."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """Returns when every task is done; `name` is for the progress bar."""


class Local:
    """Processes of this machine, started once and used for all the work of a build."""

    def __init__(self, num_workers: int):
        # spawned, not forked: a process that has loaded TensorFlow must not be forked
        self._pool = ProcessPoolExecutor(
            max(1, num_workers), get_context("spawn"), initializer=_leave_with_the_parent
        )

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """See `Runner`; raises InputError where a process was killed."""
        goes_on = "the same command goes on where this one stopped, "
        done = self.map(work, tasks, name, goes_on)
        for _ in tqdm(done, total=len(tasks), desc=name, unit="task"):
            pass

    def map(
        self, work: Callable[[T], R], tasks: Sequence[T], name: str, advice: str = ""
    ) -> Iterator[R]:
        """The results of work on each task, in order; raises as `run`, with some advice."""
        try:
            yield from self._pool.map(work, tasks)
        except BrokenProcessPool as error:
            raise InputError(
                f"{name}: a process was killed, perhaps for want of memory; {advice}"
                "--num_workers=1 needs less memory"
            ) from error


def _is_no_bad_input(record: logging.LogRecord) -> bool:
    """Whether a line of Beam's log is to be written: bad input is raised and needs no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], InputError))


def _leave_with_the_parent() -> None:
    """Ends this process when the one that started it was killed; it would wait for ever."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Beam:
    """Workers that Apache Beam finds: a cluster, or threads of this machine where none is named.

    They need this package and must reach the records folder, the photos and the table's place by
    the same paths.
    """

    def __init__(self, arguments: Sequence[str] = ()):
        """Takes Beam's own flags, such as `--runner=FlinkRunner`.

        Raises:
          InputError: Apache Beam is not installed, or does not know a flag's value.
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
                raise InputError(f"--beam={argument}: a flag of Beam begins with --, too")
        logging.getLogger("apache_beam.runners.common").addFilter(_is_no_bad_input)
        self._options = PipelineOptions(list(arguments))
        try:
            beam.Pipeline(options=self._options)
        except ValueError as error:  # what the flags say can be run by nobody
            raise InputError(f"--beam={' '.join(arguments)}: {error}") from error

    def __enter__(self) -> Beam:
        return self

    def __exit__(self, *_error: object) -> None:
        """A pipeline of its own does each kind of work; nothing is left to close."""

    def run(self, work: Work, tasks: Sequence[str], name: str) -> None:
        """See `Runner`."""
        import apache_beam as beam

        if not tasks:
            return
        with beam.Pipeline(options=self._options) as pipeline:
            created = pipeline | "tasks" >> beam.Create(list(tasks))
            # without a shuffle one worker would do all that it creates
            _ = created | "spread" >> beam.Reshuffle() | name >> beam.Map(work)
